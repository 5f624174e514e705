"""How replies are spelled, in whatever dialect."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from twisted.web import http

from kvpaxos.errors import Applied
from kvpaxos.node.http.dialects import Denial, Dialect, Field, Fields, Verb
from kvpaxos.node.http.store import Receipt
from kvpaxos.store.requests import Identity, Numbered

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Reply(NamedTuple):
    """A status code and a body."""

    status: int
    body: bytes


class Said(NamedTuple):
    """What a reply may carry; its dialect chooses from it."""

    value: bytes | None = None
    message: str = ""
    applied: Applied = "no"


_CREATE: Final = "insert and set create it"

MESSAGES: Final[Mapping[tuple[Verb, Denial], str]] = MappingProxyType(
    {
        ("insert", "exists"): "The key exists, so nothing was changed; update and set replace it.",
        ("update", "missing"): f"There is no such key, so nothing was changed; {_CREATE}.",
        ("delete", "missing"): "There is no such key, so nothing was changed; check the key.",
        (
            "cas",
            "exists",
        ): "The key exists, so nothing was changed; expect its value to replace it.",
        (
            "cas",
            "missing",
        ): "There is no such key, so nothing was changed; expect none to create it.",
        ("cas", "differs"): "The key holds another value, so nothing was changed; expect that one.",
        ("get", "missing"): f"There is no such key, so there is nothing to read; {_CREATE}.",
    }
)
"""What a semantic failure says, by verb and outcome."""


class Replies:
    """Spells replies in one dialect.

    :ivar dialect: that one.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def done(self, verb: Verb, value: bytes | None) -> Reply:
        """Return the reply to a request that succeeded.

        :param value: what is to be shown; a count in decimal digits.
        """
        dialect = self.dialect
        if verb == "count":
            assert value is not None, "a count is a number"
            return told({"result": dialect.number(int(value))})
        return Reply(http.OK, self._spell(dialect.yes, dialect.done[verb], Said(value)))

    def undone(self, verb: Verb, denial: Denial, value: bytes | None) -> Reply:
        """Return the reply to a request that what the key holds did not allow."""
        dialect = self.dialect
        said = Said(value, MESSAGES[verb, denial])
        return Reply(dialect.statuses[denial], self._spell(dialect.no, dialect.undone[verb], said))

    def stale(self, verb: Verb | None, identity: Identity | None) -> Reply:
        """Return the reply to a request whose opid is not the newest of its client."""
        dialect = self.dialect
        body = self.failed(verb, f"{_STALE}{_alone(identity)}.", "unknown")
        return Reply(dialect.statuses["stale"], body)

    def failed(self, verb: Verb | None, message: str, applied: Applied) -> bytes:
        """Return the body of the reply to a request that failed in any other way."""
        dialect = self.dialect
        return self._spell(dialect.no, dialect.failed[verb], Said(None, message, applied))

    def agreed(self) -> Reply:
        """Return the reply to a request that succeeded and has nothing to tell."""
        return told({"success": self.dialect.yes})

    def _spell(self, success: object, fields: Fields, said: Said) -> bytes:
        reply: dict[str, object] = {"success": success}
        for field in fields:
            reply.update(_FIELDS[field](said))
        if said.value is None and "value" in reply:
            reply["value"] = self.dialect.absent
        return to_json(reply)


def told(described: object) -> Reply:
    """Return the reply that says ``described`` in every dialect."""
    return Reply(http.OK, to_json(described))


def reused(identity: Identity | None) -> str:
    """Say that another request had this identity first."""
    name = "opid" if isinstance(identity, Numbered) else "requestid"
    return f"another request, with other parameters, has the same {name}{_alone(identity)}"


def receipt_headers(receipt: Receipt) -> Headers:
    """Return the headers that say what a reply rests on. Every reply has them."""
    return (
        (b"X-Kvpaxos-Slot", b"%d" % receipt.slot),
        (b"X-Kvpaxos-Leader", receipt.leader.encode()),
        (b"X-Kvpaxos-Read", receipt.read.encode()),
    )


JSON: Final = "application/json"

OCTETS: Final = "application/octet-stream"
"""The type of what is no JSON."""


def body_headers(receipt: Receipt) -> Headers:
    """Return the headers that stand above every body."""
    return (
        (b"Content-Type", JSON.encode()),
        (b"Cache-Control", b"no-store"),
        *receipt_headers(receipt),
    )


def last_reply(reply: Reply, headers: Headers) -> bytes:
    """Return the bytes of ``reply`` to what never became a request; the connection ends then."""
    lines = [
        b"HTTP/1.1 %d %s" % (reply.status, http.RESPONSES[reply.status]),
        *(b"%s: %s" % header for header in headers),
        b"Content-Length: %d" % len(reply.body),
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + reply.body


def text(name: str, raw: bytes | None) -> dict[str, str | None]:
    """Return ``raw`` as a member of a JSON object: as text if it is UTF-8, and else in base64."""
    if raw is None:
        return {name: None}
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": b64encode(raw).decode()}


def to_json(reply: object) -> bytes:
    """Return ``reply`` as JSON in UTF-8."""
    # Text of the store is sound; only what the operating system gave, such
    # as the name of a file, can hold what UTF-8 has no bytes for.
    return _encode(reply).encode(errors="replace")


# Made once: json.dumps would make one for each reply that is not plain ASCII.
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_STALE: Final = (
    "Stale opid: its client has used a greater one, so this request was not carried out now, and"
    " may have been before; read the key before you send it again with a new opid"
)


def _alone(identity: Identity | None) -> str:
    """Return what to add for clients that may not know of each other."""
    anonymous = isinstance(identity, Numbered) and not identity.client
    return "; opid without client is for one client only: name a client" if anonymous else ""


_FIELDS: Final[Mapping[Field, Callable[[Said], Mapping[str, str | None]]]] = MappingProxyType(
    {
        "value": lambda said: text("value", said.value),
        "message": lambda said: {"message": said.message},
        "applied": lambda said: {"applied": said.applied},
    }
)

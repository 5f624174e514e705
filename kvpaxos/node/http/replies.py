"""How replies are spelled. A dialect is one row of `DIALECTS`; handlers know none of them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from twisted.web import http

Verb: TypeAlias = Literal["insert", "update", "delete", "set", "cas", "append", "get"]

Applied: TypeAlias = Literal["no", "unknown"]
"""Whether a request that failed was carried out. A request that was has not failed."""

Field: TypeAlias = Literal["value", "message", "applied"]


class Reply(NamedTuple):
    """A status code and a body."""

    status: int
    body: bytes


class Said(NamedTuple):
    """What a reply may carry; its dialect chooses from it."""

    value: bytes | None = None
    message: str = ""
    applied: Applied = "no"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to spell replies.

    :ivar yes: what ``success`` says of a request that succeeded.
    :ivar no: what it says of one that did not.
    :ivar number: how a number is spelled.
    :ivar done: for each verb, the fields besides ``success`` of a request that succeeded.
    :ivar undone: the same for a semantic failure: the key is there, is not there, or differs.
    :ivar statuses: the status code of each semantic failure.
    :ivar failed: the fields of every other failure.
    """

    yes: object
    no: object
    number: Callable[[int], object]
    done: Mapping[Verb, tuple[Field, ...]]
    undone: Mapping[Verb, tuple[Field, ...]]
    statuses: Mapping[str, int]
    failed: tuple[Field, ...]


SEED: Final = Dialect(
    yes="true",
    no="false",
    number=int,
    done=MappingProxyType(
        {
            "insert": (),
            "update": ("value",),
            "delete": ("value",),
            "set": (),
            "cas": (),
            "append": ("value",),
            "get": ("value",),
        }
    ),
    undone=MappingProxyType(
        {
            "insert": ("message",),
            "update": ("message",),
            "delete": ("message",),
            "cas": ("message", "value"),
            "get": ("message",),
        }
    ),
    statuses=MappingProxyType({"exists": http.OK, "missing": http.OK, "differs": http.OK}),
    failed=("message", "applied"),
)

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({"seed": SEED})

_CREATE: Final = "insert and set create it"

MESSAGES: Final[Mapping[tuple[Verb, str], str]] = MappingProxyType(
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
    """Spells replies in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def done(self, verb: Verb, value: bytes | None) -> Reply:
        """Return the reply to a request for a key that succeeded."""
        dialect = self._dialect
        return Reply(http.OK, _spell(dialect.yes, dialect.done[verb], Said(value)))

    def undone(self, verb: Verb, outcome: str, value: bytes | None) -> Reply:
        """Return the reply to a request that what the key holds did not allow."""
        dialect = self._dialect
        said = Said(value, MESSAGES[verb, outcome])
        return Reply(dialect.statuses[outcome], _spell(dialect.no, dialect.undone[verb], said))

    def failed(self, message: str, applied: Applied) -> bytes:
        """Return the body of the reply to a request that failed in any other way."""
        return _spell(self._dialect.no, self._dialect.failed, Said(None, message, applied))

    def agreed(self) -> bytes:
        """Return the body of the reply to a request that succeeded and has nothing to tell."""
        return to_json({"success": self._dialect.yes})

    def count(self, number: int) -> bytes:
        """Return the body of a reply that is a number."""
        return to_json({"result": self._dialect.number(number)})


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

_FIELDS: Final[Mapping[Field, Callable[[Said], Mapping[str, str | None]]]] = MappingProxyType(
    {
        "value": lambda said: text("value", said.value),
        "message": lambda said: {"message": said.message},
        "applied": lambda said: {"applied": said.applied},
    }
)


def _spell(success: object, fields: tuple[Field, ...], said: Said) -> bytes:
    reply: dict[str, object] = {"success": success}
    for field in fields:
        reply.update(_FIELDS[field](said))
    return to_json(reply)

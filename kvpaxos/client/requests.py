"""Requests as nodes take them. Pure."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlencode

from kvpaxos.errors import BadRequest

Text: TypeAlias = str | bytes
"""A key or a value: any text, or any bytes."""

Verb: TypeAlias = Literal["insert", "update", "delete", "set", "cas", "append", "get"]


class Sent(NamedTuple):
    """One request as it goes to a node.

    :ivar path: with the query.
    """

    method: Literal["GET", "POST"]
    path: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whichever node takes it and however often it is sent.

    :ivar parameters: texts, or numbers as texts; those that are None are left out.
    :ivar identity: the same, and by it a node knows a repetition.
    """

    method: Literal["GET", "POST"]
    path: str
    parameters: Mapping[str, bytes | None]
    identity: Mapping[str, bytes | int]

    def sent(self, timeout_s: float | None = None) -> Sent:
        """Return how the request is sent, with a deadline if it is told one."""
        given = {name: value for name, value in self.parameters.items() if value is not None}
        if self.method == "GET":
            query: dict[str, bytes | int | str] = {**given, **self.identity}
            if timeout_s is not None:
                query["timeout"] = f"{timeout_s:.6f}"
            return Sent("GET", f"{self.path}?{urlencode(query)}" if query else self.path, None)
        members: dict[str, object] = {}
        for name, value in {**given, **self.identity}.items():
            members.update(member(name, value) if isinstance(value, bytes) else {name: value})
        if timeout_s is not None:
            members["timeout"] = round(timeout_s, 6)
        return Sent("POST", self.path, json.dumps(members, separators=(",", ":")).encode())


def to_bytes(name: str, given: Text) -> bytes:
    """Return a key or a value as the bytes that nodes store.

    :raises BadRequest: it is text that no bytes stand for.
    """
    if isinstance(given, bytes):
        return given
    try:
        return given.encode()
    except UnicodeEncodeError:
        raise BadRequest(
            f"The {name} holds half of a surrogate pair; nothing was changed:"
            " mend it before you send it again."
        ) from None


def member(name: str, raw: bytes) -> dict[str, str]:
    """Return ``raw`` as a member of a JSON object: as text if it is UTF-8, and else in base64."""
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(raw).decode()}

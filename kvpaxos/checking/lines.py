"""Histories as JSON lines: one call a line. The format is in docs/checking.md.

Reading is strict. What is misspelled, missing, or makes no sense together is refused, since a
history that is not what its writer meant would get a verdict that means nothing.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, Final, TypeVar, cast, get_args

from kvpaxos.checking.history import (
    UNTOLD,
    Call,
    Dump,
    KeyOperation,
    Outcome,
    Pairs,
    Told,
    WholeOperation,
)
from kvpaxos.errors import KvPaxosError
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Set,
    Update,
)
from kvpaxos.store.limits import OPID_MAX
from kvpaxos.store.requests import Identity, Named, Numbered

T = TypeVar("T")

EXAMPLE: Final = (
    '{"client":"c1","operation":"set","key":"color","value":"blue","call":0.0,"return":0.2,'
    '"outcome":"done"}'
)

_TEXTS: Final = ("key", "value", "expect", "result")
_NAMES: Final = frozenset(
    {
        *("client", "operation", "call", "return", "outcome", "pairs"),
        *("slot", "read", "opid", "requestid"),
        *_TEXTS,
        *(f"{name}_base64" for name in _TEXTS),
    }
)
WRITES: Final[Mapping[str, type[Insert | Update | Set | Append]]] = {
    "insert": Insert,
    "update": Update,
    "set": Set,
    "append": Append,
}
_WANTED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(WRITES, ("key", "value")),
    **dict.fromkeys(("delete", "get"), ("key",)),
    "cas": ("key", "expect", "value"),
    **dict.fromkeys(("count", "dump"), ()),
}
_SHOWING: Final = Update | Delete | Append | Get | Count
_READS: Final = ("logged", "quorum", "stale")


class BadLine(KvPaxosError):
    """A line of a history is no call. The message says where, what is wrong, and how to mend it."""


def read_history(name: str, lines: Iterable[bytes]) -> Iterator[Call]:
    """Yield the call of each line; blank lines are passed over.

    :param name: what to call the history in messages.
    :raises BadLine: a line is none.
    """
    return read_lines(name, lines, read_call)


def read_lines(name: str, lines: Iterable[bytes], read: Callable[[bytes], T]) -> Iterator[T]:
    """Yield what ``read`` makes of each line that is not blank.

    :raises BadLine: ``read`` did; the message says in which line.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield read(line)
            except BadLine as error:
                raise BadLine(f"{name}: line {number}: {error}.") from None


def call_line(call: Call) -> bytes:
    """Return ``call`` as a line, with its end."""
    members = call_members(call)
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def call_members(call: Call) -> dict[str, object]:
    """Return ``call`` as the object that stands in its line."""
    operation = call.operation
    members: dict[str, object] = {"client": call.client, "operation": operation_name(operation)}
    if not isinstance(operation, WholeOperation):
        members |= value_member("key", operation.key)
    if isinstance(operation, CompareAndSet):
        members |= value_member("expect", operation.expect)
    if isinstance(operation, Insert | Update | Set | Append | CompareAndSet):
        members |= value_member("value", operation.value)
    members |= _identity_members(call)
    members |= {"call": call.began, "return": call.ended, "outcome": call.outcome}
    if call.told is not UNTOLD:
        members |= value_member("result", call.told)
    if isinstance(operation, Dump) and call.outcome == "done":
        members["pairs"] = [_pair(key, value) for key, value in call.pairs]
    if call.slot is not None:
        members["slot"] = call.slot
    if call.read is not None:
        members["read"] = call.read
    return members


def _identity_members(call: Call) -> dict[str, object]:
    match call.identity:
        case None:
            return {}
        case Numbered(client, opid):
            assert client == call.client.encode(), "it is the client who numbers its requests"
            return {"opid": opid}
        case Named(requestid):
            return {"requestid": requestid.decode()}


def operation_name(operation: KeyOperation | WholeOperation) -> str:
    """Return what histories call ``operation``."""
    return "cas" if isinstance(operation, CompareAndSet) else type(operation).__name__.lower()


def read_call(line: bytes) -> Call:
    """Return the call in ``line``.

    :raises BadLine: there is none.
    """
    given = Members(read_object(line))
    outcome = cast("Outcome", given.choice("outcome", get_args(Outcome)))
    operation = _operation(given)
    began, ended = given.moment("call"), _end(given, outcome)
    if ended is not None and ended < began:
        raise BadLine(f'"return" is {ended:g}, before "call", {began:g}; give both by one clock')
    if outcome == "refused" and isinstance(operation, Set | Append | WholeOperation):
        raise BadLine(
            f"no {operation_name(operation)} is refused by what there is; say that it failed, if it"
            ' certainly was not carried out, or else "unknown"'
        )
    client = given.text("client")
    return Call(
        client=client,
        operation=operation,
        began=began,
        ended=ended,
        outcome=outcome,
        told=_told(given, operation, outcome),
        pairs=_pairs(given, operation, outcome),
        slot=given.whole("slot"),
        read=given.choice("read", _READS) if given.is_there("read") else None,
        identity=_identity(given, client),
    )


class Members:
    """The members of a line, each of which is looked at with what it must be."""

    def __init__(self, members: Mapping[str, Any], names: frozenset[str] = _NAMES) -> None:
        unknown = members.keys() - names
        if unknown:
            raise BadLine(f'"{min(unknown)}" is no member of a call; leave it out')
        self._members = members

    def has(self, name: str) -> bool:
        """Whether it is given, as text, as null, or in base64."""
        return name in self._members or f"{name}_base64" in self._members

    def is_there(self, name: str) -> bool:
        """Whether it is given, and not null."""
        return self._members.get(name) is not None

    def text(self, name: str) -> str:
        """Return a text that must be there; `BadLine` is raised here and below if it is not."""
        found = self._required(name)
        if not isinstance(found, str):
            raise BadLine(f'"{name}" is no text; put it between quotes')
        return found

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """Return one of some texts."""
        found = self.text(name)
        if found not in choices:
            raise BadLine(f'"{name}" is "{found}"; make it one of {", ".join(choices)}')
        return found

    def moment(self, name: str) -> float:
        """Return a time."""
        found = self._required(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
            raise BadLine(f'"{name}" is no number; give a time, in any unit')
        return float(found)

    def whole(self, name: str, most: int = OPID_MAX) -> int | None:
        """Return a whole number, or None if it is left out or null."""
        found = self._members.get(name)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
            raise BadLine(f'"{name}" is no whole number from 0 to {most}; leave it out, or mend it')
        return found

    def number(self, name: str) -> int:
        """Return a whole number that must be there."""
        found = self.whole(name)
        if found is None:
            self._required(name)
            raise BadLine(f'"{name}" is null; give a whole number')
        return found

    def list_of(self, name: str) -> list[Any]:
        """Return a list."""
        found = self._required(name)
        if not isinstance(found, list):
            raise BadLine(f'"{name}" is no list; give one')
        return found

    def value(self, name: str) -> bytes:
        """Return a key or a value."""
        found = self.value_or_null(name)
        if found is None:
            raise BadLine(f'"{name}" is null; give it as text, or in base64 as "{name}_base64"')
        return found

    def value_or_null(self, name: str) -> bytes | None:
        """Return what is given as text, or in base64, or as null."""
        if not self.has(name):
            self._required(name)
        text, encoded = self._members.get(name), self._members.get(f"{name}_base64")
        if text is not None and encoded is not None:
            raise BadLine(f'"{name}" is there twice, as text and in base64; leave out one of them')
        if encoded is not None:
            return _decoded(name, encoded)
        if text is None:
            return None
        if not isinstance(text, str):
            raise BadLine(f'"{name}" is no text; put it between quotes')
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise BadLine(
                f'"{name}" holds half of a surrogate pair; write its bytes as "{name}_base64"'
            ) from None

    def _required(self, name: str) -> Any:  # noqa: ANN401 -- whatever JSON holds
        if name not in self._members:
            raise BadLine(f'"{name}" is missing; write one call a line, such as {EXAMPLE}')
        return self._members[name]


def read_object(line: bytes) -> Mapping[str, Any]:
    """Return the object in ``line``.

    :raises BadLine: there is none.
    """
    try:
        found = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadLine(
            f"byte {error.start + 1} is not UTF-8; write what is no text in base64, as"
            ' "value_base64" and the like'
        ) from None
    except json.JSONDecodeError as error:
        what = f"it is no JSON from column {error.colno} on"
        raise BadLine(f"{what}; write one call a line, such as {EXAMPLE}") from None
    except RecursionError:
        raise BadLine("it is nested too deep; write one call a line") from None
    if not isinstance(found, dict):
        raise BadLine(f"it is no object; write one call a line, such as {EXAMPLE}")
    return found


def _operation(given: Members) -> KeyOperation | WholeOperation:
    name = given.choice("operation", _WANTED)
    wanted = _WANTED[name]
    for member in ("key", "value", "expect"):
        if given.has(member) and member not in wanted:
            raise BadLine(f'a {name} has no "{member}"; leave it out')
    if not wanted:
        return Count() if name == "count" else Dump()
    key = given.value("key")
    if not key:
        raise BadLine("the key is empty; give it one byte or more")
    if name == "cas":
        return CompareAndSet(key, given.value_or_null("expect"), given.value("value"))
    if name in WRITES:
        return WRITES[name](key, given.value("value"))
    return Delete(key) if name == "delete" else Get(key)


def _end(given: Members, outcome: Outcome) -> float | None:
    if outcome in {"done", "refused"} or given.is_there("return"):
        return given.moment("return")
    return None


def _told(given: Members, operation: KeyOperation | WholeOperation, outcome: Outcome) -> Told:
    shows = (outcome == "done" and isinstance(operation, _SHOWING)) or (
        outcome == "refused" and isinstance(operation, CompareAndSet)
    )
    if not shows:
        if given.has("result"):
            name = operation_name(operation)
            raise BadLine(f'a {name} with the outcome "{outcome}" shows no "result"; leave it out')
        return UNTOLD
    if isinstance(operation, Get | Count) or given.has("result"):
        return given.value_or_null("result") if outcome == "refused" else given.value("result")
    return UNTOLD


def _pairs(given: Members, operation: KeyOperation | WholeOperation, outcome: Outcome) -> Pairs:
    if not isinstance(operation, Dump) or outcome != "done":
        if given.has("pairs"):
            raise BadLine('only a dump that is done has "pairs"; leave them out')
        return ()
    return tuple(map(_read_pair, given.list_of("pairs")))


def _read_pair(pair: object) -> tuple[bytes, bytes]:
    match pair:
        case [str(key), str(value)]:
            members: dict[str, object] = {"key": key, "value": value}
        case dict():
            members = pair
        case _:
            raise BadLine('a pair is neither ["key","value"] nor an object; make it one of them')
    given = Members(members)
    return given.value("key"), given.value("value")


def _identity(given: Members, client: str) -> Identity | None:
    opid = given.whole("opid")
    requestid = given.text("requestid") if given.is_there("requestid") else None
    if opid is not None and requestid is not None:
        raise BadLine('it has both "opid" and "requestid"; leave out one of them')
    if opid is not None:
        return Numbered(client.encode(), opid)
    return None if requestid is None else Named(requestid.encode())


def _decoded(name: str, encoded: object) -> bytes:
    try:
        return b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
    except NotBase64:
        raise BadLine(f'"{name}_base64" is no base64; encode the bytes again') from None


def value_member(name: str, raw: bytes | None) -> dict[str, str | None]:
    """Return ``raw`` as a member of an object: as text if it is UTF-8, and else in base64."""
    if raw is None:
        return {name: None}
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(raw).decode()}


def _pair(key: bytes, value: bytes) -> object:
    try:
        return [key.decode(), value.decode()]
    except UnicodeDecodeError:
        return {**value_member("key", key), **value_member("value", value)}

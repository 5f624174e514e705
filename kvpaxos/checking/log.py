"""The decided log, as `kvpaxos.checking.oracle` replays it: from JSON lines, or from decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from kvpaxos.checking.lines import WRITES, BadLine, Members, read_lines, read_object
from kvpaxos.errors import CommandError
from kvpaxos.paxos.effects import Decision
from kvpaxos.store.commands import (
    CompareAndSet,
    Count,
    Delete,
    Get,
    Operation,
)
from kvpaxos.store.requests import Identity, Named, Numbered, decode_request


class Logged(NamedTuple):
    """One command of the log.

    :ivar operation: None if it is none, or its body was given up.
    """

    node: str
    life: int
    sequence: int
    settled_through: int
    operation: Operation | None
    identity: Identity | None


class LoggedSlot(NamedTuple):
    """One decided slot."""

    slot: int
    commands: tuple[Logged, ...]


def logged(decision: Decision) -> LoggedSlot:
    """Return a decision as the oracle takes it."""
    commands = []
    for node, life, sequence, settled_through, body in decision.batch:
        operation: Operation | None = None
        identity: Identity | None = None
        # What is no operation is executed like all others, and changes nothing.
        with suppress(CommandError):
            operation, identity = decode_request(body)
        commands.append(Logged(node, life, sequence, settled_through, operation, identity))
    return LoggedSlot(decision.slot, tuple(commands))


def read_log(name: str, lines: Iterable[bytes]) -> Iterator[LoggedSlot]:
    """Yield the slot of each line that ``kvpaxos journal`` has printed; blank ones are passed over.

    :param name: what to call the log in messages.
    :raises BadLine: a line is none.
    """
    return read_lines(name, lines, read_slot)


def read_slot(line: bytes) -> LoggedSlot:
    """Return the slot in ``line``.

    :raises BadLine: there is none.
    """
    given = Members(read_object(line), _SLOT_NAMES)
    commands = given.list_of("commands")
    return LoggedSlot(given.number("slot"), tuple(map(_command, commands)))


def _command(given: object) -> Logged:
    if not isinstance(given, dict):
        raise BadLine("a command is no object; print the log anew with kvpaxos journal")
    members = Members(given, _COMMAND_NAMES)
    return Logged(
        members.text("node"),
        members.number("life"),
        members.number("sequence"),
        members.number("settled_through"),
        _operation(members) if members.is_there("operation") else None,
        _identity(members),
    )


def _operation(members: Members) -> Operation:
    name = members.choice("operation", _KINDS)
    if name == "count":
        return Count()
    key = members.value("key")
    if name in _LOOKING:
        return _LOOKING[name](key)
    value = members.value("value")
    if name in WRITES:
        return WRITES[name](key, value)
    return CompareAndSet(key, members.value_or_null("expect"), value)


def _identity(members: Members) -> Identity | None:
    if members.is_there("opid"):
        return Numbered(members.value("client"), members.number("opid"))
    return Named(members.value("requestid")) if members.has("requestid") else None


_LOOKING: Final[dict[str, type[Get | Delete]]] = {"get": Get, "delete": Delete}
_KINDS: Final = (*WRITES, *_LOOKING, "compareandset", "count")
_SLOT_NAMES: Final = frozenset({"slot", "ballot", "commands", "digest"})
_TEXTS: Final = ("key", "value", "expect", "client", "requestid")
_COMMAND_NAMES: Final = frozenset(
    {
        *("node", "life", "sequence", "settled_through", "operation", "error", "opid"),
        *_TEXTS,
        *(f"{name}_base64" for name in _TEXTS),
    }
)

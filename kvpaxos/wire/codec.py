"""Messages and records as MessagePack arrays: ``[group, tag, field, ...]``.

The two tables below are the whole format. A tag is never given to another thing:
journals outlive releases. `Ballot` and `Command` are tuples, so they pack as they are.
"""

from __future__ import annotations

from typing import Final

from kvpaxos.paxos.ballot import ROUND_MAX, Ballot, NodeId
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    AskReadSlot,
    AskState,
    Batch,
    CatchUp,
    Chosen,
    Command,
    Confirm,
    Confirmed,
    Decided,
    Forward,
    Health,
    Incarnations,
    Message,
    Nack,
    NoState,
    Ping,
    Pong,
    Prepare,
    Promise,
    ReadSlot,
    Rejoin,
    Report,
    StateDigest,
    StatePiece,
    TakeOver,
    Vote,
    Watermark,
    Withdraw,
)
from kvpaxos.paxos.records import (
    DecidedThrough,
    Formed,
    Forming,
    Installed,
    Learned,
    Promised,
    Record,
    Rejoined,
    Renewed,
    Seen,
    Started,
)
from kvpaxos.wire.table import (
    Kind,
    Table,
    count,
    flag,
    items,
    made,
    nodes,
    raw,
    text,
    unexpected,
    unpack,
)

__all__ = [
    "MESSAGES",
    "PARTS",
    "RECORDS",
    "batch",
    "count",
    "decode",
    "decode_record",
    "encode",
    "encode_record",
    "incarnations",
    "text",
    "unpack",
]


def encode(group: int, message: Message) -> bytes:
    """Return the bytes that `decode` turns back into ``group`` and ``message``.

    No array in it may hold more than `kvpaxos.wire.table.ITEMS_MAX` items, nor the whole be
    longer than a frame: whoever makes messages cuts them to fit.
    """
    return _MESSAGES.pack(group, message)


def decode(data: bytes) -> tuple[int, Message]:
    """Return the group and the message that ``data`` encodes.

    :raises WireError: if ``data`` is no message. Nothing else escapes, whatever the bytes.
    """
    return _MESSAGES.unpack(data)


def encode_record(group: int, record: Record) -> bytes:
    """Return the bytes that `decode_record` turns back into ``group`` and ``record``."""
    return _RECORDS.pack(group, record)


def decode_record(data: bytes) -> tuple[int, Record]:
    """Return the group and the journal record that ``data`` encodes.

    :raises WireError: if ``data`` is no record. Nothing else escapes, whatever the bytes.
    """
    return _RECORDS.unpack(data)


def _instant(field: object) -> float:
    # A caller may well say 0 for 0.0.
    if type(field) is float or type(field) is int:
        return float(field)
    raise unexpected("instant", field)


def _ballot(field: object) -> Ballot:
    if type(field) is list and len(field) == len(Ballot._fields):
        number, node = field
        if type(number) is int and 0 <= number <= ROUND_MAX and type(node) is str:
            # To call NodeId would do nothing, slowly, for every message.
            return Ballot(number, node)  # type: ignore[arg-type]
    raise unexpected("ballot", field)


def _command(field: object) -> Command:
    if type(field) is list and len(field) == len(Command._fields):
        node, life, sequence, settled_through, body = field
        if type(node) is str and type(body) is bytes:
            return Command(
                node,  # type: ignore[arg-type]
                count(life),
                count(sequence),
                count(settled_through),
                body,
            )
    raise unexpected("command", field)


def batch(field: object) -> Batch:
    """Return the commands of a slot.

    :raises WireError: if ``field`` does not hold any.
    """
    return tuple(map(_command, items(field)))


def _batches(field: object) -> tuple[Batch, ...]:
    return tuple(map(batch, items(field)))


def _vote(field: object) -> Vote:
    return made(Vote, (count, _ballot, batch), items(field))


def _votes(field: object) -> tuple[Vote, ...]:
    return tuple(map(_vote, items(field)))


def incarnations(field: object) -> Incarnations:
    """Return which disks nodes are on.

    :raises WireError: if ``field`` does not say so.
    """
    return tuple(map(_incarnation, items(field)))


def _incarnation(field: object) -> tuple[NodeId, int]:
    match field:
        case [str(node), incarnation]:
            return NodeId(node), count(incarnation)
        case _:
            raise unexpected("incarnation", field)


def _pairs(field: object) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(map(_pair, items(field)))


def _pair(field: object) -> tuple[bytes, bytes]:
    if type(field) is list and len(field) == 2:  # noqa: PLR2004 -- it is a pair
        place, held = field
        if type(place) is bytes and type(held) is bytes:
            return place, held
    raise unexpected("pair", field)


def _health(field: object) -> Health:
    return made(Health, (_ballot, flag, count, count, count), items(field))


MESSAGES: Final = (
    Kind(1, Prepare, (_ballot, count)),
    Kind(2, Accept, (_ballot, count, batch, count)),
    Kind(3, Watermark, (_ballot, count)),
    Kind(4, Ping, (_health, _instant)),
    Kind(5, Forward, (batch, count)),
    Kind(6, CatchUp, (count, count)),
    Kind(7, AskReadSlot, (count,)),
    Kind(8, Confirm, (_ballot, count)),
    Kind(9, TakeOver, (_ballot,)),
    Kind(10, Chosen, (_ballot, count, _health, _instant)),
    Kind(11, Rejoin, (count,)),
    Kind(12, AskState, (count, raw)),
    Kind(13, StateDigest, (count, raw)),
    Kind(14, Withdraw, (_ballot,)),
    Kind(33, Promise, (_ballot, _votes, count, count, count, count, incarnations)),
    Kind(34, Accepted, (_ballot, count, incarnations)),
    Kind(35, Nack, (_ballot, _ballot)),
    Kind(36, Pong, (_health, _instant)),
    Kind(37, Decided, (count, _batches)),
    Kind(38, ReadSlot, (count, _ballot, count)),
    Kind(39, Confirmed, (_ballot, count)),
    Kind(40, Report, (count, _ballot, count, incarnations)),
    Kind(41, StatePiece, (count, raw, count, raw, _pairs)),
    Kind(42, NoState, (count,)),
)
"""Requests from 1, replies from 33."""

RECORDS: Final = (
    Kind(1, Promised, (_ballot,)),
    Kind(2, Vote, (count, _ballot, batch)),
    Kind(3, DecidedThrough, (count, _ballot)),
    Kind(4, Learned, (count, batch)),
    Kind(5, Forming, (text, text, nodes, count)),
    Kind(6, Formed, (text,)),
    Kind(7, Started, (count,)),
    Kind(8, Installed, (count,)),
    Kind(9, Renewed, (text, count)),
    Kind(10, Rejoined, (count,)),
    Kind(11, Seen, (text, count, count, text, count, text)),
)
"""What a journal can hold."""


PARTS: Final = (Vote, Health)
"""Dataclasses that stand inside messages."""

_MESSAGES: Final = Table[Message](MESSAGES, parts=PARTS)
_RECORDS: Final = Table[Record](RECORDS)

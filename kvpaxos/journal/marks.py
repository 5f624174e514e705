"""End marks: what tells torn from rotten. Pure.

A batch that was synced gets a mark at the far end of its segment, which repeats the
headers of its records. The next sync covers the mark. Bad bytes under a mark were once
good: they are damage. Bad bytes that no mark speaks for were never promised to anybody.

A mark ends where the one before it begins. Its fixed part stands last, so that marks can
be read downward from the end of the file::

    entries (MessagePack arrays), zeros up to the grid, fixed part

The digest is keyed with the chain's digest at the start of the segment, which no client
knows: no value that one stores can pass for a mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, NamedTuple

from msgpack import Unpacker, packb

from kvpaxos.errors import WireError
from kvpaxos.journal.format import APART_BYTES, DATA_START, DIGEST_BYTES, Digest
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.records import Record
from kvpaxos.wire.codec import RECORDS

MARK_GRID: Final = 32
"""Marks take a multiple of this many bytes, so a lost one does not hide those below it."""

_MAGIC: Final = b"KvE\xd7"

_TAIL: Final = Struct("<16sIIIIII4s")
"""The fixed part: the digest of all the rest of the mark, then what `Mark` names."""

_KINDS: Final = {kind.make: kind.tag for kind in RECORDS}

_KIND_NAMES: Final = {kind.tag: kind.make.__name__ for kind in RECORDS}


class Entry(NamedTuple):
    """What a mark repeats of one record.

    :ivar kind: the name of its class.
    :ivar slot: `NO_SLOT` where the kind has none; likewise ``ballot``.
    :ivar digest: the chain's digest after it.
    :ivar length: of its payload, in bytes.
    :ivar payload: the whole of it, if it has neither slot nor ballot: of such records no other
        node could say what they were. Otherwise empty.
    """

    kind: str
    group: int
    slot: Slot
    ballot: Ballot
    digest: Digest
    length: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Says that the bytes from ``start`` to ``end`` of the segment were synced.

    :ivar offset: where the mark itself begins.
    :ivar space: how many bytes it takes.
    :ivar records: how many records it speaks for.
    :ivar seals: it is the segment's last: there is a next segment.
    """

    offset: int
    space: int
    start: int
    end: int
    records: int
    seals: bool
    packed: bytes

    def entries(self) -> list[Entry]:
        """Return what it says of its records, in order."""
        unpacker = Unpacker()
        unpacker.feed(self.packed)
        return [_entry(unpacker.unpack()) for _ in range(self.records)]


@dataclass(frozen=True, slots=True)
class Hole:
    """A place between two marks where no sound mark is, though there was one.

    :ivar end: where the mark above it begins.
    """

    offset: int
    end: int


def packed_entry(group: int, record: Record, digest: Digest, payload: bytes) -> bytes:
    """Return what a mark will repeat of ``record``. See `Entry`."""
    slot: Slot = getattr(record, "slot", NO_SLOT)
    ballot: Ballot = getattr(record, "ballot", ZERO_BALLOT)
    told = b"" if slot or ballot.round else payload
    return packb((_KINDS[type(record)], group, slot, *ballot, digest, len(payload), told))


def mark_space(entries_bytes: int) -> int:
    """Return how many bytes a mark takes whose packed entries take ``entries_bytes``."""
    return -(-(entries_bytes + _TAIL.size) // MARK_GRID) * MARK_GRID


SEAL_SPACE: Final = mark_space(0)
"""What the seal takes: a mark without entries. Every segment keeps room for it."""


def encode_mark(
    key: Digest, entries: list[bytes], start: int, end: int, *, space: int = 0, seals: bool = False
) -> bytes:
    """Return a mark for the records of ``entries``, which lie from ``start`` to ``end``.

    :param key: the chain's digest at the start of the segment.
    :param space: how many bytes it shall take, if not as few as possible.
    """
    packed = b"".join(entries)
    space = space or mark_space(len(packed))
    assert space >= mark_space(len(packed)), f"{len(packed)} bytes of entries in {space} bytes"
    rest = packed.ljust(space - _TAIL.size, b"\0")
    tail = _TAIL.pack(b"", start, end, space, len(packed), len(entries), seals, _MAGIC)
    return rest + _digest(key, rest, tail) + tail[DIGEST_BYTES:]


def find_marks(data: bytes, key: Digest) -> list[Mark | Hole]:
    """Return the marks of the segment ``data``, the oldest first, and the holes among them."""
    found: list[Mark | Hole] = []
    top, floor = len(data), DATA_START + APART_BYTES
    while (mark := _highest_mark(data, key, top, floor)) is not None:
        end = mark.offset + mark.space
        if end < top:
            found.append(Hole(end, top))
        found.append(mark)
        # Marks below speak for later batches, and keep their distance from them.
        top, floor = mark.offset, max(floor, mark.end + APART_BYTES)
    return found


def _highest_mark(data: bytes, key: Digest, top: int, floor: int) -> Mark | None:
    mark = _mark_before(data, key, top, floor)
    while mark is None:
        at = data.rfind(_MAGIC, floor, top)
        if at < 0:
            return None
        mark = _mark_before(data, key, at + len(_MAGIC), floor)
        top = at
    return mark


def _mark_before(data: bytes, key: Digest, top: int, floor: int) -> Mark | None:
    """Return the mark that ends at ``top``, if there is one."""
    if top % MARK_GRID or top - _TAIL.size < floor:
        return None
    digest, start, end, space, packed, records, seals, magic = _TAIL.unpack_from(
        data, top - _TAIL.size
    )
    offset = top - space
    if magic != _MAGIC or mark_space(packed) > space or offset < floor:
        return None
    if not DATA_START <= start <= end <= offset - APART_BYTES:
        return None
    rest, tail = data[offset : top - _TAIL.size], data[top - _TAIL.size : top]
    if digest != _digest(key, rest, tail):
        return None
    return Mark(offset, space, start, end, records, bool(seals), rest[:packed])


def _digest(key: Digest, rest: bytes, tail: bytes) -> bytes:
    whole = blake2b(key=key, digest_size=DIGEST_BYTES)
    whole.update(rest)
    whole.update(tail[DIGEST_BYTES:])
    return whole.digest()


def _entry(fields: Any) -> Entry:  # noqa: ANN401 - it was just unpacked
    match fields:
        case [
            int(kind), int(group), int(slot), int(number), str(node), bytes(digest), int(length),
            bytes(payload),
        ]:  # fmt: skip
            name, ballot = _KIND_NAMES.get(kind, "record"), Ballot(number, NodeId(node))
            return Entry(name, group, Slot(slot), ballot, digest, length, payload)
        case _:
            raise WireError("a mark that holds something else than entries")

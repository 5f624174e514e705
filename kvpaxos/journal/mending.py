"""Makes damaged records again, and proves that they are what was lost.

An end mark repeats of each record the kind, group, slot, ballot and length, and the chain's digest
after it; and all of it if it has neither slot nor ballot. So whatever somebody takes for the record
can be put to the proof: it is right exactly if it has that length, and if it and the digest before
give the digest after. Nobody needs to be trusted.

====================================  ==================================================
what is damaged                       where it can come from
====================================  ==================================================
`Vote`, `Learned`                     the mark, and any node that knows such a batch in the slot
any other record                      the mark alone
anything without a sound mark, a      nowhere: the journal as a whole is lost
header in both copies, a file
====================================  ==================================================

The bytes are written back in place, in whole pages. A crash amid that leaves a journal of which
some records are damaged, and none is another than it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import Digest, chained, frame
from kvpaxos.journal.marks import Entry
from kvpaxos.journal.reading import PAGE_BYTES, Reading, read_around
from kvpaxos.journal.recovery import opened, recover
from kvpaxos.paxos.messages import NOOP, Batch, Vote
from kvpaxos.paxos.recall import Wanted
from kvpaxos.paxos.records import DecidedThrough, Installed, Learned, Promised, Record
from kvpaxos.wire.codec import decode_record, encode_record

MENDED_BYTES_MAX: Final = 64 * 1024 * 1024
"""If the damaged records take more than this, the journal is given up: they wait in memory."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A damaged record, and what is known of it.

    :ivar name: of the segment's file.
    :ivar offset: where it begins there.
    :ivar before: the chain's digest before it.
    """

    name: str
    offset: int
    before: Digest
    entry: Entry

    def framed(self, record: Record) -> bytes | None:
        """Return the bytes that stood here if they said ``record``, or None."""
        payload = encode_record(self.entry.group, record)
        if len(payload) != self.entry.length:
            return None
        if chained(self.before, payload) != self.entry.digest:
            return None
        return frame(self.before, payload)


class Mending:
    """What is damaged in one journal, and what of it has been made again.

    :ivar wanted: the slots whose batches others must tell, and how many bytes each of them takes.
    :ivar records: how many records are damaged.
    :ivar places: where they are: the names of their files, and where they begin there.
    """

    def __init__(self, lost: Sequence[Lost]) -> None:
        self.records = len(lost)
        self.places = frozenset((one.name, one.offset) for one in lost)
        self.wanted: dict[Wanted, int] = {}
        self._made: list[tuple[Lost, bytes]] = []
        self._lost: dict[Wanted, list[Lost]] = {}
        for one in lost:
            if not self._make(one, _guesses(one.entry)):
                wanted = Wanted(one.entry.group, one.entry.slot)
                self._lost.setdefault(wanted, []).append(one)
                self.wanted[wanted] = self.wanted.get(wanted, 0) + one.entry.length

    @classmethod
    def of(cls, found: DamagedRecords) -> Mending | None:
        """Return how the damage can be mended, or None if it cannot, whoever helps."""
        lost = []
        for damage in found.damage:
            if damage.entry is None or not damage.before:
                return None
            lost.append(Lost(damage.path.name, damage.offset, damage.before, damage.entry))
        if sum(one.entry.length for one in lost) > MENDED_BYTES_MAX:
            return None
        mending = cls(lost)
        told = {"Vote", "Learned"}
        needed = (one for needed in mending._lost.values() for one in needed)
        return mending if all(one.entry.kind in told for one in needed) else None

    def take(self, wanted: Wanted, batch: Batch) -> None:
        """Make again what it can of a batch that somebody knows in a slot, right or wrong."""
        left = [
            one
            for one in self._lost.get(wanted, [])
            if not self._make(one, _with(one.entry, batch))
        ]
        if left:
            self._lost[wanted] = left
        elif self._lost.pop(wanted, None) is not None:
            del self.wanted[wanted]

    def write(self, directory: Directory) -> None:
        """Write all of it to the journal, durably, and see that this is sound by now.

        Nothing may be wanted any more. It blocks; the journal must be locked, and may not be open.

        :raises DamagedRecords: something else is damaged, or the disk has lost it again.
        :raises DiskError: the disk refuses. To begin anew is safe.
        """
        assert not self.wanted, "not all of it was made"
        for name in sorted({lost.name for lost, _ in self._made}):
            patches = [(lost.offset, data) for lost, data in self._made if lost.name == name]
            _write(directory, name, patches)
        recover(directory)

    def _make(self, lost: Lost, records: Iterator[Record]) -> bool:
        """Take the first of ``records`` that is the lost one. Return whether there is one."""
        framed = next(filter(None, map(lost.framed, records)), None)
        if framed is not None:
            self._made.append((lost, framed))
        return framed is not None


def _guesses(entry: Entry) -> Iterator[Record]:
    """Yield what a record may have been, by what its mark says."""
    match entry.kind:
        case "Promised":
            yield Promised(entry.ballot)
        case "DecidedThrough":
            yield DecidedThrough(entry.slot, entry.ballot)
        case "Installed":
            yield Installed(entry.slot)
        case "Vote" | "Learned":
            yield from _with(entry, NOOP)
        case _:
            yield decode_record(entry.payload)[1]


def _with(entry: Entry, batch: Batch) -> Iterator[Record]:
    yield (
        Vote(entry.slot, entry.ballot, batch)
        if entry.kind == "Vote"
        else Learned(entry.slot, batch)
    )


def _write(directory: Directory, name: str, patches: Sequence[tuple[int, bytes]]) -> None:
    """Write ``patches`` into one segment, durably, with the rest of the pages that they are in."""
    file = opened(directory, name)
    try:
        for offset, data in _pages(read_around(file, file.size()), patches):
            file.write(data, offset)
        file.sync()
        # Whoever reads it next is to see what the disk has kept.
        file.uncache()
    finally:
        file.close()


def _pages(found: Reading, patches: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the pages that ``patches`` change, as they must be.

    Systems do not write a part of a page that they cannot read. What is in such a page belongs to
    damaged records, or is free: no mark is near one.
    """
    image = bytearray(found.data)
    for page in found.lost:
        image[page.start : page.stop] = bytes(len(page))
    touched: set[int] = set()
    for offset, data in patches:
        image[offset : offset + len(data)] = data
        touched.update(range(offset // PAGE_BYTES, (offset + len(data) - 1) // PAGE_BYTES + 1))
    for number in sorted(touched):
        start = number * PAGE_BYTES
        yield start, bytes(image[start : start + PAGE_BYTES])

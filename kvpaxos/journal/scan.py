"""The verdict on the bytes of one segment. Pure.

====================================  ==================================================
what is found                         verdict
====================================  ==================================================
bad bytes that a mark speaks for      damage: named, and left as it is
bad bytes in any but the last         damage: a segment is synced before the next begins
segment
bad bytes at the tail of the last     torn: cut, with all that follows them. They were
segment, and no mark                  never promised to anybody
the same, and a page among them that  damage: the batch may have been synced, and only its
cannot be read                        mark be missing
the same, as the first thing after    damage: a mark is written after its batch is synced,
the marked records, and something     so the batch was good when the mark was begun
that may have been its mark
sound records, and no mark            kept, written and synced again, and marked
a lost mark above others, or over     the mark is written again
sound records
anything else in the free space       cut
a page elsewhere that cannot be read  what belongs there is written again
====================================  ==================================================

One thing this cannot tell: rot of the last batch, if a power cut came before its mark
reached the disk. It looks like a batch that never arrived whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from kvpaxos.errors import StartError, WireError
from kvpaxos.journal.damage import Damage, name_record
from kvpaxos.journal.format import (
    APART_BYTES,
    DATA_START,
    RECORD_HEADER,
    Digest,
    Sound,
    sound_record,
    sound_records,
)
from kvpaxos.journal.header import Header
from kvpaxos.journal.marks import (
    Entry,
    Hole,
    Mark,
    encode_mark,
    find_marks,
    mark_space,
    packed_entry,
)
from kvpaxos.journal.reading import Reading
from kvpaxos.paxos.records import Record
from kvpaxos.wire.codec import decode_record

Visit = Callable[[Sound, int, Record], None]
"""Called with each sound record, its group and what it says, in order."""


_PIECE_BYTES: Final = 64 * 1024
"""Free space is cleared in pieces of this size, where something is in it."""


class Patch(NamedTuple):
    """Bytes to be written into a segment to mend it."""

    offset: int
    data: bytes


@dataclass(slots=True)
class Findings:
    """What was found in a segment, and what must be written to set it right.

    :ivar damage: if there is any, nothing may be mended.
    :ivar data: patches to be synced before those of ``marks``.
    :ivar torn: what was cut from the tail, in words; None if nothing was.
    :ivar mended: everything else that was not as it should be, in words.
    :ivar end: where the next record goes.
    :ivar low: where the lowest mark begins.
    :ivar records: how many records there are in it.
    :ivar digest: the chain's digest after the last of them.
    """

    damage: list[Damage] = field(default_factory=list)
    data: list[Patch] = field(default_factory=list)
    marks: list[Patch] = field(default_factory=list)
    torn: str | None = None
    mended: list[str] = field(default_factory=list)
    end: int = DATA_START
    low: int = 0
    records: int = 0
    digest: Digest = b""
    sealed: bool = False


def scan(
    path: Path, reading: Reading, header: Header, following: Header | None, visit: Visit
) -> Findings:
    """Judge one segment: say what state it is in.

    :param reading: what there is of its file.
    :param following: the header of the next segment, None for the last one.
    :raises StartError: if a sound record is of a kind that this version does not know.
    """
    work = _Scan(path, reading, header, visit)
    work.read_marked()
    if following is None:
        work.read_tail()
    else:
        work.read_rest(following)
    work.replace_lost()
    return work.found


class _Scan:
    """One walk over one segment, from the front."""

    def __init__(self, path: Path, reading: Reading, header: Header, visit: Visit) -> None:
        self._path = path
        self._data = reading.data
        self._lost = [page for page in reading.lost if page.start >= DATA_START]
        self._header = header
        self._visit = visit
        self.found = Findings(low=header.size, digest=header.digest)

    def read_marked(self) -> None:
        """Read what the marks speak for, and the batches between whose marks are lost."""
        hole: Hole | None = None
        for mark in find_marks(self._data, self._header.digest):
            if isinstance(mark, Hole):
                hole = mark
                continue
            self._read_between(mark.start, hole)
            self._read_batch(mark)
            self.found.low = mark.offset
            self.found.sealed = mark.seals
            hole = None

    def read_tail(self) -> None:
        """Read what follows the marked records of the last segment, as far as it is sound."""
        found, start = self.found, self.found.end
        limit = found.low - APART_BYTES
        entries = self._take(sound_records(self._data, start, limit, found.digest))
        ghost = not self._is_free(limit, found.low)
        begun = not self._is_free(found.end, found.end + RECORD_HEADER.size)
        if begun and any(page.stop > found.end and page.start < limit for page in self._lost):
            # What was torn by a power cut reads as something, so this may have been synced.
            self._damage(found.end, limit, "what may be a synced batch, and cannot be read,")
            return
        if ghost and not entries and begun:
            self._damage(start, limit, "a synced batch whose end mark is damaged too")
            return
        if not self._is_free(found.end, limit):
            found.torn = f"{self._path}: what followed byte {found.end} was not whole, and was cut"
        elif ghost:
            found.mended.append(f"{self._path}: there were remains of an end mark")
        self._close(entries, start)

    def read_rest(self, following: Header) -> None:
        """Read what follows the marked records of an older segment. All of it must be sound."""
        found, start = self.found, self.found.end
        missing = following.records - self._header.records - found.records
        rest = sound_records(self._data, start, found.low, found.digest)
        entries = self._take(islice(rest, max(missing, 0)))
        if not found.damage and (len(entries) != missing or found.digest != following.digest):
            self._damage(found.end, found.low, "what leads to the next segment")
            return
        if entries or not found.sealed:
            found.mended.append(f"{self._path}: the last end marks were lost")
        elif not self._is_free(found.end, found.low):
            found.mended.append(f"{self._path}: the free space was not empty")
        self._close(entries, start)
        if not found.sealed:
            self._add_mark([], found.end, seals=True)

    def replace_lost(self) -> None:
        """Have the pages that could not be read written as a whole, unless there is damage.

        Systems do not write a part of a page that they cannot read.
        """
        patches = []
        for page in self._lost:
            image = bytearray(self._data[page.start : page.stop])
            for offset, data in self.found.data:
                start, end = max(offset, page.start), min(offset + len(data), page.stop)
                if start < end:
                    image[start - page.start : end - page.start] = data[
                        start - offset : end - offset
                    ]
            patches.append(Patch(page.start, bytes(image)))
            self.found.mended.append(
                f"{self._path}: the disk did not give back {len(page)} bytes at byte {page.start}"
            )
        self.found.data[:0] = patches

    def _read_between(self, until: int, hole: Hole | None) -> None:
        """Read up to ``until`` without the help of a mark, and write that into ``hole``."""
        found, start = self.found, self.found.end
        entries = self._take(sound_records(self._data, start, until, found.digest))
        if found.end != until:
            self._damage(found.end, until, "a synced batch whose end mark is damaged too")
            # The digest at its end is not known: the next record cannot be believed either.
            found.end, found.digest = until, b""
        elif hole is not None:
            space = hole.end - hole.offset
            if mark_space(sum(map(len, entries))) > space:
                self._damage(hole.offset, hole.end, "a group of end marks")
                return
            mark = encode_mark(self._header.digest, entries, start, until, space=space)
            found.marks.append(Patch(hole.offset, mark))
            found.mended.append(f"{self._path}: the end mark at byte {hole.offset} was damaged")

    def _read_batch(self, mark: Mark) -> None:
        """Read the records that ``mark`` speaks for, naming and stepping over the bad ones."""
        found = self.found
        records = list(sound_records(self._data, mark.start, mark.end, found.digest))
        decoded = list(map(self._decode, records))
        if b"".join(self._entries(records, decoded)) == mark.packed:
            for record, (group, meaning) in zip(records, decoded, strict=True):
                self._visit(record, group, meaning)
            found.digest = records[-1].digest if records else found.digest
        else:
            self._step_over(mark)
        found.end = mark.end
        found.records += mark.records

    def _step_over(self, mark: Mark) -> None:
        offset, found = mark.start, self.found
        for entry in mark.entries():
            end = offset + RECORD_HEADER.size + entry.length
            record = sound_record(self._data, offset, end, found.digest)
            if record is not None and record.digest == entry.digest:
                self._visit(record, *self._decode(record))
            else:
                self._damage(offset, end, name_record(entry), entry, found.digest)
            offset, found.digest = end, entry.digest

    def _take(self, records: Iterable[Sound]) -> list[bytes]:
        """Take records that no mark speaks for, and return the entries of a mark for them."""
        found, entries = self.found, []
        for record in records:
            group, meaning = self._decode(record)
            self._visit(record, group, meaning)
            entries += self._entries([record], [(group, meaning)])
            found.end, found.digest = record.end, record.digest
            found.records += 1
        return entries

    def _decode(self, record: Sound) -> tuple[int, Record]:
        try:
            return decode_record(record.payload)
        except WireError as error:
            raise StartError(
                f"{self._path}: the record at byte {record.offset} is whole, but this version of"
                f" kvpaxos cannot read it ({error}); start the version that wrote it"
            ) from error

    def _entries(self, records: list[Sound], decoded: list[tuple[int, Record]]) -> list[bytes]:
        return [
            packed_entry(group, meaning, record.digest, record.payload)
            for record, (group, meaning) in zip(records, decoded, strict=True)
        ]

    def _close(self, entries: list[bytes], start: int) -> None:
        """Clear the free space, and have the records from ``start`` on synced and marked."""
        found = self.found
        for offset in range(found.end, found.low, _PIECE_BYTES):
            end = min(offset + _PIECE_BYTES, found.low)
            if not self._is_free(offset, end):
                found.data.append(Patch(offset, bytes(end - offset)))
        if entries:
            # Written, not only synced: after a failed sync the system may hold pages for
            # clean that never reached the disk.
            found.data.append(Patch(start, self._data[start : found.end]))
            self._add_mark(entries, start)

    def _add_mark(self, entries: list[bytes], start: int, *, seals: bool = False) -> None:
        found = self.found
        mark = encode_mark(self._header.digest, entries, start, found.end, seals=seals)
        found.low -= len(mark)
        found.marks.append(Patch(found.low, mark))

    def _damage(
        self, start: int, end: int, what: str, entry: Entry | None = None, before: Digest = b""
    ) -> None:
        self.found.damage.append(Damage(self._path, start, end - start, what, entry, before))

    def _is_free(self, start: int, end: int) -> bool:
        return self._data.count(0, start, end) == max(end - start, 0)

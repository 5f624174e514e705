"""The segment that is being written."""

from __future__ import annotations

from typing import Final

from kvpaxos.journal.extents import Extent
from kvpaxos.journal.files import Directory, File
from kvpaxos.journal.format import (
    ALIGN_BYTES,
    APART_BYTES,
    DATA_START,
    SEGMENT_BYTES_MAX,
    segment_name,
)
from kvpaxos.journal.header import Header, encode_header
from kvpaxos.journal.marks import SEAL_SPACE, encode_mark, mark_space
from kvpaxos.journal.spares import Spares

WRITE_BYTES_MAX: Final = 1024 * 1024
"""More than this does not wait in memory for the next sync."""


def size_for(record_bytes: int, entry_bytes: int, segment_bytes: int) -> int:
    """Return how large a segment must be that begins with such a record."""
    needed = DATA_START + record_bytes + APART_BYTES + mark_space(entry_bytes) + SEAL_SPACE
    size = max(segment_bytes, -(-needed // ALIGN_BYTES) * ALIGN_BYTES)
    assert size <= SEGMENT_BYTES_MAX, f"a record of {record_bytes} bytes"
    return size


def create_segment(directory: Directory, spares: Spares, header: Header) -> File:
    """Make the file of a new segment. Once this returns, it survives a power cut."""
    name, file = spares.take(header.size)
    try:
        # Nobody looks at it before it has its name: both copies can go at once.
        file.write(encode_header(header) * 2, 0)
        file.sync()
        directory.rename(name, segment_name(header.number))
        directory.sync()
    except BaseException:
        file.close()
        raise
    file.path = directory.path / segment_name(header.number)
    return file


class SegmentWriter:
    """Adds records at the front end of a segment, and marks at the back.

    :param low: where the lowest mark begins; there are none yet if it is the file's size.
    """

    def __init__(self, file: File, extent: Extent, low: int) -> None:
        self._file = file
        self._extent = extent
        self._key = extent.header.digest
        self._low = low
        self._start = self._end = extent.end
        self._entries: list[bytes] = []
        self._entries_bytes = 0
        self._buffer: list[bytes] = []

    @property
    def extent(self) -> Extent:
        """What the reader may know of it."""
        return self._extent

    @property
    def unsynced(self) -> bool:
        """Whether records were added since the last `sync`."""
        return bool(self._entries)

    @property
    def free_bytes(self) -> int:
        """How far the records are from the marks."""
        return self._low - self._end

    def has_room(self, record_bytes: int, entry_bytes: int) -> bool:
        """Whether one more record fits, together with all marks, at the due distance."""
        marks = mark_space(self._entries_bytes + entry_bytes) + SEAL_SPACE
        return record_bytes + APART_BYTES + marks <= self.free_bytes

    def add(self, record: bytes, entry: bytes) -> int:
        """Take ``record`` and what its mark will say of it. Return the offset of its end."""
        self._buffer.append(record)
        self._entries.append(entry)
        self._entries_bytes += len(entry)
        self._end += len(record)
        if self._end - self._extent.end >= WRITE_BYTES_MAX:
            self.write()
        return self._end

    def write(self) -> None:
        """Hand everything to the operating system: the death of this process loses nothing."""
        if self._buffer:
            self._file.write(b"".join(self._buffer), self._extent.end)
            self._buffer.clear()
            self._extent.end = self._end

    def sync(self) -> None:
        """Make everything survive a power cut, and then say so with a mark.

        The mark itself is covered by the next sync.
        """
        self.write()
        self._file.sync()
        self._mark(seals=False)
        self._start = self._end
        self._entries.clear()
        self._entries_bytes = 0

    def settle(self) -> None:
        """Make the last mark survive a power cut too. Everything has been synced before."""
        assert not self._entries
        self._file.sync()

    def seal(self) -> None:
        """Say that there is a next segment, and stop. Everything has been synced before."""
        assert not self._entries
        self._mark(seals=True)
        self._file.sync()
        self._file.close()

    def close(self) -> None:
        """Stop without another word."""
        self._file.close()

    def _mark(self, *, seals: bool) -> None:
        mark = encode_mark(self._key, self._entries, self._start, self._end, seals=seals)
        self._low -= len(mark)
        assert self._end + APART_BYTES <= self._low, "a mark too near to its batch"
        self._file.write(mark, self._low)

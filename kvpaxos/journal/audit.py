"""Reads the segments that are finished once more, in small pieces, while the last one is written.

What is damaged in them is found so before it is needed. The end marks are left out: they matter at
a start only, and are written again then.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Final

from kvpaxos.journal.damage import Damage, DamagedRecords
from kvpaxos.journal.extents import Extent
from kvpaxos.journal.files import Directory, File
from kvpaxos.journal.format import DATA_START, RECORD_HEADER, segment_name, sound_record
from kvpaxos.journal.header import Header, header_copies, read_header
from kvpaxos.journal.reading import read_around, read_record_bytes
from kvpaxos.journal.recovery import opened

PIECE_BYTES: Final = 128 * 1024
"""How much is read at once, unless one record is longer."""

Extents = Callable[[], Sequence[Extent]]
"""Returns the segments that there are, at any moment."""


def audit(
    directory: Directory, extents: Extents, note: Callable[[str], None]
) -> Generator[int, None, None]:
    """Read every finished segment, and yield how many bytes each piece had.

    It may run on any thread. Whoever stops it closes it.

    :param note: is told, in words, what is not as it should be, and does no harm yet.
    :raises DamagedRecords: something is not whole.
    :raises DiskError: the disk refuses.
    """
    number = 0
    while (pair := _after(number, extents())) is not None:
        extent, following = pair
        number = extent.header.number
        try:
            with closing(opened(directory, segment_name(number))) as file:
                file.uncache()
                yield from _header(file, extent, extents, note)
                yield from _records(file, extent, following)
        except DamagedRecords:
            # It may have been forgotten since, and its file be in use for something else.
            if extent in extents():
                raise


def _after(number: int, extents: Sequence[Extent]) -> tuple[Extent, Header] | None:
    """Return the next finished segment after that ``number``, and the header of its successor."""
    for extent, successor in pairwise(extents):
        if extent.header.number > number:
            return extent, successor.header
    return None


def _header(
    file: File, extent: Extent, extents: Extents, note: Callable[[str], None]
) -> Iterator[int]:
    # One copy of that of the first segment may just be being written, both of one before it be
    # gone: see `Journal.forget`.
    rewritten = extents()[0] is extent
    data = read_around(file, DATA_START).data
    found = read_header(data, str(file.path))
    if found is None or found[0].number != extent.header.number:
        raise DamagedRecords(Damage(file.path, 0, DATA_START, "the header, in both copies,"))
    _, sound = found
    now = extents()
    rewritten = rewritten or now[0] is extent or extent not in now
    if not rewritten and any(copy != sound for copy in header_copies(data)):
        note(
            f"{file.path}: one copy of the header is damaged; the other is sound, and the next"
            " start of the node mends it"
        )
    yield len(data)


def _records(file: File, extent: Extent, following: Header) -> Iterator[int]:
    offset, digest = DATA_START, extent.header.digest
    wanted = PIECE_BYTES
    while offset < extent.end:
        data = read_record_bytes(file, min(wanted, extent.end - offset), offset)
        taken = 0
        while (record := sound_record(data, taken, len(data), digest)) is not None:
            taken, digest = record.end, record.digest
        if not taken:
            length = RECORD_HEADER.unpack_from(data)[0] if len(data) >= RECORD_HEADER.size else 0
            longer = RECORD_HEADER.size + length
            if len(data) < wanted or longer <= wanted or offset + longer > extent.end:
                raise DamagedRecords(Damage(file.path, offset, len(data), "a record"))
            wanted = longer
            continue
        yield taken
        offset, wanted = offset + taken, PIECE_BYTES
    if digest != following.digest:
        raise DamagedRecords(Damage(file.path, offset, 0, "what leads to the next segment"))

"""Reads past what a disk does not give back.

An unreadable sector is damage like any other, and no reason to stop: what was there is judged by
what is left. Systems read by pages, so a page is what is lost with it. In its place stand bytes
that pass for nothing: not for a record, nor for a mark, nor for free space.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from kvpaxos.errors import DiskError
from kvpaxos.journal.damage import Damage, DamagedRecords
from kvpaxos.journal.files import File, is_unreadable

PAGE_BYTES: Final = 4096
"""What systems read, and lose, as a whole. No page holds both a record and its end mark."""

REFUSALS_MAX: Final = 64
"""After so many refusals the rest of a file is given up: a disk takes seconds for each."""

_PIECE_BYTES: Final = 16 * PAGE_BYTES

_FILLER: Final = b"\xff"


class Reading(NamedTuple):
    """What there is to read of a file.

    :ivar lost: the pages that the disk did not give back, as bytes from the file's start.
    :ivar refusal: why not, if that is all of them.
    """

    data: bytes
    lost: tuple[range, ...] = ()
    refusal: DiskError | None = None


def read_around(file: File, count: int) -> Reading:
    """Return the first ``count`` bytes of ``file``, or fewer where it ends.

    :raises DiskError: the disk refuses for another reason than that it cannot read.
    """
    refusals: list[DiskError] = []
    whole = _read(file, count, 0, refusals)
    if whole is not None:
        return Reading(whole)
    data, lost = bytearray(), []
    for page, found in _pages(file, min(count, file.size()), refusals):
        if found is None:
            lost.append(page)
        data += _FILLER * len(page) if found is None else found
    nothing = sum(map(len, lost)) == len(data)
    return Reading(bytes(data), tuple(lost), refusals[0] if nothing else None)


def read_record_bytes(file: File, count: int, offset: int) -> bytes:
    """Return ``count`` bytes from ``offset`` on, all of which records were written to.

    :raises DamagedRecords: the disk does not give them back.
    :raises DiskError: the disk refuses for another reason.
    """
    refusals: list[DiskError] = []
    data = _read(file, count, offset, refusals)
    if data is None:
        damage = Damage(file.path, offset, count, "what the disk does not give back,")
        raise DamagedRecords(damage) from refusals[0]
    return data


def _pages(
    file: File, size: int, refusals: list[DiskError]
) -> Iterator[tuple[range, bytes | None]]:
    """Yield stretches of the file, and what they hold; None for each page that is lost."""
    for start in range(0, size, _PIECE_BYTES):
        end = min(start + _PIECE_BYTES, size)
        piece = _read(file, end - start, start, refusals)
        if piece is not None:
            yield range(start, end), piece
            continue
        for offset in range(start, end, PAGE_BYTES):
            page = range(offset, min(offset + PAGE_BYTES, end))
            yield page, _read(file, len(page), offset, refusals)


def _read(file: File, count: int, offset: int, refusals: list[DiskError]) -> bytes | None:
    """Return what was asked for, or take note of a refusal and return None."""
    if len(refusals) >= REFUSALS_MAX:
        return None
    try:
        return file.read(count, offset)
    except DiskError as error:
        if not is_unreadable(error):
            raise
        refusals.append(error)
        return None

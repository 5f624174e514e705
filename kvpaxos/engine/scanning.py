"""Scans that go on while the engine changes and closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

CHUNK_RECORDS_MAX: Final = 64
"""A scan reads so many records at a time from the engine, or fewer."""

CHUNK_BYTES_MAX: Final = 256 * 1024
"""A scan holds about so many bytes of records that nobody has asked for yet, or one record."""

Chunk: TypeAlias = tuple[list[tuple[bytes, bytes]], bytes | None]
"""Records in order, and the key where the next ones begin; None if these were the last."""


def scan_in_chunks(
    read: Callable[[bytes, bytes], Chunk], start: bytes, end: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """Yield all records between two keys.

    A scan that nobody finishes is a suspended frame. It holds no part of the engine, so that
    the engine can be closed under it: the next chunk then raises what ``read`` raises.
    """
    place: bytes | None = start
    while place is not None:
        records, place = read(place, end)
        yield from records

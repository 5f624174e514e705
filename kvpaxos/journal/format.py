"""How a segment is laid out, and how one record looks in it. Pure.

A segment is a file of fixed size, filled with zeros beforehand::

    0       the header
    4096    the header again
    8192    records, growing upward
            ...
            free: at least APART_BYTES
            ...
    size    end marks, growing downward

A record is the length of its payload, a checksum, and the payload. Records form a chain:
each has a digest made from its payload and the digest before it. The digest itself is
written only in end marks and headers, but every checksum starts from the digest before,
so an old record in the place of a newer one does not pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from google_crc32c import extend, value

VERSION: Final = 2
"""The format described here. A journal of another version is not touched. 1 had no `Seen`."""

HEADER_BYTES: Final = 4096
"""One copy of the header."""

DATA_START: Final = 2 * HEADER_BYTES
"""Where the first record begins."""

APART_BYTES: Final = 4096
"""The least distance of a batch from its end mark: one bad sector cannot hold both."""

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""The size of a segment, unless a single record needs more."""

SEGMENT_BYTES_MIN: Final = 8 * 4096
"""Smaller segments would hold little besides their headers."""

SEGMENT_BYTES_MAX: Final = 2**31
"""Larger ones are not made, and not believed."""

ALIGN_BYTES: Final = 4096
"""Segments are a multiple of this, so that a mark never shares a sector with what is not ours."""

Digest: TypeAlias = bytes
"""What stands for the whole chain of records up to one of them."""

DIGEST_BYTES: Final = 16
"""The length of a `Digest`."""

RECORD_HEADER: Final = Struct("<II")
"""What stands before a payload: its length, and the checksum. A length of 0 is free space."""

_LENGTH: Final = Struct("<I")

_NAME: Final = re.compile(r"journal-(\d{10})\.log")


class Sound(NamedTuple):
    """A record that passed its checksum.

    :ivar offset: where it begins, in bytes from the file's start.
    :ivar end: where the next one would begin.
    :ivar digest: the chain's digest after it.
    """

    offset: int
    end: int
    payload: bytes
    digest: Digest


def segment_name(number: int) -> str:
    """Return the name of the file that holds segment ``number``."""
    return f"journal-{number:010}.log"


def segment_number(name: str) -> int | None:
    """Return which segment the file ``name`` holds, or None if it is no segment's name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def segment_numbers(names: Iterable[str]) -> list[int]:
    """Return which segments the files of these names hold, in the order of the names."""
    return [number for name in names if (number := segment_number(name)) is not None]


def chained(digest: Digest, payload: bytes) -> Digest:
    """Return the digest of the chain after ``payload``, given the one before it."""
    link = blake2b(digest, digest_size=DIGEST_BYTES)
    link.update(payload)
    return link.digest()


def frame(digest: Digest, payload: bytes) -> bytes:
    """Return ``payload`` as a record that follows ``digest`` in the chain."""
    assert payload, "an empty record would look like free space"
    return RECORD_HEADER.pack(len(payload), _checksum(digest, payload)) + payload


def sound_record(data: bytes, offset: int, end: int, digest: Digest) -> Sound | None:
    """Return the record at ``offset`` of ``data`` if it is whole, and follows ``digest``.

    :param end: it may not reach beyond.
    """
    start = offset + RECORD_HEADER.size
    if start > end:
        return None
    length, checksum = RECORD_HEADER.unpack_from(data, offset)
    if length == 0 or start + length > end:
        return None
    payload = data[start : start + length]
    if _checksum(digest, payload) != checksum:
        return None
    return Sound(offset, start + length, payload, chained(digest, payload))


def sound_records(data: bytes, offset: int, end: int, digest: Digest) -> Iterator[Sound]:
    """Yield the records from ``offset`` on, up to ``end`` or to the first that is not sound."""
    while (record := sound_record(data, offset, end, digest)) is not None:
        yield record
        offset, digest = record.end, record.digest


def _checksum(digest: Digest, payload: bytes) -> int:
    checksum: int = extend(value(digest + _LENGTH.pack(len(payload))), payload)
    return checksum

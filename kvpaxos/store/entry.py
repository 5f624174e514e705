"""A key's value with its history, and the record in which the engine holds both.

A record is format (1 byte), create revision, modify revision, version and the id of a time to
live (8 bytes each, big-endian; 0 while there are none), and then the value.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from kvpaxos.errors import StateDamaged

_FORMAT: Final = 1
_HEADER: Final = struct.Struct(">BQQQQ")

_NO_TTL: Final = 0


class Entry(NamedTuple):
    """What a key holds.

    :ivar create_revision: the revision that created the key, the last time it was created.
    :ivar modify_revision: the revision that last wrote it.
    :ivar version: how many writes it has seen since it was created; 1 after the first.
    """

    value: bytes
    create_revision: int
    modify_revision: int
    version: int


def encode_entry(entry: Entry) -> bytes:
    """Return the record of ``entry``."""
    value, created, modified, version = entry
    return _HEADER.pack(_FORMAT, created, modified, version, _NO_TTL) + value


def decode_entry(place: bytes, record: bytes) -> Entry:
    """Return the entry that ``record`` holds.

    :param place: where the engine holds it, for the error.
    :raises StateDamaged: it holds none.
    """
    if len(record) < _HEADER.size or record[0] != _FORMAT:
        raise StateDamaged(f"key {place.hex()}", "this is not the record of a key")
    _, created, modified, version, _ = _HEADER.unpack_from(record)
    return Entry(record[_HEADER.size :], created, modified, version)

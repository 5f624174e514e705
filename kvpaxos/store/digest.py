"""A fingerprint of the state that follows each change at a small, constant price.

Every record has a digest of its own, and the digest of the state is their sum modulo 2**128:
so a change takes the old record's away and adds the new one's, in any order. (Bellare and
Micciancio, "A New Paradigm for Collision-Free Hashing", 1997, AdHASH.) It finds replicas that
drifted apart and disks that rotted. It is no defense against whoever picks records to collide.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

_LENGTH: Final = struct.Struct(">I")
_MASK: Final = 2**128 - 1

NO_RECORD: Final = 0
"""The digest of a record that is not there."""


def record_digest(key: bytes, record: bytes) -> int:
    """Return the digest of ``record`` under ``key``, both as the engine holds them."""
    data = _LENGTH.pack(len(key)) + key + record
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "big")


def add_digests(total: int, change: int) -> int:
    """Return ``total`` with ``change``, which may be negative, added to it."""
    return (total + change) & _MASK

"""The one record that says of a group's state what would cost a scan to find out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from kvpaxos.errors import StartError, StateDamaged
from kvpaxos.store.digest import add_digests, record_digest
from kvpaxos.store.layout import Layout

FORMAT: Final = 1
"""The format of the state: of its layout and of all its records."""

_COUNTED: Final = struct.Struct(">BQQ")
_TOTAL_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a state as a whole.

    :ivar count: how many keys there are.
    :ivar revision: how many operations have changed the state so far.
    :ivar total: the sum of the digests of all records but this one.
    """

    count: int = 0
    revision: int = 0
    total: int = 0

    def digest(self, layout: Layout) -> int:
        """Return the digest of the whole state, count and revision included."""
        return add_digests(self.total, record_digest(layout.meta, self._counted()))

    def encode(self) -> bytes:
        """Return the record."""
        return self._counted() + self.total.to_bytes(_TOTAL_BYTES, "big")

    def _counted(self) -> bytes:
        return _COUNTED.pack(FORMAT, self.count, self.revision)


def decode_meta(record: bytes) -> Meta:
    """Return what ``record`` says.

    :raises StartError: another version of kvpaxos wrote this state, in another format.
    :raises StateDamaged: this is no meta record.
    """
    if not record:
        raise StateDamaged("the meta record", "it is empty")
    if record[0] != FORMAT:
        raise StartError(
            f"The state has format {record[0]}, and this version of kvpaxos reads {FORMAT} only;"
            " start the version that wrote it."
        )
    if len(record) != _COUNTED.size + _TOTAL_BYTES:
        raise StateDamaged("the meta record", f"it has {len(record)} bytes")
    _, count, revision = _COUNTED.unpack_from(record)
    return Meta(count, revision, int.from_bytes(record[_COUNTED.size :], "big"))

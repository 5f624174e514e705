"""The changes of one batch, before the engine has them."""

from __future__ import annotations

from kvpaxos.store.digest import NO_RECORD, add_digests, record_digest
from kvpaxos.store.engine import Engine


class Changes:
    """The engine as it will be once the changes made here are written to it.

    :ivar total: the sum of the digests of all records, these changes included.
    """

    def __init__(self, engine: Engine, total: int) -> None:
        self.total = total
        self._engine = engine
        self._records: dict[bytes, bytes | None] = {}
        self._digests: dict[bytes, int] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._records)

    def get(self, key: bytes) -> bytes | None:
        """Return the record under ``key``, or None."""
        if key in self._records:
            return self._records[key]
        return self._engine.get(key)

    def digest(self, key: bytes, record: bytes | None) -> int:
        """Return the digest of ``record``, which is what ``key`` holds now."""
        known = self._digests.get(key)
        if known is not None:
            return known
        return NO_RECORD if record is None else record_digest(key, record)

    def replace(self, key: bytes, before: int, record: bytes | None) -> int:
        """Put ``record`` under ``key``, or remove it if None, and return its digest.

        :param before: the digest of what ``key`` holds now; ``NO_RECORD`` if it holds nothing.
        """
        after = NO_RECORD if record is None else record_digest(key, record)
        self.total = add_digests(self.total, after - before)
        self._records[key] = record
        self._digests[key] = after
        return after

    def take(self) -> dict[bytes, bytes | None]:
        """Return the changes, for the engine, and begin the next batch."""
        taken = self._records
        self._records = {}
        self._digests = {}
        return taken

"""An engine that forgets everything when it is closed: for tests, and for volatile nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from kvpaxos.engine.scanning import CHUNK_RECORDS_MAX, Chunk, scan_in_chunks
from kvpaxos.errors import StateClosed

_FROM_UP_TO: Final = (True, False)


class MemoryEngine:
    """A `kvpaxos.store.engine.Engine` in memory. To flush it makes nothing durable."""

    def __init__(self) -> None:
        self._records = SortedDict()
        self._bytes = 0
        self._snapshots: set[MemorySnapshot] = set()
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` holds, or None."""
        self._check_open()
        record: bytes | None = self._records.get(key)
        return record

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put each value under its key, and remove the keys whose value is None."""
        self._check_open()
        for key, record in changes.items():
            before: bytes | None = self._records.get(key)
            for snapshot in self._snapshots:
                snapshot.remember(key, before)
            if before is not None:
                self._bytes -= len(key) + len(before)
            if record is not None:
                self._bytes += len(key) + len(record)
                self._records[key] = record
            elif before is not None:
                del self._records[key]

    def snapshot(self, *, once: bool = False) -> MemorySnapshot:  # noqa: ARG002  (all is in memory)
        """Return the engine as it is now."""
        self._check_open()
        snapshot = MemorySnapshot(self, self._records)
        self._snapshots.add(snapshot)
        return snapshot

    def release(self, snapshot: MemorySnapshot) -> None:
        """Remember nothing more for ``snapshot``. Only snapshots call this."""
        self._snapshots.discard(snapshot)

    def flush(self) -> None:
        """Do nothing: there is no disk."""
        self._check_open()

    def sizes(self) -> Mapping[str, int]:
        """Return about how much there is; ``memory_bytes`` counts keys and values only."""
        return {"unflushed_bytes": 0, "memory_bytes": self._bytes, "file_bytes": 0}

    def close(self) -> None:
        """Close open snapshots and forget everything. To do it twice is harmless."""
        for snapshot in tuple(self._snapshots):
            snapshot.close()
        self._records, self._bytes = SortedDict(), 0
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StateClosed("The engine is closed.")


class MemorySnapshot:
    """A `MemoryEngine` as it was at one moment: as it is, but for what changed since."""

    def __init__(self, engine: MemoryEngine, records: SortedDict) -> None:
        self._engine = engine
        self._records = records
        # What the keys held that have been written since; None if they were not there.
        self._before = SortedDict()
        self._closed = False

    def remember(self, key: bytes, record: bytes | None) -> None:
        """Take note that ``key``, which holds ``record``, is about to change."""
        self._before.setdefault(key, record)

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` held, or None."""
        self._check_open()
        records = self._before if key in self._before else self._records
        record: bytes | None = records.get(key)
        return record

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what the keys from ``start`` up to but without ``end`` held, in order."""
        return scan_in_chunks(self._read, start, end)

    def close(self) -> None:
        """Let go of the moment. To do it twice is harmless."""
        self._engine.release(self)
        self._records = self._before = SortedDict()
        self._closed = True

    def _read(self, start: bytes, end: bytes) -> Chunk:
        self._check_open()
        present = self._records.irange(start, end, _FROM_UP_TO)
        keys: list[bytes] = list(islice(present, CHUNK_RECORDS_MAX))
        following: bytes | None = None
        if len(keys) == CHUNK_RECORDS_MAX:
            following = keys[-1] + b"\x00"

        # Keys removed since were there too; keys added since were not, and hold None.
        removed = self._before.irange(start, following or end, _FROM_UP_TO)
        records = []
        for key in sorted({*keys, *removed}):
            record = self.get(key)
            if record is not None:
                records.append((key, record))
        return records, following

    def _check_open(self) -> None:
        if self._closed:
            raise StateClosed("The snapshot is closed.")

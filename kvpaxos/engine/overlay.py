"""What a state would become, over one that stays as it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from kvpaxos.store.engine import Engine, Snapshot


class Overlay:
    """A `kvpaxos.store.engine.Engine` that writes nothing: what changes is kept in memory.

    :param base: what it begins with; nobody writes to it meanwhile. It is not closed here.
    """

    def __init__(self, base: Engine) -> None:
        self._base = base
        self._changes = SortedDict()

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` holds, or None."""
        if key in self._changes:
            record: bytes | None = self._changes[key]
            return record
        return self._base.get(key)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put each value under its key, and remove the keys whose value is None."""
        self._changes.update(changes)

    def snapshot(self, *, once: bool = False) -> OverlaySnapshot:
        """Return it as it is now. All that was changed is copied for it."""
        return OverlaySnapshot(self._base.snapshot(once=once), self._changes.copy())

    def flush(self) -> None:
        """Do nothing: nothing is to become durable."""

    def sizes(self) -> Mapping[str, int]:
        """Return what the base says of itself."""
        return self._base.sizes()

    def close(self) -> None:
        """Forget what was changed."""
        self._changes.clear()


class OverlaySnapshot:
    """An `Overlay` as it was at one moment."""

    def __init__(self, base: Snapshot, changes: SortedDict) -> None:
        self._base = base
        self._changes = changes

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` held, or None."""
        if key in self._changes:
            record: bytes | None = self._changes[key]
            return record
        return self._base.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what the keys from ``start`` up to but without ``end`` held, in order."""
        changed: deque[bytes] = deque(self._changes.irange(start, end, (True, False)))
        for key, record in self._base.scan(start, end):
            while changed and changed[0] < key:
                yield from self._changed(changed.popleft())
            if changed and changed[0] == key:
                yield from self._changed(changed.popleft())
            else:
                yield key, record
        for key in changed:
            yield from self._changed(key)

    def close(self) -> None:
        """Let go of the moment. To do it twice is harmless."""
        self._base.close()

    def _changed(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        record: bytes | None = self._changes[key]
        if record is not None:
            yield key, record

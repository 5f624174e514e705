"""Where a simulated node keeps its state: in memory, with moments at which all of it is durable.

RocksDB does its own reading and writing, so it is not simulated in bytes. What counts is what a
crash leaves of it: the state as it was after some write, at or after the last flush.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Protocol

from sortedcontainers import SortedDict  # type: ignore[import-untyped]
from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine, MemorySnapshot
from kvpaxos.engine.shelf import Shelf
from kvpaxos.errors import StateDamaged
from kvpaxos.store.engine import Engine

FLUSHES_ITSELF: Final = 0.3
"""How often a crash finds more on the disk than was flushed."""

Records = dict[bytes, bytes]

Look = Callable[[Mapping[bytes, bytes | None]], None]
"""Is shown what was written."""


@dataclass(slots=True)
class Kept:
    """What the disk of a node holds of its state.

    :ivar durable: what survives a power cut for sure.
    :ivar written: the writes since, the oldest first: an engine may flush any number by itself.
    :ivar rotten: what of it is damaged, and not given back: an engine has checksums.
    """

    durable: Records = field(default_factory=dict)
    written: list[Mapping[bytes, bytes | None]] = field(default_factory=list)
    rotten: set[bytes] = field(default_factory=set)

    def copy(self) -> Kept:
        """Return what another disk would hold, were all copied now."""
        return Kept(dict(self.durable), list(self.written), set(self.rotten))

    def rot(self, random: Random) -> bool:
        """Damage a record; return False if there is none."""
        if self.durable:
            self.rotten.add(random.choice(sorted(self.durable)))
        return bool(self.durable)

    def crash(self, random: Random) -> None:
        """Lose what was not flushed, or a part of it, as chance has it."""
        kept = random.randint(0, len(self.written)) if random.random() < FLUSHES_ITSELF else 0
        self.flush(kept)
        self.written.clear()

    def flush(self, count: int) -> None:
        """Make the oldest ``count`` writes durable."""
        for changes in self.written[:count]:
            for key, value in changes.items():
                if value is None:
                    self.durable.pop(key, None)
                else:
                    self.durable[key] = value
        del self.written[:count]


class KeptEngine(MemoryEngine):
    """An engine in memory whose flushes keep what it holds.

    :param work: lets the time pass that a flush takes.
    :param look: is shown each write.
    """

    def __init__(self, kept: Kept, work: Callable[[], None], look: Look) -> None:
        super().__init__()
        self.kept = kept
        self._work = work
        self._look = look
        super().write(kept.durable)

    @override
    def get(self, key: bytes) -> bytes | None:
        _check(self.kept, key)
        return super().get(key)

    @override
    def snapshot(self, *, once: bool = False) -> MemorySnapshot:
        self._check_open()
        snapshot = KeptSnapshot(self, self._records)
        self._snapshots.add(snapshot)
        return snapshot

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        super().write(changes)
        if self.kept.rotten:
            self.kept.rotten.difference_update(changes)
        self.kept.written.append(changes)
        self._look(changes)

    @override
    def flush(self) -> None:
        super().flush()
        count = len(self.kept.written)
        self._work()
        self.kept.flush(count)


class KeptSnapshot(MemorySnapshot):
    """A `KeptEngine` as it was at one moment."""

    def __init__(self, engine: KeptEngine, records: SortedDict) -> None:
        super().__init__(engine, records)
        self._kept = engine.kept

    @override
    def get(self, key: bytes) -> bytes | None:
        _check(self._kept, key)
        return super().get(key)


def _check(kept: Kept, key: bytes) -> None:
    """Refuse to read what is damaged, as RocksDB does."""
    if key in kept.rotten:
        raise StateDamaged(f"key {key.hex()}", "its checksum does not fit")


class Place(Protocol):
    """A disk, as far as the state on it is concerned."""

    state: Kept

    def work(self) -> None:
        """Let the time pass that a flush takes."""


class KeptShelf(Shelf):
    """The shelf of one process, on the disk of its node.

    :param look: is shown all that is written to the current state.
    :param took_over: is shown the whole state that takes its place.
    """

    def __init__(self, place: Place, look: Look, took_over: Look) -> None:
        self._place = place
        self._work = place.work
        self._look = look
        self._took_over = took_over
        self._current: KeptEngine | None = None
        self._fresh: KeptEngine | None = None

    @override
    def open(self) -> Engine:
        assert self._current is None, "the shelf is open already"
        self._current = KeptEngine(self._place.state, self._work, self._look)
        return self._current

    @override
    def fresh(self) -> Engine:
        self.discard()
        self._fresh = KeptEngine(Kept(), self._work, _overlook)
        return self._fresh

    @override
    def adopt(self) -> Engine:
        assert self._current is not None, "open the shelf first"
        assert self._fresh is not None, "nothing was built"
        self._fresh.kept.flush(len(self._fresh.kept.written))
        self._place.state = self._fresh.kept
        self._current.close()
        self._fresh.close()
        self._current = self._fresh = None
        self._took_over(self._place.state.durable)
        self._look(self._place.state.durable)
        return self.open()

    @override
    def discard(self) -> None:
        if self._fresh is not None:
            self._fresh.close()
            self._fresh = None

    @override
    def set_aside(self) -> Path | None:
        self.discard()
        if self._current is not None:
            self._current.close()
            self._current = None
        self._place.state = Kept()
        return None

    @override
    def clear(self) -> None:
        self._work()

    @override
    def close(self) -> None:
        self.discard()
        if self._current is not None:
            kept = self._current.kept
            kept.flush(len(kept.written))
            self._current.close()
            self._current = None


def _overlook(_: Mapping[bytes, bytes | None]) -> None:
    pass

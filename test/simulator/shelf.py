"""A node's state on its disk, and the engines that a process has open on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.shelf import Shelf
from kvpaxos.paxos.ballot import NO_SLOT, Slot
from kvpaxos.store.engine import Engine
from kvpaxos.store.layout import applied_key

EVERYTHING = b"", b"\xff" * 16
"""All keys that an engine can hold here lie between these."""

Saved = Mapping[bytes, bytes]
"""All records of an engine."""

NOTHING_SAVED: Saved = MappingProxyType({})


class FrailEngine(MemoryEngine):
    """An engine whose writes may be refused."""

    def __init__(self, content: Saved, disturb: Callable[[], None]) -> None:
        super().__init__()
        super().write(content)
        self._disturb = disturb

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._disturb()
        super().write(changes)

    def content(self) -> Saved:
        """Return all that it holds."""
        snapshot = self.snapshot()
        try:
            return dict(snapshot.scan(*EVERYTHING))
        finally:
            snapshot.close()


class Kept:
    """The state that outlives its process.

    :ivar records: all that it holds.
    :ivar through: the slot that it is of.
    """

    def __init__(self) -> None:
        self.records: Saved = NOTHING_SAVED

    @property
    def through(self) -> Slot:
        """The slot after which the state was as it is here."""
        return Slot(int.from_bytes(self.records.get(applied_key(0), b""), "big"))

    def keep(self, engine: Engine) -> None:
        """Make durable what ``engine`` holds now."""
        assert isinstance(engine, FrailEngine)
        before, self.records = self.through, engine.content()
        assert self.through >= before or self.through == NO_SLOT, "a state fell back"

    def lose(self) -> None:
        """Keep nothing."""
        self.records = NOTHING_SAVED


class KeptShelf(Shelf):
    """The shelf of one process. What the process dies of is raised, as when its disk refuses.

    :param disturb: called before whatever may be refused, and between two durable steps.
    """

    def __init__(self, kept: Kept, disturb: Callable[[], None]) -> None:
        self._kept = kept
        self._disturb = disturb
        self._current: FrailEngine | None = None
        self._fresh: FrailEngine | None = None

    @override
    def open(self) -> Engine:
        self._current = FrailEngine(self._kept.records, self._disturb)
        return self._current

    @override
    def fresh(self) -> Engine:
        self.discard()
        self._disturb()
        self._fresh = FrailEngine(NOTHING_SAVED, self._disturb)
        return self._fresh

    @override
    def adopt(self) -> Engine:
        current, fresh = self._current, self._fresh
        assert current is not None, "open the shelf first"
        assert fresh is not None, "nothing was built"
        self._fresh = None
        self._disturb()
        self._kept.keep(fresh)
        # It has its new name, durably. Whatever happens from here on, it is the state.
        self._disturb()
        current.close()
        self._current = fresh
        return fresh

    @override
    def discard(self) -> None:
        if self._fresh is not None:
            self._fresh.close()
            self._fresh = None

    @override
    def set_aside(self) -> None:
        self._kept.lose()

    @override
    def clear(self) -> None:
        pass

    @override
    def close(self) -> None:
        raise AssertionError("processes end by dying here")

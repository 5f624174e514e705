"""The state machine of one node of a fake cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.store.machine import Machine
from kvpaxos.store.results import Result

PAGE_PAIRS: Final = 1000
PAGE_BYTES: Final = 1024 * 1024


class State:
    """What comes of a log.

    :ivar machine: the machine that executed it.
    :ivar results: what each slot brought, from slot 1.
    """

    def __init__(self) -> None:
        self.results: list[Result] = []
        self._engine = MemoryEngine()
        self.machine = Machine(self._engine, 0)

    def catch_up(self, log: Sequence[bytes]) -> None:
        """Execute what ``log`` has beyond what was executed already."""
        for body in log[len(self.results) :]:
            slot = len(self.results) + 1
            # As if one node had sent all of them: each waits for its answer at once.
            result = self.machine.apply(("fake", 1, slot, slot - 1, body))
            assert isinstance(result, Result), f"slot {slot} was refused: {result}"
            self.results.append(result)
        changes = self.machine.take_changes()
        if changes:
            self._engine.write(changes)

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and their values, in order."""
        view = self.machine.view()
        after = None
        while page := view.page(after, PAGE_PAIRS, PAGE_BYTES):
            yield from ((key, entry.value) for key, entry in page)
            after = page[-1][0]
        view.close()

"""Virtual time: a heap of things that will happen."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Agenda:
    """Runs callables in the order of their times, and those of one time in order of entry.

    :ivar now: seconds since the world began.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        """Let ``happen`` be called ``delay_s`` seconds from now."""
        heappush(self._entries, (self.now + delay_s, next(self._order), happen))

    def run(self, until: float) -> None:
        """Let things happen until the clock shows ``until``."""
        while self._entries and self._entries[0][0] <= until:
            self.now, _, happen = heappop(self._entries)
            happen()
        self.now = until

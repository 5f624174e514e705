"""What is going to happen, and when: the one clock of a simulated world."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

# What a world of five nodes does at one moment in earnest is some hundred calls.
CALLS_AT_ONCE: Final = 100_000


class StandsStill(Exception):
    """Things keep being put down for one moment, which therefore never ends."""


class Call:
    """Something on the agenda.

    :ivar number: its place among all that is due at one time; -1 once it is off the agenda.
    """

    __slots__ = ("args", "function", "number")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args
        self.number = -1


class Agenda:
    """A heap of calls. What is due at the same time happens in the order in which it was put down.

    To put something down, and to do it, costs some microseconds however much there is: what is
    cancelled stays in the heap until its time comes.

    :ivar now: seconds since the world began.
    :ivar done: how many calls were made.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.done = 0
        self._at_once = 0
        self._heap: list[tuple[float, int, Call]] = []
        self._number = 0

    def at(self, time: float, function: Callable[..., object], *args: Any) -> Call:  # noqa: ANN401
        """Have ``function`` called at ``time``, or as soon as can be if that is past."""
        call = Call(function, args)
        self.put(call, time)
        return call

    def after(self, seconds: float, function: Callable[..., object], *args: Any) -> Call:  # noqa: ANN401
        """Have ``function`` called after so many seconds."""
        call = Call(function, args)
        self.put(call, self.now + seconds)
        return call

    def put(self, call: Call, time: float) -> None:
        """Put ``call`` down for ``time``, wherever it was before."""
        self._number = number = self._number + 1
        call.number = number
        heappush(self._heap, (max(time, self.now), number, call))

    def cancel(self, call: Call) -> None:
        """Take ``call`` off the agenda, if it is on it."""
        call.number = -1

    def step(self, until: float) -> bool:
        """Do what is due next, if that is not after ``until``. Return whether there was any.

        :raises StandsStill: there was no end of what was due at this moment.
        """
        heap = self._heap
        while heap and heap[0][0] <= until:
            time, number, call = heappop(heap)
            if call.number == number:
                self._at_once = self._at_once + 1 if time == self.now else 0
                if self._at_once == CALLS_AT_ONCE:
                    raise StandsStill(f"{CALLS_AT_ONCE} calls at {time:.6f} s, and more to come")
                self.now = time
                self.done += 1
                call.number = -1
                call.function(*call.args)
                return True
        self.now = max(self.now, until)
        return False

"""The reactor of one simulated process: timers on its own clock, and calls from its threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from zope.interface import implementer

from kvpaxos.simulator.agenda import Agenda, Call

_WAITS: Final = 0
_CALLED: Final = 1
_CANCELLED: Final = 2


class Runs(Protocol):
    """What runs the calls of a reactor: a process."""

    def run(self, action: Callable[[], object]) -> None:
        """Call ``action`` on the main thread, now or once that can."""


class Clock:
    """A monotonic clock that may run a little fast or slow, stand still, or jump ahead.

    :ivar rate: how many of its seconds pass in a second of the world.
    """

    def __init__(self, agenda: Agenda, *, rate: float = 1.0, ahead_s: float = 0.0) -> None:
        self.rate = rate
        self._agenda = agenda
        self._ahead_s = ahead_s
        self._stands_at = 0.0

    def seconds(self) -> float:
        """Return what it shows."""
        return max(self._stands_at, self._agenda.now * self.rate + self._ahead_s)

    def when(self, shown: float) -> float:
        """Return the time of the world at which it shows ``shown``, or has just shown it.

        Never a time at which it shows less, if only by rounding: what is due then would find
        that it is not, and ask for the same time again, for ever.
        """
        if shown <= self._stands_at:
            return self._agenda.now
        time = (shown - self._ahead_s) / self.rate
        while time * self.rate + self._ahead_s < shown:
            time += max(math.ulp(time), math.ulp(shown))
        return time

    def jump(self, seconds: float) -> None:
        """Show so many seconds more from now on."""
        self._ahead_s += seconds

    def freeze(self, seconds: float) -> None:
        """Show what is shown now for so many seconds of the world, or longer, and then go on."""
        self._stands_at = self.seconds()
        then = self._agenda.now + seconds
        self._ahead_s = min(self._ahead_s, self._stands_at - then * self.rate)

    def thaw(self) -> None:
        """Go on from what is shown now."""
        self._ahead_s = self.seconds() - self._agenda.now * self.rate


@implementer(IDelayedCall)
class Timer:
    """A call that was asked for by ``callLater``.

    :ivar due: what the clock shows when it is to happen.
    :ivar call: its place on the agenda.
    """

    __slots__ = ("_args", "_function", "_kwargs", "_reactor", "_state", "call", "due")

    def __init__(
        self,
        reactor: Reactor,
        due: float,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.due = due
        self.call = Call(reactor.process.run, (self,))
        self._reactor = reactor
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._state = _WAITS

    def __call__(self) -> None:
        """Let it happen, unless it was cancelled while its process could not run."""
        if self._state == _WAITS:
            self._state = _CALLED
            del self._reactor.timers[self]
            self._function(*self._args, **self._kwargs)

    def getTime(self) -> float:  # noqa: N802 -- Twisted names it
        """Return what the clock shows when it is to happen."""
        return self.due

    def cancel(self) -> None:
        """Let it not happen.

        :raises AlreadyCalled: it has happened.
        :raises AlreadyCancelled: it was cancelled before.
        """
        self._check()
        self._state = _CANCELLED
        del self._reactor.timers[self]
        self._reactor.agenda.cancel(self.call)

    def reset(self, secondsFromNow: float) -> None:  # noqa: N803 -- Twisted names it
        """Let it happen after so many seconds."""
        self._check()
        self._reactor.put(self, self._reactor.seconds() + secondsFromNow)

    def delay(self, secondsLater: float) -> None:  # noqa: N803 -- Twisted names it
        """Let it happen so many seconds later than it would."""
        self._check()
        self._reactor.put(self, self.due + secondsLater)

    def active(self) -> bool:
        """Whether it is still to happen."""
        return self._state == _WAITS

    def _check(self) -> None:
        if self._state == _CANCELLED:
            raise AlreadyCancelled
        if self._state == _CALLED:
            raise AlreadyCalled


@implementer(IReactorTime, IReactorFromThreads)
class Reactor:
    """Timers and calls of one process, in the order in which they are due on its clock.

    :ivar timers: those that are still to come.
    """

    def __init__(self, agenda: Agenda, clock: Clock, process: Runs) -> None:
        self.agenda = agenda
        self.clock = clock
        self.process = process
        self.timers: dict[Timer, None] = {}

    def seconds(self) -> float:
        """Return what the clock of the process shows."""
        return self.clock.seconds()

    def callLater(  # noqa: N802 -- Twisted names it
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 -- likewise
        *args: object,
        **kw: object,
    ) -> Timer:
        """Have ``callable`` called after so many seconds of the clock."""
        assert delay >= 0, delay
        timer = Timer(self, 0.0, callable, args, kw)
        self.timers[timer] = None
        self.put(timer, self.clock.seconds() + delay)
        return timer

    def put(self, timer: Timer, due: float) -> None:
        """Have ``timer`` happen when the clock shows ``due``."""
        timer.due = due
        self.agenda.put(timer.call, self.clock.when(due))

    def jump(self, seconds: float) -> None:
        """Have the clock jump ahead: what is due by then happens now."""
        self.clock.jump(seconds)
        self._put_again()

    def freeze(self, seconds: float) -> None:
        """Have the clock stand still: nothing is due for so many seconds of the world."""
        self.clock.freeze(seconds)
        self._put_again()

    def thaw(self) -> None:
        """Have the clock go on, if it stands still."""
        self.clock.thaw()
        self._put_again()

    def _put_again(self) -> None:
        for timer in sorted(self.timers, key=lambda timer: (timer.due, timer.call.number)):
            self.put(timer, timer.due)

    def stop(self) -> None:
        """Let nothing happen any more."""
        for timer in self.timers:
            self.agenda.cancel(timer.call)
        self.timers.clear()

    def getDelayedCalls(self) -> list[Timer]:  # noqa: N802 -- Twisted names it
        """Return all timers that are still to come."""
        return list(self.timers)

    def callFromThread(  # noqa: N802 -- Twisted names it
        self,
        callable: Callable[..., object],  # noqa: A002 -- likewise
        *args: object,
        **kwargs: object,
    ) -> None:
        """Have ``callable`` called on the main thread."""
        action = partial(callable, *args, **kwargs)
        self.agenda.at(self.agenda.now, self.process.run, action)

    def callInThread(  # noqa: N802 -- Twisted names it
        self,
        callable: Callable[..., object],  # noqa: A002 -- likewise
        *args: object,
        **kwargs: object,
    ) -> None:
        """Refuse: nodes bring their own threads."""
        raise NotImplementedError("Twisted's shared threads are not simulated")

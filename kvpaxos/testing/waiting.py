"""Waiting in tests for something to become so, without polling."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure


class NotInTime(AssertionError):
    """What was waited for did not become so."""


class Waiting:
    """Conditions that somebody waits for. They are looked at whenever something has happened."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._trouble: Failure | None = None
        self._entries: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, happened: Callable[[], bool], within_s: float, what: str) -> Deferred[None]:
        """Fire once ``happened()`` is true; it is asked now, and by each `look`.

        Fails with what ``happened`` raises, with what was given to `fail`, and with
        `NotInTime` after ``within_s``.

        :param what: says what is waited for, such as "all to agree".
        """

        def too_late(_: object, seconds: float) -> NoReturn:
            raise NotInTime(f"{seconds:g} s were not enough for {what}")

        waiting: Deferred[None] = Deferred()
        waiting.addTimeout(within_s, self._clock, too_late)
        self._entries.append((happened, waiting))
        self.look()
        return waiting

    def look(self) -> None:
        """Look whether something that is waited for has become so."""
        for entry in list(self._entries):
            happened, waiting = entry
            if waiting.called:
                self._entries.remove(entry)
                continue
            try:
                self.check()
                if not happened():
                    continue
            except Exception:  # noqa: BLE001  (whoever waits gets it)
                self._entries.remove(entry)
                waiting.errback(Failure())
            else:
                self._entries.remove(entry)
                waiting.callback(None)

    def fail(self, failure: Failure) -> None:
        """Let everybody who waits, now or later, fail with ``failure``, or the first such."""
        self._trouble = self._trouble or failure
        self.look()

    def check(self) -> None:
        """Raise what was given to `fail` first, if anything was."""
        if self._trouble is not None:
            self._trouble.raiseException()

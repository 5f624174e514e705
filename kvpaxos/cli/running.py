"""Runs a coroutine on the reactor until it is done, or until a signal ends it in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, FirstError
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogBeginner
from twisted.python.failure import Failure

from kvpaxos.cli.statuses import Interrupted, tell_unforeseen

T = TypeVar("T")

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(main: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> T:
    """Run ``main``, which is given the reactor, and return what it returns.

    SIGINT and SIGTERM cancel it: what it has in ``finally`` is carried out, however long that
    takes; a second signal kills the process. To be called once in a process.

    :raises Interrupted: a signal ended it. Whatever ``main`` raises is raised here too.
    """
    # Not at the top: only a command that needs a reactor should bring one about.
    from twisted.internet import reactor

    return cast("T", _Run(cast("Any", reactor), main).run())


class _Run:
    def __init__(self, reactor: Any, main: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:  # noqa: ANN401 -- several interfaces at once
        self._reactor = reactor
        self._main = main
        self._running: Deferred[Any] | None = None
        self._result: Any = None
        self._interrupted: int | None = None
        self._lost: BaseException | None = None

    def run(self) -> Any:  # noqa: ANN401 -- whatever main returns
        observer = cast("ILogObserver", self._observe)
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
        self._reactor.callWhenRunning(self._start)
        self._reactor.run(installSignalHandlers=False)
        result = self._result
        if self._interrupted is not None:
            raise Interrupted(self._interrupted)
        if isinstance(result, Failure):
            result.raiseException()
        if self._lost is not None:
            # The command has its result, and must tell it all the same.
            tell_unforeseen(self._lost)
        return result

    def _start(self) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        self._running = Deferred.fromCoroutine(self._main(self._reactor))
        self._running.addBoth(self._end)

    def _on_signal(self, number: int, _frame: object) -> None:
        for each in _STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        self._reactor.callFromThread(self._interrupt, number)

    def _interrupt(self, number: int) -> None:
        assert self._running is not None
        self._interrupted = number
        self._running.cancel()

    def _end(self, result: Any) -> None:  # noqa: ANN401 -- whatever main returns
        if self._interrupted is not None and not _is_canceled(result):
            # It was done, or had failed, before the signal reached it.
            self._interrupted = None
        self._result = result
        self._reactor.stop()

    def _observe(self, event: LogEvent) -> None:
        """Keep an error that nobody waited for: Twisted would print its traceback."""
        if event.get("log_level") is LogLevel.critical and self._lost is None:
            failure = event.get("log_failure")
            self._lost = failure and failure.value


def _is_canceled(result: object) -> bool:
    if not isinstance(result, Failure):
        return False
    # Of several things that were waited for at once, the first that was canceled.
    first = result.value.subFailure if isinstance(result.value, FirstError) else result
    return first.check(CancelledError) is not None

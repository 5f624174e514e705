"""The thread that runs the reactor of the process, if nobody else does."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRestartable
from twisted.internet.threads import blockingCallFromThread
from twisted.python import threadable

from kvpaxos.errors import WrongThread

T = TypeVar("T")

_starting: Final = threading.Lock()


def wait_in_reactor_thread(work: Callable[[], Awaitable[T]]) -> T:
    """Do ``work`` on the thread of the reactor, and return what comes of it, or raise it.

    :raises WrongThread: this is the thread of the reactor, or it has stopped for good.
    """
    reactor = _running_reactor()
    if threadable.isInIOThread():
        raise WrongThread(
            "A blocking client cannot be used on the thread of the reactor, which would wait for"
            " itself; use kvpaxos.client.Client there."
        )

    def begin() -> Deferred[T]:
        return Deferred.fromCoroutine(_awaited(work))

    # Its annotations fit no function that is generic.
    call: Any = blockingCallFromThread
    return cast(T, call(reactor, begin))


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _running_reactor() -> Any:  # noqa: ANN401 -- several interfaces at once
    # Here, since to import it installs it.
    from twisted.internet import reactor

    running: Any = reactor
    with _starting:
        if not running.running:
            _start(running)
    return running


def _start(reactor: Any) -> None:  # noqa: ANN401
    """Run ``reactor`` on a thread of its own, until the main thread ends."""
    news: SimpleQueue[Exception | None] = SimpleQueue()

    def run() -> None:
        reactor.callWhenRunning(news.put, None)
        try:
            reactor.run(installSignalHandlers=False)
        except ReactorNotRestartable as error:
            news.put(error)

    def stop_at_the_end() -> None:
        # The reactor may have started threads of its own pool, for which Python
        # would wait for ever at the end of the process.
        threading.main_thread().join()
        if reactor.running:
            reactor.callFromThread(reactor.stop)

    threading.Thread(target=run, name="kvpaxos client", daemon=True).start()
    failure = news.get()
    if failure is not None:
        raise WrongThread(
            "The reactor of this process has stopped for good, and a client needs it: close"
            " clients before you stop it."
        ) from failure
    threading.Thread(target=stop_at_the_end, name="kvpaxos client end", daemon=True).start()

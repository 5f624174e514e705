"""The client for scripts and threads: the same calls, each of which waits for its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from kvpaxos.client.client import LANES_MAX, TIMEOUT_S, Client
from kvpaxos.client.exchange import ANSWER_BYTES_MAX
from kvpaxos.client.pairs import Pair
from kvpaxos.client.requests import Text
from kvpaxos.client.results import Answer
from kvpaxos.client.thread import wait_in_reactor_thread

T = TypeVar("T")


class Wait(Protocol):
    """Does something where the client lives, and waits for its outcome."""

    def __call__(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what comes of ``work``, or raise it."""
        ...


class Blocking:
    """A `Client` whose calls wait, on whatever thread. See there for what they do and raise.

    As a context manager it closes itself.

    :param wait: how to wait.
    """

    def __init__(self, client: Client, wait: Wait) -> None:
        self._client = client
        self._wait = wait

    def get(
        self, key: Text, *, stale: bool = False, timeout_s: float | None = None
    ) -> Answer | None:
        """Return what ``key`` holds, or None. See `Client.get`."""
        return self._wait(lambda: self._client.get(key, stale=stale, timeout_s=timeout_s))

    def insert(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Store ``value`` under a new ``key``. See `Client.insert`."""
        return self._wait(
            lambda: self._client.insert(key, value, requestid=requestid, timeout_s=timeout_s)
        )

    def update(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Replace the value of a ``key``, and return the old one. See `Client.update`."""
        return self._wait(
            lambda: self._client.update(key, value, requestid=requestid, timeout_s=timeout_s)
        )

    def delete(
        self, key: Text, *, requestid: str | None = None, timeout_s: float | None = None
    ) -> Answer:
        """Remove ``key``, and return its value. See `Client.delete`."""
        return self._wait(
            lambda: self._client.delete(key, requestid=requestid, timeout_s=timeout_s)
        )

    def set(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Store ``value`` under ``key``, whether it is there or not. See `Client.set`."""
        return self._wait(
            lambda: self._client.set(key, value, requestid=requestid, timeout_s=timeout_s)
        )

    def cas(
        self,
        key: Text,
        expect: Text | None,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Store ``value`` if ``key`` holds ``expect``. See `Client.cas`."""
        return self._wait(
            lambda: self._client.cas(key, expect, value, requestid=requestid, timeout_s=timeout_s)
        )

    def append(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Add ``value`` to ``key``, and return what it holds now. See `Client.append`."""
        return self._wait(
            lambda: self._client.append(key, value, requestid=requestid, timeout_s=timeout_s)
        )

    def count(self, *, timeout_s: float | None = None) -> int:
        """Return the number of keys. See `Client.count`."""
        return self._wait(lambda: self._client.count(timeout_s=timeout_s))

    def dump(
        self, *, after: Text | None = None, limit: int | None = None, page: int | None = None
    ) -> Iterator[Pair]:
        """Yield all pairs, in the order of keys. See `Client.dump` and `Dump`.

        It begins with the first pair that is asked for. Whoever leaves before the last pair lets
        go of the iterator, or closes it.
        """

        async def begin() -> Any:  # noqa: ANN401
            return self._client.dump(after=after, limit=limit, page=page)

        dump = self._wait(begin)

        async def end() -> None:
            dump.close()

        try:
            while batch := self._wait(dump.batch):
                yield from batch
        finally:
            self._wait(end)

    def status(self, *, timeout_s: float | None = None) -> Mapping[str, Any]:
        """Return what some node tells of itself. See `Client.status`."""
        return self._wait(lambda: self._client.status(timeout_s=timeout_s))

    def close(self) -> None:
        """Take no further calls, and wait for those that other threads have under way."""
        self._wait(self._client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class BlockingClient(Blocking):
    """A client of a cluster for scripts, and for threads of any program.

    The reactor of the process does its work. If nobody runs it yet, the first client of a process
    does, on a daemon thread; so a program that runs the reactor itself must do so before. It may
    be used by any number of threads, but not by the reactor's own, which would wait for itself.

    The parameters are those of `Client`.

    :raises ConfigError: there is no node, or one has an address that makes no sense.
    :raises WrongThread: this is the thread of the reactor.
    """

    def __init__(
        self,
        nodes: Sequence[str] | Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
        lanes_max: int = LANES_MAX,
        exactly_once: bool = True,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        async def make() -> Client:
            return Client(
                nodes,
                timeout_s=timeout_s,
                lanes_max=lanes_max,
                exactly_once=exactly_once,
                answer_bytes_max=answer_bytes_max,
            )

        super().__init__(wait_in_reactor_thread(make), wait_in_reactor_thread)

"""The client, for Twisted."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from random import Random, SystemRandom
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail
from twisted.internet.interfaces import IReactorTime

from kvpaxos.client.calls import STATUS, Calls
from kvpaxos.client.connecting import addresses, pool_of, reactor_of_the_process, treq_of
from kvpaxos.client.dump import Dump, Range
from kvpaxos.client.exchange import ANSWER_BYTES_MAX, Exchange, Treq
from kvpaxos.client.lanes import Lane, Lanes
from kvpaxos.client.replies import Reply, Understood, read_answer, read_count, read_table
from kvpaxos.client.requests import Request, Text, Verb, to_bytes
from kvpaxos.client.results import Answer
from kvpaxos.client.retrying import Kind, Nodes
from kvpaxos.client.streams import Streams
from kvpaxos.errors import KeyMissing, Unavailable

T = TypeVar("T")

TIMEOUT_S: Final = 5.0
"""A call takes no longer, unless it or its client says otherwise."""

LANES_MAX: Final = 16
"""Writes of one client that are under way at a time; the others wait. Each lane takes one of the
records that the cluster keeps of its clients."""

READS_MAX: Final = 64
"""Reads of one client that are under way at a time, each on a connection of its own; the others
wait."""


class Client:
    """A client of a cluster. All methods but `dump` return Deferreds, and start at once.

    As an asynchronous context manager it closes itself.

    It asks the nodes in the order they are given in, and writes go to the leader first, once it is
    known. It asks again, at another node if it can, where that does no harm (see docs/client.md),
    until the call's time is up. Writes are carried out exactly once: each has an identity, by
    which nodes know a repetition.

    A caller who awaits each write before the next has them carried out in that order. Writes that
    are under way together are carried out in any order. To cancel a write does not undo it: it may
    or may not be carried out, though not any more once a later write of this client has been
    answered that took its lane.

    :param nodes: their addresses, as in ``http://127.0.0.1:8801``, or a mapping to these from
        their names in the settings. Names that are not given are asked for when they matter.
    :param timeout_s: how long a call may take, unless it says otherwise.
    :param lanes_max: writes under way at a time; further ones wait.
    :param exactly_once: whether writes have identities. Without them the cluster keeps no record
        of this client, and a write whose answer is lost fails with `OutcomeUnknown`.
    :param answer_bytes_max: the longest answer that is read, and of a dump the longest pair.
    :param reactor: the reactor to use, if not the one of the process.
    :param treq: what sends requests: by default a `treq.client.HTTPClient` with connections of its
        own, which `close` closes.
    :param random: what the client's name and its pauses are drawn from. Two clients that draw the
        same name undo each other's guarantees.
    :raises ConfigError: there is no node, or one has an address that makes no sense.
    """

    def __init__(
        self,
        nodes: Sequence[str] | Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
        lanes_max: int = LANES_MAX,
        exactly_once: bool = True,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        reactor: IReactorTime | None = None,
        treq: Treq | None = None,
        random: Random | None = None,
    ) -> None:
        urls, names = addresses(nodes)
        random = random or SystemRandom()
        clock = reactor or reactor_of_the_process()
        self._timeout_s = timeout_s
        self._exactly_once = exactly_once
        self._clock = clock
        self._pool = None if treq else pool_of(clock, lanes_max)
        exchange = Exchange(
            treq or treq_of(clock, self._pool), clock, answer_bytes_max=answer_bytes_max
        )
        self._nodes = Nodes(urls, names)
        self._lanes = Lanes(f"{random.getrandbits(64):016x}", lanes_max)
        self._reads = DeferredSemaphore(READS_MAX)
        self._calls = Calls(self._nodes, exchange, clock, random)
        self._streams = Streams(
            self._calls,
            exchange,
            self._nodes,
            clock,
            timeout_s=timeout_s,
            pair_bytes_max=answer_bytes_max,
        )
        self._running = 0
        self._dumps: set[Dump] = set()
        self._idle: Deferred[None] | None = None

    def get(
        self, key: Text, *, stale: bool = False, timeout_s: float | None = None
    ) -> Deferred[Answer | None]:
        """Read what ``key`` holds; fire with None if there is no such key.

        It is linearizable: it sees every write that was answered before. With ``stale`` the node
        answers at once, also if it is cut off from all others.

        :raises Unavailable: no node could tell in time.
        """
        return self._start(self._get(key, stale, timeout_s))

    def insert(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Deferred[Answer]:
        """Store ``value`` under a new ``key``.

        All writes may fail with these besides their own:

        :raises Unavailable: it was not carried out, and will not be.
        :raises OutcomeUnknown: it may or may not be carried out.
        :raises TooLarge: a key or a value is over its limit.
        :raises BadRequest: it makes no sense.
        :raises KeyExists: the key is there.
        """
        return self._write("insert", key, {"value": value}, requestid, timeout_s)

    def update(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Deferred[Answer]:
        """Replace the value of a ``key``, and fire with the old one.

        :raises KeyMissing: there is no such key.
        """
        return self._write("update", key, {"value": value}, requestid, timeout_s)

    def delete(
        self, key: Text, *, requestid: str | None = None, timeout_s: float | None = None
    ) -> Deferred[Answer]:
        """Remove ``key``, and fire with its value.

        :raises KeyMissing: there is no such key.
        """
        return self._write("delete", key, {}, requestid, timeout_s)

    def set(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Deferred[Answer]:
        """Store ``value`` under ``key``, whether it is there or not."""
        return self._write("set", key, {"value": value}, requestid, timeout_s)

    def cas(
        self,
        key: Text,
        expect: Text | None,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Deferred[Answer]:
        """Store ``value`` if ``key`` holds ``expect``; None expects that the key is not there.

        :raises ValueDiffers: it holds something else, which the error tells.
        :raises KeyMissing: there is no such key.
        :raises KeyExists: the key is there, and should not be; the error tells its value.
        """
        given = {"value": value} if expect is None else {"expect": expect, "value": value}
        return self._write("cas", key, given, requestid, timeout_s)

    def append(
        self,
        key: Text,
        value: Text,
        *,
        requestid: str | None = None,
        timeout_s: float | None = None,
    ) -> Deferred[Answer]:
        """Add ``value`` to what ``key`` holds, or create it, and fire with what it holds now."""
        return self._write("append", key, {"value": value}, requestid, timeout_s)

    def count(self, *, timeout_s: float | None = None) -> Deferred[int]:
        """Fire with the number of keys.

        :raises Unavailable: no node could tell in time.
        """
        request = Request("GET", "/kvman/countkey", {}, {})
        return self._start(self._read(request, read_count, timeout_s))

    def dump(
        self, *, after: Text | None = None, limit: int | None = None, page: int | None = None
    ) -> Dump:
        """Return all pairs, to be read one after another: see `Dump`.

        :param after: a key to begin behind, which need not exist.
        :param limit: how many pairs at most.
        :param page: how many pairs to ask for at a time, each page being its own moment; without,
            the dump is one moment.
        :raises Unavailable: the client is closed.
        """
        if self._idle is not None:
            raise _closed()
        part = Range(None if after is None else to_bytes("key", after), limit)
        dump = Dump(self._streams, part, page=page, closed=self._dumps.discard)
        self._dumps.add(dump)
        return dump

    def status(self, *, timeout_s: float | None = None) -> Deferred[Mapping[str, Any]]:
        """Fire with what some node tells of itself, as ``/kvman/status`` does."""
        return self._start(self._read(STATUS, read_table, timeout_s))

    def close(self) -> Deferred[None]:
        """Take no further calls; fire when those under way have ended and nothing is open."""
        return Deferred.fromCoroutine(self._close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _start(self, call: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        if self._idle is not None:
            call.close()
            return fail(_closed())
        self._running += 1
        return Deferred.fromCoroutine(call).addBoth(self._ended)

    def _ended(self, outcome: T) -> T:
        self._running -= 1
        if self._idle is not None and not self._running:
            self._idle.callback(None)
        return outcome

    async def _close(self) -> None:
        if self._idle is None:
            self._idle = Deferred()
            for dump in list(self._dumps):
                dump.close()
            if not self._running:
                self._idle.callback(None)
        await _shared(self._idle)
        self._calls.close()
        if self._pool is not None:
            await self._pool.closeCachedConnections()

    def _deadline(self, timeout_s: float | None) -> float:
        return self._clock.seconds() + (self._timeout_s if timeout_s is None else timeout_s)

    async def _read(
        self, request: Request, read: Callable[[Reply], Understood[T]], timeout_s: float | None
    ) -> T:
        deadline = self._deadline(timeout_s)
        await self._turn(self._reads.acquire(), deadline)
        try:
            return await self._calls.request(Kind.READ, request, read, deadline)
        finally:
            self._reads.release()

    async def _get(self, key: Text, stale: bool, timeout_s: float | None) -> Answer | None:  # noqa: FBT001
        raw = to_bytes("key", key)
        consistency = b"stale" if stale else None
        request = Request("GET", "/kv/get", {"key": raw, "consistency": consistency}, {})
        try:
            return await self._read(request, partial(read_answer, verb="get", key=raw), timeout_s)
        except KeyMissing:
            return None

    def _write(
        self,
        verb: Verb,
        key: Text,
        given: Mapping[str, Text],
        requestid: str | None,
        timeout_s: float | None,
    ) -> Deferred[Answer]:
        return self._start(self._do_write(verb, key, given, requestid, timeout_s))

    async def _do_write(
        self,
        verb: Verb,
        key: Text,
        given: Mapping[str, Text],
        requestid: str | None,
        timeout_s: float | None,
    ) -> Answer:
        raw = to_bytes("key", key)
        parameters = {"key": raw} | {name: to_bytes(name, text) for name, text in given.items()}
        deadline = self._deadline(timeout_s)
        expects_none = "expect" not in given
        read = partial(read_answer, verb=verb, key=raw, expects_none=expects_none)

        lane = await self._turn(self._lanes.take(), deadline)
        try:
            identity = self._identity(lane, requestid)
            request = Request("POST", f"/kv/{verb}", parameters, identity)
            kind = Kind.IDENTIFIED if identity else Kind.UNIDENTIFIED
            return await self._calls.request(kind, request, read, deadline)
        finally:
            self._lanes.give_back(lane)

    def _identity(self, lane: Lane, requestid: str | None) -> Mapping[str, bytes | int]:
        if requestid is not None:
            return {"requestid": to_bytes("requestid", requestid)}
        return lane.identity() if self._exactly_once else {}

    async def _turn(self, waiting: Deferred[T], deadline: float) -> T:
        """Return what ``waiting`` brings before the deadline.

        :raises Unavailable: it brings nothing until then.
        """
        wait_s = max(0.0, deadline - self._clock.seconds())
        timer = self._clock.callLater(wait_s, waiting.cancel)
        try:
            return await waiting
        except CancelledError:
            if timer.active():
                raise
            raise Unavailable(
                "This client has too much under way, and none of it ended in time;"
                " nothing was changed, and it is safe to send the request again."
            ) from None
        finally:
            if timer.active():
                timer.cancel()


def _closed() -> Unavailable:
    return Unavailable("This client is closed, so nothing was changed; make another one.")


def _shared(awaited: Deferred[None]) -> Deferred[None]:
    """Return a Deferred that fires as ``awaited`` does, which others wait for too."""
    sharing: Deferred[None] = Deferred()

    def fired(_: None) -> None:
        sharing.callback(None)

    awaited.addCallback(fired)
    return sharing

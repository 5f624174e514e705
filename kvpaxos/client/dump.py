"""Dumps: the pairs of a cluster, at the pace of whoever reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as BytesProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from typing_extensions import override

from kvpaxos.client.pairs import Pair, Pairs
from kvpaxos.errors import DumpBroken

BREAKS_MAX: Final = 3
"""A dump that breaks off so often without a pair in between is given up."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which pairs a dump has: those behind the key ``after``, and at most ``limit``."""

    after: bytes | None
    limit: int | None


class Broken(Exception):
    """A stream ended before its last pair; the message says why."""


class Stream(BytesProtocol):
    """The body of one dump. The connection is read only while somebody waits for pairs.

    So it holds about what one read of a connection brings, and one pair that is not whole yet.

    :param idle_s_max: how long to wait for more, while somebody waits.
    :param broke: called if the dump breaks off by itself.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        idle_s_max: float,
        pair_bytes_max: int,
        broke: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._idle_s_max = idle_s_max
        self._broke = broke
        self._pairs = Pairs(pair_bytes_max)
        self._batch: list[Pair] = []
        self._waiting: Deferred[None] | None = None
        self._over = False
        self._why: str | None = None

    async def batch(self) -> list[Pair]:
        """Return the next pairs; none if all have come.

        :raises Broken: there should be more.
        """
        while not self._batch and not self._over:
            await self._more()
        batch, self._batch = self._batch, []
        if not batch and self._why is not None:
            raise Broken(self._why)
        return batch

    def close(self) -> None:
        """Close the connection, unless all has come."""
        if not self._over:
            self._batch = []
            self._end("it was closed")
            cast(Any, self.transport).stopProducing()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        try:
            self._batch += self._pairs.feed(data)
        except ValueError as error:
            self._break_off(str(error))
            return
        if self._batch:
            cast(Any, self.transport).pauseProducing()
            self._tell()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._over:
            return
        if not reason.check(ResponseDone):
            self._break_off("the node broke it off")
            return
        try:
            self._batch += self._pairs.end()
        except ValueError as error:
            self._break_off(str(error))
        else:
            self._end(None)

    async def _more(self) -> None:
        waiting: Deferred[None] = Deferred(lambda _: self._abandon())
        self._waiting = waiting
        timer = self._clock.callLater(
            self._idle_s_max, self._break_off, f"nothing came for {self._idle_s_max:g} s"
        )
        cast(Any, self.transport).resumeProducing()
        try:
            await waiting
        finally:
            if timer.active():
                timer.cancel()

    def _abandon(self) -> None:
        """Close because whoever waits was canceled, and must be told only that."""
        self._waiting = None
        self.close()

    def _break_off(self, why: str) -> None:
        self._end(why)
        self._broke()
        cast(Any, self.transport).stopProducing()

    def _end(self, why: str | None) -> None:
        self._over = True
        self._why = why
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


class Source(Protocol):
    """Where dumps come from."""

    async def open(self, part: Range) -> Stream:
        """Begin a dump, at whichever node gives one.

        :raises KvPaxosError: none does.
        """
        ...


class Dump:
    """All pairs, in the order of the bytes of their keys.

    It is an asynchronous iterator of pairs of bytes, and an asynchronous context manager: leaving
    it, or `close`, lets go of the connection, if that is before the end. Nodes break a dump off
    that is left unread for half a minute.

    Without ``page`` it shows the cluster at one moment, which lies between the first request for
    pairs and the first pair. Nothing can be put together from two moments, so a dump that breaks
    off after its first pair cannot be taken up by another node: it raises `DumpBroken`.

    With ``page`` it is asked for in pieces of so many pairs, or fewer, each with a moment of its
    own, and later ones with later moments. It goes on behind the last key at another node if one
    fails. Keys still come in order, and none twice; but it may show one write and lack another
    that was carried out before it, on a key that had already come.

    :raises DumpBroken: it ended before its last pair.
    :raises Unavailable: no node would begin it, or, with ``page``, go on with it.
    """

    def __init__(
        self,
        source: Source,
        part: Range,
        *,
        page: int | None,
        closed: Callable[[Dump], None],
    ) -> None:
        self._source = source
        self._part = part
        self._page = page
        self._closed = closed
        self._stream: Stream | None = None
        self._wanted: int | None = None
        self._came = False
        self._whole = False
        self._broken: str | None = None
        self._breaks = 0
        self._batch: list[Pair] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Pair:
        if not self._batch:
            self._batch = (await self.batch())[::-1]
            if not self._batch:
                raise StopAsyncIteration
        return self._batch.pop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def batch(self) -> list[Pair]:
        """Return the next pairs, as many as have come; none once all have. One caller at a time."""
        while not self._whole:
            try:
                batch = await (self._stream or await self._open()).batch()
            except Broken as broken:
                self._stream = None
                self._check(str(broken))
                continue
            if batch:
                self._take(batch)
                return batch
            self._stream = None
            # A page that is not full is the last one.
            if not self._page or self._part.limit == 0 or self._wanted != 0:
                self._whole = True
                self.close()
        return []

    def close(self) -> None:
        """Let go of the connection. To do it twice is harmless; to read on is an error."""
        self._broken = self._broken or "it was closed"
        self._batch = []
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        self._closed(self)

    async def _open(self) -> Stream:
        self._refuse_if_broken()
        self._wanted = _least(self._page, self._part.limit)
        stream = await self._source.open(Range(self._part.after, self._wanted))
        if self._broken is not None:
            stream.close()
            self._refuse_if_broken()
        self._stream = stream
        return stream

    def _take(self, batch: list[Pair]) -> None:
        self._came = True
        self._breaks = 0
        limit = self._part.limit
        if limit is not None:
            limit -= len(batch)
        if self._wanted is not None:
            self._wanted -= len(batch)
        self._part = Range(batch[-1][0], limit)

    def _check(self, why: str) -> None:
        """Let the dump go on after a break, or else raise."""
        self._breaks += 1
        if self._breaks >= BREAKS_MAX or (self._came and not self._page):
            self._broken = self._broken or why
            self.close()
        self._refuse_if_broken()

    def _refuse_if_broken(self) -> None:
        if self._broken is not None:
            raise DumpBroken(
                f"The dump ended before its last pair ({self._broken}): what came of it is not the"
                " whole; begin again, or ask for pages.",
                self._part.after if self._came else None,
            )


def _least(*numbers: int | None) -> int | None:
    """Return the least number; None is above all others."""
    return min((number for number in numbers if number is not None), default=None)

"""The requests of this node's clients that are waiting for their outcome."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final, Literal, NamedTuple

from twisted.internet.defer import Deferred

from kvpaxos.errors import OutcomeUnknown, Unavailable
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.effects import Answer, Event, Expired, Proposed, ReadReady, ReadWanted, Wish
from kvpaxos.store.results import Result

REQUESTS_MAX: Final = 8192
"""Requests that a node holds for its clients at a time."""

REQUEST_BYTES_MAX: Final = 64 * 1024 * 1024
"""The bytes of those requests, all together."""


class Executed(NamedTuple):
    """What the state machine says to a client, and in which slot it was said."""

    result: Result
    slot: Slot


class Readable(NamedTuple):
    """A read may be done now: what proves it fresh, and the slot that is applied."""

    how: Literal["quorum"]
    slot: Slot


class Requests:
    """Gives each request a number on its way in, and its outcome back to whoever waits.

    A request ends exactly once: with its outcome, or as not applied, or as unknown.
    """

    def __init__(
        self,
        post: Callable[[Event], None],
        monotonic: Callable[[], float],
        leader: Callable[[], str],
    ) -> None:
        self._post = post
        self._monotonic = monotonic
        self._leader = leader
        self._numbers = count(1)
        self._writes: dict[int, tuple[Deferred[Executed], int]] = {}
        self._reads: dict[int, Deferred[Readable]] = {}
        self._bytes = 0
        self._closed: str | None = None
        self._idle: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._writes) + len(self._reads)

    @property
    def closed(self) -> bool:
        """Whether it takes no further ones."""
        return self._closed is not None

    def write(self, body: bytes, timeout_s: float) -> Deferred[Executed]:
        """Have ``body`` decided and executed.

        The Deferred fails with `Unavailable` if that did not and will not happen, with
        `OutcomeUnknown` if it may have or may yet. It must not be cancelled.
        """
        self._admit(len(body))
        number = next(self._numbers)
        waiting: Deferred[Executed] = Deferred()
        self._writes[number] = waiting, len(body)
        self._bytes += len(body)
        self._post(Proposed((Wish(number, body, self._monotonic() + timeout_s),)))
        return waiting

    def read(self, timeout_s: float) -> Deferred[Readable]:
        """Fire when the state is fresh enough for a read that begins now.

        The Deferred fails with `Unavailable` if no quorum says so in time.
        """
        self._admit(0)
        number = next(self._numbers)
        waiting: Deferred[Readable] = Deferred()
        self._reads[number] = waiting
        self._post(ReadWanted(((number, self._monotonic() + timeout_s),)))
        return waiting

    def answered(self, answer: Answer) -> None:
        """Hand an executed write's outcome back."""
        assert isinstance(answer.result, Executed)
        self._take(answer.request).callback(answer.result)

    def read_ready(self, ready: ReadReady, applied: Slot) -> None:
        """Let a read be done now."""
        self._reads.pop(ready.request).callback(Readable(ready.how, applied))
        self._ended()

    def expired(self, expired: Expired) -> None:
        """Tell whoever waits that time is up."""
        if expired.request in self._reads:
            reason = f"no quorum confirmed in time that this node is up to date{self._whose()}"
            self._reads.pop(expired.request).errback(Unavailable(reason))
            self._ended()
        elif expired.sent:
            reason = f"no quorum decided it in time{self._whose()}"
            self._take(expired.request).errback(OutcomeUnknown(reason))
        else:
            reason = f"it was not sent in time{self._why_not()}"
            self._take(expired.request).errback(Unavailable(reason))

    def refuse(self, why: str) -> Deferred[None]:
        """Take no further requests, because of ``why``; fire once those under way have ended."""
        self._closed = why
        self._idle = Deferred()
        self._ended()
        return self._idle

    def close(self, why: str) -> None:
        """End every request, and take no further ones, because of ``why``."""
        self._closed = why
        reads, self._reads = self._reads, {}
        for reading in reads.values():
            reading.errback(Unavailable(why))
        writes, self._writes = self._writes, {}
        for writing, _ in writes.values():
            writing.errback(OutcomeUnknown(why))

    def _admit(self, size: int) -> None:
        if self._closed is not None:
            raise Unavailable(self._closed)
        if len(self) >= REQUESTS_MAX or self._bytes + size > REQUEST_BYTES_MAX:
            raise Unavailable(f"{len(self)} requests are waiting here already")

    def _take(self, number: int) -> Deferred[Executed]:
        waiting, size = self._writes.pop(number)
        self._bytes -= size
        self._ended()
        return waiting

    def _ended(self) -> None:
        if self._idle is not None and not self._idle.called and not len(self):
            self._idle.callback(None)

    def _whose(self) -> str:
        leader = self._leader()
        return f" (leader: {leader})" if leader else " (no leader is known)"

    def _why_not(self) -> str:
        # A leader there may have been all along: it is the crowd, then.
        leader = self._leader()
        if not leader:
            return " (no leader is known)"
        return f" (leader: {leader}; {len(self)} requests waited here)"

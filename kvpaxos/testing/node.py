"""A node of a fake cluster: the real state machine behind the real HTTP face, and no consensus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from kvpaxos.errors import Forbidden, OutcomeUnknown, Unavailable
from kvpaxos.node.http.store import (
    Described,
    JournalPage,
    LinkChange,
    ReadKind,
    Receipt,
    View,
    Whole,
    Written,
)
from kvpaxos.store.commands import Operation
from kvpaxos.store.entry import Entry
from kvpaxos.store.requests import Identity, encode_request
from kvpaxos.testing.agreement import Agreement
from kvpaxos.testing.state import State

T = TypeVar("T")


class FakeNode:
    """Implements what `kvpaxos.node.http` needs of a node.

    :param hang_up: breaks the connection whose request is being taken.
    :param stop: stops the node.
    :ivar lags: whether it applies nothing until a linearizable read or a write makes it.
    """

    def __init__(
        self,
        name: str,
        agreement: Agreement,
        clock: Clock,
        *,
        hang_up: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self.lags = False
        self._name = name
        self._agreement = agreement
        self._clock = clock
        self._hang_up = hang_up
        self._stop = stop
        self._state = State()
        agreement.follow(self.hear)

    def write(
        self, operation: Operation, identity: Identity | None, *, timeout_s: float
    ) -> Deferred[Written]:
        """Carry out ``operation``, or let happen what the next fault says."""
        if not self._agreement.reaches(self._name):
            why = f"it was not sent in time{self._whose()}"
            return self._after(timeout_s, Unavailable(why))
        faults = self._agreement.faults
        fault = faults.popleft() if faults else None
        if fault == "refused":
            return fail(Unavailable("too many requests are waiting here already"))

        written = None
        if fault is None or fault.startswith("applied"):
            written = self._execute(encode_request(operation, identity))
        match fault:
            case "lost" | "applied and lost":
                self._hang_up()
                return Deferred()
            case "stalled" | "applied and stalled":
                why = f"no quorum decided it in time{self._whose()}"
                return self._after(timeout_s, OutcomeUnknown(why))
            case _:
                assert written is not None, "without a fault it is carried out"
                return succeed(written)

    def read(self, *, stale: bool, timeout_s: float) -> Deferred[Receipt]:
        """Fire when the state may be read."""
        if stale:
            return succeed(self.receipt())
        if not self._agreement.reaches(self._name):
            why = f"no quorum confirmed in time that this node is up to date{self._whose()}"
            return self._after(timeout_s, Unavailable(why))
        self._catch_up()
        return succeed(self._receipt("quorum", self._applied))

    def receipt(self) -> Receipt:
        """Return what an answer rests on for which nobody was asked."""
        return self._receipt("stale", self._applied)

    def get(self, key: bytes) -> Entry | None:
        """Return what ``key`` holds, or None."""
        return self._state.machine.get(key)

    def count(self) -> int:
        """Return how many keys there are."""
        return self._state.machine.count

    def view(self) -> View:
        """Return the state as it is now."""
        return self._state.machine.view()

    def whole(self) -> Whole:
        """Refuse: a fake cluster ends with its test.

        :raises Forbidden: always.
        """
        raise Forbidden("a fake cluster makes no backups")

    def status(self) -> Described:
        """Describe the node, with some of what a real one tells."""
        trouble = self.ready()
        machine = self._state.machine
        return {
            "node": self._name,
            "role": "leading" if self._leader() == self._name else "following",
            "leader": self._leader(),
            "applied": self._applied,
            "ready": trouble is None,
            "trouble": trouble,
            "state": {"keys": machine.count, "revision": machine.revision},
        }

    def limits(self) -> Described:
        """Return the limits of the HTTP face only."""
        return {}

    def ready(self) -> str | None:
        """Return None if the node reaches a majority, or else why it serves nothing."""
        reaches = self._agreement.reaches(self._name)
        return None if reaches else "no majority can be reached from here"

    def links(self) -> Sequence[Described]:
        """Refuse: there are no links.

        :raises Forbidden: always.
        """
        raise Forbidden("a fake cluster has no links; use FakeCluster.cut_off")

    def set_link(self, change: LinkChange) -> Sequence[Described]:
        """Refuse: there are no links.

        :raises Forbidden: always.
        """
        del change
        return self.links()

    def journal(self, from_slot: int, limit: int) -> Deferred[JournalPage]:
        """Refuse: there is no journal.

        :raises Forbidden: always.
        """
        del from_slot, limit
        raise Forbidden("a fake cluster keeps no journal")

    def shutdown(self) -> None:
        """Stop the node."""
        self._stop()

    def hear(self) -> None:
        """Apply what is new, if the node hears of it at all."""
        if not self.lags and self._agreement.reaches(self._name):
            self._catch_up()

    def _execute(self, body: bytes) -> Written:
        slot = self._agreement.decide(body)
        self._catch_up()
        return Written(self._state.results[slot - 1], self._receipt("logged", slot))

    def _catch_up(self) -> None:
        self._state.catch_up(self._agreement.log)

    def _after(self, timeout_s: float, error: Exception) -> Deferred[T]:
        """Return what fails at the deadline."""
        waiting: Deferred[T] = Deferred(lambda _: timer.cancel())
        timer = self._clock.callLater(timeout_s, waiting.errback, error)
        return waiting

    @property
    def _applied(self) -> int:
        return len(self._state.results)

    def _leader(self) -> str:
        return self._agreement.leader if self._agreement.reaches(self._name) else ""

    def _receipt(self, read: ReadKind, slot: int) -> Receipt:
        return Receipt(slot, self._leader(), read)

    def _whose(self) -> str:
        leader = self._leader()
        return f" (leader: {leader})" if leader else " (no leader is known)"

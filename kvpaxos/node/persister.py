"""Makes the state durable behind the journal, so that the journal can be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.node.state import State
from kvpaxos.node.threads import SYSTEM_THREADS, Threads
from kvpaxos.paxos.ballot import Slot

CHECK_S: Final = 0.1
"""How often it is looked whether the state should be flushed."""

FLUSH_AGE_S: Final = 30.0
"""What was applied longer ago than this is flushed."""

FLUSH_BYTES: Final = 12 * 1024 * 1024
"""A crash loses no more of the state than about this; the journal then replays it.

It is less than a segment of the journal usually holds, so that what is not flushed yet, on any
member, lies in two of them.
"""


class Persister(Service):
    """Flushes the engine by slots, by bytes and by age, on a thread of its own.

    :ivar durable_through: the state would survive a power cut through this slot.
    :ivar flushes: how often the engine was flushed.
    """

    def __init__(
        self,
        state: State,
        *,
        durable_through: Slot,
        snapshot_slots: int,
        turn: float = 0.0,
        clear: Callable[[], None],
        sync: Callable[[], Deferred[None]],
        reactor: Any,  # noqa: ANN401  (no interface names timers and threads together)
        persisted: Callable[[Slot], None],
        failed: Callable[[Failure], None],
        may_flush: Callable[[int], bool] = lambda _: True,
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        """Make a persister that does nothing before it is started.

        :param durable_through: the slot through which state and journal are durable now.
        :param snapshot_slots: it flushes when so many slots were applied since.
        :param turn: how far ahead of others it is in counting slots and bytes, from 0.0 to 1.0
            of what there is from flush to flush. Members execute the same: if they flushed it at
            the same time, too, no quorum would be left that the work does not slow down.
        :param clear: deletes what is left of states that were given up. It blocks.
        :param sync: makes durable what the journal holds so far.
        :param persisted: is told how `durable_through` grows.
        :param may_flush: says whether the disk has room for so many bytes.
        """
        self.durable_through = durable_through
        self.flushes = 0
        self._state = state
        self._snapshot_slots = snapshot_slots
        self._turn = turn
        self._clear = clear
        self._sync = sync
        self._reactor = reactor
        self._persisted = persisted
        self._failed = failed
        self._may_flush = may_flush
        self._pool = threads.worker("kvpaxos state")
        self._check: IDelayedCall | None = None
        self._paused = False
        self._busy = False
        self._flushing: Deferred[None] = succeed(None)
        self._clearing: Deferred[None] = succeed(None)
        self._flushed_at = 0.0
        self._flushed_bytes = 0

    @override
    def startService(self) -> None:
        Service.startService(self)
        self._pool.start()
        self._flushed_at = self._reactor.seconds()
        self._persisted(self.durable_through)
        self._check = self._reactor.callLater(CHECK_S, self._on_check)
        self.clear()

    @override
    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._check is not None and self._check.active():
            self._check.cancel()

        def stop(_: None) -> None:
            self._pool.stop()

        return self._flushing.addCallback(lambda _: self._clearing).addCallback(stop)

    def clear(self) -> None:
        """Have what is left of states that were given up deleted, on the thread of the flushes."""
        self._clearing = deferToThreadPool(self._reactor, self._pool, self._clear)
        self._clearing.addErrback(self._failed)

    def pause(self) -> Deferred[None]:
        """Fire once no flush is under way. None begins before `resume`."""
        self._paused = True
        quiet: Deferred[None] = Deferred()
        self._flushing.addCallback(quiet.callback)
        return quiet

    def resume(self, state: State, durable_through: Slot) -> None:
        """Go on with ``state``, which is durable through that slot. It may be another one now."""
        self._paused = False
        self._state = state
        self._flushed_bytes = state.written_bytes
        self._flushed_at = self._reactor.seconds()
        self.durable_through = durable_through
        self._persisted(durable_through)

    def _on_check(self) -> None:
        self._check = self._reactor.callLater(CHECK_S, self._on_check)
        # A flush that failed keeps it busy for ever: nothing is tried again.
        if not self._paused and not self._busy and self._due():
            self._flush()

    def _due(self) -> bool:
        if self._flushable <= self.durable_through:
            return False
        old = self._reactor.seconds() - self._flushed_at >= FLUSH_AGE_S
        # Not what the engine holds unflushed: it flushes by itself too, and does not tell
        # through which slot.
        large = self._is_turn(self._flushed_bytes, self._state.written_bytes, FLUSH_BYTES)
        many = self._is_turn(self.durable_through, self._flushable, self._snapshot_slots)
        if not (old or large or many):
            return False
        return self._may_flush(self._state.engine.sizes()["unflushed_bytes"])

    def _is_turn(self, flushed: int, now: int, every: int) -> bool:
        """Whether one of the places lies between, of which there is one after ``every``."""
        ahead = int(self._turn * every)
        return (now + ahead) // every > (flushed + ahead) // every

    @property
    def _flushable(self) -> Slot:
        """The slot through which a flush makes the state durable, and the sync before the journal.

        Where a power cut has taken watermarks, the state may know more than the journal, which is
        told anew what is decided.
        """
        return min(self._state.applied, self._state.decided)

    def _flush(self) -> None:
        self._busy = True
        # Read before the flush begins: what is applied meanwhile may or may not be in it.
        through = self._flushable
        self._flushed_bytes = self._state.written_bytes

        def flushed(_: None) -> None:
            self._busy = False
            self.flushes += 1
            self.durable_through = through
            self._flushed_at = self._reactor.seconds()
            self._persisted(through)

        def flush(_: None) -> Deferred[None]:
            return deferToThreadPool(self._reactor, self._pool, self._state.engine.flush)

        # The journal first. Nothing there waits for a watermark to be synced; but once the
        # others are told that this node needs a slot no more, they may forget it, and a
        # journal that had lost the watermark would ask for it for ever.
        self._flushing = self._sync().addCallback(flush).addCallback(flushed)
        self._flushing.addErrback(self._failed)

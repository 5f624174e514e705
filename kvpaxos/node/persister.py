"""Makes the state durable behind the journal, so that the journal can be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from typing_extensions import override

from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import Slot

CHECK_S: Final = 1.0
"""How often it is looked whether the state should be flushed."""

FLUSH_AGE_S: Final = 30.0
"""What was applied longer ago than this is flushed."""

FLUSH_BYTES: Final = 16 * 1024 * 1024
"""A crash loses no more of the state than about this; the journal then replays it."""


class Persister(Service):
    """Flushes the engine by bytes and by age, on a thread of its own.

    :ivar durable_through: the state would survive a power cut through this slot.
    :ivar flushes: how often the engine was flushed.
    """

    def __init__(
        self,
        state: State,
        *,
        durable_through: Slot,
        sync: Callable[[], Deferred[None]],
        reactor: Any,  # noqa: ANN401  (no interface names timers and threads together)
        persisted: Callable[[Slot], None],
        failed: Callable[[Failure], None],
    ) -> None:
        """Make a persister that does nothing before it is started.

        :param durable_through: the slot through which state and journal are durable now.
        :param sync: makes durable what the journal holds so far.
        :param persisted: is told how `durable_through` grows.
        """
        self.durable_through = durable_through
        self.flushes = 0
        self._state = state
        self._sync = sync
        self._reactor = reactor
        self._persisted = persisted
        self._failed = failed
        self._pool = ThreadPool(0, 1, name="kvpaxos state")
        self._check: IDelayedCall | None = None
        self._flushing: Deferred[None] = succeed(None)
        self._flushed_at = 0.0
        self._flushed_bytes = 0

    @override
    def startService(self) -> None:
        Service.startService(self)
        self._pool.start()
        self._flushed_at = self._reactor.seconds()
        self._persisted(self.durable_through)
        self._check = self._reactor.callLater(CHECK_S, self._on_check)

    @override
    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._check is not None and self._check.active():
            self._check.cancel()

        def stop(_: None) -> None:
            self._pool.stop()

        return self._flushing.addCallback(stop)

    def _on_check(self) -> None:
        self._check = self._reactor.callLater(CHECK_S, self._on_check)
        if not self._flushing.called or self._state.applied == self.durable_through:
            return
        old = self._reactor.seconds() - self._flushed_at >= FLUSH_AGE_S
        # Not what the engine holds unflushed: it flushes by itself too, and does not tell
        # through which slot.
        if old or self._state.written_bytes - self._flushed_bytes >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        # Read before the flush begins: what is applied meanwhile may or may not be in it.
        through = self._state.applied
        self._flushed_bytes = self._state.written_bytes

        def flushed(_: None) -> None:
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

"""Reads all that lies on the disk again and again, slowly, so that damage is found in time.

Bytes that nobody reads can rot for years, on one disk after the other. So each node reads its own
now and then: of its journal every finished segment, and of its state every record, which together
must give the digest that has been kept from change to change. What is found has the node repaired
(see `kvpaxos.node.member`) while the other members are sound.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, Final, Literal

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.config.cluster import ClusterConfig
from kvpaxos.errors import StateClosed
from kvpaxos.journal.log import Journal
from kvpaxos.node.repairs import Repairs
from kvpaxos.node.state import State
from kvpaxos.node.threads import SYSTEM_THREADS, Threads

PIECE_BYTES: Final = 128 * 1024
"""After so many bytes, about, it pauses."""

RECORD_BYTES_MIN: Final = 512
"""A smaller record counts as much: it costs no less to look at, and the reactor has to wait."""


class Scanner(Service):
    """Scans on a thread of its own, at a set rate.

    :ivar part: what is being read now; None between two scans.
    :ivar bytes: how much this scan has read, or the last one had.
    :ivar completed: how many scans have come to their end.
    """

    _log = Logger()

    def __init__(
        self,
        journal: Journal,
        state: State,
        repairs: Repairs,
        *,
        bytes_per_s: int,
        every_s: int,
        reactor: Any,  # noqa: ANN401  (no interface names timers and threads together)
        failed: Callable[[Failure], None],
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        """Make a scanner that does nothing before it is started.

        :param bytes_per_s: how much it reads in a second; with 0 it never does anything.
        :param every_s: from the beginning of one scan to that of the next, at least.
        :param failed: is told of damage, and of a disk that refuses.
        """
        self.part: Literal["journal", "state"] | None = None
        self.bytes = 0
        self.completed = 0
        self._completed_at = 0.0
        self._journal = journal
        self._state = state
        self._repairs = repairs
        self._bytes_per_s = bytes_per_s
        self._every_s = every_s
        self._reactor = reactor
        self._failed = failed
        self._pool = threads.worker("kvpaxos scan")
        self._stopping = threads.signal()
        self._next: IDelayedCall | None = None
        self._scanning: Deferred[None] = succeed(None)

    @override
    def startService(self) -> None:
        Service.startService(self)
        self._pool.start()
        if self._bytes_per_s:
            self._begin()

    @override
    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._stopping.set()
        if self._next is not None and self._next.active():
            self._next.cancel()
        return self._scanning.addCallback(lambda _: self._pool.stop())

    def describe(self) -> dict[str, object]:
        """Return what there is to tell."""
        ago_s = self._reactor.seconds() - self._completed_at
        return {
            "part": self.part,
            "bytes": self.bytes,
            "completed": self.completed,
            "completed_ago_s": round(ago_s, 3) if self.completed else None,
        }

    def _begin(self) -> None:
        self._next = self._reactor.callLater(self._every_s, self._due)
        self._scanning = Deferred.fromCoroutine(self._scan()).addErrback(self._failed)

    def _due(self) -> None:
        # One that takes longer than that is followed by the next one at once.
        self._scanning.addCallback(lambda _: self._begin() if self.running else None)

    async def _scan(self) -> None:
        self.bytes = 0
        self.part = "journal"
        try:
            await self._read(self._journal.audit(self._note))
            self.part = "state"
            await self._scan_state()
        finally:
            self.part = None
        if self.running:
            self.completed += 1
            self._completed_at = self._reactor.seconds()
            self._log.info(
                "journal and state were read, {mib} MiB, and are sound", mib=self.bytes // 2**20
            )

    async def _scan_state(self) -> None:
        """Read the state as it is now; if another takes its place meanwhile, read that one."""
        while self.running:
            view = self._state.machine.view(once=True)
            try:
                await self._read(view.audit())
            except StateClosed:
                continue
            finally:
                view.close()
            return

    def _read(self, sizes: Generator[int, None, None]) -> Deferred[None]:
        return deferToThreadPool(self._reactor, self._pool, self._walk, sizes)

    def _walk(self, sizes: Generator[int, None, None]) -> None:
        """Go through ``sizes``, which reads, at the set rate, or until this is stopped."""
        pending = 0
        with closing(sizes):
            for size in sizes:
                self.bytes += size
                pending += max(size, RECORD_BYTES_MIN)
                if pending >= PIECE_BYTES:
                    if self._stopping.wait(pending / self._bytes_per_s):
                        return
                    pending = 0

    def _note(self, finding: str) -> None:
        """Tell of something that does no harm. It is called on the thread of the scan."""

        def note() -> None:
            self._log.warn("the scan found: {finding}", finding=finding)
            self._repairs.note(finding)

        self._reactor.callFromThread(note)


def scanner_of(
    cluster: ClusterConfig,
    journal: Journal,
    state: State,
    repairs: Repairs,
    threads: Threads,
    *,
    reactor: Any,  # noqa: ANN401  (as above)
    failed: Callable[[Failure], None],
) -> Scanner:
    """Return what scans the disk of a node as the settings say; nothing if it has none.

    What stands in for a journal that is being mended is not on the disk, nor is a state with it.
    """
    storage = cluster.storage
    nothing = cluster.options.volatile or repairs.mending is not None
    return Scanner(
        journal,
        state,
        repairs,
        bytes_per_s=0 if nothing else storage.scan_bytes_per_s,
        every_s=storage.scan_every_s,
        reactor=reactor,
        failed=failed,
        threads=threads,
    )

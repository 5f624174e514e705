"""The journal on threads of its own, so that the reactor never waits for a disk.

One thread writes. Whatever was queued while it was syncing shares the next sync: group
commit, without a timer and without a batch size to tune. Another thread reads decided
slots back, and fills the next segment with zeros before it is needed. Neither is of
Twisted's pool, where they would wait behind strangers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty
from typing import Final, NamedTuple, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvpaxos.errors import DiskError, JournalDamaged, Unavailable
from kvpaxos.journal.log import Journal
from kvpaxos.journal.state import needs_sync
from kvpaxos.node.threads import SYSTEM_THREADS, Queue, Threads
from kvpaxos.paxos.ballot import NO_SLOT, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.records import Record

SPARE_RETRY_S: Final = 10.0
"""How long to wait, if the disk has no room for the next segment, before asking again."""


class _Append(NamedTuple):
    group: int
    records: Sequence[Record]
    sync: bool


class _Forget(NamedTuple):
    group: int
    through: Slot


_Work: TypeAlias = _Append | _Forget

_Job: TypeAlias = Callable[[], None]


class Disk:
    """Takes records in the reactor's thread, and says there when they are durable.

    It is fail-stop: after an error nothing more is written, and nothing more becomes
    durable. All methods are for the reactor's thread, and none of them blocks. Once it is
    made, the journal belongs to its threads.

    :param durable: called with `durable` each time that has grown.
    :param failed: called once, if a disk refuses or a file is damaged. The node must stop then.
    :param monotonic: seconds; called on the other threads too.
    :param threads: where those come from.
    :ivar number: how many records there are, those included that are still queued.
    :ivar durable: how many of them would survive a power cut.
    :ivar last_sync_s: how long the last sync took, in seconds.
    :ivar slowest_sync_s: the longest that one took.
    :ivar cramped: whether there was no room for the next segment when it was last tried.
    """

    _log = Logger()

    def __init__(
        self,
        journal: Journal,
        *,
        reactor: IReactorFromThreads,
        durable: Callable[[int], None],
        failed: Callable[[DiskError | JournalDamaged], None],
        monotonic: Callable[[], float],
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        self.journal = journal
        self.number = journal.records
        self.durable = journal.durable_records
        self.last_sync_s = 0.0
        self.slowest_sync_s = 0.0
        self.cramped = False
        self._reactor = reactor
        self._report_durable = durable
        self._report_failed = failed
        self._monotonic = monotonic
        self._broken = False
        self._stopped: Deferred[None] | None = None
        self._unsynced: deque[tuple[int, float]] = deque()
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        self._queued: list[_Work] = []
        self._work: Queue[list[_Work] | None] = threads.queue()
        self._jobs: Queue[_Job | None] = threads.queue()
        self._reader = journal.reader()
        self._forgotten: dict[int, Slot] = {}
        self._spare_due = 0.0
        self._preparing = False
        self._writer_thread = threads.start(self._run_writer, "journal writer")
        self._reader_thread = threads.start(self._run_reader, "journal reader")

    def append(self, group: int, records: Sequence[Record]) -> int:
        """Queue ``records``, and return the number of the last one.

        If one of them needs a sync, the writer takes up all that is queued, at once if it is
        idle. Others wait for that, or for `write`: to wake the writer for what nobody waits
        for would take time from what somebody does.
        """
        self.number += len(records)
        sync = any(map(needs_sync, records))
        if sync:
            self._unsynced.append((self.number, self._monotonic()))
        self._queue(_Append(group, records, sync))
        if sync:
            self.write()
        return self.number

    def write(self) -> None:
        """Have everything queued so far written, though not synced for that."""
        if self._queued:
            queued, self._queued = self._queued, []
            self._work.put(queued)

    def sync(self) -> int:
        """Have everything queued so far synced, and return the number of its last record."""
        if self.number > self.durable:
            self._queue(_Append(0, (), sync=True))
            self.write()
        return self.number

    def when_durable(self, number: int) -> Deferred[None]:
        """Fire once all through ``number`` would survive a power cut; ask for the sync before.

        It fails with `DiskError` if that does not happen any more. Numbers must not fall from
        one call to the next, as those of `append` and `sync` do not.
        """
        if number <= self.durable:
            return succeed(None)
        if self._broken:
            return fail(DiskError("nothing becomes durable any more: the node had to stop"))
        waiting: Deferred[None] = Deferred()
        self._waiting.append((number, waiting))
        return waiting

    def forget(self, group: int, through: Slot) -> None:
        """Let segments be deleted that hold nothing of ``group`` above ``through``, some time."""
        if through > self._forgotten.get(group, NO_SLOT):
            self._forgotten[group] = through
            self._queue(_Forget(group, through))

    def decided(
        self,
        group: int,
        from_slot: Slot,
        through: Slot,
        bytes_max: int,
        commands_max: int | None = None,
    ) -> Deferred[list[Decision]]:
        """Read decided slots back. See `kvpaxos.journal.reader.JournalReader.decided`.

        It fails with `Unavailable` once the disk is being stopped.
        """
        if self._stopped is not None:
            return fail(Unavailable("the journal is closed"))
        self.write()
        found: Deferred[list[Decision]] = Deferred()

        def read() -> None:
            try:
                decisions = self._reader.decided(group, from_slot, through, bytes_max, commands_max)
            except Exception:  # noqa: BLE001  (it goes to whoever asked)
                self._reactor.callFromThread(found.errback, Failure())
            else:
                self._reactor.callFromThread(found.callback, decisions)

        self._jobs.put(read)
        return found

    def seek_room(self) -> bool:
        """Return `cramped`; if so, have it tried again, though not more often than is useful."""
        if self.cramped and self._stopped is None:
            self._queue(_Append(0, (), sync=False))
            self.write()
        return self.cramped

    def waiting_s(self, now: float) -> float:
        """How long the oldest record that needs a sync has been waiting for it; 0.0 if none."""
        return now - self._unsynced[0][1] if self._unsynced else 0.0

    def stop(self) -> Deferred[None]:
        """Write and sync what is queued, close the journal, and end the threads.

        It may be called once.
        """
        assert self._stopped is None, "stopped twice"
        self._stopped = Deferred()
        self.write()
        # The reader first: it prepares files for the writer.
        self._jobs.put(None)
        return self._stopped

    def _queue(self, work: _Work) -> None:
        if not self._broken:
            self._queued.append(work)

    def _run_writer(self) -> None:
        last = False
        try:
            while not last:
                work, last = self._next_work()
                self._carry_out(work)
        except Exception:  # noqa: BLE001  (whatever it is: nothing more is written)
            self._reactor.callFromThread(self._fail, Failure())
            while not last:
                last = self._work.get() is None
        try:
            self.journal.close()
        except Exception:  # noqa: BLE001  (it is said to whoever runs the node)
            self._reactor.callFromThread(self._fail, Failure())
        self._reactor.callFromThread(self._writer_ended, self.journal.durable_records)

    def _next_work(self) -> tuple[list[_Work], bool]:
        """Wait for work and take all there is. Say whether it is the last."""
        found: list[_Work] = []
        work = self._work.get()
        try:
            while work is not None:
                found += work
                work = self._work.get_nowait()
        except Empty:
            return found, False
        return found, True

    def _carry_out(self, work: Sequence[_Work]) -> None:
        appends = [item for item in work if isinstance(item, _Append)]
        for group, records, _ in appends:
            self.journal.append(group, records)
        if any(item.sync for item in appends):
            began = self._monotonic()
            self.journal.sync()
            took_s = self._monotonic() - began
            self._reactor.callFromThread(self._synced, self.journal.durable_records, took_s)
        elif appends:
            self.journal.write()
        # Deleting can wait for the replies to be on their way.
        for item in work:
            if isinstance(item, _Forget):
                self.journal.forget(*item)
        # Whoever waits for room is to be told of it, though no spare be needed yet.
        if self.journal.wants_spare or (self.cramped and not self.journal.has_spare):
            self._want_spare()

    def _want_spare(self) -> None:
        if not self._preparing and self._monotonic() >= self._spare_due:
            self._preparing = True
            self._jobs.put(self._prepare_spare)

    def _prepare_spare(self) -> None:
        try:
            room = self.journal.prepare_spare()
            # Whoever waits for room waits for all of it.
            while room and self.cramped and not self.journal.has_spare:
                room = self.journal.prepare_spare()
            if not room:
                self._spare_due = self._monotonic() + SPARE_RETRY_S
                self._reactor.callFromThread(self._refused_room)
            elif self.cramped:
                self._reactor.callFromThread(self._found_room)
            # A long batch makes several pieces due at once. Whoever waits to read goes first.
            self._preparing = room and self.journal.wants_spare
            if self._preparing:
                self._jobs.put(self._prepare_spare)
        except Exception:  # noqa: BLE001  (whatever it is: the node must stop)
            self._reactor.callFromThread(self._fail, Failure())

    def _run_reader(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        try:
            self._reader.close()
        except DiskError:
            self._reactor.callFromThread(self._fail, Failure())
        self._reactor.callFromThread(self._work.put, None)

    def _synced(self, durable: int, took_s: float) -> None:
        self.last_sync_s = took_s
        self.slowest_sync_s = max(self.slowest_sync_s, took_s)
        self._grow(durable)

    def _grow(self, durable: int) -> None:
        if durable <= self.durable:
            return
        self.durable = durable
        while self._unsynced and self._unsynced[0][0] <= durable:
            self._unsynced.popleft()
        while self._waiting and self._waiting[0][0] <= durable:
            self._waiting.popleft()[1].callback(None)
        self._report_durable(durable)

    def _writer_ended(self, durable: int) -> None:
        # Both have said their last word, so neither keeps us waiting.
        self._reader_thread.join()
        self._writer_thread.join()
        self._grow(durable)
        assert self._stopped is not None
        self._stopped.callback(None)

    def _refused_room(self) -> None:
        if not self.cramped:
            self.cramped = True
            self._log.warn(
                "no room for the next segment in {path}: free some space before this one is full",
                path=self.journal.path,
            )

    def _found_room(self) -> None:
        self.cramped = False

    def _fail(self, failure: Failure) -> None:
        if self._broken:
            return
        self._broken = True
        error = failure.value
        if not isinstance(error, DiskError | JournalDamaged):
            self._log.failure("the journal failed in an unforeseen way", failure)
            error = DiskError(f"the journal failed in an unforeseen way: {error!r}; see the log")
        self._report_failed(error)
        # Whoever waits must not do so for ever.
        waiting, self._waiting = self._waiting, deque()
        for _, deferred in waiting:
            deferred.errback(error)

"""The journal's threads: group commit, order, failure, and a clean end."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Semaphore
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from kvpaxos.errors import DiskError, JournalDamaged, Unavailable
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import DATA_START
from kvpaxos.journal.spares import PIECE_BYTES
from kvpaxos.node.disk import SPARE_RETRY_S, Disk
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.effects import Decision
from test.journal.disks import MemoryDisk, failing_call
from test.journal.values import (
    SEGMENT_BYTES,
    batch,
    decided,
    learned,
    open_journal,
    segment_path,
    vote,
)


class Turns:
    """A reactor that only carries out what threads ask of it, in the test's own thread."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:  # noqa: N802
        self.calls.put((call, args))

    def until(self, done: Callable[[], bool]) -> None:
        """Carry out calls until ``done()``."""
        while not done():
            call, args = self.calls.get(timeout=20)
            call(*args)


class Gate:
    """Holds up every sync until it is told to let one pass."""

    def __init__(self) -> None:
        self.held = Semaphore(0)
        self._passes = Semaphore(0)
        self.open = False

    def __call__(self, name: str) -> None:
        if name == "sync" and not self.open:
            self.held.release()
            self._passes.acquire()

    def wait(self) -> None:
        """Return once a sync is held up."""
        assert self.held.acquire(timeout=20)

    def let_one_pass(self) -> None:
        self._passes.release()

    def let_all_pass(self) -> None:
        self.open = True
        self._passes.release()


class Bench:
    """A `Disk` on a disk made of memory, and what it has said."""

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self.now = 100.0
        self.reactor = Turns()
        self.files = MemoryDisk()
        self.journal = open_journal(self.files, piece_bytes=piece_bytes)
        self.durable: list[int] = []
        self.failed: list[DiskError | JournalDamaged] = []
        self.threads = threading.active_count()
        self.stopped = False
        self.disk = Disk(
            self.journal,
            reactor=cast(IReactorFromThreads, self.reactor),
            durable=self.durable.append,
            failed=self.failed.append,
            monotonic=lambda: self.now,
        )

    def gate(self) -> Gate:
        """Hold up every sync from now on."""
        gate = Gate()
        self.files.fault = gate
        return gate

    def until_durable(self, number: int) -> None:
        self.reactor.until(lambda: self.disk.durable >= number)

    def result(self, deferred: Deferred[Any]) -> Any:
        """Wait for ``deferred``, and return what it fires with."""
        found: list[Any] = []
        deferred.addBoth(found.append)
        self.reactor.until(lambda: bool(found))
        return found[0]

    def stop(self) -> None:
        self.stopped = True
        assert self.result(self.disk.stop()) is None


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    if not bench.stopped:
        bench.stop()


def test_what_is_appended_becomes_durable_and_is_reported(bench: Bench) -> None:
    assert bench.disk.durable == 0
    assert bench.disk.append(0, [vote(1)]) == 1
    assert bench.disk.append(0, [vote(2), vote(3)]) == 3
    bench.until_durable(3)
    assert bench.durable[-1] == 3
    assert open_journal(bench.files.after_power_cut()).recovered.record_count == 3


def test_nothing_is_reported_before_its_sync_has_returned(bench: Bench) -> None:
    gate = bench.gate()
    bench.disk.append(0, [vote(1)])
    gate.wait()
    assert bench.reactor.calls.empty()
    gate.let_all_pass()
    bench.until_durable(1)


def test_what_was_queued_during_a_sync_shares_the_next(bench: Bench) -> None:
    gate = bench.gate()
    bench.disk.append(0, [vote(1)])
    gate.wait()
    for slot in range(2, 102):
        bench.disk.append(0, [vote(slot)])
    gate.let_all_pass()
    bench.until_durable(101)
    assert bench.journal.syncs == 2
    assert bench.durable == [1, 101]


def test_what_nobody_waits_for_is_written_with_the_next_that_is_synced(bench: Bench) -> None:
    writes: list[str] = []

    def watch(name: str) -> None:
        if name == "write":
            writes.append(name)

    bench.files.fault = watch
    for slot in range(1, 11):
        bench.disk.append(0, [vote(slot)])
        bench.until_durable(bench.disk.number)
        bench.disk.append(0, [decided(slot)])
    # Each time the records, and a mark.
    assert len(writes) == 20
    assert bench.disk.number - bench.disk.durable == 1
    assert open_journal(bench.files.after_kill()).recovered.groups[0].decided_through == 9
    bench.disk.write()
    bench.stop()
    assert len(writes) == 22


def test_what_nobody_waits_for_is_not_held_back_for_ever(bench: Bench) -> None:
    bench.disk.append(0, [vote(1)])
    bench.until_durable(1)
    bench.disk.append(0, [decided(1), learned(2)])
    bench.disk.write()
    while open_journal(bench.files.after_kill()).recovered.record_count < 3:
        pass
    assert bench.journal.syncs == 1
    assert bench.durable == [1]


def test_what_is_decided_is_written_and_not_synced(bench: Bench) -> None:
    bench.disk.append(0, [vote(1)])
    bench.until_durable(1)
    bench.disk.append(0, [decided(1), learned(2)])
    # Whoever reads has it written; reading comes after that only by chance: ask again.
    while not bench.result(bench.disk.decided(0, Slot(2), Slot(2), 1000)):
        pass
    assert bench.journal.syncs == 1
    assert bench.durable == [1]
    assert bench.disk.waiting_s(bench.now + 5) == 0.0
    left = open_journal(bench.files.after_kill())
    assert left.recovered.groups[0].decided_through == 2
    bench.disk.append(0, [vote(3)])
    bench.until_durable(4)
    assert bench.journal.syncs == 2


def test_whoever_needs_it_has_a_watermark_synced(bench: Bench) -> None:
    bench.until_durable(bench.disk.append(0, [vote(1)]))
    number = bench.disk.append(0, [decided(1)])
    assert bench.disk.sync() == number
    bench.until_durable(number)
    syncs = bench.journal.syncs
    assert bench.disk.sync() == number
    bench.stop()
    assert bench.journal.syncs == syncs


def test_each_waits_for_its_own_record(bench: Bench) -> None:
    gate = bench.gate()
    fired: list[int] = []

    def write(slot: int) -> None:
        number = bench.disk.append(0, [vote(slot)])
        bench.disk.when_durable(number).addCallback(lambda _: fired.append(slot))

    write(1)
    gate.wait()
    write(2)
    write(3)
    assert fired == []
    gate.let_one_pass()
    bench.until_durable(1)
    assert fired == [1]
    gate.let_all_pass()
    bench.until_durable(3)
    assert fired == [1, 2, 3]
    assert bench.disk.when_durable(3).called


def test_after_a_failure_nobody_waits_any_more(bench: Bench) -> None:
    bench.files.fault = failing_call(0, errno.EIO, frozenset({"sync"}))
    waiting = bench.disk.when_durable(bench.disk.append(0, [vote(1)]))
    assert bench.result(waiting).check(DiskError)
    later = bench.disk.when_durable(bench.disk.append(0, [vote(2)]))
    assert "nothing becomes durable any more" in bench.result(later).getErrorMessage()


def test_the_oldest_record_that_waits_for_a_sync_is_what_counts(bench: Bench) -> None:
    gate = bench.gate()
    assert bench.disk.waiting_s(bench.now) == 0.0
    bench.disk.append(0, [vote(1)])
    gate.wait()
    bench.now = 103.0
    bench.disk.append(0, [decided(1)])
    bench.disk.append(0, [vote(2)])
    bench.now = 104.0
    assert bench.disk.waiting_s(bench.now) == 4.0
    gate.let_one_pass()
    bench.until_durable(1)
    assert bench.disk.waiting_s(bench.now) == 1.0
    gate.let_all_pass()
    bench.until_durable(3)
    assert bench.disk.waiting_s(bench.now) == 0.0


def test_the_time_of_a_sync_is_measured(bench: Bench) -> None:
    gate = bench.gate()
    for slot, took_s in ((1, 0.5), (2, 2.0), (3, 1.0)):
        bench.disk.append(0, [vote(slot)])
        gate.wait()
        bench.now += took_s
        gate.let_one_pass()
        bench.until_durable(slot)
    assert bench.disk.last_sync_s == 1.0
    assert bench.disk.slowest_sync_s == 2.0
    gate.let_all_pass()


def test_decided_slots_are_read_while_a_sync_is_stuck(bench: Bench) -> None:
    bench.disk.append(0, [vote(1), decided(1)])
    bench.until_durable(2)
    gate = bench.gate()
    bench.disk.append(0, [vote(2)])
    gate.wait()
    found = bench.result(bench.disk.decided(0, Slot(1), Slot(9), 1000))
    assert found == [Decision(Slot(1), vote(1).ballot, batch(1))]
    gate.let_all_pass()


def test_a_damaged_record_fails_the_reading_and_nothing_else(bench: Bench) -> None:
    bench.disk.append(0, [vote(1), decided(1)])
    bench.until_durable(2)
    bench.files.flip(segment_path(), DATA_START + 20)
    failure = bench.result(bench.disk.decided(0, Slot(1), Slot(9), 1000))
    assert failure.check(DamagedRecords)
    assert bench.failed == []
    bench.disk.append(0, [vote(2)])
    bench.until_durable(3)


def test_segments_are_forgotten_after_the_sync(bench: Bench) -> None:
    for slot in range(1, 60):
        bench.disk.append(0, [vote(slot, size=1000), decided(slot)])
    bench.disk.forget(0, Slot(50))
    bench.disk.append(0, [vote(60)])
    bench.until_durable(bench.disk.number)
    bench.stop()
    assert bench.journal.segments < 3
    assert open_journal(bench.files).recovered.groups[0].decided_through == 59


def test_the_next_segment_is_made_ready_beside_the_writer(bench: Bench) -> None:
    makers: list[str] = []

    def watch(name: str) -> None:
        if name == "create":
            makers.append(threading.current_thread().name)

    bench.files.fault = watch
    for slot in range(1, 100):
        bench.disk.append(0, [vote(slot, size=500)])
        bench.until_durable(slot)
        while bench.journal.wants_spare:
            # What is asked for after the spare is answered after it.
            bench.result(bench.disk.decided(0, Slot(1), Slot(1), 1))
    assert bench.journal.segments > 3
    assert set(makers) == {"journal reader"}


def test_after_a_long_batch_all_zeros_that_are_due_are_written_without_another_one() -> None:
    bench = Bench(piece_bytes=4096)
    bench.disk.append(0, [vote(slot, size=1000) for slot in range(1, 19)])
    bench.until_durable(18)
    assert bench.journal.segments == 1
    for _ in range(2 * SEGMENT_BYTES // 4096):
        # Each waits for one piece at the most.
        bench.result(bench.disk.decided(0, Slot(1), Slot(1), 1))
    assert bench.journal.has_spare
    assert bench.files.trace.count(("sync", "spare-2")) == SEGMENT_BYTES // 4096
    bench.stop()


def test_without_room_for_the_next_segment_it_goes_on_and_asks_again_later(bench: Bench) -> None:
    refused: list[float] = []

    def full(name: str) -> None:
        if name == "create":
            refused.append(bench.now)
            raise OSError(errno.ENOSPC, "No space left on device")

    bench.files.fault = full
    for slot in range(1, 13):
        bench.disk.append(0, [vote(slot, size=1000)])
        bench.until_durable(slot)
        bench.result(bench.disk.decided(0, Slot(1), Slot(1), 1))
    assert bench.journal.wants_spare
    assert refused == [100.0]
    bench.now += SPARE_RETRY_S
    bench.disk.append(0, [vote(13)])
    bench.until_durable(13)
    while len(refused) < 2:
        bench.result(bench.disk.decided(0, Slot(1), Slot(1), 1))
    assert refused == [100.0, 100.0 + SPARE_RETRY_S]
    assert bench.failed == []


def fill_without_room(bench: Bench) -> None:
    """Write until the next segment is due, which finds no room, and neither will it from now on."""

    def full(name: str) -> None:
        if name == "create":
            raise OSError(errno.ENOSPC, "No space left on device")

    bench.files.fault = full
    for slot in range(1, 13):
        bench.disk.append(0, [vote(slot, size=1000)])
        bench.until_durable(slot)
    bench.reactor.until(bench.disk.seek_room)


def test_whoever_asks_for_room_has_it_tried_again_without_a_record_to_write(bench: Bench) -> None:
    fill_without_room(bench)
    bench.files.fault = None
    records, syncs = bench.disk.number, bench.journal.syncs
    bench.now += SPARE_RETRY_S
    bench.reactor.until(lambda: not bench.disk.seek_room())
    assert not bench.journal.wants_spare
    assert (bench.disk.number, bench.journal.syncs) == (records, syncs)
    bench.stop()
    assert not bench.disk.seek_room()


def test_whoever_asks_for_room_is_told_of_it_although_a_new_segment_has_begun(bench: Bench) -> None:
    fill_without_room(bench)
    bench.files.fault = None
    slot = 13
    while bench.journal.segments == 1:
        bench.disk.append(0, [vote(slot, size=1000)])
        bench.until_durable(slot)
        slot += 1
    assert bench.disk.cramped
    bench.now += SPARE_RETRY_S
    bench.reactor.until(lambda: not bench.disk.seek_room())
    assert bench.journal.has_spare


@pytest.mark.parametrize("name", ["write", "sync"])
def test_a_refusal_is_reported_once_and_ends_all_writing(bench: Bench, name: str) -> None:
    bench.disk.append(0, [vote(1)])
    bench.until_durable(1)
    bench.files.fault = failing_call(0, errno.EIO, frozenset({name}))
    bench.disk.append(0, [vote(2)])
    bench.disk.append(0, [vote(3)])
    bench.reactor.until(lambda: bool(bench.failed))
    bench.files.fault = None
    bench.files.trace.clear()
    bench.disk.append(0, [vote(4)])
    bench.disk.forget(0, Slot(1))
    bench.now += 7
    assert bench.disk.waiting_s(bench.now) == 7.0
    bench.stop()
    (error,) = bench.failed
    assert "Input/output error" in str(error)
    assert bench.files.trace == []
    assert bench.durable == [1]


def test_what_nobody_foresaw_stops_it_too(bench: Bench) -> None:
    def broken(name: str) -> None:
        if name == "sync":
            raise ZeroDivisionError

    bench.files.fault = broken
    bench.disk.append(0, [vote(1)])
    bench.reactor.until(lambda: bool(bench.failed))
    assert "unforeseen" in str(bench.failed[0])
    assert bench.durable == []


def test_a_stop_syncs_what_is_queued_and_ends_the_threads(bench: Bench) -> None:
    gate = bench.gate()
    bench.disk.append(0, [vote(1)])
    gate.wait()
    bench.disk.append(0, [vote(2)])
    bench.disk.append(0, [decided(2)])
    gate.let_all_pass()
    bench.stop()
    assert bench.durable[-1] == 3
    assert bench.files.handles == {}
    assert threading.active_count() == bench.threads
    left = open_journal(bench.files.after_power_cut()).recovered
    assert (left.record_count, left.torn, left.mended) == (3, None, ())


def test_a_stop_answers_the_readings_that_wait_and_refuses_further_ones(bench: Bench) -> None:
    bench.disk.append(0, [vote(1), decided(1)])
    bench.until_durable(2)
    waiting = [bench.disk.decided(0, Slot(1), Slot(1), 1000) for _ in range(5)]
    found: list[list[Decision]] = []
    for reading in waiting:
        reading.addCallback(found.append)
    bench.stop()
    assert [len(decisions) for decisions in found] == [1] * 5
    late = bench.result(bench.disk.decided(0, Slot(1), Slot(1), 1000))
    assert late.check(Unavailable)

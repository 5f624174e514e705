"""The state is flushed behind the journal, and says no more than is true."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import DiskError
from kvpaxos.node.persister import CHECK_S, FLUSH_AGE_S, FLUSH_BYTES, Persister
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.messages import Command
from kvpaxos.store.commands import Set, encode_operation

LARGE = FLUSH_BYTES // 4
SNAPSHOT_SLOTS = 50


class SlowEngine(MemoryEngine):
    """Its flush ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.error: DiskError | None = None

    @override
    def flush(self) -> None:
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error


class FakeReactor(Clock):
    """Its time stands still; what comes from threads goes through the real reactor."""

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:  # noqa: N802
        real_reactor().callFromThread(call, *arguments)


def real_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class Bench:
    def __init__(self, turn: float = 0.0) -> None:
        self.engine = SlowEngine()
        self.state = State(self.engine, 0, value_bytes_max=LARGE)
        self.reactor = FakeReactor()
        self.persisted: list[Slot] = []
        self.synced: list[Slot] = []
        self.failed: list[Failure] = []
        self.news: Deferred[None] = Deferred()
        self.room = 10**9
        self.asked: list[int] = []
        self.cleared: list[str] = []
        self.persister = Persister(
            self.state,
            durable_through=Slot(0),
            snapshot_slots=SNAPSHOT_SLOTS,
            turn=turn,
            clear=lambda: self.cleared.append(threading.current_thread().name),
            sync=self._sync,
            reactor=self.reactor,
            persisted=self._persisted,
            failed=self._failed,
            may_flush=self._may_flush,
        )
        self.persister.startService()

    def write(self, slot: int, size: int = 1, times: int = 1) -> None:
        """Execute so many writes of so many bytes, all of one key, in one batch."""
        body = encode_operation(Set(b"k", b"x" * size))
        for time in range(times):
            number = (slot - 1) * times + time + 1
            self.state.apply(Command(NodeId("n01"), 1, number, number - 1, body))
        self.state.commit(Slot(slot))
        self.state.decided = Slot(slot)

    async def next(self) -> None:
        await self.news
        self.news = Deferred()

    def _sync(self) -> Deferred[None]:
        self.synced.append(self.state.applied)
        return succeed(None)

    def _persisted(self, through: Slot) -> None:
        self.persisted.append(through)
        if len(self.persisted) > 1:
            self._tell()

    def _may_flush(self, size: int) -> bool:
        self.asked.append(size)
        return size <= self.room

    def _failed(self, failure: Failure) -> None:
        self.failed.append(failure)
        self._tell()

    def _tell(self) -> None:
        # In a turn of its own: the persister is still in the middle of this one.
        real_reactor().callLater(0, self.news.callback, None)


@pytest_twisted.ensureDeferred
async def test_a_flush_vouches_only_for_what_was_applied_before_it_began() -> None:
    bench = Bench()
    assert bench.persisted == [0]
    for slot in range(1, 6):
        bench.write(slot, LARGE)
    bench.reactor.advance(CHECK_S)
    bench.write(6, LARGE)
    bench.engine.go.set()
    await bench.next()
    assert bench.persisted == [0, 5]
    # Whoever vouches for a slot must still know it was decided, after a power cut.
    assert bench.synced == [5]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_nor_for_what_the_journal_does_not_know_to_be_decided() -> None:
    bench = Bench()
    for slot in range(1, 6):
        bench.write(slot, LARGE)
    bench.state.decided = Slot(3)
    bench.reactor.advance(CHECK_S)
    bench.state.decided = Slot(5)
    bench.engine.go.set()
    await bench.next()
    assert bench.persisted == [0, 3]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_little_is_flushed_once_it_is_old_and_nothing_never() -> None:
    bench = Bench()
    bench.engine.go.set()
    bench.reactor.pump([1] * (int(FLUSH_AGE_S) + 5))
    assert bench.persister.flushes == 0

    bench.write(1)
    bench.reactor.advance(CHECK_S)
    await bench.next()
    assert bench.persisted == [0, 1]
    bench.write(2)
    bench.reactor.pump([1] * (int(FLUSH_AGE_S) - 1))
    assert bench.persister.flushes == 1
    bench.reactor.advance(1 + CHECK_S)
    await bench.next()
    assert bench.persisted == [0, 1, 2]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_what_the_journal_holds_counts_though_a_batch_has_replaced_most_of_it() -> None:
    bench = Bench()
    bench.engine.go.set()
    bench.write(1, LARGE, times=3)
    bench.reactor.advance(CHECK_S)
    assert bench.synced == []
    bench.write(2, LARGE, times=3)
    bench.reactor.advance(CHECK_S)
    await bench.next()
    assert bench.persisted == [0, 2]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_a_failed_flush_vouches_for_nothing_and_is_reported() -> None:
    bench = Bench()
    bench.write(1)
    bench.engine.error = DiskError("no space")
    bench.engine.go.set()
    bench.reactor.advance(FLUSH_AGE_S)
    await bench.next()
    assert [failure.type for failure in bench.failed] == [DiskError]
    assert bench.persisted == [0]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_without_room_for_it_the_state_is_flushed_later() -> None:
    bench = Bench()
    bench.engine.go.set()
    bench.room = -1
    for slot in range(1, 6):
        bench.write(slot, LARGE)
    for _ in range(3):
        bench.reactor.advance(CHECK_S)
    assert bench.synced == []
    assert bench.asked == 3 * [bench.engine.sizes()["unflushed_bytes"]]
    bench.room = 10**9
    bench.reactor.advance(CHECK_S)
    await bench.next()
    assert bench.persisted == [0, 5]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_many_slots_are_flushed_however_small_they_are() -> None:
    bench = Bench()
    bench.engine.go.set()
    for slot in range(1, SNAPSHOT_SLOTS):
        bench.write(slot)
    bench.reactor.advance(CHECK_S)
    assert bench.synced == []
    bench.write(SNAPSHOT_SLOTS)
    bench.reactor.advance(CHECK_S)
    await bench.next()
    assert bench.persisted == [0, SNAPSHOT_SLOTS]
    bench.write(SNAPSHOT_SLOTS + 1)
    bench.reactor.advance(CHECK_S)
    assert bench.synced == [SNAPSHOT_SLOTS]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_members_that_execute_the_same_do_not_flush_it_at_the_same_time() -> None:
    flushed: dict[float, list[Slot]] = {}
    for turn in (0.0, 0.25, 0.5):
        bench = Bench(turn)
        bench.engine.go.set()
        for slot in range(1, 13):
            bench.write(slot, LARGE)
            before = len(bench.synced)
            bench.reactor.advance(CHECK_S)
            if len(bench.synced) > before:
                await bench.next()
        flushed[turn] = bench.persisted[1:]
        await bench.persister.stopService()
    assert flushed == {0.0: [4, 8, 12], 0.25: [3, 7, 11], 0.5: [2, 6, 10]}


@pytest_twisted.ensureDeferred
async def test_nor_after_the_same_slot_where_those_are_small() -> None:
    bench = Bench(turn=0.5)
    bench.engine.go.set()
    for slot in range(1, 2 * SNAPSHOT_SLOTS + 1):
        bench.write(slot)
        before = len(bench.synced)
        bench.reactor.advance(0.0 if slot % 5 else CHECK_S)
        if len(bench.synced) > before:
            await bench.next()
    assert bench.persisted == [0, SNAPSHOT_SLOTS // 2, SNAPSHOT_SLOTS * 3 // 2]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_one_flush_ends_before_the_next_begins() -> None:
    bench = Bench()
    bench.write(SNAPSHOT_SLOTS)
    bench.reactor.pump([CHECK_S] * 5)
    assert bench.synced == [SNAPSHOT_SLOTS]
    bench.write(2 * SNAPSHOT_SLOTS)
    bench.reactor.pump([CHECK_S] * 5)
    assert bench.synced == [SNAPSHOT_SLOTS]
    bench.engine.go.set()
    await bench.next()
    bench.reactor.advance(CHECK_S)
    await bench.next()
    assert bench.persisted == [0, SNAPSHOT_SLOTS, 2 * SNAPSHOT_SLOTS]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_a_pause_begins_when_the_flush_under_way_has_ended() -> None:
    bench = Bench()
    bench.write(SNAPSHOT_SLOTS)
    bench.reactor.advance(CHECK_S)
    paused = bench.persister.pause()
    assert not paused.called
    bench.engine.go.set()
    await paused
    assert bench.persisted == [0, SNAPSHOT_SLOTS]
    bench.write(3 * SNAPSHOT_SLOTS)
    bench.reactor.pump([CHECK_S] * 5)
    assert bench.synced == [SNAPSHOT_SLOTS]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_after_a_pause_it_may_go_on_with_another_state() -> None:
    bench = Bench()
    await bench.persister.pause()
    bench.engine.close()
    other = SlowEngine()
    other.go.set()
    bench.engine, bench.state = other, State(other, 0, value_bytes_max=LARGE)
    bench.write(1000)
    bench.persister.resume(bench.state, Slot(1000))
    assert bench.persisted == [0, 1000]
    await bench.next()
    bench.reactor.pump([1] * (int(FLUSH_AGE_S) + 5))
    assert bench.synced == []
    bench.write(1000 + SNAPSHOT_SLOTS)
    bench.reactor.advance(CHECK_S)
    await bench.next()
    assert bench.persisted == [0, 1000, 1000 + SNAPSHOT_SLOTS]
    await bench.persister.stopService()


@pytest_twisted.ensureDeferred
async def test_what_was_given_up_is_deleted_on_a_thread() -> None:
    bench = Bench()
    bench.persister.clear()
    await bench.persister.stopService()
    assert len(bench.cleared) == 2, "at the start, and when it was asked for"
    assert all("kvpaxos state" in name for name in bench.cleared)

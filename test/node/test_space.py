"""The watch on the disk: when it warns, when it stops warning, and what becomes of the reserve."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from typing_extensions import override

from kvpaxos.config.cluster import ClusterStorage
from kvpaxos.journal.reserve import Reserve
from kvpaxos.node.space import FLUSH_SLACK_BYTES, LOOK_S, Marks, Room, Space

MARKS = Marks.of(ClusterStorage())
RESERVE_BYTES = MARKS.reserve_bytes
RELEASE_BYTES = MARKS.disk_release_bytes
LOW_BYTES = MARKS.disk_low_bytes
HIGH_BYTES = MARKS.disk_high_bytes
REMAKE_BYTES = MARKS.remake_bytes
PLENTY = 10 * REMAKE_BYTES


class FakeReactor(Clock):
    """Its time stands still; what comes from threads goes through the real reactor.

    :ivar set: fires when the next look is due some time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.set: Deferred[None] = Deferred()

    @override
    def callLater(self, *arguments: Any, **named: Any) -> Any:
        waiting, self.set = self.set, Deferred()
        # In a turn of its own: whoever sets it is still in the middle of this one.
        real_reactor().callLater(0, waiting.callback, None)
        return super().callLater(*arguments, **named)

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:  # noqa: N802
        real_reactor().callFromThread(call, *arguments)


def real_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class Bench:
    """A disk with as much room as the test says, of which a reserve takes its part.

    :ivar room: what would be free without the reserve.
    :ivar looks: the threads that have asked.
    """

    def __init__(self, directory: Path, room: int) -> None:
        self.room = room
        self.refuses: int | None = None
        self.looks: list[str] = []
        self.gone: list[str] = []
        self.reserve = Reserve(directory, RESERVE_BYTES)
        self.reactor = FakeReactor()
        watched = Room((directory,), MARKS, self.reserve, self.free)
        self.space = Space(directory, MARKS, watched, self.reactor)
        self.space.gone = lambda error: self.gone.append(str(error))

    def free(self, _: Path) -> int:
        self.looks.append(threading.current_thread().name)
        if self.refuses is not None:
            raise OSError(self.refuses, os.strerror(self.refuses))
        return self.room - RESERVE_BYTES * self.reserve.held

    def low(self) -> bool:
        return self.space.low

    def held(self) -> bool:
        return self.reserve.held

    async def start(self) -> None:
        due = self.reactor.set
        self.space.startService()
        await due

    async def look(self, room: int | None = None) -> None:
        """Let the next look be taken."""
        self.room = self.room if room is None else room
        due = self.reactor.set
        self.reactor.advance(LOOK_S)
        await due

    async def stop(self) -> None:
        await self.space.stopService()


@pytest.fixture
def said() -> Iterator[Callable[[], list[str]]]:
    """Return what has been logged since it was last asked."""
    with capturedLogs() as events:
        told = 0

        def fresh() -> list[str]:
            nonlocal told
            new, told = events[told:], len(events)
            return [
                f"{event['log_level'].name}: {formatEvent(event)}"
                for event in new
                if event["log_namespace"].startswith("kvpaxos")
            ]

        yield fresh


Said = Callable[[], list[str]]


@pytest_twisted.ensureDeferred
async def test_with_room_it_keeps_a_reserve_and_says_nothing(tmp_path: Path, said: Said) -> None:
    bench = Bench(tmp_path, PLENTY)
    assert not bench.held()
    await bench.start()
    assert bench.held()
    assert bench.space.describe() == {
        "free_bytes": PLENTY - RESERVE_BYTES,
        "low": False,
        "reserve_held": True,
    }
    assert bench.space.alarm is None
    await bench.stop()
    assert bench.held()
    assert said() == []


@pytest_twisted.ensureDeferred
async def test_the_alarm_is_said_once_and_ends_by_itself_only_at_high_water(
    tmp_path: Path, said: Said
) -> None:
    bench = Bench(tmp_path, PLENTY)
    await bench.start()
    await bench.look(LOW_BYTES + RESERVE_BYTES)
    assert not bench.low()
    await bench.look(LOW_BYTES + RESERVE_BYTES - 1)
    assert bench.low()
    assert bench.space.alarm == (
        "the disk of this node is nearly full: 128 MiB are free, and it takes all writes again"
        " from 192 MiB on"
    )
    await bench.look(HIGH_BYTES + RESERVE_BYTES - 1)
    assert bench.low()
    [line] = said()
    assert line == (
        "warn: the disk of this node is nearly full: 128 MiB are free, and it takes all writes"
        " again from 192 MiB on; writes are refused here but for deletions: free some space in"
        f" {tmp_path}"
    )
    await bench.look(HIGH_BYTES + RESERVE_BYTES)
    assert not bench.low()
    await bench.look(LOW_BYTES + RESERVE_BYTES)
    assert not bench.low()
    assert said() == [
        f"info: the disk of this node has room again, 192 MiB in {tmp_path}: it takes all writes"
    ]
    assert bench.held()
    await bench.stop()


@pytest_twisted.ensureDeferred
async def test_the_reserve_is_given_up_when_the_disk_is_full_and_made_again_with_room_for_it(
    tmp_path: Path, said: Said
) -> None:
    bench = Bench(tmp_path, PLENTY)
    await bench.start()
    await bench.look(RESERVE_BYTES + RELEASE_BYTES)
    assert bench.held()
    said()
    await bench.look(RESERVE_BYTES)
    assert not bench.held()
    assert bench.space.free == RESERVE_BYTES
    assert bench.low()
    assert said() == [
        f"warn: the reserve of 32 MiB was given up, to go on with: free some space in {tmp_path}"
    ]
    await bench.look(REMAKE_BYTES - 1)
    assert not bench.low()
    assert not bench.held()
    await bench.look(REMAKE_BYTES)
    assert bench.held()
    # That it is made again is no reason for an alarm.
    assert bench.space.free == HIGH_BYTES
    await bench.look(HIGH_BYTES + RESERVE_BYTES)
    assert not bench.low()
    await bench.stop()


def test_it_is_given_up_before_anything_else_is_opened_on_a_full_disk(tmp_path: Path) -> None:
    Reserve(tmp_path, RESERVE_BYTES).make()
    bench = Bench(tmp_path, RESERVE_BYTES)
    assert not bench.held()
    assert bench.low()
    assert bench.space.free == RESERVE_BYTES


@pytest_twisted.ensureDeferred
async def test_what_the_journal_took_is_noticed(tmp_path: Path, said: Said) -> None:
    bench = Bench(tmp_path, REMAKE_BYTES)
    await bench.start()
    bench.reserve.release()
    await bench.look(HIGH_BYTES)
    assert not bench.space.held
    assert [line.partition(",")[0] for line in said()] == [
        "warn: the reserve of 32 MiB was given up"
    ]
    await bench.stop()


@pytest_twisted.ensureDeferred
async def test_a_journal_without_room_is_an_alarm_whatever_the_disk_says(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PLENTY)
    await bench.start()
    cramped = [True, True, False]
    bench.space.cramped = lambda: cramped.pop(0)
    await bench.look()
    assert bench.space.alarm == (
        "the disk of this node has no room for its journal to grow: is there a quota?"
    )
    await bench.look()
    assert bench.low()
    await bench.look()
    assert not bench.low()
    await bench.stop()


@pytest_twisted.ensureDeferred
async def test_a_disk_that_does_not_tell_is_named_once_and_keeps_nobody_from_anything(
    tmp_path: Path, said: Said
) -> None:
    bench = Bench(tmp_path, PLENTY)
    await bench.start()
    bench.refuses = errno.EIO
    await bench.look()
    await bench.look()
    assert bench.space.describe()["free_bytes"] is None
    assert not bench.low()
    assert bench.space.may_flush(PLENTY)
    [line] = said()
    assert line == (
        f"warn: the disk is not watched as it should be: {tmp_path}: cannot measure it"
        " (Input/output error); see that this disk is sound before you start the node again"
    )
    bench.refuses = None
    await bench.look()
    assert bench.space.free == PLENTY - RESERVE_BYTES
    await bench.stop()


@pytest_twisted.ensureDeferred
async def test_a_directory_that_is_there_no_more_is_told_to_whoever_can_stop_the_node(
    tmp_path: Path, said: Said
) -> None:
    bench = Bench(tmp_path, PLENTY)
    await bench.start()
    assert bench.gone == []
    bench.refuses = errno.ENOENT
    await bench.look()
    [sentence] = bench.gone
    assert sentence == (
        f"{tmp_path} is gone while this node runs, and with it all that the node would write there;"
        " find out whether its disk is still mounted, and start the node again"
    )
    assert said() == []
    await bench.stop()


@pytest_twisted.ensureDeferred
async def test_a_reserve_that_cannot_be_made_is_named_once(tmp_path: Path, said: Said) -> None:
    (tmp_path / "reserve").mkdir()
    bench = Bench(tmp_path, PLENTY)
    await bench.start()
    await bench.look()
    assert not bench.space.held
    assert not bench.low()
    [line] = said()
    assert "reserve: cannot" in line
    await bench.stop()


@pytest_twisted.ensureDeferred
async def test_the_state_is_flushed_only_if_that_leaves_something_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path, PLENTY)
    await bench.start()
    await bench.look(RESERVE_BYTES + RELEASE_BYTES)
    assert bench.space.may_flush(RELEASE_BYTES - FLUSH_SLACK_BYTES)
    assert not bench.space.may_flush(RELEASE_BYTES - FLUSH_SLACK_BYTES + 1)
    await bench.stop()


@pytest_twisted.ensureDeferred
async def test_it_looks_on_a_thread_of_its_own_and_no_more_once_it_is_stopped(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, PLENTY)
    mine = threading.current_thread().name
    assert set(bench.looks) == {mine}
    bench.looks.clear()
    await bench.start()
    await bench.look()
    assert bench.looks
    assert mine not in bench.looks
    await bench.stop()
    assert bench.reactor.getDelayedCalls() == []


def test_the_fullest_of_several_disks_counts(tmp_path: Path) -> None:
    free = {tmp_path: PLENTY, tmp_path / "journal": LOW_BYTES - 1}
    reserve = Reserve(tmp_path, RESERVE_BYTES)
    seen = Room(tuple(free), MARKS, reserve, free.__getitem__).tend()
    assert seen.free == LOW_BYTES - 1
    assert not seen.held


@pytest_twisted.ensureDeferred
async def test_a_node_that_keeps_nothing_watches_no_disk(tmp_path: Path, said: Said) -> None:
    reactor = FakeReactor()
    space = Space(tmp_path / "none", MARKS, None, reactor)
    space.startService()
    assert space.describe() == {"free_bytes": None, "low": False, "reserve_held": False}
    assert space.may_flush(PLENTY)
    assert reactor.getDelayedCalls() == []
    await space.stopService()
    assert said() == []


@pytest.mark.parametrize("segment_bytes", [32 * 1024, 2**24, 2**31])
@pytest.mark.parametrize("memory_bytes", [2**22, 2**26, 2**34])
def test_the_reserve_holds_what_a_node_may_need_at_once(
    segment_bytes: int, memory_bytes: int
) -> None:
    storage = ClusterStorage(segment_bytes=segment_bytes, memory_bytes=memory_bytes)
    marks = Marks.of(storage)
    assert marks.reserve_bytes >= 2 * segment_bytes
    # When it is given up, one of RocksDB's write buffers can be flushed.
    assert marks.reserve_bytes >= memory_bytes // 8
    assert marks.reserve_bytes > FLUSH_SLACK_BYTES
    assert marks.disk_release_bytes < marks.disk_low_bytes < marks.disk_high_bytes
    assert marks.remake_bytes - marks.reserve_bytes >= marks.disk_high_bytes

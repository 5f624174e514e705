"""The scan reads everything at its own pace, ends when it is told to, and says what it finds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.config.cluster import default_cluster
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.errors import DiskError, JournalDamaged, KvPaxosError, StateClosed, StateDamaged
from kvpaxos.journal.log import Journal
from kvpaxos.journal.mending import Mending
from kvpaxos.node.repairs import Repairs
from kvpaxos.node.scanner import Scanner, scanner_of
from kvpaxos.node.state import State
from kvpaxos.node.threads import SYSTEM_THREADS
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.messages import Command
from kvpaxos.store.commands import Set, encode_operation
from test.node.members import soon

FAST = 2**40
DAY_S = 24 * 60 * 60


class Turns(Clock):
    """A clock, and the calls that threads want to be made."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def callFromThread(self, call: Callable[..., object], *args: Any, **_: Any) -> None:  # noqa: N802
        self.turns.append((call, args))

    def turn(self) -> bool:
        while self.turns:
            call, args = self.turns.pop(0)
            call(*args)
        return True


class FakeJournal:
    """A journal of some pieces.

    :ivar error: what is found at its end.
    :ivar gate: is waited for before each piece.
    """

    def __init__(self) -> None:
        self.pieces = [1000, 2000]
        self.error: KvPaxosError | None = None
        self.notes: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.audits = 0
        self.closed = 0

    def audit(self, note: Callable[[str], None]) -> Generator[int, None, None]:
        self.audits += 1
        return self._pieces(note)

    def _pieces(self, note: Callable[[str], None]) -> Generator[int, None, None]:
        try:
            for piece in self.pieces:
                assert self.gate.wait(10)
                yield piece
            for told in self.notes:
                note(told)
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1


class World:
    def __init__(self, directory: Path, *, bytes_per_s: int = FAST) -> None:
        self.reactor = Turns()
        self.journal = FakeJournal()
        self.engine = RocksEngine(directory / "state")
        self.state = State(self.engine, 0, value_bytes_max=10000)
        for slot in range(1, 100):
            write(self.state, slot)
        self.repairs = Repairs(directory)
        self.failures: list[Failure] = []
        self.scanner = Scanner(
            cast(Journal, self.journal),
            self.state,
            self.repairs,
            bytes_per_s=bytes_per_s,
            every_s=DAY_S,
            reactor=self.reactor,
            failed=self.failures.append,
        )

    async def until(self, happened: Callable[[], bool]) -> None:
        await soon(lambda: self.reactor.turn() and happened())

    async def scanned(self, times: int = 1) -> None:
        await self.until(lambda: self.scanner.completed == times)

    def close(self) -> None:
        """Leave no thread behind, whatever has failed."""
        self.journal.gate.set()
        self.scanner._stopping.set()
        if self.scanner._pool.started:
            self.scanner._pool.stop()
        self.engine.close()

    async def stop(self) -> None:
        ended: list[object] = []
        self.scanner.stopService().addCallback(ended.append)
        await self.until(lambda: bool(ended))
        self.engine.close()


def write(state: State, slot: int) -> None:
    body = encode_operation(Set(b"key %d" % slot, b"v" * 1000))
    state.apply(Command(NodeId("n01"), 1, slot, slot - 1, body))
    state.commit(Slot(slot))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest_twisted.ensureDeferred
async def test_journal_and_state_are_read_once_a_period(world: World) -> None:
    threads = threading.active_count()
    world.scanner.startService()
    await world.scanned()
    assert world.scanner.bytes > 3000 + 99 * 1000
    assert world.scanner.describe() == {
        "part": None,
        "bytes": world.scanner.bytes,
        "completed": 1,
        "completed_ago_s": 0.0,
    }
    world.reactor.advance(DAY_S - 1)
    assert world.journal.audits == 1
    assert world.scanner.describe()["completed_ago_s"] == DAY_S - 1
    world.reactor.advance(1)
    await world.scanned(2)
    assert world.journal.audits == 2
    await world.stop()
    assert world.reactor.getDelayedCalls() == []
    assert threading.active_count() == threads
    assert world.failures == []


@pytest_twisted.ensureDeferred
async def test_a_rate_of_nothing_reads_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, bytes_per_s=0)
    world.scanner.startService()
    world.reactor.advance(10 * DAY_S)
    assert (world.journal.audits, world.scanner.describe()["completed_ago_s"]) == (0, None)
    await world.stop()


@pytest.mark.parametrize("mending", [False, True])
def test_what_stands_in_for_a_journal_that_is_mended_is_not_scanned(
    world: World,
    mending: bool,  # noqa: FBT001
) -> None:
    world.repairs.mending = Mending([]) if mending else None
    owned = (default_cluster(), cast(Journal, world.journal), world.state, world.repairs)
    scanner = scanner_of(
        *owned, SYSTEM_THREADS, reactor=world.reactor, failed=world.failures.append
    )
    assert (scanner._bytes_per_s > 0) is not mending


@pytest_twisted.ensureDeferred
async def test_a_scan_that_pauses_ends_at_once_when_it_is_stopped(tmp_path: Path) -> None:
    # It would take days.
    world = World(tmp_path, bytes_per_s=1)
    world.journal.pieces = [2**20] * 10
    world.scanner.startService()
    await world.until(lambda: world.scanner.bytes > 0)
    assert world.scanner.part == "journal"
    await world.stop()
    assert (world.scanner.bytes, world.scanner.completed) == (2**20, 0)
    assert world.journal.closed == 1
    assert world.failures == []


@pytest_twisted.ensureDeferred
async def test_a_scan_that_takes_longer_than_the_period_is_not_begun_twice(world: World) -> None:
    world.journal.gate.clear()
    world.scanner.startService()
    world.reactor.advance(3 * DAY_S)
    assert world.journal.audits == 1
    world.journal.gate.set()
    await world.scanned(2)
    await world.stop()
    assert world.journal.audits == 2


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("error", [JournalDamaged("j", 1, "a vote"), DiskError("j: no")])
async def test_what_is_found_in_the_journal_is_told(world: World, error: KvPaxosError) -> None:
    world.journal.error = error
    world.scanner.startService()
    await world.until(lambda: bool(world.failures))
    assert world.failures[0].value is error
    await world.stop()
    assert world.scanner.completed == 0


@pytest_twisted.ensureDeferred
async def test_what_does_no_harm_is_noted_and_the_scan_goes_on(world: World) -> None:
    world.journal.notes = ["one copy of the header is damaged"]
    world.scanner.startService()
    await world.scanned()
    assert list(world.repairs.findings) == ["one copy of the header is damaged"]
    await world.stop()
    assert world.failures == []


@pytest_twisted.ensureDeferred
async def test_a_record_that_does_not_give_the_digest_is_told(world: World) -> None:
    # As a block would that rotted together with its checksum.
    world.engine.write({world.state.machine._layout.user(b"key 7"): b"nonsense"})
    world.scanner.startService()
    await world.until(lambda: bool(world.failures))
    assert world.failures[0].check(StateDamaged)
    assert "its records do not give the digest" in world.failures[0].getErrorMessage()
    await world.stop()


@pytest_twisted.ensureDeferred
async def test_a_block_that_was_changed_on_the_disk_is_told(world: World, tmp_path: Path) -> None:
    world.engine.flush()
    (table,) = (tmp_path / "state").glob("*.sst")
    data = bytearray(table.read_bytes())
    data[len(data) // 4] ^= 1
    with table.open("r+b") as file:
        file.write(data)
    world.scanner.startService()
    await world.until(lambda: bool(world.failures))
    assert world.failures[0].check(StateDamaged)
    await world.stop()


@pytest_twisted.ensureDeferred
async def test_writes_go_on_during_a_scan_and_change_nothing_of_it(world: World) -> None:
    world.journal.gate.clear()
    world.scanner.startService()
    for slot in range(100, 200):
        write(world.state, slot)
    world.journal.gate.set()
    for slot in range(200, 300):
        write(world.state, slot)
        world.reactor.turn()
    await world.scanned()
    await world.stop()
    assert world.failures == []


class Replaced(Scanner):
    """Has another state take the place of the one that it has begun to read."""

    other: RocksEngine | None = None

    @override
    def _walk(self, sizes: Generator[int, None, None]) -> None:
        if self.part == "state" and self.other is not None:
            next(sizes)
            engine, self.other = self.other, None
            self._state.engine.close()
            self._state.install(engine)
        super()._walk(sizes)


@pytest_twisted.ensureDeferred
async def test_a_state_that_is_replaced_meanwhile_is_read_instead(
    world: World, tmp_path: Path
) -> None:
    world.scanner.__class__ = Replaced
    other = RocksEngine(tmp_path / "other")
    world.scanner.other = other  # type: ignore[attr-defined]
    world.scanner.startService()
    await world.scanned()
    assert world.state.engine is other
    with pytest.raises(StateClosed):
        world.engine.get(b"key")
    await world.stop()
    other.close()
    assert world.failures == []

"""Formation with a journal that takes its time, or refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from kvpaxos.errors import DiskError
from kvpaxos.node.assembly import Assembly
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import EMPTY, Form, Formation, FormationMessage, Standing, Stands
from kvpaxos.paxos.records import Formed, Forming, NodeRecord

A, B = NodeId("n01"), NodeId("n02")
FORMING = Forming("c", A, (A, B), 1)


class World:
    """An assembly for ``n01`` of two, and all that it did."""

    def __init__(
        self,
        *,
        forming: Forming | None = None,
        formed: Formed | None = None,
        may_rejoin: bool = False,
    ) -> None:
        self.syncs: list[tuple[Sequence[NodeRecord], Deferred[None]]] = []
        self.told: list[tuple[NodeId, FormationMessage]] = []
        self.formed: list[str] = []
        self.fatal: list[str] = []
        self.assembly = Assembly(
            Formation(
                A,
                (A, B),
                forming=forming,
                formed=formed,
                fresh_cluster="c",
                may_rejoin=may_rejoin,
            ),
            persist=self.persist,
            tell=lambda peer, message: self.told.append((peer, message)),
            formed=self.formed.append,
            fatal=self.fatal.append,
        )

    def persist(self, records: Sequence[NodeRecord]) -> Deferred[None]:
        self.syncs.append((records, Deferred()))
        return self.syncs[-1][1]


@implementer(ILogObserver)
class Failures:
    """Keeps the failures that were logged."""

    def __init__(self) -> None:
        self.seen: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.seen.append(event)


@pytest.fixture
def failures() -> Iterator[Failures]:
    observer = Failures()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)


def test_nothing_is_told_before_the_journal_has_it() -> None:
    world = World()
    world.assembly.begin()
    world.assembly.heard(B, EMPTY, ())
    records, synced = world.syncs.pop()
    assert records == (FORMING,)
    assert world.told == []
    synced.callback(None)
    assert (B, Form("c", (A, B))) in world.told


def test_formed_is_said_once_the_journal_has_it() -> None:
    world = World(forming=FORMING)
    world.assembly.begin()
    world.assembly.heard(B, Standing("c"), ())
    _, synced = world.syncs.pop()
    assert world.formed == []
    synced.callback(None)
    assert world.formed == ["c"]
    assert world.told == [(B, Stands(Standing("c", formed=True)))]


def test_a_journal_that_says_formed_is_enough() -> None:
    world = World(forming=FORMING, formed=Formed("c"))
    world.assembly.begin()
    assert world.formed == ["c"]
    assert world.syncs == []


def test_a_journal_that_refuses_is_fatal_and_the_end(failures: Failures) -> None:
    world = World()
    world.assembly.begin()
    world.assembly.heard(B, EMPTY, ())
    world.syncs.pop()[1].errback(DiskError("run/n01: no space left"))
    world.assembly.heard(B, EMPTY, ())
    world.assembly.remind()
    assert world.fatal == ["formation broke off: run/n01: no space left"]
    assert world.told == []
    assert world.syncs == []
    assert len(failures.seen) == 1


def test_a_lost_disk_is_fatal_once() -> None:
    world = World()
    world.assembly.begin()
    for _ in range(3):
        world.assembly.heard(B, Standing("c", formed=True), ())
    assert len(world.fatal) == 1
    assert "already formed" in world.fatal[0]


def test_a_node_comes_back_with_a_new_incarnation_once_the_journal_has_it() -> None:
    world = World(may_rejoin=True)
    world.assembly.begin()
    world.assembly.heard(B, Standing("c", formed=True), ((A, 2),))
    for record in (Forming("c", A, (A, B), 3), Formed("c")):
        records, synced = world.syncs.pop()
        assert (records, world.formed) == ((record,), [])
        synced.callback(None)
    assert (world.formed, world.fatal) == (["c"], [])
    assert world.assembly.news() == Stands(Standing("c", formed=True), ((A, 3),))

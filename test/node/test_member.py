"""A node that finds its disk damaged is followed by the next one, but not for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from typing_extensions import override

from kvpaxos.engine.shelf import MemoryShelf
from kvpaxos.errors import (
    DiskError,
    JournalDamaged,
    KvPaxosError,
    RunOver,
    StartError,
    StateDamaged,
)
from kvpaxos.node.member import Member
from kvpaxos.node.repairs import REPAIRS_MAX, Repairs

JOURNAL = JournalDamaged("journal-1.log", 4096, "Vote in slot 3")
STATE = StateDamaged("the state", "a block")
REFUSED = DiskError("journal-1.log: cannot sync it (Input/output error)")


class Refused(Exception):
    """The process would end here."""


class FakeNode:
    """A run of a node, as far as its member knows it.

    :ivar ends: what its stop returns.
    :ivar refusal: what its disk says when its journal is closed.
    """

    refusal: DiskError | None = None

    @property
    def journal(self) -> FakeNode:
        return self

    def __init__(self, fatal: Callable[[Exception], None], trouble: KvPaxosError | None) -> None:
        self.halt = fatal
        self.events: list[str] = []
        self.ends: Deferred[None] = succeed(None)
        self._trouble = trouble

    def startService(self) -> None:  # noqa: N802 -- Twisted names it
        if self._trouble is not None:
            raise self._trouble
        self.events.append("started")

    def stopService(self) -> Deferred[None]:  # noqa: N802 -- Twisted names it
        self.events.append("stopped")
        return self.ends


class CountingShelf(MemoryShelf):
    """Counts how often a state was set aside."""

    def __init__(self) -> None:
        super().__init__()
        self.asides = 0

    @override
    def set_aside(self) -> Path | None:
        self.asides += 1
        return super().set_aside()


class World:
    """A member, and whoever runs it.

    :ivar runs: the nodes that were made.
    :ivar troubles: what the next ones meet at their start.
    :ivar unmade: what the next one meets when it is made.
    """

    def __init__(self, directory: Path, *, alone: bool = False) -> None:
        self.now = 0.0
        self.runs: list[FakeNode] = []
        self.troubles: list[KvPaxosError | None] = []
        self.unmade: KvPaxosError | None = None
        self.told: list[str] = []
        self.shelf = CountingShelf()
        self.repairs = Repairs(directory)
        self.member = Member(
            self.make,
            self.repairs,
            lambda: self.shelf,
            alone=alone,
            refuse=self.refuse,
            fatal=self.told.append,
            monotonic=lambda: self.now,
        )

    def make(
        self, refuse: Callable[[KvPaxosError], NoReturn], fatal: Callable[[Exception], None]
    ) -> Any:
        assert refuse is not self.refuse
        if self.unmade is not None:
            raise self.unmade
        node = FakeNode(fatal, self.troubles.pop(0) if self.troubles else None)
        self.runs.append(node)
        return node

    def refuse(self, error: KvPaxosError) -> NoReturn:
        raise Refused(str(error))

    @property
    def events(self) -> list[list[str]]:
        return [run.events for run in self.runs]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(("damage", "asides"), [(JOURNAL, 0), (STATE, 1)])
def test_a_node_that_finds_damage_is_stopped_and_the_next_one_started(
    world: World, damage: KvPaxosError, asides: int
) -> None:
    world.member.startService()
    world.runs[0].halt(damage)
    assert world.events == [["started", "stopped"], ["started"]]
    assert (world.told, world.shelf.asides) == ([], asides)
    assert (world.repairs.count, list(world.repairs.findings)) == (1, [str(damage)])
    assert world.member.node is world.runs[1]  # type: ignore[comparison-overlap]


def test_the_next_node_is_made_only_once_the_last_one_has_stopped(world: World) -> None:
    world.member.startService()
    stopping: Deferred[None] = Deferred()
    world.runs[0].ends = stopping
    world.runs[0].halt(STATE)
    assert (len(world.runs), world.shelf.asides) == (1, 0)
    stopping.callback(None)
    assert (len(world.runs), world.shelf.asides) == (2, 1)


def test_a_run_that_is_over_is_followed_by_the_next_though_not_for_ever(world: World) -> None:
    world.member.startService()
    for _ in range(REPAIRS_MAX):
        world.runs[-1].halt(RunOver("its journal is mended."))
    assert len(world.runs) == REPAIRS_MAX + 1
    assert world.events[:2] == [["started", "stopped"], ["started", "stopped"]]
    assert (world.told, world.shelf.asides, world.repairs.count) == ([], 0, 0)
    # What it has written is lost again and again.
    world.runs[-1].halt(RunOver("its journal is mended."))
    (sentence,) = world.told
    assert sentence.startswith("its journal is mended. This disk was found damaged more than")
    assert len(world.runs) == REPAIRS_MAX + 1


def test_a_run_that_is_over_while_its_member_stops_is_followed_by_none(world: World) -> None:
    world.member.startService()
    world.runs[0].ends = Deferred()
    world.member.stopService()
    world.runs[0].halt(RunOver("its journal is mended."))
    assert (len(world.runs), world.told) == (1, [])


@pytest.mark.parametrize("error", [REFUSED, StartError("its disk is empty"), KvPaxosError("?")])
def test_what_is_no_damage_ends_the_node(world: World, error: KvPaxosError) -> None:
    world.member.startService()
    world.runs[0].halt(error)
    assert world.told == [str(error)]
    assert world.events == [["started"]]


@pytest.mark.parametrize("damage", [JOURNAL, STATE])
def test_without_other_members_damage_ends_the_node(tmp_path: Path, damage: KvPaxosError) -> None:
    world = World(tmp_path, alone=True)
    world.member.startService()
    world.runs[0].halt(damage)
    assert world.told == [str(damage)]
    assert (len(world.runs), world.shelf.asides) == (1, 0)

    world = World(tmp_path, alone=True)
    world.troubles = [damage]
    world.member = Member(
        world.make, world.repairs, lambda: world.shelf, alone=True,
        refuse=world.refuse, fatal=world.told.append,
    )  # fmt: skip
    with pytest.raises(Refused, match="one that has none needs a sound copy"):
        world.member.startService()
    assert world.shelf.asides == 0


def test_a_disk_that_is_damaged_again_and_again_ends_the_node_with_one_sentence(
    world: World,
) -> None:
    world.member.startService()
    for _ in range(REPAIRS_MAX + 1):
        world.runs[-1].halt(STATE)
        world.now += 1
    assert len(world.runs) == REPAIRS_MAX + 1
    (sentence,) = world.told
    assert sentence.startswith(str(STATE))
    assert sentence.endswith("replace it before you start the node again")
    # Whoever is told stops the service, and the node is stopped once.
    world.member.stopService()
    assert world.events[-1] == ["started", "stopped"]


def test_damage_at_the_start_is_repaired_likewise(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.troubles = [JOURNAL, STATE]
    world.runs[0]._trouble = STATE
    world.member.startService()
    assert world.events == [[], [], [], ["started"]]
    assert world.shelf.asides == 2


def test_damage_at_every_start_is_refused_after_a_while(world: World) -> None:
    world.troubles = [STATE] * (REPAIRS_MAX + 1)
    world.runs[0]._trouble = STATE
    with pytest.raises(Refused, match="replace it before you start the node again"):
        world.member.startService()
    assert len(world.runs) == REPAIRS_MAX + 1


def test_what_keeps_the_next_node_from_starting_is_told(world: World) -> None:
    world.member.startService()
    world.unmade = REFUSED
    world.runs[0].halt(STATE)
    assert world.told == [str(REFUSED)]
    # It has been stopped already.
    world.member.stopService()
    assert world.events == [["started", "stopped"]]


def test_a_state_that_cannot_even_be_closed_is_repaired(world: World) -> None:
    world.member.startService()
    world.runs[0].ends = fail(DiskError("the state cannot be written"))
    world.runs[0].halt(STATE)
    assert world.events == [["started", "stopped"], ["started"]]


def test_nothing_is_repaired_on_a_disk_that_did_not_sync_what_it_was_given(world: World) -> None:
    world.member.startService()
    world.runs[0].refusal = REFUSED
    world.runs[0].halt(STATE)
    assert world.events == [["started", "stopped"]]
    assert world.told == [str(REFUSED)]


def test_nor_if_it_did_not_at_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeNode, "refusal", REFUSED)
    world.runs[0]._trouble = STATE
    with pytest.raises(Refused, match="cannot sync"):
        world.member.startService()
    assert len(world.runs) == 1


def test_a_stop_during_a_repair_ends_it_and_waits_for_it(world: World) -> None:
    world.member.startService()
    stopping: Deferred[None] = Deferred()
    world.runs[0].ends = stopping
    world.runs[0].halt(JOURNAL)
    ended: list[None] = []
    world.member.stopService().addCallback(ended.append)
    assert ended == []
    stopping.callback(None)
    assert ended == [None]
    assert world.events == [["started", "stopped"]]
    assert world.told == []


def test_a_stopped_member_stops_its_node_and_repairs_nothing_any_more(world: World) -> None:
    world.member.startService()
    world.runs[0].ends = Deferred()
    world.member.stopService()
    world.runs[0].halt(STATE)
    assert world.events == [["started", "stopped"]]
    assert world.told == [str(STATE)]

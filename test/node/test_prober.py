"""A node says when it serves, when it does not any more, and whom it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from kvpaxos.errors import Unavailable
from kvpaxos.node.http.store import Receipt
from kvpaxos.node.prober import EAGER_S, PROBE_S, TOLD_S, Prober


class World:
    """A node that reads if it can, and what it says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.doubt: str | None = None
        self.serves = False
        self.prober = Prober(self.read, doubt=lambda: self.doubt, clock=self.clock)

    def read(self, *, timeout_s: float) -> Deferred[Receipt]:
        assert timeout_s == PROBE_S
        if self.doubt is not None:
            raise Unavailable(self.doubt)
        return (
            succeed(Receipt(7, "n01", "quorum"))
            if self.serves
            else fail(Unavailable("nobody leads"))
        )

    def pass_s(self, seconds: float) -> list[str]:
        """Let time pass, and return what is said meanwhile."""
        with capturedLogs() as events:
            for _ in range(int(seconds / EAGER_S)):
                self.clock.advance(EAGER_S)
        return told(events)


def told(events: Iterable[LogEvent]) -> list[str]:
    return list(map(formatEvent, events))


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.prober.stopService()
    assert world.clock.getDelayedCalls() == []


def test_the_first_read_that_ends_makes_a_node_ready_and_one_that_fails_makes_it_not(
    world: World,
) -> None:
    world.prober.startService()
    assert world.pass_s(1) == []
    world.serves = True
    assert world.pass_s(1) == ["ready: a linearizable read has finished"]
    assert world.pass_s(5) == []
    world.serves = False
    assert world.pass_s(5) == ["no longer ready: nobody leads"]
    assert not world.prober.ready


def test_a_read_that_cannot_begin_makes_a_node_not_ready(world: World) -> None:
    world.serves = True
    world.prober.startService()
    world.doubt = "its disk is gone"
    assert world.pass_s(2) == [
        "no longer ready: its disk is gone",
        "does not serve: its disk is gone",
    ]


def test_for_whom_a_node_waits_is_said_at_once_and_then_now_and_then_if_it_changes(
    world: World,
) -> None:
    world.doubt = "it waits for n02 and n03"
    with capturedLogs() as events:
        world.prober.startService()
    assert told(events) == ["does not serve: it waits for n02 and n03"]
    assert world.pass_s(2 * TOLD_S) == []
    said = []
    for percent in range(1, 100):
        world.doubt = f"{percent} % of the state have come"
        said += world.pass_s(TOLD_S / 10)
    assert 9 <= len(said) <= 11
    world.doubt, world.serves = None, True
    assert world.pass_s(1) == ["ready: a linearizable read has finished"]

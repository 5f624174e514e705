"""What a node that is to be stopped waits for, by a clock that only the tests move."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from twisted.internet.task import Clock

from kvpaxos.errors import Unavailable
from kvpaxos.node.departure import LEAVE_S_MAX, LOOK_S, Departure
from kvpaxos.node.requests import Executed, Requests
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Answer, Event, Leaving
from kvpaxos.paxos.limits import Timing
from kvpaxos.paxos.messages import Health
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.store.results import Result

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")
"""The node is n01."""

DONE = Executed(Result("ok", None, 1), Slot(1))


@dataclass
class Replica:
    """What a replica knows of the others."""

    node: NodeId
    peers: Peers
    leader: Ballot


@dataclass
class Stage:
    """A node that leads two others, one of which may have a request of a client open."""

    clock: Clock = field(default_factory=Clock)
    posted: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.peers = Peers(A, Quorum(frozenset((A, B, C))), Timing())
        self.replica = Replica(A, self.peers, Ballot(1, A))
        self.requests = Requests(self.posted.append, self.clock.seconds, lambda: "n01")
        self.ends: list[object] = []
        for node in (B, C):
            self.beats(node, able=True)

    def beats(self, node: NodeId, *, able: bool) -> None:
        """Let ``node`` be heard and reached now."""
        now = self.clock.seconds()
        health = Health(self.replica.leader, able, NO_SLOT, Slot(1), NO_SLOT)
        self.peers.heard(node, health, now)
        self.peers.reached(node, health, now, now)

    def write(self) -> int:
        """Open a request."""
        self.requests.write(b"body", 60.0).addErrback(lambda _: None)
        return len(self.requests)

    def answer(self, request: int) -> None:
        self.requests.answered(Answer(request, DONE))

    def leave(self) -> None:
        departure = Departure(
            self.replica,
            self.requests,
            post=self.posted.append,
            clock=self.clock,
            monotonic=self.clock.seconds,
        )
        departure.begin().addCallback(self.ends.append)

    def pass_looks(self, count: int) -> None:
        self.clock.pump([LOOK_S] * count)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_follower_without_requests_waits_for_nothing(stage: Stage) -> None:
    stage.replica.leader = Ballot(1, B)
    stage.leave()
    assert stage.ends
    assert stage.posted == [Leaving()]


def test_a_leader_waits_until_another_leads(stage: Stage) -> None:
    stage.leave()
    assert stage.posted == [Leaving()]
    stage.pass_looks(2)
    # It has handed over, and hears nobody yet.
    stage.replica.leader = ZERO_BALLOT
    stage.pass_looks(2)
    assert not stage.ends
    stage.replica.leader = Ballot(2, B)
    stage.pass_looks(1)
    assert stage.ends


def test_a_leader_waits_no_longer_once_all_others_are_stopping_too(stage: Stage) -> None:
    stage.leave()
    stage.beats(B, able=False)
    stage.pass_looks(1)
    assert not stage.ends
    stage.beats(C, able=False)
    stage.pass_looks(1)
    assert stage.ends


def test_a_leader_waits_no_longer_once_all_others_are_gone(stage: Stage) -> None:
    stage.leave()
    stage.replica.leader = ZERO_BALLOT
    stage.peers.lose(B)
    stage.pass_looks(1)
    assert not stage.ends
    stage.peers.lose(C)
    stage.pass_looks(1)
    assert stage.ends


def test_a_leader_alone_waits_for_its_requests_only(stage: Stage) -> None:
    for node in (B, C):
        stage.peers.lose(node)
    stage.leave()
    assert stage.ends


def test_requests_under_way_are_waited_for_and_no_new_ones_are_taken(stage: Stage) -> None:
    request = stage.write()
    stage.replica.leader = Ballot(1, B)
    stage.leave()
    with pytest.raises(Unavailable, match="this node is stopping"):
        stage.write()
    stage.pass_looks(2)
    assert not stage.ends
    stage.answer(request)
    stage.pass_looks(1)
    assert stage.ends


def test_requests_that_no_quorum_can_end_are_not_waited_for(stage: Stage) -> None:
    stage.write()
    stage.leave()
    for node in (B, C):
        stage.peers.lose(node)
    # A connection that broke may be there again at once.
    stage.pass_looks(1)
    assert not stage.ends
    looks = 1
    while not stage.ends:
        stage.pass_looks(1)
        looks += 1
    assert looks < LEAVE_S_MAX / LOOK_S / 2


def test_it_does_not_wait_for_ever(stage: Stage) -> None:
    stage.write()
    stage.leave()
    looks = 0
    while not stage.ends:
        for node in (B, C):
            stage.beats(node, able=True)
        stage.pass_looks(1)
        looks += 1
    assert looks == pytest.approx(LEAVE_S_MAX / LOOK_S, abs=1)
    assert not stage.clock.getDelayedCalls()

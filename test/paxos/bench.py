"""One replica on a bench: its events are given by hand, on a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final, TypeVar

from typing_extensions import override

from kvpaxos.paxos.ballot import Ballot, NodeId
from kvpaxos.paxos.effects import Effects, Event, Received, Ticked
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Health, Message, Ping, Pong
from kvpaxos.paxos.proposer import Leading, Preparing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Promised
from kvpaxos.paxos.replica import Replica
from test.paxos.values import THREE, A, B, C, health, promise

TICK_S: Final = 0.02

TIMING: Final = Timing()

M = TypeVar("M", bound=Message)


class Widest(Random):
    """Draws the longest of all waits."""

    @override
    def uniform(self, a: float, b: float) -> float:
        return b


def messages(effects: Effects, kind: type[M]) -> list[tuple[NodeId, M]]:
    """Return the messages of one kind, with the nodes that they go to."""
    return [
        (envelope.to, envelope.message)
        for envelope in effects.sends + effects.replies
        if isinstance(envelope.message, kind)
    ]


class Bench:
    """Node a, among peers that do what the test says.

    :ivar now: the time that the replica is told.
    :ivar history: the effects of all steps so far.
    """

    def __init__(
        self,
        quorum: Quorum = THREE,
        memory: Memory | None = None,
        *,
        limits: Limits | None = None,
        random: Random | None = None,
    ) -> None:
        self.now = 100.0
        self.history: list[Effects] = []
        self.replica = Replica(
            A,
            quorum,
            memory or Memory(),
            random=random or Random(1),
            now=self.now,
            limits=limits,
            timing=TIMING,
        )

    @property
    def leader(self) -> Ballot:
        """Who leads, as this node sees it."""
        return self.replica.leader

    def leads(self) -> bool:
        """Whether this node does."""
        return isinstance(self.replica.role, Leading)

    def stands(self) -> bool:
        """Whether it would like to."""
        return isinstance(self.replica.role, Preparing)

    @property
    def ballots(self) -> list[Ballot]:
        """The ballots that this node has stood with so far."""
        promised = (
            record.ballot
            for effects in self.history
            for record in effects.records
            if isinstance(record, Promised)
        )
        return [ballot for ballot in promised if ballot.node == A]

    def step(self, event: Event) -> Effects:
        """Let the replica take ``event`` now."""
        effects = self.replica.step(event, self.now)
        self.history.append(effects)
        return effects

    def receive(self, sender: NodeId, message: Message) -> Effects:
        """Let ``message`` come from ``sender``."""
        return self.step(Received(sender, message))

    def dialed_by(self, node: NodeId, says: Health) -> Effects:
        """Let a heartbeat come from ``node``: that is one way."""
        return self.receive(node, Ping(says, 0.0))

    def answered_by(self, node: NodeId, says: Health) -> Effects:
        """Let the answer to a heartbeat come from ``node``: that is the other way."""
        return self.receive(node, Pong(says, self.now))

    def touch(self, *nodes: NodeId, says: Health | None = None) -> None:
        """Exchange heartbeats with ``nodes``, both ways."""
        for node in nodes:
            self.dialed_by(node, says or health())
            self.answered_by(node, says or health())

    def tick(
        self,
        after_s: float = TICK_S,
        *,
        lag_s: float = 0.0,
        sync_s: float = 0.0,
        low: bool = False,
    ) -> Effects:
        """Let time pass."""
        self.now += after_s
        return self.step(Ticked(lag_s, sync_s, low))

    def live(
        self,
        seconds: float,
        *,
        dialed_by: Mapping[NodeId, Health] | None = None,
        answered_by: Mapping[NodeId, Health] | None = None,
        both: Mapping[NodeId, Health] | None = None,
        sync_s: float = 0.0,
        low: bool = False,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Let time pass tick by tick, with heartbeats in between, and end early if it is time."""
        end = self.now + seconds
        while self.now < end and not until():
            for node, says in {**(dialed_by or {}), **(both or {})}.items():
                self.dialed_by(node, says)
            for node, says in {**(answered_by or {}), **(both or {})}.items():
                self.answered_by(node, says)
            self.tick(sync_s=sync_s, low=low)

    def campaign(self) -> Ballot:
        """Have it stand for leader, b and c being silent followers; return its ballot."""
        self.live(2.0, both={B: health(), C: health()}, until=self.stands)
        role = self.replica.role
        assert isinstance(role, Preparing)
        return role.ballot

    def lead(self) -> Ballot:
        """Have it lead, with nothing decided yet; return its ballot."""
        ballot = self.campaign()
        for voter in (A, B):
            self.receive(voter, promise(ballot=ballot))
        assert self.leads()
        return ballot

    def follow(self, leader: Ballot) -> None:
        """Have it follow ``leader``, with both peers reached."""
        self.touch(B, C, says=health(leader))
        assert self.leader == leader

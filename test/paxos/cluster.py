"""A few replicas, a network that loses nothing, disks that take no time; and counts of all that."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from kvpaxos.journal.state import needs_sync
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.effects import (
    Answer,
    Applied,
    Dialed,
    Effects,
    Event,
    Outcome,
    Proposed,
    ReadReady,
    ReadWanted,
    Received,
    Ticked,
    Wish,
)
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Batch, Envelope
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import ReplicaRecord
from kvpaxos.paxos.replica import Replica
from test.paxos.values import A

TICK_S: Final = 0.02

NEVER: Final = 1e9


@dataclass
class Node:
    """A replica, and what came of its steps.

    :ivar records: what it wrote down.
    :ivar syncs: in how many steps there was something that had to be synced.
    :ivar decided: the batches that were decided, in order.
    """

    replica: Replica
    records: list[ReplicaRecord] = field(default_factory=list)
    syncs: int = 0
    decided: list[Batch] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    reads: list[ReadReady] = field(default_factory=list)


class Cluster:
    """Node a is the first to stand for leader, and so it leads.

    :ivar sent: how many messages of each kind have left a node for another.
    :ivar held: messages are held back, and wait in line, while this is set.
    """

    def __init__(
        self, quorum: Quorum, *, limits: Limits | None = None, timing: Timing | None = None
    ) -> None:
        self.now = 100.0
        self.sent: Counter[str] = Counter()
        self.held = False
        self._request = 0
        self._line: deque[tuple[NodeId, Event]] = deque()
        self.nodes = {
            name: Node(
                Replica(
                    name,
                    quorum,
                    Memory(),
                    random=Random(number),
                    now=self.now,
                    limits=limits,
                    timing=timing,
                )
            )
            for number, name in enumerate(sorted(quorum.members))
        }
        for name in self.nodes:
            for peer in self.nodes:
                if peer != name:
                    self.step(name, Dialed(peer))
        for _ in range(20):
            self.now += TICK_S
            self.step(A, Ticked())
        for _ in range(20):
            self.tick()
        assert {node.replica.leader.node for node in self.nodes.values()} == {A}

    def tick(self) -> None:
        """Let time pass at every node."""
        self.now += TICK_S
        for name in self.nodes:
            self.step(name, Ticked())

    def step(self, name: NodeId, event: Event) -> None:
        """Let a node take an event, and all others what comes of it."""
        self._line.append((name, event))
        while self._line and not self.held:
            self._take(*self._line.popleft())

    def release(self) -> None:
        """Let go of what was held."""
        self.held = False
        while self._line:
            self._take(*self._line.popleft())

    def write(self, name: NodeId, count: int = 1) -> None:
        """Have clients of a node wish something, ``count`` of them at once."""
        self.step(name, Proposed(tuple(self._wish() for _ in range(count))))

    def read(self, name: NodeId, count: int = 1) -> None:
        """Have clients of a node read, ``count`` of them at once."""
        requests = tuple((self._number(), NEVER) for _ in range(count))
        self.step(name, ReadWanted(requests))

    def start_counting(self) -> None:
        """Forget what was counted so far."""
        self.sent.clear()
        for node in self.nodes.values():
            node.records.clear()
            node.answers.clear()
            node.reads.clear()
            node.decided.clear()
            node.syncs = 0

    def _wish(self) -> Wish:
        number = self._number()
        return Wish(number, b"%d" % number, NEVER)

    def _number(self) -> int:
        self._request += 1
        return self._request

    def _take(self, name: NodeId, event: Event) -> None:
        node = self.nodes[name]
        effects = node.replica.step(event, self.now)
        node.records += effects.records
        node.syncs += any(needs_sync(record) for record in effects.records)
        node.answers += effects.answers
        node.reads += effects.reads
        for envelope in effects.sends + effects.replies:
            self._send(name, envelope)
        self._apply(name, effects)

    def _send(self, sender: NodeId, envelope: Envelope) -> None:
        if envelope.to != sender:
            self.sent[type(envelope.message).__name__] += 1
        self._line.append((envelope.to, Received(sender, envelope.message)))

    def _apply(self, name: NodeId, effects: Effects) -> None:
        """Execute what is decided. Nothing is lost here, so nothing comes twice."""
        node = self.nodes[name]
        outcomes = []
        for decision in effects.decided:
            node.decided.append(decision.batch)
            outcomes += [
                Outcome(command.sequence, command.body)
                for command in decision.batch
                if command.node == name
            ]
        if outcomes:
            self._line.append((name, Applied(tuple(outcomes))))

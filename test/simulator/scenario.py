"""Runs the transcripts in ``test/scenarios``: a command, four dashes, what happened.

Nothing moves unless the transcript says so. Heartbeats travel like everything else, but are
not shown; chance is taken away: a node stands for leader only when told that its wait is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from typing_extensions import override

from kvpaxos.journal.state import GroupState, needs_sync
from kvpaxos.paxos.ballot import ZERO_BALLOT, NodeId
from kvpaxos.paxos.effects import (
    Applied,
    Decision,
    Dialed,
    Effects,
    Event,
    HungUp,
    Leaving,
    Lost,
    Outcome,
    Proposed,
    ReadWanted,
    Received,
    Ticked,
    Wish,
)
from kvpaxos.paxos.limits import Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Envelope, Ping, Pong
from kvpaxos.paxos.proposer import Following, Leading, Preparing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import ReplicaRecord
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.show import show
from test.simulator.machine import Machine

TICK_S = 0.02
FOREVER = 1000.0

TIMING = Timing(gather_s=0.0)
"""What is proposed is offered at once: a transcript says what waits."""


@dataclass
class Block:
    """One command of a transcript, with its comment and its outcome."""

    comment: str
    command: str
    outcome: str

    @override
    def __str__(self) -> str:
        return f"{self.comment}{self.command}\n----\n{self.outcome}"


def parse(text: str) -> Iterator[Block]:
    """Cut a transcript into its blocks, which blank lines separate."""
    for paragraph in text.strip().split("\n\n"):
        head, _, outcome = paragraph.partition("\n----")
        *comment, command = head.split("\n")
        yield Block("".join(line + "\n" for line in comment), command, outcome.lstrip("\n"))


class Patient(Random):
    """Chance that always chooses the longest wait, and numbers that begin at 1."""

    @override
    def uniform(self, a: float, b: float) -> float:
        return FOREVER

    @override
    def getrandbits(self, k: int, /) -> int:
        return 0


@dataclass
class Node:
    """One node: what it would remember, and what it has not been able to say yet."""

    name: NodeId
    replica: Replica | None = None
    machine: Machine = field(default_factory=Machine)
    durable: list[ReplicaRecord] = field(default_factory=list)
    unsynced: list[Effects] = field(default_factory=list)
    life: int = 0


class Scenario:
    """A cluster in which nothing moves unless the transcript says so."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, Node] = {}
        self._wire: list[tuple[NodeId, Envelope]] = []
        self._held: list[tuple[NodeId, Envelope]] = []
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self._lines: list[str] = []
        self._now = 0.0
        self._requests = count(1)
        self._wishes: dict[int, str] = {}

    def run(self, command: str) -> str:
        """Carry out one command and return the transcript of what it did."""
        self._lines = []
        verb, *words = command.split()
        carry_out: Callable[..., None] = getattr(self, f"_do_{verb}")
        carry_out(*words)
        return "\n".join(self._lines) or "ok"

    # What a transcript can say.

    def _do_nodes(self, *names: str) -> None:
        """Make nodes that know each other."""
        for name in names:
            self._nodes[NodeId(name)] = Node(NodeId(name))
        for node in self._nodes.values():
            self._boot(node)
        self._meet()

    def _do_stand(self, name: str) -> None:
        """End the wait of a node: it stands for leader, if it may."""
        replica = self._replica(name)
        assert isinstance(replica.role, Following), f"{name} does not wait"
        self._meet()
        replica.role.stand_at = self._now
        self._step(NodeId(name), Ticked())

    def _do_propose(self, name: str, *commands: str) -> None:
        """Have clients ask a node for commands, all at once."""
        wishes = []
        for command in commands:
            number = next(self._requests)
            self._wishes[number] = command
            wishes.append(Wish(number, command.encode(), FOREVER))
        self._step(NodeId(name), Proposed(tuple(wishes)))

    def _do_read(self, name: str, label: str) -> None:
        """Have a client ask a node for a linearizable read."""
        number = next(self._requests)
        self._wishes[number] = label
        self._step(NodeId(name), ReadWanted(((number, FOREVER),)))

    def _do_deliver(self, name: str) -> None:
        """Deliver what is on the wire to one node. What it writes is not durable yet."""
        node = NodeId(name)
        arriving = [(sender, e) for sender, e in self._wire if e.to == node]
        self._wire = [(sender, e) for sender, e in self._wire if e.to != node]
        for sender, envelope in arriving:
            self._arrive(sender, envelope)

    def _do_sync(self, name: str) -> None:
        """Let everything that a node has written become durable."""
        node = self._nodes[NodeId(name)]
        unsynced, node.unsynced = node.unsynced, []
        for effects in unsynced:
            node.durable += effects.records
            self._send(node.name, effects.replies)

    def _do_settle(self) -> None:
        """Deliver and sync until nothing moves."""
        while self._wire or any(node.unsynced for node in self._nodes.values()):
            for node in self._nodes:
                self._do_sync(node)
            wire, self._wire = self._wire, []
            for sender, envelope in wire:
                self._arrive(sender, envelope)

    def _do_lose(self, sender: str, receiver: str) -> None:
        """Lose what is on the wire from one node to another."""
        self._wire = [(s, e) for s, e in self._wire if (s, e.to) != (sender, receiver)]

    def _do_hold(self, sender: str, receiver: str) -> None:
        """Hold up what is on the wire from one node to another, until it is released."""
        self._held += [(s, e) for s, e in self._wire if (s, e.to) == (sender, receiver)]
        self._do_lose(sender, receiver)

    def _do_release(self) -> None:
        held, self._held = self._held, []
        self._wire += held

    def _do_crash(self, name: str) -> None:
        """Kill a node: what it had not synced is gone, and the others lose their connections."""
        node = self._nodes[NodeId(name)]
        node.replica, node.unsynced, node.machine = None, [], Machine()
        self._wire = [(sender, e) for sender, e in self._wire if e.to != name]
        for other in self._alive():
            self._step(other, Lost(node.name))
            self._step(other, HungUp(node.name))

    def _do_restart(self, name: str) -> None:
        """Start a node again from what its disk holds."""
        self._boot(self._nodes[NodeId(name)])
        self._meet()

    def _do_cut(self, *names: str) -> None:
        """Cut all links between the nodes named and the others."""
        for here in self._nodes:
            for there in self._nodes:
                if (here in names) != (there in names):
                    self._cut.add((here, there))

    def _do_heal(self) -> None:
        self._cut.clear()
        self._meet()

    def _do_wait(self, seconds: str) -> None:
        """Let time pass. Heartbeats travel meanwhile, and nothing else does."""
        until = self._now + float(seconds)
        while self._now < until:
            self._now += TICK_S
            for name in self._alive():
                self._step(name, Ticked())
            self._beat()

    def _do_leave(self, name: str) -> None:
        """Tell a node that it will be stopped."""
        self._step(NodeId(name), Leaving())

    # How it is carried out.

    def _alive(self) -> list[NodeId]:
        return [node.name for node in self._nodes.values() if node.replica is not None]

    def _replica(self, name: str) -> Replica:
        replica = self._nodes[NodeId(name)].replica
        assert replica is not None, f"{name} is down"
        return replica

    def _boot(self, node: Node) -> None:
        node.life += 1
        known = GroupState()
        for record in node.durable:
            for decision in known.apply(record):
                node.machine.apply(decision.slot, decision.batch)
        memory = Memory(node.life, known.promised, known.votes, known.decided_through)
        quorum = Quorum(frozenset(self._nodes))
        node.replica = Replica(
            node.name, quorum, memory, random=Patient(0), now=self._now, timing=TIMING
        )

    def _meet(self) -> None:
        """Let every node hear every other one that it is linked to."""
        for name in self._alive():
            for other in self._alive():
                if other != name:
                    self._step(name, Dialed(other))
        self._beat()

    def _beat(self) -> None:
        """Deliver heartbeats, and only those."""
        while beats := [(s, e) for s, e in self._wire if isinstance(e.message, Ping | Pong)]:
            self._wire = [(s, e) for s, e in self._wire if not isinstance(e.message, Ping | Pong)]
            for sender, envelope in beats:
                self._arrive(sender, envelope)

    def _arrive(self, sender: NodeId, envelope: Envelope) -> None:
        if self._nodes[envelope.to].replica is None:
            return
        if not isinstance(envelope.message, Ping | Pong):
            self._lines.append(f"{sender}>{envelope.to} {show(envelope.message)}")
        self._step(envelope.to, Received(sender, envelope.message))

    def _send(self, sender: NodeId, envelopes: tuple[Envelope, ...]) -> None:
        for envelope in envelopes:
            if (sender, envelope.to) not in self._cut:
                self._wire.append((sender, envelope))

    def _step(self, name: NodeId, event: Event) -> None:
        node, replica = self._nodes[name], self._replica(name)
        before = _doing(replica)
        effects = replica.step(event, self._now)
        self._send(name, effects.sends)
        self._lines += [f"  {name} writes {show(record)}" for record in effects.records]
        if any(map(needs_sync, effects.records)) or (effects.replies and node.unsynced):
            node.unsynced.append(effects)
        else:
            # Nothing rests on a watermark, and what waits for nothing need not wait.
            node.durable += effects.records
            self._send(name, effects.replies)
        doing = _doing(replica)
        if doing != before:
            self._lines.append(f"  {name} {doing}")
        self._apply(node, effects.decided)
        for answer in effects.answers:
            self._lines.append(f"  {name} answers {self._wishes[answer.request]}")
        for read in effects.reads:
            self._lines.append(
                f"  {name} reads {self._wishes[read.request]} at slot {node.machine.applied}"
            )

    def _apply(self, node: Node, decided: tuple[Decision, ...]) -> None:
        outcomes = []
        for decision in decided:
            executed = node.machine.apply(decision.slot, decision.batch)
            did = [f"{c.body.decode()}{'' if result else ' (refused)'}" for c, result in executed]
            self._lines.append(f"  {node.name} applies {decision.slot}: {' '.join(did) or 'noop'}")
            outcomes += [
                Outcome(command.sequence, result)
                for command, result in executed
                if (command.node, command.life) == (node.name, node.life)
            ]
        if outcomes:
            self._step(node.name, Applied(tuple(outcomes)))


def _doing(replica: Replica) -> str:
    match replica.role:
        case Following(leader=leader) if leader == ZERO_BALLOT:
            return "hears no leader"
        case Following(leader=leader):
            return f"follows {show(leader)}"
        case Preparing(ballot=ballot):
            return f"stands with {show(ballot)}"
        case Leading(ballot=ballot):
            return f"leads with {show(ballot)}"


def rewrite(path: Path) -> None:
    """Replace every outcome in ``path`` with what happens now."""
    scenario = Scenario()
    blocks = [Block(b.comment, b.command, scenario.run(b.command)) for b in parse(path.read_text())]
    path.write_text("\n\n".join(map(str, blocks)) + "\n")

"""What must be true after every step, whatever has happened. It sees all nodes at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision, Effects, Event, ReadReady, ReadWanted, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Accept, Accepted, Batch, Command, Prepare, Promise, Report
from kvpaxos.paxos.records import Installed
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.acceptors import Acceptors
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.ballots import Ballots
from kvpaxos.simulator.keeping import Keeping
from kvpaxos.simulator.renewals import Renewals
from kvpaxos.simulator.watch import Observer
from kvpaxos.simulator.written import Written
from kvpaxos.store.layout import Layout, applied_key
from kvpaxos.store.machine import Machine
from kvpaxos.store.meta import decode_meta
from kvpaxos.store.results import Result

_GROUP = 0

Disk: TypeAlias = tuple[NodeId, int]
"""A node, and which of its disks."""


class Checker(Observer):
    """Compares every node with the one log, and with a machine that executes nothing else.

    These are the rules:

    * *Agreement.* A slot is decided once, with the same batch on all nodes in all their lives.
    * *Promises.* What a node has shown of its promises to another it still knows in its next life
      on that disk, and they never fall. So it is with votes, until it knows what was decided; and
      candidates are told of them.
    * *Fresh.* What a linearizable read rests on holds all that was decided before it was asked for.
    * *Lives.* No two lives of a node have one number, once they may number commands.
    * *State.* After a slot every state has the digest of the machine here.
    * *Acknowledged.* What a client was told to be done is in the log, in that slot, with that
      result.

    What ballots oblige to is in `kvpaxos.simulator.ballots`, what a single node may say in
    `kvpaxos.simulator.acceptors`, what it must write down in `kvpaxos.simulator.written`, and keep
    in `kvpaxos.simulator.keeping`, and what it owes after it has lost a disk in
    `kvpaxos.simulator.renewals`.

    :ivar wrong: the first rule that was broken, in a sentence; None if none was.
    :ivar log: what is decided.
    :ivar installed: after which slots a node took over the state of another.
    :ivar keeping: is told what is on disks.
    """

    def __init__(self, agenda: Agenda) -> None:
        self.wrong: str | None = None
        self.log: dict[Slot, Batch] = {}
        self.executed: dict[tuple[str, int, int], tuple[Slot, Result]] = {}
        self.installed: set[Slot] = set()
        self._engine = MemoryEngine()
        self._machine = Machine(self._engine, _GROUP)
        self._digests = [self._machine.digest]
        self._acceptors = Acceptors(agenda, self.fail)
        self._renewals = Renewals(self._acceptors.has_noted, self.fail)
        self._ballots = Ballots(self.fail, self._renewals)
        self._written = Written(self.fail)
        self._replicas: dict[NodeId, Replica] = {}
        self._shown: dict[Disk, Ballot] = {}
        self._votes: dict[Disk, dict[Slot, Ballot]] = {}
        self._wanted: dict[tuple[NodeId, int], Slot] = {}
        self._promised: dict[NodeId, Ballot] = {}
        self._nameless: dict[NodeId, int] = {}
        self._lives: set[tuple[NodeId, int]] = set()
        self._layout = Layout(_GROUP)
        self.keeping = Keeping(self._acceptors, self._layout, _GROUP, self.fail)

    @property
    def decided_through(self) -> Slot:
        """The last slot of the log."""
        return Slot(len(self._digests) - 1)

    def fail(self, sentence: str) -> None:
        """Take note that a rule was broken."""
        self.wrong = self.wrong or sentence

    def get(self, key: bytes) -> bytes:
        """Return what ``key`` holds at the end of the log; nothing if it is not there."""
        entry = self._machine.get(key)
        return b"" if entry is None else entry.value

    @override
    def began(self, replica: Replica, memory: Memory) -> None:
        node = replica.node
        self._nameless[node] = memory.life
        self._note_life(replica)
        disk, promised = (node, memory.incarnation), replica.acceptor.promised
        shown = self._shown.get(disk, ZERO_BALLOT)
        if promised < shown:
            self.fail(f"{node} has shown the promise {shown}, and knows {promised} only")
        self._check_votes(replica)
        self._promised[node] = promised
        self._replicas[node] = replica
        self._acceptors.began(node, memory)
        self._written.began(node, memory)
        self._renewals.began(replica, memory)

    @override
    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        node, promised = replica.node, replica.acceptor.promised
        if isinstance(event, Installed):
            self.installed.add(event.slot)
            self._check_votes(replica)
        if promised < self._promised[node]:
            self.fail(f"the promise of {node} fell from {self._promised[node]} to {promised}")
        self._acceptors.stepped(replica, event, effects, self._promised[node])
        self._written.stepped(replica, effects)
        self._renewals.stepped(replica, effects)
        self._promised[node] = promised
        self._note_life(replica)
        match event:
            case Received(sender, Promise() | Accepted() as message):
                self._note_answer(replica, sender, message)
            case Received(sender, Prepare(ballot) | Accept(ballot)):
                self._note_ballot(sender, ballot)
            case ReadWanted(reads):
                self._wanted.update({(node, read): self.decided_through for read, _ in reads})
            case _:
                pass
        self._ballots.stepped(replica, event, effects)
        for envelope in effects.replies:
            if isinstance(envelope.message, Report):
                self._check_report(replica, envelope.to, envelope.message)
        for decision in effects.decided:
            self.decide(node, decision)
        for ready in effects.reads:
            self._check_read(replica, ready)

    def synced(self, node: str, begun: float) -> None:
        """Take note of a sync of a node's disk that has ended, and began at that time."""
        self._acceptors.synced(node, begun)

    def wrote(self, node: str, changes: Mapping[bytes, bytes | None]) -> None:
        """Take note of what was written to the state of ``node``."""
        applied, meta = changes.get(applied_key(_GROUP)), changes.get(self._layout.meta)
        if applied is None:
            self.fail(f"{node} has written what slots made of its state, and not through which")
        if applied is None or meta is None:
            return
        self.holds(node, int.from_bytes(applied, "big"), decode_meta(meta).digest(self._layout))

    def holds(self, node: str, slot: int, digest: int) -> None:
        """Take note that the state of ``node`` after ``slot`` has this digest."""
        if slot >= len(self._digests):
            self.fail(f"{node} has executed slot {slot}, which nobody has decided")
        elif digest != self._digests[slot]:
            self.fail(f"the state of {node} after slot {slot} is not what the log gives")

    def _note_life(self, replica: Replica) -> None:
        # Before its probation ends it has numbered nothing, and another disk may come in its place.
        node = replica.node
        if node in self._nameless and replica.probation is None:
            life = node, self._nameless.pop(node)
            if life in self._lives:
                self.fail(f"{node} begins life {life[1]} a second time")
            self._lives.add(life)

    def _note_ballot(self, sender: NodeId, ballot: Ballot) -> None:
        replica = self._replicas[sender]
        if replica.acceptor.promised >= ballot:  # Or it was sent in an earlier life.
            disk = sender, replica.disks.newest(sender)
            self._shown[disk] = max(self._shown.get(disk, ZERO_BALLOT), ballot)

    def _note_answer(self, to: Replica, sender: NodeId, message: Promise | Accepted) -> None:
        # It may come late, from a disk that has been lost since.
        incarnation = dict(message.incarnations).get(sender, FIRST_INCARNATION)
        disk = sender, incarnation
        self._shown[disk] = max(self._shown.get(disk, ZERO_BALLOT), message.ballot)
        replica = self._replicas[sender]
        if incarnation != replica.disks.newest(sender):
            return
        if isinstance(message, Promise):
            self._check_promise(to, disk, message)
            return
        # Who knows what was decided says that it has voted, and need not have.
        vote = replica.acceptor.votes.get(message.slot)
        if vote is not None and vote.ballot == message.ballot:
            self._votes.setdefault(disk, {})[message.slot] = message.ballot

    def _check_promise(self, to: Replica, disk: Disk, promise: Promise) -> None:
        """Check that a candidate is told of the votes that it needs, unless it is told in parts."""
        known = max(to.learner.decided_through, promise.decided_through, promise.kept_from - 1)
        named = {vote.slot: vote.ballot for vote in promise.votes}
        for slot, ballot in self._votes.get(disk, {}).items():
            hidden = named.get(slot, ZERO_BALLOT) < ballot < promise.ballot
            if hidden and slot > known and promise.parts == 1:
                self.fail(f"{to.node} is not told of the vote of {disk[0]} in slot {slot}")

    def _check_report(self, replica: Replica, to: NodeId, report: Report) -> None:
        """Check that a node that lost its disk is told how far others have voted, and promised."""
        node = replica.node
        disk = node, replica.disks.newest(node)
        voted_through = max(self._votes.get(disk, ()), default=Slot(0))
        if report.voted_through < voted_through:
            self.fail(f"{to} is not told that {node} has voted in slot {voted_through}")
        shown = self._shown.get(disk, ZERO_BALLOT)
        if report.promised < shown:
            self.fail(f"{to} is not told that {node} has promised {shown}")

    def _check_votes(self, replica: Replica) -> None:
        disk = replica.node, replica.disks.newest(replica.node)
        for slot, ballot in self._votes.get(disk, {}).items():
            self._check_vote(replica, slot, ballot)

    def _check_vote(self, replica: Replica, slot: Slot, ballot: Ballot) -> None:
        learner = replica.learner
        if slot <= learner.decided_through or slot < learner.kept_from:
            return
        vote = replica.acceptor.votes.get(slot)
        if vote is None or vote.ballot < ballot:
            self.fail(
                f"{replica.node} has shown its vote in slot {slot} under {ballot}, and forgot it"
            )

    def _check_read(self, replica: Replica, ready: ReadReady) -> None:
        wanted = self._wanted.pop((replica.node, ready.request))
        known = replica.learner.decided_through
        if known < wanted:
            self.fail(
                f"{replica.node} reads what slot {known} made, and slot {wanted} was decided before"
                " it was asked to"
            )

    def decide(self, node: NodeId, decision: Decision) -> None:
        """Take note that ``node`` knows a slot to be decided."""
        slot = decision.slot
        batch = self.log.setdefault(slot, decision.batch)
        if batch != decision.batch:
            self.fail(f"{node} has decided another batch in slot {slot} than was before")
        while (following := self.log.get(Slot(len(self._digests)))) is not None:
            self._execute(Slot(len(self._digests)), following)

    def _execute(self, slot: Slot, batch: Batch) -> None:
        for command in batch:
            result = self._machine.apply(command)
            if isinstance(result, Result):
                self._note(slot, command, result)
        self._engine.write(self._machine.take_changes())
        self._digests.append(self._machine.digest)

    def _note(self, slot: Slot, command: Command, result: Result) -> None:
        place = command.node, command.life, command.sequence
        if place in self.executed:
            self.fail(f"the command {place} was executed twice")
        self.executed[place] = slot, result

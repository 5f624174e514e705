"""What must be true after every step, whatever has happened. It sees all nodes at once."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision, Effects, Event, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Accept, Accepted, Batch, Command, Promise
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.watch import Observer
from kvpaxos.store.layout import Layout, applied_key
from kvpaxos.store.machine import Machine
from kvpaxos.store.meta import decode_meta
from kvpaxos.store.results import Result

_GROUP = 0


class Checker(Observer):
    """Compares every node with the one log, and with a machine that executes nothing else.

    These are the rules:

    * *Agreement.* A slot is decided once, with the same batch on all nodes in all their lives.
    * *One offer.* A ballot offers one batch in a slot.
    * *Promises.* What a node has shown of its promises to another it still knows in its next life
      on that disk, and they never fall.
    * *Lives.* No two lives of a node have one number.
    * *State.* After a slot every state has the digest of the machine here.
    * *Acknowledged.* What a client was told to be done is in the log, in that slot, with that
      result.

    :ivar wrong: the first rule that was broken, in a sentence; None if none was.
    :ivar log: what is decided.
    """

    def __init__(self) -> None:
        self.wrong: str | None = None
        self.log: dict[Slot, Batch] = {}
        self.executed: dict[tuple[str, int, int], tuple[Slot, Result]] = {}
        self._engine = MemoryEngine()
        self._machine = Machine(self._engine, _GROUP)
        self._digests = [self._machine.digest]
        self._offers: dict[tuple[Ballot, Slot], Batch] = {}
        self._shown: dict[tuple[NodeId, int], Ballot] = {}
        self._promised: dict[NodeId, Ballot] = {}
        self._lives: set[tuple[NodeId, int]] = set()
        self._layout = Layout(_GROUP)

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
        if (node, memory.life) in self._lives:
            self.fail(f"{node} begins life {memory.life} a second time")
        self._lives.add((node, memory.life))
        shown = self._shown.get((node, memory.incarnation), ZERO_BALLOT)
        if memory.promised < shown:
            self.fail(f"{node} has shown the promise {shown}, and knows {memory.promised} only")
        self._promised[node] = memory.promised

    @override
    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        node, promised = replica.node, replica.acceptor.promised
        if promised < self._promised[node]:
            self.fail(f"the promise of {node} fell from {self._promised[node]} to {promised}")
        self._promised[node] = promised
        if isinstance(event, Received) and isinstance(event.message, Promise | Accepted):
            # It may come late, from a disk that has been lost since.
            incarnation = dict(event.message.incarnations).get(event.sender, FIRST_INCARNATION)
            disk = event.sender, incarnation
            self._shown[disk] = max(self._shown.get(disk, ZERO_BALLOT), event.message.ballot)
        for envelope in effects.sends:
            if isinstance(envelope.message, Accept):
                self._check_offer(envelope.message)
        for decision in effects.decided:
            self.decide(node, decision)

    def wrote(self, node: str, changes: Mapping[bytes, bytes | None]) -> None:
        """Take note of what was written to the state of ``node``."""
        applied, meta = changes.get(applied_key(_GROUP)), changes.get(self._layout.meta)
        if applied is None or meta is None:
            return
        self.holds(node, int.from_bytes(applied, "big"), decode_meta(meta).digest(self._layout))

    def holds(self, node: str, slot: int, digest: int) -> None:
        """Take note that the state of ``node`` after ``slot`` has this digest."""
        if slot >= len(self._digests):
            self.fail(f"{node} has executed slot {slot}, which nobody has decided")
        elif digest != self._digests[slot]:
            self.fail(f"the state of {node} after slot {slot} is not what the log gives")

    def _check_offer(self, accept: Accept) -> None:
        place = accept.ballot, accept.slot
        if self._offers.setdefault(place, accept.batch) != accept.batch:
            self.fail(f"two batches were offered in slot {accept.slot} under {accept.ballot}")

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

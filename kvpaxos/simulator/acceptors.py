"""What no acceptor may do. It sees all nodes at once, and when their disks have synced."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Effects, Event, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    Confirmed,
    Message,
    Prepare,
    Promise,
    Report,
    Vote,
)
from kvpaxos.paxos.records import Promised, Renewed, ReplicaRecord
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.agenda import Agenda

Word: TypeAlias = Ballot | tuple[Slot, Ballot] | tuple[NodeId, int]
"""What a node stands by: a promise, a vote, or that the earlier disks of another are void."""


class Acceptors:
    """Holds acceptors to their word, so that a mistake shows before a crash makes use of it.

    These are the rules:

    * *Lawful.* A node votes in no ballot, and confirms none, below one that it has promised.
    * *Durable first.* What rests on a promise, a vote, or a word on lost disks gets to nobody
      before a sync has ended that began after this was written down.

    :param fail: is told which one was broken, in a sentence.
    """

    def __init__(self, agenda: Agenda, fail: Callable[[str], None]) -> None:
        self._agenda = agenda
        self._fail = fail
        self._written: dict[tuple[NodeId, Word], float] = {}
        self._noted: dict[NodeId, set[tuple[NodeId, int]]] = {}
        self._decided: dict[NodeId, dict[Slot, float]] = {}
        self._synced: dict[str, float] = {}

    def began(self, node: NodeId, memory: Memory) -> None:
        """Take note of a life that begins, and what it does not remember of lost disks."""
        noted = self._noted.get(node, set())
        for other, incarnation in list(noted):
            if memory.incarnations.get(other, FIRST_INCARNATION) < incarnation:
                noted.remove((other, incarnation))
                del self._written[node, (other, incarnation)]

    def synced(self, node: str, begun: float) -> None:
        """Take note of a sync of a node's disk that has ended, and began at that time."""
        self._synced[node] = max(begun, self._synced.get(node, begun))

    def stepped(self, replica: Replica, event: Event, effects: Effects, before: Ballot) -> None:
        """Take note of what came of ``event``.

        :param before: what the node had promised until then.
        """
        node, now = replica.node, self._agenda.now
        for record in effects.records:
            self._note(node, record, before)
        for decision in effects.decided:
            self._decided.setdefault(node, {})[decision.slot] = now
        for envelope in effects.sends:
            match envelope.message:
                case Confirmed(ballot) if ballot < replica.acceptor.promised:
                    self._fail(
                        f"{node} confirms {ballot}, and has promised {replica.acceptor.promised}"
                    )
                case _:
                    pass
        if isinstance(event, Received):
            self._check_shown(node, event.sender, event.message)

    def _note(self, node: NodeId, record: ReplicaRecord, before: Ballot) -> None:
        now = self._agenda.now
        match record:
            case Promised(ballot):
                self._written[node, ballot] = now
            case Vote(slot, ballot, _):
                if ballot < before:
                    self._fail(f"{node} votes under {ballot}, and has promised {before}")
                if ballot > before:
                    self._written[node, ballot] = now
                self._written[node, (slot, ballot)] = now
            case Renewed(other, incarnation):
                self._written[node, (other, incarnation)] = now
                self._noted.setdefault(node, set()).add((other, incarnation))
            case _:
                pass

    def check_decided(self, node: NodeId, slot: Slot) -> None:
        """Check that the journal of ``node`` would show what is decided in ``slot``.

        What an earlier life has decided is not asked of it: its state may be ahead.
        """
        decided = self._decided.get(node, {})
        if decided.get(slot, 0.0) > self._synced.get(node, 0.0):
            self._fail(f"{node} needs slot {slot} no more, it says, and its journal may lose that")
        self._decided[node] = {one: at for one, at in decided.items() if one >= slot}

    def has_noted(self, node: NodeId, other: NodeId, incarnation: int) -> bool:
        """Whether ``node`` would know after a power cut that earlier disks of another are void."""
        written = self._written.get((node, (other, incarnation)))
        return written is not None and written <= self._synced.get(node, float("-inf"))

    def _check_shown(self, to: NodeId, sender: NodeId, message: Message) -> None:
        match message:
            case Promise(ballot) | Prepare(ballot) | Accept(ballot):
                self._check_durable(sender, ballot, f"the promise {ballot}")
            case Accepted(ballot, slot):
                self._check_durable(sender, ballot, f"the promise {ballot}")
                # Who knows what was decided says that it has voted, and need not have.
                if (sender, (slot, ballot)) in self._written:
                    self._check_durable(sender, (slot, ballot), f"its vote in slot {slot}")
            case Report(incarnation):
                if (sender, (to, incarnation)) in self._written:
                    what = f"that it knows of disk {incarnation} of {to}"
                    self._check_durable(sender, (to, incarnation), what)
            case _:
                pass

    def _check_durable(self, node: NodeId, word: Word, what: str) -> None:
        if word == ZERO_BALLOT:
            return
        written = self._written.get((node, word))
        if written is None:
            self._fail(f"{node} shows {what}, and has not written it down")
        elif written > self._synced.get(node, float("-inf")):
            self._fail(f"{node} shows {what} before it is durable")

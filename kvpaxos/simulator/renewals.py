"""What a node owes on a new disk to what it has said on earlier ones. It sees all nodes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Effects
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import Promised, Rejoined, Renewed
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.paxos.replica import Replica


class Comeback(NamedTuple):
    """A node that has begun to vote on a new disk.

    :ivar incarnation: the number of that disk.
    :ivar known_through: through which slot it knew all to be decided then.
    :ivar promised: what it had promised then.
    """

    incarnation: int
    known_through: Slot
    promised: Ballot


class Renewals:
    """Holds nodes that vote again after they lost a disk to what earlier disks have said.

    These are the rules, whichever comes first:

    * *Votes.* Whoever votes on a new disk knows what is decided in each slot for which the vote of
      an earlier disk is counted.
    * *Promises.* It has promised no less than what an earlier disk has promised somebody who leads
      with that.
    * *Known.* Before it votes, so many others have it durably that its earlier disks are void that
      any quorum with it has one of them in it; and it knows all that they had voted on
      before, as decided, and has promised what they had.
    * *Once.* No two disks of a node vote under one number, and none takes one that others have
      noted durably for an earlier one, unless they have lost their own disks since.

    :param has_noted: whether a node would know after a power cut that all disks of another one
        before that number are void.
    :param fail: is told which one was broken, in a sentence.
    """

    def __init__(
        self, has_noted: Callable[[NodeId, NodeId, int], bool], fail: Callable[[str], None]
    ) -> None:
        self._has_noted = has_noted
        self._fail = fail
        self._comebacks: dict[NodeId, Comeback] = {}
        self._votes: dict[tuple[NodeId, int], Slot] = {}
        self._promises: dict[tuple[NodeId, int], Ballot] = {}
        self._stood: dict[NodeId, tuple[Ballot, Slot]] = {}
        self._told: dict[tuple[NodeId, int], dict[NodeId, tuple[Ballot, Slot]]] = {}
        self._rejoined: set[tuple[NodeId, int]] = set()
        self._lives: dict[tuple[NodeId, int], int] = {}
        self._lost: set[NodeId] = set()

    def began(self, replica: Replica, memory: Memory) -> None:
        """Take note of a life that begins."""
        node, incarnation = replica.node, memory.incarnation
        if incarnation > FIRST_INCARNATION and memory.life & 0xFFFFFFFF == 1:
            for other in self._told.get((node, incarnation), ()):
                if other not in self._lost and self._has_noted(other, node, incarnation):
                    self._fail(
                        f"a new disk of {node} has the number {incarnation}, which {other} has"
                        " noted for an earlier one"
                    )
        if incarnation > FIRST_INCARNATION:
            self._lost.add(node)
            later = memory.life > self._lives.get((node, incarnation), memory.life)
            if later and replica.probation is not None:
                # It is the same disk. That it votes was written down, and a power cut took it.
                self._rejoined.discard((node, incarnation))
                self._comebacks.pop(node, None)
            self._lives[node, incarnation] = memory.life

    def stepped(self, replica: Replica, effects: Effects) -> None:
        """Take note of what a node has done."""
        self._note_records(replica, effects)
        self._stood[replica.node] = _standing(replica)
        node, incarnation = replica.node, replica.disks.newest(replica.node)
        if incarnation == FIRST_INCARNATION or not effects.records:
            return
        comeback = self._comebacks.get(node)
        if comeback is not None and comeback.incarnation == incarnation:
            return
        if any(isinstance(one, Promised | Vote | Rejoined) for one in effects.records):
            known_through = replica.learner.once_known_through
            comeback = Comeback(incarnation, known_through, replica.acceptor.promised)
            self._comebacks[node] = comeback
            for (whose, earlier), slot in self._votes.items():
                if whose == node:
                    self._check_vote(node, earlier, slot)
            for (whose, earlier), ballot in self._promises.items():
                if whose == node:
                    self._check_promise(node, earlier, ballot)

    def counted(self, node: NodeId, incarnation: int, slot: Slot) -> None:
        """Take note that a slot is decided with a vote of that disk of ``node``."""
        disk = node, incarnation
        self._votes[disk] = max(slot, self._votes.get(disk, slot))
        self._check_vote(node, incarnation, slot)

    def led_by(self, node: NodeId, incarnation: int, ballot: Ballot) -> None:
        """Take note that somebody leads with a promise of that disk of ``node``."""
        disk = node, incarnation
        self._promises[disk] = max(ballot, self._promises.get(disk, ballot))
        self._check_promise(node, incarnation, ballot)

    def _note_records(self, replica: Replica, effects: Effects) -> None:
        for record in effects.records:
            if isinstance(record, Renewed):
                # What it votes on in this very step it does as one who knows of the new disk.
                told = self._told.setdefault((record.node, record.incarnation), {})
                told[replica.node] = self._stood.get(replica.node) or _standing(replica)
            elif isinstance(record, Rejoined):
                self._check_rejoined(replica, record.incarnation)

    def _check_rejoined(self, replica: Replica, incarnation: int) -> None:
        node, quorum = replica.node, replica.peers.quorum
        if (node, incarnation) in self._rejoined:
            self._fail(f"a second disk of {node} votes under the number {incarnation}")
        self._rejoined.add((node, incarnation))
        told = {
            other: word
            for other, word in self._told.get((node, incarnation), {}).items()
            if self._has_noted(other, node, incarnation)
        }
        if not quorum.meets(node, told):
            self._fail(
                f"{node} votes on its disk {incarnation}, and of the others only"
                f" {' '.join(sorted(told)) or 'nobody'} would know that earlier ones are void"
            )
            return
        promised, known_through = replica.acceptor.promised, replica.learner.decided_through
        heard = [
            one
            for one, (ballot, voted_through) in told.items()
            if ballot <= promised and voted_through <= known_through
        ]
        if not quorum.meets(node, heard):
            self._fail(
                f"{node} votes on its disk {incarnation}, with the promise {promised} and all"
                f" through slot {known_through}, and the others had come further:"
                f" {', '.join(f'{one} {told[one][0]} {told[one][1]}' for one in sorted(told))}"
            )

    def _check_vote(self, node: NodeId, incarnation: int, slot: Slot) -> None:
        comeback = self._comebacks.get(node)
        if comeback and incarnation < comeback.incarnation and slot > comeback.known_through:
            self._fail(
                f"{node} votes on its disk {comeback.incarnation}, and did not know what its disk"
                f" {incarnation} has helped to decide in slot {slot}"
            )

    def _check_promise(self, node: NodeId, incarnation: int, ballot: Ballot) -> None:
        comeback = self._comebacks.get(node)
        if comeback and incarnation < comeback.incarnation and ballot > comeback.promised:
            self._fail(
                f"{node} votes on its disk {comeback.incarnation} with the promise"
                f" {comeback.promised}, and its disk {incarnation} has promised {ballot}, which"
                " leads with that"
            )


def _standing(replica: Replica) -> tuple[Ballot, Slot]:
    """Return what ``replica`` has promised, and the last slot that it knows or has voted in."""
    voted_through = max(replica.acceptor.votes, default=Slot(0))
    return replica.acceptor.promised, max(voted_through, replica.learner.once_known_through)

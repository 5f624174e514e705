"""What must be true of every ballot, and of what its leader does. It sees all nodes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision, Effects, Event, Received
from kvpaxos.paxos.messages import Accept, Accepted, Batch, Incarnations, Promise
from kvpaxos.paxos.proposer import Leading
from kvpaxos.paxos.records import Renewed
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.renewals import Renewals


class Ballots:
    """Holds leaders to what Paxos asks of them, so that a mistake shows before it does harm.

    These are the rules:

    * *One offer.* A ballot offers one batch in a slot.
    * *Learned first.* Nothing is offered in a slot that one who has promised knew to be decided,
      nor in one that no majority of those who have promised has kept.
    * *Obliged.* Where anybody who has promised had voted, that of the highest ballot is offered.
    * *No way back.* Once a slot is decided, no higher ballot offers another batch in it.
    * *Quorums.* Nobody leads whom a majority has not promised that, nor decides anything that a
      majority has not told it to have voted for, none of whom knew by then that another one had
      lost the disk on which it did.

    :param fail: is told which one was broken, in a sentence.
    :param renewals: is told whose votes and promises have counted.
    """

    def __init__(self, fail: Callable[[str], None], renewals: Renewals) -> None:
        self._fail = fail
        self._renewals = renewals
        self._offers: dict[tuple[Ballot, Slot], Batch] = {}
        self._promises: dict[Ballot, list[tuple[NodeId, Promise]]] = {}
        self._leading: set[Ballot] = set()
        self._voters: dict[tuple[Ballot, Slot], dict[NodeId, Incarnations]] = {}
        self._chosen: dict[tuple[Ballot, Slot], dict[NodeId, Incarnations]] = {}
        self._decided: dict[Slot, Decision] = {}

    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        """Take note of what came of ``event``."""
        for record in effects.records:
            if isinstance(record, Renewed):
                self._discard(replica.node, record.node)
        if isinstance(event, Received):
            self._note(replica, event)
        for envelope in effects.sends:
            if isinstance(envelope.message, Accept):
                self._check_offer(replica, envelope.message)
        for decision in effects.decided:
            if decision.ballot.node == replica.node:
                self._check_quorum(replica, decision)
        if isinstance(replica.role, Leading) and replica.role.ballot not in self._leading:
            self._begin(replica, replica.role.ballot)

    def _note(self, replica: Replica, event: Received) -> None:
        sender, message = event.sender, event.message
        if not isinstance(message, Promise | Accepted) or message.ballot.node != replica.node:
            return
        shown = dict(message.incarnations).get(sender, FIRST_INCARNATION)
        if shown < replica.disks.newest(sender):
            return
        if isinstance(message, Accepted):
            place = message.ballot, message.slot
            voters = self._voters.setdefault(place, {})
            voters[sender] = message.incarnations
            if place not in self._chosen and _some_agree(voters, len(replica.peers.quorum.members)):
                self._chosen[place] = dict(voters)
        elif message.ballot not in self._leading:
            # Later ones oblige to nothing: a quorum was there without them.
            self._promises.setdefault(message.ballot, []).append((sender, message))

    def _discard(self, leader: NodeId, node: NodeId) -> None:
        """Count nothing that ``node`` has told ``leader``: it has a new disk."""
        for ballot, promises in self._promises.items():
            if ballot.node == leader:
                promises[:] = [one for one in promises if one[0] != node]
        for (ballot, _), voters in self._voters.items():
            if ballot.node == leader:
                voters.pop(node, None)

    def _begin(self, replica: Replica, ballot: Ballot) -> None:
        """Take note that ``ballot`` leads with the promises that there are."""
        self._leading.add(ballot)
        promises = self._promises.get(ballot, ())
        givers = {node for node, _ in promises}
        if 2 * len(givers) <= len(replica.peers.quorum.members):
            self._fail(
                f"{replica.node} leads with {ballot} on the promises of"
                f" {' '.join(sorted(givers)) or 'nobody'}, who are no majority"
            )
        for node, promise in promises:
            incarnation = dict(promise.incarnations).get(node, FIRST_INCARNATION)
            self._renewals.led_by(node, incarnation, ballot)

    def _check_offer(self, replica: Replica, accept: Accept) -> None:
        ballot, slot, batch = accept.ballot, accept.slot, accept.batch
        if (ballot, slot) in self._offers:
            if self._offers[ballot, slot] != batch:
                self._fail(f"two batches were offered in slot {slot} under {ballot}")
            return
        self._offers[ballot, slot] = batch
        decided = self._decided.get(slot)
        if decided is not None and decided.ballot < ballot and decided.batch != batch:
            self._fail(
                f"another batch was offered in slot {slot} under {ballot} than was decided under"
                f" {decided.ballot}"
            )
        self._check_obligations(replica, accept)

    def _check_obligations(self, replica: Replica, accept: Accept) -> None:
        ballot, slot = accept.ballot, accept.slot
        highest: tuple[Ballot, Batch] | None = None
        promises = self._promises.get(ballot, ())
        keeping = {node for node, promise in promises if promise.kept_from <= slot}
        for node, promise in promises:
            lost = node not in keeping and 2 * len(keeping) <= len(replica.peers.quorum.members)
            if slot <= promise.decided_through or lost:
                self._fail(
                    f"{ballot.node} has offered slot {slot} under {ballot}, and had not learned"
                    f" what {node} knew to be decided there"
                )
            for vote in promise.votes:
                if vote.slot == slot and (highest is None or vote.ballot > highest[0]):
                    highest = vote.ballot, vote.batch
        if highest is not None and highest[1] != accept.batch:
            self._fail(
                f"{ballot.node} has offered another batch in slot {slot} under {ballot} than the"
                f" one that was voted for under {highest[0]}"
            )

    def _check_quorum(self, replica: Replica, decision: Decision) -> None:
        slot, ballot = decision.slot, decision.ballot
        # It may have been chosen long since, and wait for slots below; disks are lost meanwhile.
        voters = self._chosen.get((ballot, slot)) or self._voters.get((ballot, slot), {})
        if 2 * len(voters) <= len(replica.peers.quorum.members):
            self._fail(
                f"{replica.node} has decided slot {slot} under {ballot} with the votes of"
                f" {' '.join(sorted(voters)) or 'nobody'}, who are no majority"
            )
        elif not _some_agree(voters, len(replica.peers.quorum.members)):
            self._fail(
                f"{replica.node} has decided slot {slot} under {ballot}, and of those who voted"
                f" some hold that others have lost the disk on which they did:"
                f" {', '.join(f'{node} {dict(known)}' for node, known in sorted(voters.items()))}"
            )
        for node, known in voters.items():
            self._renewals.counted(node, _newest(known, node), slot)
        self._decided.setdefault(slot, decision)


def _newest(known: Incarnations, node: NodeId) -> int:
    return dict(known).get(node, FIRST_INCARNATION)


def _some_agree(voters: Mapping[NodeId, Incarnations], size: int) -> bool:
    """Whether there is a majority of ``size`` members among them that holds no vote in it void."""
    return any(
        all(
            _newest(voters[one], one) >= _newest(voters[other], one)
            for one in some
            for other in some
        )
        for some in combinations(sorted(voters), size // 2 + 1)
    )

"""What must be true after every step, whatever has happened. Sees the whole world at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from kvpaxos.journal.state import GroupState
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    Batch,
    Command,
    Confirm,
    Envelope,
    Message,
    Nack,
    Ping,
    Pong,
    Prepare,
    Promise,
    Report,
    TakeOver,
    Vote,
    Watermark,
    Withdraw,
)
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Rejoined, Renewed, ReplicaRecord
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.store.requests import Numbered, decode_request
from kvpaxos.store.results import Result
from test.simulator.disk import Disk
from test.simulator.machine import Machine


class Cast(NamedTuple):
    """Who voted: which incarnation of which node, and which of others were void for it by then."""

    node: NodeId
    incarnation: int
    voided: Mapping[NodeId, int]


class Checker:
    """Knows what was offered, chosen and executed, and compares every node with that.

    :ivar offered: the one batch for each ballot and slot.
    :ivar chosen: the slots in which a quorum's votes of one ballot are durable.
    :ivar machine: the state after all that any node knows to be decided.
    :ivar executed: the slot in which each body was executed.
    :ivar answers: what came of it.
    :ivar repeated: how many bodies came again in the log, with an identity.
    """

    def __init__(self, quorum: Quorum) -> None:
        self.offered: dict[tuple[Ballot, Slot], Batch] = {}
        self.chosen: dict[Slot, Batch] = {}
        self.machine = Machine()
        self.executed: dict[bytes, Slot] = {}
        self.answers: dict[bytes, Result] = {}
        self.repeated = 0
        self.leaders: set[Ballot] = set()
        self._quorum = quorum
        self._votes: dict[tuple[Ballot, Slot], list[Cast]] = {}
        self._incarnations = dict.fromkeys(quorum.members, FIRST_INCARNATION)
        self._voided: dict[NodeId, dict[NodeId, int]] = {node: {} for node in quorum.members}
        self._told: dict[tuple[NodeId, int], dict[NodeId, tuple[Ballot, Slot]]] = {}
        self._rejoined: set[tuple[NodeId, int]] = set()
        self._spent: dict[NodeId, int] = {}
        self._lives: set[tuple[NodeId, int]] = set()
        self._digests = [self.machine.digest]
        self._revision = 0
        self._opids: dict[bytes, int] = {}

    def survives(self, node: NodeId, record: ReplicaRecord, content: GroupState) -> None:
        """Take note of a record of ``node`` that has become durable.

        :param content: what its journal comes to, with that record.
        """
        if isinstance(record, Renewed):
            self._voided[node] = {**self._voided[node], record.node: record.incarnation}
            told = self._told.setdefault((record.node, record.incarnation), {})
            told[node] = content.promised, max(content.voted_through, content.decided_through)
        if isinstance(record, Rejoined):
            self._check_rejoined(node, record.incarnation, content)
            self._rejoined.add((node, record.incarnation))
        if not isinstance(record, Vote):
            return
        cast = Cast(node, self._incarnations[node], self._voided[node])
        votes = self._votes.setdefault((record.ballot, record.slot), [])
        votes.append(cast)
        if self._is_chosen(cast, votes):
            chosen = self.chosen.setdefault(record.slot, record.batch)
            assert chosen == record.batch, f"two batches were chosen in slot {record.slot}"

    def loses(self, node: NodeId) -> None:
        """Take note that ``node`` has lost its disk.

        What was void for it must be so for whoever takes its place, if anybody has built on that.
        """
        self._voided[node] = {
            peer: incarnation
            for peer, incarnation in self._voided[node].items()
            if (peer, incarnation) in self._rejoined
        }
        if self._has_voted(node, self._incarnations[node]):
            self._spent[node] = self._incarnations[node]

    def begins(self, node: NodeId, incarnation: int, life: int) -> None:
        """Check as what a process of ``node`` begins to take part in Paxos."""
        self._incarnations[node] = incarnation
        assert (node, life) not in self._lives, f"{node} numbers commands of life {life} again"

    def _check_rejoined(self, node: NodeId, incarnation: int, content: GroupState) -> None:
        """Check that ``node`` knows what so many others knew when its old disks became void."""
        assert incarnation > self._spent.get(node, 0), (
            f"{node} votes as {incarnation} again, as it has on a disk that is lost"
        )
        told = self._told.get((node, incarnation), {})
        assert self._quorum.meets(node, told), f"{node} votes again, and only {[*told]} know"
        bound = [
            peer
            for peer, (promised, voted_through) in told.items()
            if promised <= content.promised and voted_through <= content.decided_through
        ]
        assert self._quorum.meets(node, bound), f"{node} votes again, and knows less than {told}"

    def _is_chosen(self, cast: Cast, votes: list[Cast]) -> bool:
        """Whether a quorum has voted, ``cast`` among it, and nobody in it held another's void.

        A vote on a disk that is lost counts as long as all the others of its quorum were cast
        before their nodes had word of that: they have reported them, or will.
        """
        others = [one for one in votes if one is not cast and one.node != cast.node]
        size = self._quorum.size - 1
        return any(
            len({one.node for one in some}) == size and _agree((cast, *some))
            for some in combinations(others, size)
        )

    def _has_voted(self, node: NodeId, incarnation: int) -> bool:
        return any(
            (one.node, one.incarnation) == (node, incarnation)
            for votes in self._votes.values()
            for one in votes
        )

    def leaves(self, node: NodeId, disk: Disk, envelope: Envelope) -> None:
        """Check a message that is about to leave ``node``."""
        message = envelope.message
        if isinstance(message, Accept):
            offered = self.offered.setdefault((message.ballot, message.slot), message.batch)
            assert offered == message.batch, (
                f"two batches were offered in slot {message.slot} under {message.ballot}"
            )
        shown = _shown(node, message)
        assert shown <= disk.survived.promised, (
            f"{node} shows {shown}, and would not know it after a crash"
        )
        if isinstance(message, Promise | Accepted | Report):
            void = {one: number for one, number in message.incarnations if one != node}
            known = disk.survived.incarnations
            assert all(number <= known.get(one, 0) for one, number in void.items()), (
                f"{node} shows that it counts only {void}, and would forget it"
            )
        if isinstance(message, Accepted) and message.slot not in self.chosen:
            self._check_vote(node, disk, message.slot, message.ballot)
        if isinstance(message, Promise):
            for vote in message.votes:
                if vote.slot not in self.chosen:
                    self._check_vote(node, disk, vote.slot, vote.ballot)

    def decides(self, node: NodeId, decision: Decision) -> None:
        """Check what ``node`` says is decided."""
        slot, batch = decision.slot, decision.batch
        assert slot in self.chosen, f"{node} decided slot {slot}, which nobody has chosen"
        assert self.chosen[slot] == batch, f"{node} decided another batch in slot {slot}"
        if slot == self.machine.applied + 1:
            self._lives.update((command.node, command.life) for command in batch)
            for command, result in self.machine.apply(slot, batch):
                # What a node has given up since may be executed without its body.
                if result is not None and command.body:
                    self._check_executed_once(slot, command, result)
            assert self.machine.revision == self._revision, f"slot {slot} did more than it said"
            self._digests.append(self.machine.digest)

    def applies(self, node: NodeId, machine: Machine) -> None:
        """Check the state of ``node``, which has just applied a slot."""
        assert machine.digest == self._digests[machine.applied], (
            f"the state of {node} differs after slot {machine.applied}"
        )

    def _check_vote(self, node: NodeId, disk: Disk, slot: Slot, ballot: Ballot) -> None:
        vote = disk.survived.votes.get(slot)
        assert vote is not None, f"{node} shows its vote in slot {slot}, and would forget it"
        assert vote.ballot >= ballot, f"{node} shows a vote of {ballot} that is not durable"

    def _check_executed_once(self, slot: Slot, command: Command, result: Result) -> None:
        """Only with an identity may a body come again. Then it gets the same answer."""
        body = command.body
        fresh = result.revision > self._revision
        if fresh:
            assert body not in self.executed, (
                f"{command} of slot {slot} was executed in slot {self.executed[body]} before"
            )
            self._revision = result.revision
            self.executed[body] = slot
            self.answers[body] = result
        _, identity = decode_request(body)
        if isinstance(identity, Numbered):
            newest = self._opids.get(identity.client, 0)
            self._opids[identity.client] = max(newest, identity.opid)
            if identity.opid < newest:
                assert result.outcome == "stale", f"{command} of slot {slot} comes after {newest}"
                return
        assert result == self.answers.get(body), f"{command} of slot {slot} has two answers"
        self.repeated += not fresh


def _agree(votes: Sequence[Cast]) -> bool:
    """Whether none of those who have voted held the vote of another for void."""
    return all(
        other.incarnation >= one.voided.get(other.node, FIRST_INCARNATION)
        for one in votes
        for other in votes
    )


def _shown(node: NodeId, message: Message) -> Ballot:
    """Return the ballot that ``node`` must not forget, now that it shows it."""
    match message:
        case Prepare(ballot) | Promise(ballot) | Accepted(ballot) | Withdraw(ballot):
            return ballot
        case Accept(ballot) | Watermark(ballot) | Confirm(ballot) | TakeOver(ballot):
            return ballot
        case Nack(_, promised):
            return promised
        case Ping(health) | Pong(health) if health.following.node == node:
            return health.following
        case _:
            return ZERO_BALLOT

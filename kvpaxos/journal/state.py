"""What a journal says, once its records are read in order. Pure.

The writer, recovery and the reader for catch-up all keep the same state by the same
rules, so they cannot disagree about what is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.messages import Batch, Vote
from kvpaxos.paxos.records import (
    DecidedThrough,
    Formed,
    Forming,
    Installed,
    Learned,
    NodeRecord,
    Promised,
    Record,
    Rejoined,
    Renewed,
    ReplicaRecord,
    Seen,
    Started,
)


def needs_sync(record: Record) -> bool:
    """Whether something rests on ``record`` that a power cut must not make the node forget.

    What is decided can be learned again, so the records that say so can wait. What was seen of
    others must only not be forgotten by a node that has promised or voted anything after it.
    """
    return not isinstance(record, DecidedThrough | Learned | Installed | Seen)


@dataclass(slots=True)
class GroupState:
    """What the records of one group come to.

    :ivar promised: the highest ballot promised or voted in: a vote is a promise too.
    :ivar decided_through: every slot through this one is decided.
    :ivar voted_through: the highest slot that was voted in or learned.
    :ivar votes: the last vote in each slot above ``decided_through``.
    :ivar learned: what was learned above ``decided_through``, out of order.
    :ivar installed: the slot of the last `Installed`.
    :ivar incarnations: which disks of other nodes are known, but for first ones.
    :ivar rejoined: the last incarnation of this node, but for the first, that may vote.
    """

    promised: Ballot = ZERO_BALLOT
    decided_through: Slot = NO_SLOT
    voted_through: Slot = NO_SLOT
    votes: dict[Slot, Vote] = field(default_factory=dict)
    learned: dict[Slot, Batch] = field(default_factory=dict)
    installed: Slot = NO_SLOT
    incarnations: dict[NodeId, int] = field(default_factory=dict)
    rejoined: int = 0

    def apply(self, record: ReplicaRecord) -> list[Decision]:
        """Take the next record, and return the slots that it shows to be decided, in order."""
        match record:
            case Promised(ballot):
                self.promised = max(self.promised, ballot)
            case Vote(slot, ballot, _):
                self.promised = max(self.promised, ballot)
                self.voted_through = max(self.voted_through, slot)
                if slot > self.decided_through:
                    self.votes[slot] = record
            case Learned(slot, batch):
                self.voted_through = max(self.voted_through, slot)
                if slot > self.decided_through:
                    self.learned[slot] = batch
                    return self._advance(NO_SLOT, ZERO_BALLOT)
            case DecidedThrough(slot, ballot):
                return self._advance(slot, ballot)
            case Installed(slot):
                return self._install(slot)
            case Renewed(node, incarnation):
                self.incarnations[node] = incarnation
            case Rejoined(incarnation):
                self.rejoined = incarnation
            case _:
                assert_never(record)
        return []

    def _install(self, slot: Slot) -> list[Decision]:
        """Skip what is decided through ``slot``; return what is known to follow it."""
        self.installed = max(self.installed, slot)
        self.voted_through = max(self.voted_through, slot)
        if slot <= self.decided_through:
            return []
        self.decided_through = slot
        self.votes = {one: vote for one, vote in self.votes.items() if one > slot}
        self.learned = {one: batch for one, batch in self.learned.items() if one > slot}
        return self._advance(NO_SLOT, ZERO_BALLOT)

    def _advance(self, through: Slot, ballot: Ballot) -> list[Decision]:
        """Move on over slots that were learned, and over votes of ``ballot`` up to ``through``."""
        decided: list[Decision] = []
        while True:
            slot = Slot(self.decided_through + 1)
            batch = self.learned.pop(slot, None)
            vote = self.votes.get(slot)
            if batch is not None:
                decided.append(Decision(slot, ZERO_BALLOT, batch))
            elif vote is not None and slot <= through and vote.ballot == ballot:
                decided.append(Decision(slot, ballot, vote.batch))
            else:
                # A watermark covers no vote of another ballot. Whoever wrote it has
                # fetched that slot, or will; until then nothing above it counts either.
                return decided
            self.votes.pop(slot, None)
            self.decided_through = slot


@dataclass(slots=True)
class JournalState:
    """What all records come to.

    :ivar boot: the last `Started`, 0 if there was none.
    :ivar seen: the last `Seen` of each other member.
    """

    forming: Forming | None = None
    formed: Formed | None = None
    boot: int = 0
    seen: dict[NodeId, Seen] = field(default_factory=dict)
    groups: dict[int, GroupState] = field(default_factory=dict)

    def group(self, group: int) -> GroupState:
        """Return the state of ``group``, a fresh one if nothing was heard of it."""
        state = self.groups.get(group)
        if state is None:
            state = self.groups[group] = GroupState()
        return state

    def voted_through(self) -> dict[int, Slot]:
        """Return the highest slot that was voted in or learned, for each group."""
        return {group: state.voted_through for group, state in self.groups.items()}

    def apply(self, group: int, record: Record) -> None:
        """Take the next record."""
        if isinstance(record, NodeRecord):
            self._apply_to_node(record)
        else:
            self.group(group).apply(record)

    def _apply_to_node(self, record: NodeRecord) -> None:
        match record:
            case Forming():
                self.forming = record
            case Formed():
                self.formed = record
            case Started(boot):
                self.boot = boot
            case Seen(node):
                self.seen[node] = record
            case _:
                assert_never(record)

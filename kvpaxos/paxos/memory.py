"""What a replica begins a life with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvpaxos.paxos.ballot import FIRST_SLOT, NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.rejoin import FIRST_INCARNATION


@dataclass(frozen=True, slots=True)
class Memory:
    """What a replica remembers of its earlier lives.

    :ivar life: which life begins: greater than every earlier one of this node.
    :ivar votes: those in slots above ``decided_through``.
    :ivar decided_through: what the journal shows to be decided. The state may hold more: a
        crash can take watermarks, which are not synced; those slots are decided once more.
    :ivar kept_from: the slots from here through ``decided_through`` are all in the journal. Its
        votes below it are gone: a state that was lost may have to be fetched up to there.
    :ivar incarnations: which disks others are on, as far as it is known, but for first ones.
    :ivar incarnation: which disk of this node it is.
    :ivar may_vote: False if this disk was empty when the cluster was formed already, and not
        enough has been learnt since.
    """

    life: int = 1
    promised: Ballot = ZERO_BALLOT
    votes: Mapping[Slot, Vote] = field(default_factory=dict)
    decided_through: Slot = NO_SLOT
    kept_from: Slot = FIRST_SLOT
    incarnations: Mapping[NodeId, int] = field(default_factory=dict)
    incarnation: int = FIRST_INCARNATION
    may_vote: bool = True

"""What a node must not forget: the records of its journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Batch, Vote


@dataclass(frozen=True, slots=True)
class Promised:
    """The acceptor promised ``ballot``."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class DecidedThrough:
    """All slots through ``slot`` are decided: learned ones, and votes cast in ``ballot``.

    Never synced by itself: whoever forgets it learns it again.
    """

    slot: Slot
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Learned:
    """``slot`` is decided, and another node told us so: our own vote there proves nothing."""

    slot: Slot
    batch: Batch


@dataclass(frozen=True, slots=True)
class Installed:
    """The state is one that came from elsewhere, as it was after ``slot``.

    All slots through that one are decided, and what was decided in them is not in this journal.
    """

    slot: Slot


@dataclass(frozen=True, slots=True)
class Renewed:
    """``node`` has a new disk, its ``incarnation``-th: what it said on an earlier one is void."""

    node: NodeId
    incarnation: int


@dataclass(frozen=True, slots=True)
class Rejoined:
    """This node, whose ``incarnation``-th disk was empty, has learnt enough to vote again."""

    incarnation: int


ReplicaRecord: TypeAlias = (
    Promised | Vote | DecidedThrough | Learned | Installed | Renewed | Rejoined
)
"""What the consensus core writes down."""


@dataclass(frozen=True, slots=True)
class Forming:
    """This node agreed to be part of a new cluster, and has not voted in it yet.

    :ivar cluster: the cluster's id, 32 hexadecimal digits.
    """

    cluster: str
    node: NodeId
    members: tuple[NodeId, ...]
    incarnation: int


@dataclass(frozen=True, slots=True)
class Formed:
    """Every member has agreed durably to ``cluster``. An empty disk is a lost disk from now on."""

    cluster: str


@dataclass(frozen=True, slots=True)
class Started:
    """The node began its ``boot``-th run on this disk, the first being 1."""

    boot: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A run of another member has shown itself, and how far its journal had come by then.

    What comes after must be this run or a later one, and its journal no shorter: whatever is not
    is an older copy of that disk.

    :ivar boot: how often ``node`` had been started on its ``incarnation``-th disk.
    :ivar process: the random word of that run.
    :ivar records: how many records its journal held durably, and ``head`` the chain's hash after
        them, in hexadecimal digits.
    """

    node: NodeId
    incarnation: int
    boot: int
    process: str
    records: int
    head: str

    @property
    def run(self) -> tuple[int, int]:
        """Later runs of ``node`` have greater ones."""
        return self.incarnation, self.boot


NodeRecord: TypeAlias = Forming | Formed | Started | Seen
"""What the node itself writes down."""

Record: TypeAlias = ReplicaRecord | NodeRecord

"""What replicas say to each other.

Each message is a value: frozen, comparable, and free of behavior. Prepare,
Promise, Accept, Accepted and Nack are those of Lamport, "Paxos Made Simple"
(2001), sections 2.2 and 3; Confirm is the read round of Ongaro, "Consensus:
Bridging Theory and Practice" (2014), section 6.4.

Requests travel on the connection that their sender dialed, replies on the
connection that the request came by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from kvpaxos.paxos.ballot import Ballot, NodeId, Slot


class Command(NamedTuple):
    """A client's wish, as the node that took it numbered it.

    :ivar node: the node that took it, and that will answer for it.
    :ivar life: which life of that node: greater at each start, even on a new disk.
    :ivar sequence: 1, 2, 3, … within one life; executed in this order, and never twice.
    :ivar settled_through: that node waits for no answer at or below this sequence.
    :ivar body: the wish itself. Opaque here; `kvpaxos.store` gives it meaning.
    """

    node: NodeId
    life: int
    sequence: int
    settled_through: int
    body: bytes


Batch: TypeAlias = tuple[Command, ...]
"""What a slot decides: commands, to be executed in this order."""

NOOP: Final[Batch] = ()
"""The batch that fills a gap."""

Incarnations: TypeAlias = tuple[tuple[NodeId, int], ...]
"""Which disk of theirs nodes are on, in the order of their names, but for those on their first."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The last proposal that an acceptor accepted in one slot. Also a journal record."""

    slot: Slot
    ballot: Ballot
    batch: Batch


@dataclass(frozen=True, slots=True)
class Health:
    """What a node says of itself with every heartbeat.

    :ivar following: the ballot of the leader it hears; its own while it leads; else
        ``ZERO_BALLOT``.
    :ivar able: whether it could lead: a quorum is reached both ways, and its disk is neither slow
        nor nearly full.
    :ivar decided_through: it knows every slot through this one.
    :ivar kept_from: it can still hand out the slots from here on.
    :ivar durable_through: its state would survive a power cut through this slot.
    """

    following: Ballot
    able: bool
    decided_through: Slot
    kept_from: Slot
    durable_through: Slot


# Requests.


@dataclass(frozen=True, slots=True)
class Prepare:
    """Phase 1a: promise to ignore lower ballots in ``from_slot`` and above."""

    ballot: Ballot
    from_slot: Slot


@dataclass(frozen=True, slots=True)
class Accept:
    """Phase 2a: vote for ``batch`` in ``slot``. All through ``decided_through`` is decided."""

    ballot: Ballot
    slot: Slot
    batch: Batch
    decided_through: Slot


@dataclass(frozen=True, slots=True)
class Watermark:
    """All slots through ``decided_through`` are decided, says the leader of ``ballot``.

    It settles a vote only if the vote was cast in this very ballot.
    """

    ballot: Ballot
    decided_through: Slot


@dataclass(frozen=True, slots=True)
class Ping:
    """A heartbeat. ``sent_at`` means nothing but to its sender, who gets it back."""

    health: Health
    sent_at: float


@dataclass(frozen=True, slots=True)
class Forward:
    """Commands for the leader to propose, in order of sequence. ``hops`` more may pass it on."""

    commands: Batch
    hops: int


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Asks for the decided batches of ``from_slot`` through ``through``, or some of them."""

    from_slot: Slot
    through: Slot


@dataclass(frozen=True, slots=True)
class AskReadSlot:
    """A follower with waiting reads asks the leader how far it must have applied."""

    round: int


@dataclass(frozen=True, slots=True)
class Confirm:
    """The leader of ``ballot`` asks whether a higher one has been promised since."""

    ballot: Ballot
    round: int


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The leader of ``ballot`` asks this node to stand for election at once."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The candidate of ``ballot`` reaches no quorum any more: nobody need give it time."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Chosen:
    """What ``ballot`` offered in ``slot`` is decided. Also a heartbeat, and answered as one.

    Only where each slot is agreed on by itself: a log has the watermark instead.
    """

    ballot: Ballot
    slot: Slot
    health: Health
    sent_at: float


@dataclass(frozen=True, slots=True)
class Rejoin:
    """A node that lost its disk, and is on its ``incarnation``-th now, asks what it must learn."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class AskState:
    """Asks for the next piece of a node's whole state. Nothing that a replica has to do with.

    :ivar offer: what a `StatePiece` has said; 0 to begin.
    :ivar after: the last place of the engine that has come; empty to begin.
    """

    offer: int
    after: bytes


@dataclass(frozen=True, slots=True)
class StateDigest:
    """Tells the digest of a node's whole state as it was after ``slot``: 16 bytes."""

    slot: Slot
    digest: bytes


Request: TypeAlias = (
    Prepare
    | Accept
    | Watermark
    | Ping
    | Forward
    | CatchUp
    | AskReadSlot
    | Confirm
    | TakeOver
    | Chosen
    | Rejoin
    | AskState
    | StateDigest
    | Withdraw
)


# Replies.


@dataclass(frozen=True, slots=True)
class Promise:
    """Phase 1b: promised; here are the votes cast in the undecided slots asked for.

    Large ones come in ``parts`` numbered from 0 by ``part``: all are needed.

    :ivar incarnations: which disks its sender knows of, its own among them.
    """

    ballot: Ballot
    votes: tuple[Vote, ...]
    decided_through: Slot
    kept_from: Slot
    part: int = 0
    parts: int = 1
    incarnations: Incarnations = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """Phase 2b: voted. ``incarnations`` as in `Promise`."""

    ballot: Ballot
    slot: Slot
    incarnations: Incarnations = ()


@dataclass(frozen=True, slots=True)
class Nack:
    """Refused ``ballot``: the acceptor has promised a higher one."""

    ballot: Ballot
    promised: Ballot


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a `Ping` or a `Chosen`, on the connection it came by."""

    health: Health
    sent_at: float


@dataclass(frozen=True, slots=True)
class Decided:
    """Answers `CatchUp`: the decided batches of ``from_slot`` and those that follow it."""

    from_slot: Slot
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class ReadSlot:
    """Answers `AskReadSlot`: reads may be done once ``decided_through`` is applied."""

    round: int
    ballot: Ballot
    decided_through: Slot


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Answers `Confirm`: no ballot above this one has been promised here."""

    ballot: Ballot
    round: int


@dataclass(frozen=True, slots=True)
class Report:
    """Answers `Rejoin`: from here on the sender counts nothing from an earlier incarnation.

    :ivar promised: the highest ballot that it has promised.
    :ivar voted_through: the highest slot that it has voted in, or knows to be decided.
    :ivar incarnations: as in `Promise`.
    """

    incarnation: int
    promised: Ballot
    voted_through: Slot
    incarnations: Incarnations = ()


@dataclass(frozen=True, slots=True)
class StatePiece:
    """Answers `AskState` with records of an engine. None are left if there are none.

    :ivar offer: which moment of the sender's state it is from; more of it can be asked for.
    :ivar after: what was asked.
    :ivar slot: the state is as it was after this slot.
    :ivar digest: that of the whole state, 16 bytes.
    """

    offer: int
    after: bytes
    slot: Slot
    digest: bytes
    records: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class NoState:
    """Answers `AskState`: there is no such ``offer`` any more. Begin again."""

    offer: int


Reply: TypeAlias = (
    Promise
    | Accepted
    | Nack
    | Pong
    | Decided
    | ReadSlot
    | Confirmed
    | Report
    | StatePiece
    | NoState
)

Message: TypeAlias = Request | Reply


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message on its way to one node."""

    to: NodeId
    message: Message

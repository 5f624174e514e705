"""What goes into a replica, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from kvpaxos.paxos.ballot import NO_SLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Batch, Envelope, Message
from kvpaxos.paxos.records import Installed, ReplicaRecord


@dataclass(frozen=True, slots=True)
class Received:
    """``message`` came from ``sender``, which may be this node itself."""

    sender: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class Wish:
    """A client's request on its way into the log.

    :ivar request: the caller's own number for it, which comes back with the outcome.
    :ivar deadline: monotonic seconds; it is given up then.
    """

    request: int
    body: bytes
    deadline: float


@dataclass(frozen=True, slots=True)
class Proposed:
    """Clients ask this node to have ``wishes`` decided and executed."""

    wishes: tuple[Wish, ...]


@dataclass(frozen=True, slots=True)
class ReadWanted:
    """Clients ask this node for linearizable reads, ``(request, deadline)`` each."""

    reads: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the state machine made of one command that this node had numbered.

    :ivar result: what it says to the client; None if it refused to execute the command,
        because an earlier one is missing (then it must be sent again) or because the
        command is an old copy.
    """

    sequence: int
    result: object | None


@dataclass(frozen=True, slots=True)
class Applied:
    """The state machine has executed what was decided; these were this node's own commands."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Persisted:
    """Through slot ``through`` this node needs nobody, not even after a power cut.

    Its state is durable that far, and its journal shows that far what is decided.

    :ivar surplus_through: the journal has grown beyond its bound: the slots through this one, all
        of them at or below ``through``, are to be forgotten, whoever may still lack them.
    """

    through: Slot
    surplus_through: Slot = NO_SLOT


@dataclass(frozen=True, slots=True)
class Dialed:
    """The connection that this node opened to ``peer`` is up."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection that this node had opened to ``peer`` broke."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class HungUp:
    """The connection that ``peer`` had opened to this node broke."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed.

    :ivar lag_s: how much later than asked for this tick comes: a pause of the process.
    :ivar sync_s: how long the oldest record that is not yet durable has been waiting.
    :ivar low: the disk has hardly any room: another node should rather lead.
    """

    lag_s: float = 0.0
    sync_s: float = 0.0
    low: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """Commands have waited long enough for others to share a slot with."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """This node is about to be stopped: if it leads, let another take over."""


Event: TypeAlias = (
    Received
    | Proposed
    | ReadWanted
    | Applied
    | Persisted
    | Installed
    | Dialed
    | Lost
    | HungUp
    | Ticked
    | Gathered
    | Leaving
)
"""`Installed`: a state that came from elsewhere has taken the place of this node's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """``slot`` is decided. ``ballot`` is that of the votes, ``ZERO_BALLOT`` if it was learned."""

    slot: Slot
    ballot: Ballot
    batch: Batch


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a wish, for the client that made it."""

    request: int
    result: object


@dataclass(frozen=True, slots=True)
class ReadReady:
    """The read may be done now, from the state with all decisions so far applied.

    :ivar how: what proves it fresh. Leases will add their names here.
    """

    request: int
    how: Literal["quorum"]


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline of a wish or a read passed. Once ``sent``, a wish may still be executed."""

    request: int
    sent: bool


@dataclass(frozen=True, slots=True)
class Lookup:
    """``to`` needs decided slots that only the journal may still hold: send it a `Decided`.

    It may be this node itself. Where the journal does not hold the first of them, do nothing.
    """

    to: NodeId
    from_slot: Slot
    through: Slot


@dataclass(frozen=True, slots=True)
class Fetch:
    """Nobody keeps slot ``needed`` any more, which is decided: get the whole state of ``donor``.

    It is repeated until an `Installed` brings that slot, and names another one now and then.
    """

    donor: NodeId
    needed: Slot


@dataclass(frozen=True, slots=True)
class Effects:
    """What the caller of `Replica.step` must now do, in this order.

    1. ``sends`` may leave at once: they promise nothing.
    2. ``records`` go to the journal, in order.
    3. ``decided`` are applied to the state, in order and in one batch.
    4. ``answers``, ``reads`` and ``expired`` go to the clients: a quorum has made durable
       what they rest on.
    5. ``replies`` leave once this node would remember ``records``, and all earlier ones,
       after a power cut: each of them promises something that it must not forget.
       A `DecidedThrough` or `Learned` is no promise and need not be waited for.
    6. ``lookups`` are served, the journal through ``forget_through`` may be dropped, and
       a ``fetch`` begins unless one is under way, whenever it suits.

    A message to oneself is an ordinary envelope.
    """

    sends: tuple[Envelope, ...] = ()
    records: tuple[ReplicaRecord, ...] = ()
    decided: tuple[Decision, ...] = ()
    answers: tuple[Answer, ...] = ()
    reads: tuple[ReadReady, ...] = ()
    expired: tuple[Expired, ...] = ()
    replies: tuple[Envelope, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    forget_through: Slot = NO_SLOT
    fetch: Fetch | None = None

    def __add__(self, later: Effects) -> Effects:
        if self is NOTHING:
            return later
        if later is NOTHING:
            return self
        return Effects(
            self.sends + later.sends,
            self.records + later.records,
            self.decided + later.decided,
            self.answers + later.answers,
            self.reads + later.reads,
            self.expired + later.expired,
            self.replies + later.replies,
            self.lookups + later.lookups,
            max(self.forget_through, later.forget_through),
            later.fetch or self.fetch,
        )


NOTHING: Final = Effects()
"""No effects. Adding it costs nothing."""

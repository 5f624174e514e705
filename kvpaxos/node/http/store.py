"""What the HTTP face needs of the node behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from twisted.internet.defer import Deferred

from kvpaxos.store.backup import Header
from kvpaxos.store.commands import Operation
from kvpaxos.store.entry import Entry
from kvpaxos.store.requests import Identity
from kvpaxos.store.results import Result
from kvpaxos.store.view import Record

ReadKind: TypeAlias = Literal["quorum", "lease", "read_lease", "stale", "logged"]

Described: TypeAlias = Mapping[str, object]
"""What JSON can tell: text, finite numbers, booleans, None, and lists and maps of these."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an answer rests on.

    :ivar slot: the slot that executed the request, if it is logged, or a later one, if the outcome
        came with the whole state of another node; else the last slot that was applied when the
        answer was given, or 0.
    :ivar leader: the node that leads, as far as this one knows, or the empty string.
    :ivar read: what made sure that the answer is not stale, or ``stale`` if nothing did.
    """

    slot: int
    leader: str
    read: ReadKind


class Written(NamedTuple):
    """What came of a write."""

    result: Result
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChange:
    """A wish to switch links between nodes; what is None stays as it is.

    :ivar from_node: the sending end, or None for every node.
    :ivar to_node: the receiving end, or None for every node.
    :ivar delay_s: how long each message is held back.
    :ivar loss: the share of messages that are lost, from 0 to 1.
    """

    from_node: str | None
    to_node: str | None
    state: Literal["up", "cut"] | None
    delay_s: float | None
    loss: float | None


class JournalPage(NamedTuple):
    """Some decided slots, in order.

    :ivar next: the slot behind the last of them, if it is decided and here too; else None.
    """

    slots: Sequence[Described]
    next: int | None


class View(Protocol):
    """The state as it was at one moment. It costs memory until it is closed."""

    def page(self, after: bytes | None, limit: int, bytes_max: int) -> list[tuple[bytes, Entry]]:
        """Return the keys above ``after``, or from the first, with what they held, in order.

        There are at most ``limit`` of them, and at most ``bytes_max`` bytes of keys and values
        unless the first alone has more. None are left if the page is empty.
        """
        ...

    def piece(self, after: bytes | None, bytes_max: int) -> list[Record]:
        """Return what the engine holds above the place ``after``, or from the first, in order.

        Bounds and end are as in `page`.
        """
        ...

    def close(self) -> None:
        """Let go of the moment. To do it twice is harmless."""
        ...


class Whole(NamedTuple):
    """All there is to the state.

    :ivar header: of which cluster it is, after which slot, and what there is in ``view``.
    """

    header: Header
    view: View


class Store(Protocol):
    """A node, as the HTTP face sees it.

    The text of an exception says what happened, in words for the client; the face adds whether
    the request was applied and what to do. Deferreds that were given a deadline fire by then.
    """

    def write(
        self, operation: Operation, identity: Identity | None, *, timeout_s: float
    ) -> Deferred[Written]:
        """Carry out ``operation``; fire once it is applied here. It is never canceled.

        :param identity: what it has in common with its repetitions, if it may have any.

        :raises Unavailable: it was neither journaled nor sent, and will not be.
        :raises OutcomeUnknown: it may still be applied.
        :raises TooLarge: it does not fit into a command.
        :raises BadRequest: it makes no sense.
        """
        ...

    def read(self, *, stale: bool, timeout_s: float) -> Deferred[Receipt]:
        """Fire when `get`, `count`, `view` and `whole` may be called, in that turn of the reactor.

        What they return is then linearizable, unless ``stale``. Canceled if the client hangs up.

        :raises Unavailable: there was no quorum in time.
        """
        ...

    def receipt(self) -> Receipt:
        """Return what an answer rests on for which nobody was asked: it is ``stale``."""
        ...

    def get(self, key: bytes) -> Entry | None:
        """Return what ``key`` holds, or None."""
        ...

    def count(self) -> int:
        """Return how many keys there are."""
        ...

    def view(self) -> View:
        """Return the state as it is now. The caller closes it."""
        ...

    def whole(self) -> Whole:
        """Return all of the state as it is now. The caller closes the view.

        :raises Unavailable: the node belongs to no cluster yet.
        """
        ...

    def status(self) -> Described:
        """Describe the node, its peers, its journal and its state."""
        ...

    def limits(self) -> Described:
        """Return every named limit of the node but those of the HTTP face."""
        ...

    def ready(self) -> str | None:
        """Return None if the node has lately finished a linearizable read, or else why not."""
        ...

    def links(self) -> Sequence[Described]:
        """Describe the links and their switches.

        :raises Forbidden: the cluster was started without partitions allowed.
        """
        ...

    def set_link(self, change: LinkChange) -> Sequence[Described]:
        """Switch this node's ends of some links, and describe all links.

        :raises BadRequest: a node of that name is not a member.
        :raises Forbidden: the cluster was started without partitions allowed.
        """
        ...

    def journal(self, from_slot: int, limit: int) -> Deferred[JournalPage]:
        """Fire with the decided slots from ``from_slot`` on, at most ``limit`` of them.

        They are fewer if they are long. Slots that this node has forgotten are passed over.

        :raises JournalDamaged: the node stops.
        :raises DiskError: likewise.
        """
        ...

    def shutdown(self) -> None:
        """Hand leadership over and stop the node. A second call changes nothing."""
        ...

"""Which state a node has: the one on its shelf, and those that travel between nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvpaxos.engine.shelf import Shelf
from kvpaxos.errors import StateDamaged
from kvpaxos.journal.log import Journal
from kvpaxos.node.comparer import Comparer
from kvpaxos.node.persister import Persister
from kvpaxos.node.recovery import GROUP
from kvpaxos.node.repairs import Repairs
from kvpaxos.node.state import State
from kvpaxos.node.threads import SYSTEM_THREADS, Threads
from kvpaxos.node.transfer import PIECE_BYTES, Donor, Recipient
from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.effects import Fetch
from kvpaxos.paxos.messages import AskState, Message, NoState, StateDigest, StatePiece

SURPLUS_MAX: Final = 4
"""How many times its bound a journal may grow while a peer that lags is given a state."""


def open_state(shelf: Shelf, repairs: Repairs, *, value_bytes_max: int, alone: bool) -> State:
    """Open the state; one that is damaged is set aside, for another member's to take its place.

    :param alone: there is no other member.
    :raises StartError: as `Shelf.open`.
    :raises StateDamaged: nobody else has it.
    """
    try:
        return State(shelf.open(), GROUP, value_bytes_max=value_bytes_max)
    except StateDamaged as error:
        if alone:
            raise
        repairs.put_state_aside(shelf, error)
        return State(shelf.open(), GROUP, value_bytes_max=value_bytes_max)


class States:
    """Gives this node's state to peers that lag too far, and gets theirs if this one does."""

    def __init__(
        self,
        state: State,
        shelf: Shelf,
        persister: Persister,
        journal: Journal,
        *,
        node: NodeId,
        members: Sequence[NodeId],
        journal_bytes_max: int,
        send: Callable[[NodeId, Message], None],
        install: Callable[[Slot], None],
        failed: Callable[[Failure], None],
        reactor: Any,  # noqa: ANN401  (no interface names timers and threads together)
        random: Random,
        piece_bytes: int = PIECE_BYTES,
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        """Make one that does nothing before it is asked to.

        :param node: this one, of ``members``.
        :param journal_bytes_max: how long the journal may become for the sake of peers that lag.
        :param send: sends a message to a member; it may be lost.
        :param install: is told when the state has become that of another slot.
        :param failed: is told of an error after which the node must stop.
        :param piece_bytes: as much of a state as is sent at once.
        """
        self.comparer = Comparer(state, node, members, send=send, failed=failed, reactor=reactor)
        self._install = install
        self.donor = Donor(
            state,
            send=send,
            failed=failed,
            clock=reactor,
            random=random,
            piece_bytes=piece_bytes,
        )
        self.recipient = Recipient(
            state,
            shelf,
            persister,
            send=send,
            install=self._installed,
            failed=failed,
            reactor=reactor,
            group=GROUP,
            in_thread=threads.call,
        )
        self._journal = journal
        self._journal_bytes_max = journal_bytes_max

    def fetch(self, fetch: Fetch) -> None:
        """Get a peer's state, unless one is on its way."""
        self.recipient.fetch(fetch)

    def takes(self, sender: NodeId, message: Message) -> bool:
        """Take a message if it has to do with states, and say whether it has."""
        match message:
            case AskState():
                # A state of which nobody knows whether it is right is given to nobody.
                if self.comparer.dispute is None:
                    self.donor.asked(sender, message)
            case StateDigest():
                self.comparer.heard(sender, message)
            case StatePiece() | NoState():
                self.recipient.took(sender, message)
            case _:
                return False
        return True

    def _installed(self, slot: Slot) -> None:
        self.comparer.installed()
        self._install(slot)

    def surplus_through(self, durable_through: Slot) -> Slot:
        """Return through which slot the journal is to be forgotten, whoever may lack it.

        A peer that is being given a state gets time to go on from there by slots.
        """
        if self._journal.bytes <= self._journal_bytes_max:
            return NO_SLOT
        needed_from = self.donor.needed_from
        patient = self._journal.bytes <= SURPLUS_MAX * self._journal_bytes_max
        if needed_from is not None and patient:
            return min(durable_through, Slot(needed_from - 1))
        return durable_through

    def stop(self) -> Deferred[None]:
        """Give and get nothing any more; fire once nothing is under way."""
        self.donor.stop()
        return self.recipient.stop()

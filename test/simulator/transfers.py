"""What makes a node's state durable, and gives and gets whole ones, without reactor and threads.

Donors and recipients are the real ones of `kvpaxos.node.transfer`. What is around them there does
here, step by step, what `kvpaxos.node.persister` and `kvpaxos.node.states` do.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from kvpaxos.errors import DiskError
from kvpaxos.node.persister import Persister
from kvpaxos.node.state import State
from kvpaxos.node.states import SURPLUS_MAX
from kvpaxos.node.transfer import Donor, Recipient
from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.messages import AskState, Message, NoState, StatePiece
from test.simulator.agenda import Agenda
from test.simulator.disk import Disk
from test.simulator.shelf import Kept, KeptShelf

PAUSED_S = 0.05
"""How often something that is due looks whether its process may go on."""


class Call:
    """Something that will happen, unless it is canceled or its process dies before."""

    def __init__(self, happen: Callable[[], None]) -> None:
        self._happen: Callable[[], None] | None = happen

    def active(self) -> bool:
        """Whether it is still to happen."""
        return self._happen is not None

    def cancel(self) -> None:
        """Let it not happen."""
        self._happen = None

    def fire(self) -> None:
        """Let it happen, if it still may."""
        happen, self._happen = self._happen, None
        if happen is not None:
            happen()


class Clockwork:
    """As much of a reactor as the parts of one process need.

    :param alive: says whether that process lives.
    :param paused: says whether it is paused.
    """

    def __init__(
        self, agenda: Agenda, alive: Callable[[], bool], paused: Callable[[], bool]
    ) -> None:
        self._agenda = agenda
        self._alive = alive
        self._paused = paused

    def seconds(self) -> float:
        """Return what the clock shows."""
        return self._agenda.now

    def callLater(self, delay_s: float, happen: Callable[..., None], *arguments: object) -> Call:  # noqa: N802  (Twisted's name)
        """Let ``happen`` be called after a while."""
        call = Call(lambda: happen(*arguments))

        def due() -> None:
            if not self._alive():
                return
            if self._paused():
                self._agenda.after(PAUSED_S, due)
            else:
                call.fire()

        self._agenda.after(delay_s, due)
        return call


class Flusher:
    """Makes the state durable behind the journal, when it is told to.

    :ivar durable_through: the state would survive a power cut through this slot.
    """

    def __init__(
        self,
        state: State,
        kept: Kept,
        disk: Disk,
        *,
        durable_through: Slot,
        persisted: Callable[[Slot], None],
        disturb: Callable[[], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self.durable_through = durable_through
        self._state = state
        self._kept = kept
        self._disk = disk
        self._persisted = persisted
        self._disturb = disturb
        self._failed = failed
        self._paused = False
        self._busy = False
        self._quiet: list[Deferred[None]] = []

    def flush(self) -> None:
        """Make the state durable, the journal first, and say so, unless that is under way."""
        if self._paused or self._busy:
            return
        self._busy = True
        through = self._state.applied
        self._disk.sync_all(lambda: self._synced(through))

    def spill(self) -> None:
        """Make the state durable, whatever of the journal is, as an engine may at any time."""
        self._kept.keep(self._state.engine)

    def pause(self) -> Deferred[None]:
        """Fire once no flush is under way. None begins before `resume`."""
        self._paused = True
        if not self._busy:
            return succeed(None)
        quiet: Deferred[None] = Deferred()
        self._quiet.append(quiet)
        return quiet

    def resume(self, state: State, durable_through: Slot) -> None:
        """Go on with ``state``, which is durable through that slot."""
        self._paused = False
        self._state = state
        self.durable_through = durable_through
        self._persisted(durable_through)

    def clear(self) -> None:
        """Do nothing: what was given up takes no room here."""

    def _synced(self, through: Slot) -> None:
        try:
            self._disturb()
        except DiskError:
            self._failed(Failure())
            return
        # What was applied meanwhile is in it too: nobody says of which slots an engine's files are.
        self._kept.keep(self._state.engine)
        self._busy = False
        self.durable_through = through
        self._persisted(through)
        quiet, self._quiet = self._quiet, []
        for one in quiet:
            one.callback(None)


class Transfers:
    """Gives this process's state to peers that lag too far, and gets theirs if this one does.

    :ivar recipient: what gets one.
    """

    def __init__(
        self,
        state: State,
        shelf: KeptShelf,
        flusher: Flusher,
        disk: Disk,
        clockwork: Clockwork,
        *,
        journal_slots_max: int,
        piece_bytes: int,
        flush_s: Callable[[], float],
        send: Callable[[NodeId, Message], None],
        install: Callable[[Slot], None],
        failed: Callable[[Failure], None],
        random: Random,
    ) -> None:
        """Make one that does nothing before it is asked to.

        :param journal_slots_max: how many slots the journal holds for those that lag.
        :param flush_s: says how long it takes until a state that has come is durable.
        """
        # As much of the interface as is used.
        reactor = cast("Any", clockwork)
        self._donor = Donor(
            state,
            send=send,
            failed=failed,
            clock=reactor,
            random=random,
            piece_bytes=piece_bytes,
        )

        def in_thread(flush: Callable[[], None]) -> Deferred[None]:
            done: Deferred[None] = Deferred()
            clockwork.callLater(flush_s(), lambda: done.callback(flush()))  # type: ignore[func-returns-value]
            return done

        self.recipient = Recipient(
            state,
            shelf,
            cast("Persister", flusher),
            send=send,
            install=install,
            failed=failed,
            reactor=reactor,
            group=0,
            in_thread=in_thread,
        )
        self._disk = disk
        self._journal_slots_max = journal_slots_max

    def takes(self, sender: NodeId, message: Message) -> bool:
        """Take a message if it has to do with states, and say whether it has."""
        match message:
            case AskState():
                self._donor.asked(sender, message)
            case StatePiece() | NoState():
                self.recipient.took(sender, message)
            case _:
                return False
        return True

    def surplus_through(self, durable_through: Slot) -> Slot:
        """Return through which slot the journal is to be forgotten, whoever may lack it."""
        bound = self._journal_slots_max
        if not bound or self._disk.slots <= bound:
            return NO_SLOT
        needed_from = self._donor.needed_from
        if needed_from is not None and self._disk.slots <= SURPLUS_MAX * bound:
            return min(durable_through, Slot(needed_from - 1))
        return durable_through

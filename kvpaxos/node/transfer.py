"""Whole states on their way from one node to another, piece by piece.

A node that misses slots which nobody keeps any more is given the state that came of them. It asks
for one piece at a time, so it is never sent more than it can take, and it may go on where it was
cut off. What comes goes into an engine of its own beside the current one; when all of it is there,
proved by its digest and durable, that one takes the place of the other (see
`kvpaxos.engine.shelf`). A node that dies meanwhile still has its old state, and begins again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvpaxos.engine.shelf import Shelf
from kvpaxos.errors import StateClosed, StateDamaged
from kvpaxos.node.persister import Persister
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.effects import Fetch
from kvpaxos.paxos.messages import AskState, Message, NoState, StatePiece
from kvpaxos.store.engine import Engine
from kvpaxos.store.intake import Intake
from kvpaxos.store.layout import applied_key
from kvpaxos.store.view import View

PIECE_BYTES: Final = 256 * 1024
"""How much of a state is sent at once."""

PIECE_RECORDS: Final = 512
"""Nor more records, however short they are: each takes time of both, and clients wait meanwhile."""

TRANSFER_BYTES_PER_S_MAX: Final = 32 * 1024 * 1024
"""No node asks for more of a state in a second: the others have clients to serve."""

TRANSFER_RECORDS_PER_S_MAX: Final = 64 * 1024
"""Nor for more records."""

OFFERS_MAX: Final = 2
"""How many moments of its state a node keeps for others at a time."""

OFFER_S_MAX: Final = 60.0
"""A moment that nobody has asked a piece of for so long is kept no more."""

ANSWER_S: Final = 1.0
"""How long to wait for a piece before it is asked for again."""

ANSWERS_MISSED_MAX: Final = 10
"""After so many silences in a row another node is asked."""

FIRST_ANSWERS_MISSED_MAX: Final = 4
"""And so many if none has come yet: then another donor may have as much, and answer."""

REPORT_BYTES: Final = 256 * 1024 * 1024
"""How often, in bytes, the log says how far a state has come."""


@dataclass(slots=True)
class _Offer:
    to: NodeId
    view: View
    slot: Slot
    asked_at: float


class Donor:
    """Hands out this node's state, as it is when somebody begins to ask for it.

    :param send: sends a message to a member; it may be lost.
    :param failed: is told that the state is damaged: the node must stop.
    :param piece_bytes: how much it sends at once.
    """

    _log = Logger()

    def __init__(
        self,
        state: State,
        *,
        send: Callable[[NodeId, Message], None],
        failed: Callable[[Failure], None],
        clock: IReactorTime,
        random: Random,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._piece_bytes = piece_bytes
        self._state = state
        self._send = send
        self._failed = failed
        self._clock = clock
        self._number = random.getrandbits(32)
        self._offers: dict[int, _Offer] = {}

    @property
    def needed_from(self) -> Slot | None:
        """The slot after the oldest moment that is kept, which its receiver will ask for next."""
        self._expire()
        oldest = min((offer.slot for offer in self._offers.values()), default=None)
        return None if oldest is None else Slot(oldest + 1)

    def asked(self, peer: NodeId, question: AskState) -> None:
        """Send the next piece, if there is such an offer."""
        self._expire()
        number = question.offer or self._begin(peer)
        offer = self._offers.get(number)
        if offer is None or offer.to != peer:
            self._send(peer, NoState(question.offer))
            return
        offer.asked_at = self._clock.seconds()
        try:
            records = offer.view.piece(question.after or None, self._piece_bytes, PIECE_RECORDS)
        except (StateClosed, StateDamaged) as error:
            # Another state has taken the place of the one it was of, or is going to.
            self._end(number)
            self._send(peer, NoState(number))
            if isinstance(error, StateDamaged):
                self._failed(Failure())
            return
        digest = offer.view.digest.to_bytes(16, "big")
        piece = StatePiece(number, question.after, offer.slot, digest, tuple(records))
        self._send(peer, piece)
        if not records:
            # Whoever asks again was not told; then it begins again.
            self._log.info("{peer} has got the state of slot {slot}", peer=peer, slot=offer.slot)
            self._end(number)

    def stop(self) -> None:
        """Keep nothing any more."""
        for number in list(self._offers):
            self._end(number)

    def _begin(self, peer: NodeId) -> int:
        for number, offer in list(self._offers.items()):
            if offer.to == peer:
                self._end(number)
        if len(self._offers) >= OFFERS_MAX:
            return 0
        self._number += 1
        now = self._clock.seconds()
        view = self._state.machine.view()
        self._offers[self._number] = _Offer(peer, view, self._state.applied, now)
        slot = self._state.applied
        self._log.info("{peer} is given the state of slot {slot}", peer=peer, slot=slot)
        return self._number

    def _expire(self) -> None:
        late = self._clock.seconds() - OFFER_S_MAX
        for number, offer in list(self._offers.items()):
            if offer.asked_at < late:
                self._end(number)

    def _end(self, number: int) -> None:
        self._offers.pop(number).view.close()


class Recipient:
    """Gets a state from a peer when the replica says that this node needs one.

    :ivar received_bytes: how much of it has come; 0 if none is under way.
    :ivar installed: how many states have come and taken the place of this node's.
    """

    _log = Logger()

    def __init__(
        self,
        state: State,
        shelf: Shelf,
        persister: Persister,
        *,
        send: Callable[[NodeId, Message], None],
        install: Callable[[Slot], None],
        failed: Callable[[Failure], None],
        reactor: Any,  # noqa: ANN401  (no interface names timers and threads together)
        group: int,
        in_thread: Callable[[Callable[[], None]], Deferred[None]] = deferToThread,
    ) -> None:
        """Make one that does nothing before `fetch`.

        :param install: is told when the state has become that of another slot.
        :param failed: is told of an error after which the node must stop.
        :param in_thread: calls what blocks, and fires when it has returned.
        """
        self.installed = 0
        self._state = state
        self._shelf = shelf
        self._persister = persister
        self._send = send
        self._install = install
        self._failed = failed
        self._reactor = reactor
        self._group = group
        self._in_thread = in_thread
        self._donor: NodeId | None = None
        self._engine: Engine | None = None
        self._intake: Intake | None = None
        self._offer: tuple[int, Slot, bytes] | None = None
        self._timer: IDelayedCall | None = None
        self._missed = 0
        self._finishing: Deferred[None] = succeed(None)
        self._stopped = False

    @property
    def received_bytes(self) -> int:
        """How many bytes of a state have come; 0 if none is under way."""
        return 0 if self._intake is None else self._intake.bytes

    @property
    def donor(self) -> NodeId | None:
        """Who gives this node its state now."""
        return self._donor

    def fetch(self, fetch: Fetch) -> None:
        """Get the state of a donor, unless one is on its way."""
        if self._donor is not None or self._stopped:
            return
        if self._state.applied >= fetch.needed:
            # The state is ahead of the journal, which lost what was not synced.
            self._install(self._state.applied)
            return
        self._log.info(
            "slot {slot} is kept by nobody any more; getting the state of {peer}",
            slot=fetch.needed,
            peer=fetch.donor,
        )
        self._donor = fetch.donor
        self._begin()

    def took(self, peer: NodeId, message: StatePiece | NoState) -> None:
        """Take what a donor has sent, if it was asked for."""
        if peer != self._donor or self._intake is None or self._stopped:
            return
        if isinstance(message, NoState):
            # One that speaks of an earlier offer has been heeded.
            if message.offer == (0 if self._offer is None else self._offer[0]):
                self._refused(peer)
            return
        if message.after != (self._intake.after or b""):
            return  # It was asked for twice.
        if self._offer is None:
            self._offer = message.offer, message.slot, message.digest
        if self._offer[0] == message.offer:
            self._missed = 0
            self._add(self._intake, message)

    def stop(self) -> Deferred[None]:
        """Give up what is under way; fire once nothing is."""
        self._stopped = True
        self._cancel()
        # A flush may be under way, and needs its engine.
        return self._finishing.addCallback(lambda _: self._end())

    def _begin(self) -> None:
        """Ask for the first piece. What came before, of another moment, is discarded."""
        try:
            self._engine = self._shelf.fresh()
        except Exception:  # noqa: BLE001  (whatever it is: the node must stop)
            self._failed(Failure())
            return
        self._intake = Intake(self._engine, self._group)
        self._offer = None
        self._missed = 0
        self._ask()

    def _ask(self) -> None:
        assert self._donor is not None
        assert self._intake is not None
        offer = 0 if self._offer is None else self._offer[0]
        self._send(self._donor, AskState(offer, self._intake.after or b""))
        self._wait(ANSWER_S, self._ask_again)

    def _ask_again(self) -> None:
        self._missed += 1
        begun = self._offer is not None
        if self._missed > (ANSWERS_MISSED_MAX if begun else FIRST_ANSWERS_MISSED_MAX):
            self._give_up("it does not answer")
        else:
            self._ask()

    def _add(self, intake: Intake, piece: StatePiece) -> None:
        before = intake.bytes
        try:
            intake.add(piece.records)
            if not piece.records:
                intake.finish(int.from_bytes(piece.digest, "big"))
        except StateDamaged as error:
            self._give_up(str(error))
            return
        except Exception:  # noqa: BLE001  (whatever it is: the node must stop)
            self._failed(Failure())
            return
        if not piece.records:
            self._finish(piece.slot)
            return
        if before // REPORT_BYTES != intake.bytes // REPORT_BYTES:
            self._log.info("{mib} MiB of the state have come", mib=intake.bytes // 2**20)
        by_bytes = (intake.bytes - before) / TRANSFER_BYTES_PER_S_MAX
        self._wait(max(by_bytes, len(piece.records) / TRANSFER_RECORDS_PER_S_MAX), self._ask)

    def _finish(self, slot: Slot) -> None:
        """Put the state that has come in the place of the old one."""
        self._cancel()
        engine, self._intake = self._engine, None
        assert engine is not None
        self._finishing = self._persister.pause()
        self._finishing.addCallback(
            lambda _: engine.write({applied_key(self._group): slot.to_bytes(8, "big")})
        )
        self._finishing.addCallback(lambda _: self._in_thread(engine.flush))
        self._finishing.addCallback(lambda _: self._adopt(slot)).addErrback(self._failed)

    def _adopt(self, slot: Slot) -> None:
        if self._stopped:
            return
        durable_through = self._persister.durable_through
        if slot > self._state.applied:
            self._state.install(self._shelf.adopt())
            self.installed += 1
            self._log.info("the state is that of slot {slot} now", slot=slot)
            self._install(slot)
        self._end()
        # What it is durable through will be said after the next flush, with the journal's.
        self._persister.resume(self._state, durable_through)
        self._persister.clear()

    def _refused(self, peer: NodeId) -> None:
        """Begin again, unless ``peer`` would not even begin."""
        if self._offer is None:
            self._give_up(f"{peer} has none to give now")
        else:
            self._begin()

    def _give_up(self, why: str) -> None:
        self._log.warn("gave up getting the state of {peer}: {why}", peer=self._donor, why=why)
        self._end()

    def _end(self) -> None:
        self._cancel()
        self._donor = self._engine = self._intake = self._offer = None
        self._shelf.discard()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._cancel()
        self._timer = self._reactor.callLater(seconds, then)

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

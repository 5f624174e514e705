"""A member that agrees slot by slot, over real sockets: Paxos as the classic labs know it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, Literal

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.python.failure import Failure

from kvpaxos.errors import StartError, TooLarge
from kvpaxos.node.handshake import Handshake
from kvpaxos.node.links import Links
from kvpaxos.node.parcels import REPLIES, REQUESTS
from kvpaxos.node.switches import Switches
from kvpaxos.paxos.agreements import AgreementEvent, Agreements, Begun
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.decisions import Status, value_of
from kvpaxos.paxos.effects import Dialed, Effects, HungUp, Lost, Persisted, Received, Ticked
from kvpaxos.paxos.formation import Formation
from kvpaxos.paxos.messages import Message, Vote
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Formed, Forming, Learned, NodeRecord, ReplicaRecord
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.wire.chunks import MESSAGE_BYTES_MAX
from kvpaxos.wire.greeting import Holds

TICK_S: Final = 0.02
"""How often a member is told that time has passed."""

VALUE_BYTES_MAX: Final = MESSAGE_BYTES_MAX - 1024
"""A value must fit into one message."""

LOST_REQUESTS: Final = 0.1
"""The share of requests that an unreliable member does not take."""

LOST_REPLIES: Final = 0.2
"""The share of all others that it acts on without answering."""

CLUSTER: Final = f"{0:032x}"
GROUP: Final = 0


class Journal:
    """What one member must not forget. It is in memory, and outlives the member.

    :ivar records: all that is still there, in order.
    :ivar written: how many there ever were.
    :ivar boots: how many runs have begun.
    """

    def __init__(self) -> None:
        self.records: list[ReplicaRecord] = []
        self.written = 0
        self.boots = 0

    def append(self, records: Sequence[ReplicaRecord]) -> None:
        """Write ``records``: they are durable at once."""
        self.records += records
        self.written += len(records)

    def forget(self, through: Slot) -> None:
        """Drop what was voted and decided in the slots through ``through``."""
        self.records = [
            record
            for record in self.records
            if not (isinstance(record, Vote | Learned) and record.slot <= through)
        ]


class Peer:
    """One run of a member, with the interface of the labs.

    That is `start`, `status`, `done`, `min` and `max`. Agreements are numbered from 0, as
    there: number 0 is slot 1.

    :ivar unreliable: whether it loses some requests, and some of its replies.
    :ivar requests: how many requests it has taken from others, by kind.
    """

    def __init__(
        self,
        node: NodeId,
        journal: Journal,
        *,
        listener: IStreamServerEndpoint,
        dialers: Mapping[NodeId, IStreamClientEndpoint],
        reactor: Any,  # noqa: ANN401  (no interface names all that a reactor provides)
        random: Random,
        happened: Callable[[], None],
        decided: Callable[[int, bytes], None],
        broken: Callable[[Failure], None],
    ) -> None:
        """Make a member that does nothing before `begin`.

        :param dialers: how every member is dialed; there is one for each.
        :param happened: is called after whatever may have changed what is known here.
        :param decided: is told each number that is known to be decided, and the value.
        :param broken: is told of the error that stopped this member.
        """
        self.node = node
        self.unreliable = False
        self.requests: Counter[str] = Counter()
        journal.boots += 1
        self._journal = journal
        self._reactor = reactor
        self._random = random
        self._happened = happened
        self._decided = decided
        self._on_broken = broken
        self._inbox: deque[tuple[AgreementEvent, NodeId | None]] = deque()
        self._draining = False
        self._stopped = False
        self._up: set[NodeId] = set()
        self._tick: IDelayedCall | None = None
        self._agreements = Agreements(
            node,
            Quorum(frozenset(dialers)),
            journal.records,
            random=random,
            now=time.monotonic(),
        )
        self._links = self._make_links(listener, dialers)

    # What the labs know.

    def start(self, number: int, value: bytes) -> None:
        """Begin an agreement on ``number``, and propose ``value``. Returns at once.

        :raises TooLarge: if ``value`` is longer than `VALUE_BYTES_MAX`.
        """
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value of {len(value)} bytes does not fit into one message")
        self._post(Begun(_slot(number), value))

    def status(self, number: int) -> Status:
        """Say what this member knows of ``number``. Asks nobody."""
        return self._agreements.status(_slot(number))

    def done(self, number: int) -> None:
        """Say that this application will not ask for the numbers through ``number`` again."""
        self._post(Persisted(_slot(number)))

    def min(self) -> int:
        """Return the first number that is not forgotten."""
        return self._agreements.decisions.forgotten_through

    def max(self) -> int:
        """Return the last number that this member has heard of; -1 if there is none."""
        return self._agreements.decisions.highest - 1

    # What happens to it.

    def begin(self) -> None:
        """Listen, dial the others, and let time pass."""
        self._links.startService()
        self._tick_due = time.monotonic()
        self._on_tick()

    def end(self) -> Deferred[None]:
        """Stop, as if by a kill: only the journal remains."""
        self._stopped = True
        if self._tick is not None and self._tick.active():
            self._tick.cancel()
        return self._links.stopService()

    def deafen(self) -> Deferred[None]:
        """Remove the socket, and drop all connections that others have dialed."""
        return self._links.deafen()

    def listen(self) -> Deferred[None]:
        """Listen again."""
        return self._links.listen()

    def switch(self, sender: NodeId, receiver: NodeId, state: Literal["up", "cut"]) -> None:
        """Cut or heal one direction of a link that begins or ends here."""
        self._links.switches.set(sender, receiver, state=state)

    def reaches(self, peer: NodeId) -> bool:
        """Whether this member has a connection that it can send requests to ``peer`` on."""
        return peer in self._up

    def _deliver(self, sender: NodeId, group: int, message: Message) -> None:
        assert group == GROUP
        mute = None
        if type(message) in REQUESTS:
            if self._happens(LOST_REQUESTS):
                return
            self.requests[type(message).__name__] += 1
            if self._happens(LOST_REPLIES):
                mute = sender
        self._post(Received(sender, message), mute)

    def _happens(self, share: float) -> bool:
        return self.unreliable and self._random.random() < share

    def _on_tick(self) -> None:
        now = time.monotonic()
        lag_s = max(0.0, now - self._tick_due)
        self._tick_due = now + TICK_S
        self._tick = self._reactor.callLater(TICK_S, self._on_tick)
        self._post(Ticked(lag_s))

    def _post(self, event: AgreementEvent, mute: NodeId | None = None) -> None:
        """Take ``event`` after all that came before it.

        :param mute: who gets no reply to it.
        """
        self._inbox.append((event, mute))
        if self._draining or self._stopped:
            return
        self._draining = True
        try:
            while self._inbox and not self._stopped:
                event, mute = self._inbox.popleft()
                self._carry_out(self._agreements.step(event, time.monotonic()), mute)
        except Exception:  # noqa: BLE001  (whatever it is: go no further)
            self._halt(Failure())
        self._draining = False
        self._happened()

    def _carry_out(self, effects: Effects, mute: NodeId | None) -> None:
        self._journal.append(effects.records)
        if effects.forget_through:
            self._journal.forget(effects.forget_through)
        for decision in effects.decided:
            self._decided(decision.slot - 1, value_of(decision.batch))
        for to, message in ((e.to, e.message) for e in effects.sends + effects.replies):
            if to == self.node:
                self._inbox.append((Received(to, message), None))
            elif to != mute or type(message) not in REPLIES:
                self._links.send(GROUP, to, message)

    def _halt(self, failure: Failure) -> None:
        self._stopped = True
        self._on_broken(failure)

    def _linked(self, change: Dialed | Lost | HungUp) -> None:
        if isinstance(change, Dialed):
            self._up.add(change.peer)
        elif isinstance(change, Lost):
            self._up.discard(change.peer)
        self._happened()

    def _make_links(
        self, listener: IStreamServerEndpoint, dialers: Mapping[NodeId, IStreamClientEndpoint]
    ) -> Links:
        members = tuple(sorted(dialers))
        formation = Formation(
            self.node,
            members,
            forming=Forming(CLUSTER, self.node, members, FIRST_INCARNATION),
            formed=Formed(CLUSTER),
            fresh_cluster="",
        )
        handshake = Handshake(
            formation,
            boot=self._journal.boots,
            process=f"{self._random.getrandbits(64):016x}",
            rules="",
            held=lambda: Holds(self._journal.written, ""),
        )

        def persist(_records: Sequence[NodeRecord]) -> Deferred[None]:
            return succeed(None)  # It has been a member from the beginning.

        return Links(
            self._reactor,
            handshake=handshake,
            peers=dialers,
            listener=listener,
            switches=Switches(self.node, members, random=self._random, allowed=True),
            persist=persist,
            deliver=self._deliver,
            recall=lambda *_: None,
            changed=self._linked,
            formed=lambda _cluster: None,
            fatal=lambda sentence: self._halt(Failure(StartError(sentence))),
            broken=self._halt,
            random=self._random,
        )


def _slot(number: int) -> Slot:
    return Slot(number + 1)

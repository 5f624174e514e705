"""The one place where the pure replica meets disk, network, clock and state machine.

A step never waits for the disk. What a step wants written goes to the writer thread with a
journal number; the replies of the step are held until that number is durable; everything
else goes on meanwhile. Events that arrive in one turn of the reactor share one write to
the state and, as a rule, one sync of the journal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from kvpaxos.journal.state import needs_sync
from kvpaxos.node.requests import Executed, Requests
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.effects import (
    Applied,
    Decision,
    Effects,
    Event,
    Fetch,
    Gathered,
    Lookup,
    Outcome,
    Proposed,
    ReadReady,
    ReadWanted,
    Received,
    Ticked,
)
from kvpaxos.paxos.messages import Command, Decided, Envelope, Message
from kvpaxos.paxos.proposer import Following, Leading
from kvpaxos.paxos.records import Installed, Record
from kvpaxos.paxos.replica import Replica
from kvpaxos.store.results import Refusal, Result

TICK_S: Final = 0.05
"""How often, at least, the replica is told that time has passed.

Most of what a node does that has nothing to do is to tick.
"""

GRAIN_S: Final = 0.001
"""Nothing comes more exactly than this, lest something be too early by a rounding error."""

INBOX_MAX: Final = 4096
"""Events that wait for their step; beyond it, peers are not read from."""

LOOKUP_BYTES_MAX: Final = 2 * 1024 * 1024
"""How much of the journal is sent to a lagging peer at once."""

LOOKUP_COMMANDS_MAX: Final = 256
"""Nor more commands, though one slot always fits: the peer executes them all in one turn."""


class StateMachine(Protocol):
    """What decided commands are executed by.

    :ivar decided: the slot through which the journal was told what is decided.
    """

    decided: Slot

    def apply(self, submission: Command) -> Result | Refusal:
        """Execute one command. Must be deterministic."""

    def answer(self, node: NodeId, life: int, sequence: int) -> Result | None:
        """Return what came of a command that was executed and is not settled."""

    def commit(self, slot: Slot) -> None:
        """Keep what was executed since the last call, through ``slot``, in one batch."""


class Disk(Protocol):
    """The journal, behind a writer thread."""

    @property
    def durable(self) -> int:
        """The journal number through which everything would survive a power cut."""

    def append(self, group: int, records: Sequence[Record]) -> int:
        """Queue ``records`` to be written, and return the number of the last one."""

    def write(self) -> None:
        """Write what was queued and nobody waits for."""

    def forget(self, group: int, through: Slot) -> None:
        """Allow the records of the slots through ``through`` to be deleted."""

    def decided(
        self, group: int, from_slot: Slot, through: Slot, bytes_max: int, commands_max: int
    ) -> Deferred[list[Decision]]:
        """Read decided slots back."""

    def waiting_s(self, now: float) -> float:
        """How long the oldest record that must be synced has been waiting for it."""


class Peers(Protocol):
    """The links to the other members."""

    def send(self, group: int, to: NodeId, message: Message) -> None:
        """Send ``message`` if there is a connection; it may be lost."""

    def hurry(self) -> None:
        """Let what was sent leave now, not in the next turn of the reactor."""

    def pause(self) -> None:
        """Stop reading from peers."""

    def resume(self) -> None:
        """Read from peers again."""


class Driver:
    """Feeds events to a replica and carries out the effects, in the order that they require.

    It is fail-stop: after any error it does nothing any more, and says so once, to ``halt``.

    :ivar longest_lag_s: the most that a tick has been late: the process stood still so long.
    """

    def __init__(
        self,
        replica: Replica,
        machine: StateMachine,
        *,
        applied: Slot,
        group: int,
        life: int,
        disk: Disk,
        peers: Peers,
        requests: Requests,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        led_by: Callable[[Ballot], None],
        fetch: Callable[[Fetch], None],
        halt: Callable[[Failure], None],
        low: Callable[[], bool] = lambda: False,
        executed: Callable[[Slot], None] = lambda _: None,
    ) -> None:
        """Make a driver that does nothing before it is started.

        :param applied: what ``machine`` holds already. The replica may know less.
        :param fetch: is told, again and again, that a state must be got from a peer.
        :param led_by: is told when another leader is heard, or none (``ZERO_BALLOT``).
        :param halt: is told of the error that stopped the driver.
        :param low: says whether the disk is nearly full.
        :param executed: is told of each slot when ``machine`` has executed it, and nothing after.
        """
        self.replica = replica
        self.applied = applied
        self.steps = 0
        self.longest_lag_s = 0.0
        self._machine = machine
        self._group = group
        self._life = life
        self._disk = disk
        self._peers = peers
        self._requests = requests
        self._clock = clock
        self._monotonic = monotonic
        self._led_by = led_by
        self._fetch = fetch
        self._halt = halt
        self._low = low
        self._executed = executed
        self._inbox: list[Event] = []
        self._decided: list[Decision] = []
        self._ready: list[ReadReady] = []
        self._held: deque[tuple[int, tuple[Envelope, ...]]] = deque()
        self._promised = 0
        self._scheduled: IDelayedCall | None = None
        self._tick: IDelayedCall | None = None
        self._tick_due = 0.0
        self._gathering: IDelayedCall | None = None
        self._draining = False
        self._paused = False
        self._stopped = False
        self._looking_up: set[NodeId] = set()
        self._leader = replica.leader

    def start(self) -> None:
        """Begin to tell the replica that time passes."""
        self._tick_due = self._monotonic()
        self._on_tick()

    def stop(self) -> None:
        """Do nothing from now on, not even what waited for the disk."""
        self._stopped = True
        self._held.clear()
        for call in (self._tick, self._scheduled, self._gathering):
            if call is not None and call.active():
                call.cancel()

    def post(self, event: Event) -> None:
        """Queue ``event`` for this turn of the reactor."""
        self._inbox.append(event)
        if self._scheduled is None and not self._draining and not self._stopped:
            self._scheduled = self._clock.callLater(0, self._drain)
        if len(self._inbox) >= INBOX_MAX and not self._paused:
            self._paused = True
            self._peers.pause()

    def installed(self, slot: Slot) -> None:
        """Take note that the state is one from elsewhere now, as it was after ``slot``.

        What came of this node's own commands in the slots that were skipped stands in it.
        """
        self.applied = slot
        self.post(Installed(slot))
        node, life = self.replica.node, self._life
        outcomes = [
            Outcome(sequence, Executed(result, slot))
            for sequence in self.replica.forwarding.outbox.sent
            if (result := self._machine.answer(node, life, sequence)) is not None
        ]
        if outcomes:
            self.post(Applied(tuple(outcomes)))

    def synced(self) -> None:
        """Release what waited for the journal: more of it is durable now.

        Our own votes are among it. They are counted now, not in the next turn.
        """
        self._drain()

    def _on_tick(self) -> None:
        now = self._monotonic()
        lag_s = max(0.0, now - self._tick_due)
        self.longest_lag_s = max(self.longest_lag_s, lag_s)
        self._set_tick(now)
        self._disk.write()
        self._inbox.append(Ticked(lag_s, self._disk.waiting_s(now), self._low()))
        self._drain()

    def _set_tick(self, now: float) -> None:
        """Have time told again after a while, or right when this node may stand for leader."""
        wait_s, role = TICK_S, self.replica.role
        if isinstance(role, Following) and not role.leader.round and role.stand_at > now:
            wait_s = min(wait_s, role.stand_at - now + GRAIN_S)
        self._tick_due = now + wait_s
        self._tick = self._clock.callLater(wait_s, self._on_tick)

    def _drain(self) -> None:
        if self._scheduled is not None and self._scheduled.active():
            self._scheduled.cancel()
        self._scheduled = None
        if self._stopped:
            return
        self._draining = True
        try:
            self._release()
            while self._inbox and not self._stopped:
                self._carry_out()
            self._peers.hurry()
            self._show_leader()
            self._await_more()
        except Exception:  # noqa: BLE001  (whatever it is: go no further)
            self.stop()
            self._halt(Failure())
        self._draining = False
        if self._paused:
            self._paused = False
            self._peers.resume()

    def _await_more(self) -> None:
        """Have a slot opened when commands have waited for others to share it with.

        What waits for something else, as for an open slot to be decided, waits for no time.
        """
        role, gathering = self.replica.role, self._gathering
        if not isinstance(role, Leading) or not role.has_queued:
            return
        wait_s = role.gathers_until - self._monotonic()
        if wait_s <= 0:
            return
        if gathering is None or not gathering.active():
            self._gathering = self._clock.callLater(wait_s, self._gathered)
        elif gathering.getTime() > self._clock.seconds() + wait_s:
            gathering.reset(wait_s)

    def _gathered(self) -> None:
        self._inbox.append(Gathered())
        self._drain()

    def _release(self) -> None:
        while self._held and self._held[0][0] <= self._disk.durable:
            self._deliver(self._held.popleft()[1])

    def _carry_out(self) -> None:
        """Step through the inbox, then apply all that was decided in one batch."""
        events, self._inbox = self._inbox, []
        for event in _merged(events):
            if self._stopped:
                return
            self.steps += 1
            self._do(self.replica.step(event, self._monotonic()))
            if isinstance(event, Installed):
                self._machine.decided = max(self._machine.decided, event.slot)
        self._peers.hurry()
        if self._decided:
            self._apply()
        ready, self._ready = self._ready, []
        for read in ready:
            if self._stopped:
                return
            self._requests.read_ready(read, self.applied)

    def _do(self, effects: Effects) -> None:
        self._deliver(effects.sends)
        if effects.records:
            number = self._disk.append(self._group, effects.records)
            if any(map(needs_sync, effects.records)):
                self._promised = number
        self._decided += effects.decided
        self._ready += effects.reads
        for answer in effects.answers:
            self._requests.answered(answer)
        for expired in effects.expired:
            self._requests.expired(expired)
        if effects.replies:
            if self._promised <= self._disk.durable:
                self._deliver(effects.replies)
            else:
                self._held.append((self._promised, effects.replies))
        for lookup in effects.lookups:
            self._look_up(lookup)
        if effects.forget_through:
            self._disk.forget(self._group, effects.forget_through)
        if effects.fetch is not None:
            self._fetch(effects.fetch)

    def _deliver(self, envelopes: Iterable[Envelope]) -> None:
        node = self.replica.node
        for to, message in ((envelope.to, envelope.message) for envelope in envelopes):
            if to == node:
                self._inbox.append(Received(node, message))
            else:
                self._peers.send(self._group, to, message)

    def _apply(self) -> None:
        decided, self._decided = self._decided, []
        outcomes: list[Outcome] = []
        for decision in decided:
            if decision.slot <= self.applied:
                continue
            assert decision.slot == self.applied + 1, "a slot was skipped"
            self.applied = decision.slot
            for command in decision.batch:
                result = self._machine.apply(command)
                if command.node == self.replica.node and command.life == self._life:
                    done = Executed(result, decision.slot) if isinstance(result, Result) else None
                    outcomes.append(Outcome(command.sequence, done))
            self._executed(decision.slot)
        self._machine.decided = decided[-1].slot
        self._machine.commit(self.applied)
        if outcomes:
            self._inbox.append(Applied(tuple(outcomes)))

    def _look_up(self, lookup: Lookup) -> None:
        """Send a lagging peer what only the journal still holds; one answer at a time each."""
        if lookup.to in self._looking_up:
            return
        self._looking_up.add(lookup.to)

        def found(decisions: list[Decision]) -> None:
            batches = tuple(decision.batch for decision in decisions)
            if not batches or decisions[0].slot != lookup.from_slot:
                return
            lesson = Decided(lookup.from_slot, batches)
            if lookup.to == self.replica.node:
                self.post(Received(lookup.to, lesson))
            else:
                self._peers.send(self._group, lookup.to, lesson)

        def done(outcome: object) -> object:
            self._looking_up.discard(lookup.to)
            return outcome

        reading = self._disk.decided(
            self._group,
            lookup.from_slot,
            lookup.through,
            LOOKUP_BYTES_MAX,
            LOOKUP_COMMANDS_MAX,
        )
        reading.addCallback(found).addBoth(done).addErrback(self._halt_for)

    def _halt_for(self, failure: Failure) -> None:
        if not self._stopped:
            self.stop()
            self._halt(failure)

    def _show_leader(self) -> None:
        if self.replica.leader != self._leader:
            self._leader = self.replica.leader
            self._led_by(self._leader)
            if self._tick is not None and self._tick.active() and not self._leader.round:
                # It was set when there was no hurry.
                self._tick.cancel()
                self._set_tick(self._monotonic())


def _merged(events: list[Event]) -> Iterator[Event]:
    """Let neighboring wishes, and neighboring reads, make one event: they share a batch."""
    for kind, run in groupby(events, type):
        if kind is Proposed:
            yield Proposed(tuple(w for e in run if isinstance(e, Proposed) for w in e.wishes))
        elif kind is ReadWanted:
            yield ReadWanted(tuple(r for e in run if isinstance(e, ReadWanted) for r in e.reads))
        else:
            yield from run

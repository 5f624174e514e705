"""One node: a process that does what the driver does, and the disk that outlives it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.effects import (
    Applied,
    Decision,
    Effects,
    Event,
    Leaving,
    Lookup,
    Outcome,
    Persisted,
    Received,
    Ticked,
)
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Decided, Envelope
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.replica import Replica
from test.simulator.agenda import Agenda
from test.simulator.checker import Checker
from test.simulator.clients import Clients
from test.simulator.disk import Disk
from test.simulator.machine import NOTHING_SAVED, Machine, Saved
from test.simulator.network import Network

LOOKUP_BATCHES_MAX = 4
"""Few, so that a peer that lags has to ask often."""


class Process:
    """A node that can be stopped at any moment, and started again from what its disk kept.

    :ivar replica: None while the node is down.
    :ivar machine: its state in memory, lost in a crash.
    :ivar saved: its state on disk.
    :ivar saved_through: the slot through which that is.
    :ivar crashes: how often it has died.
    :ivar lost: how many records it has lost that way.
    :ivar mortal: asked after each step whether the node dies in the middle of it.
    :ivar died: called when it has.
    """

    def __init__(
        self,
        name: NodeId,
        *,
        agenda: Agenda,
        random: Random,
        quorum: Quorum,
        disk: Disk,
        checker: Checker,
        limits: Limits,
        timing: Timing,
        tick_s: float,
        trace: Callable[[NodeId, Event, Effects], None],
    ) -> None:
        self.name = name
        self.disk = disk
        self.replica: Replica | None = None
        self.machine = Machine()
        self.saved: Saved = NOTHING_SAVED
        self.saved_through = NO_SLOT
        self.life = 0
        self.crashes = 0
        self.lost = 0
        self.mortal: Callable[[], bool] = lambda: False
        self.died: Callable[[], None] = lambda: None
        self.network: Network
        self.clients: Clients
        self._agenda = agenda
        self._random = random
        self._quorum = quorum
        self._checker = checker
        self._limits = limits
        self._timing = timing
        self._tick_s = tick_s
        self._trace = trace
        self._paused = False
        self._inbox: list[Event] = []

    @property
    def up(self) -> bool:
        """Whether the process runs, or would if it were not paused."""
        return self.replica is not None

    @property
    def leads(self) -> bool:
        """Whether this node believes that it leads."""
        return self.replica is not None and self.replica.leader.node == self.name

    def start(self) -> None:
        """Begin a life with what the disk remembers."""
        assert self.replica is None
        self.life += 1
        content = self.disk.content
        self.machine = Machine(self.saved)
        self._replay(content.decided_through)
        memory = Memory(
            self.life,
            content.promised,
            content.votes,
            content.decided_through,
            self.disk.kept_from,
        )
        self.replica = Replica(
            self.name,
            self._quorum,
            memory,
            random=Random(self._random.random()),
            now=self._agenda.now,
            limits=self._limits,
            timing=self._timing,
        )
        self._paused = False
        self._inbox.clear()
        self._tick_at(self._agenda.now)
        self.network.start(self.name)
        self.post(Persisted(min(self.saved_through, content.decided_through)))

    def crash(self, *, silently: bool = False) -> None:
        """Die, and lose what was not synced, or some of it."""
        assert self.replica is not None
        self.replica = None
        self.crashes += 1
        self.lost += self.disk.crash(self._random)
        self.network.stop(self.name, silently=silently)
        self.clients.died(self.name)
        self.died()

    def pause(self) -> None:
        """Do nothing, while messages wait outside."""
        self._paused = True

    def resume(self) -> None:
        """Go on; the next tick will show how long it was."""
        self._paused = False
        inbox, self._inbox = self._inbox, []
        for event in inbox:
            self.post(event)

    def post(self, event: Event) -> None:
        """Take an event, if there is a process to take it."""
        if self.replica is None:
            return
        if self._paused:
            self._inbox.append(event)
        else:
            self._step(self.replica, event)

    def usurp(self) -> None:
        """Stand for leader, against all rules but those of Paxos."""
        if self.replica is not None and not self._paused:
            replica = self.replica
            self._carry_out(replica, Leaving(), replica.election._campaign(self._agenda.now))

    def spill(self) -> None:
        """Make the state durable, whatever of the journal is, as an engine may at any time."""
        self._save(self.machine.save(), self.machine.applied)

    def persist(self) -> None:
        """Make the state durable, the journal first, and say so."""
        life, state, applied = self.life, self.machine.save(), self.machine.applied
        # The state may be ahead of the journal since a crash: those slots are still needed.
        through = min(applied, self.disk.content.decided_through)

        def saved() -> None:
            if self.life == life and self.up:
                self._save(state, applied)
                self.post(Persisted(through))

        self.disk.sync_all(saved)

    def _save(self, state: Saved, applied: Slot) -> None:
        if applied > self.saved_through:
            self.saved, self.saved_through = state, applied

    def _replay(self, through: Slot) -> None:
        """Bring the state from where it was saved to where the journal ends."""
        for slot in range(self.machine.applied + 1, through + 1):
            batches = self.disk.decided(Slot(slot), Slot(slot), 1)
            assert batches, f"{self.name} cannot replay slot {slot}"
            self.machine.apply(Slot(slot), batches[0])

    def _step(self, replica: Replica, event: Event) -> None:
        promised = replica.acceptor.promised
        self._carry_out(replica, event, replica.step(event, self._agenda.now))
        assert replica.acceptor.promised >= promised, f"a promise of {self.name} fell"

    def _carry_out(self, replica: Replica, event: Event, effects: Effects) -> None:
        self._trace(self.name, event, effects)
        if self.mortal():
            # It may die after any of these: some messages have left, nothing is on disk.
            self._send(tuple(one for one in effects.sends if self._random.random() < 0.5))
            self.crash(silently=self._random.random() < 0.5)
            return
        self._send(effects.sends)
        self.disk.append(effects.records)
        self._apply(effects.decided)
        # It may show more: what an earlier life had learned above a hole.
        assert self.disk.content.decided_through >= replica.learner.decided_through, (
            f"the journal of {self.name} does not show what is decided"
        )
        self._serve(effects)
        if effects.replies:
            self.disk.when_durable(partial(self._send, effects.replies))

    def _serve(self, effects: Effects) -> None:
        for answer in effects.answers:
            self.clients.answered(answer)
        for ready in effects.reads:
            self.clients.ready(ready, self.machine)
        for expired in effects.expired:
            self.clients.expired(expired)
        for lookup in effects.lookups:
            self._agenda.after(0.001, partial(self._look_up, self.life, lookup))
        if effects.forget_through:
            needed = min(self.saved_through, self.disk.survived.decided_through)
            assert effects.forget_through <= needed, f"{self.name} drops what it may need"
            self.disk.forget(effects.forget_through)

    def _apply(self, decided: tuple[Decision, ...]) -> None:
        outcomes = []
        for decision in decided:
            self._checker.decides(self.name, decision)
            if decision.slot <= self.machine.applied:
                continue  # The state was ahead of the journal when this life began.
            for command, result in self.machine.apply(decision.slot, decision.batch):
                if (command.node, command.life) == (self.name, self.life):
                    outcomes.append(Outcome(command.sequence, result))
            self._checker.applies(self.name, self.machine)
        if outcomes:
            self._later(Applied(tuple(outcomes)))

    def _send(self, envelopes: tuple[Envelope, ...]) -> None:
        for envelope in envelopes:
            self._checker.leaves(self.name, self.disk, envelope)
            if envelope.to == self.name:
                self._later(Received(self.name, envelope.message))
            else:
                self.network.send(self.name, envelope)

    def _look_up(self, life: int, lookup: Lookup) -> None:
        if life != self.life or not self.up:
            return
        batches = self.disk.decided(lookup.from_slot, lookup.through, LOOKUP_BATCHES_MAX)
        assert batches, f"{self.name} does not keep slot {lookup.from_slot}, and said it does"
        self._send((Envelope(lookup.to, Decided(lookup.from_slot, batches)),))

    def _later(self, event: Event) -> None:
        """Take an event of this process in the next turn."""
        life = self.life
        self._agenda.after(0.0, lambda: self.post(event) if life == self.life else None)

    def _tick_at(self, due: float) -> None:
        life = self.life

        def tick() -> None:
            if life != self.life or not self.up:
                return
            if self._paused:
                self._agenda.after(self._tick_s, tick)
                return
            now = self._agenda.now
            self._tick_at(now + self._tick_s)
            self.post(Ticked(max(0.0, now - due), self.disk.waiting_s()))

        self._agenda.after(max(0.0, due - self._agenda.now), tick)

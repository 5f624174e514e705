"""One node: a process that does what the driver does, and the disk that outlives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import cast

from twisted.python.failure import Failure

from kvpaxos.errors import DiskError
from kvpaxos.journal.log import Journal
from kvpaxos.node.recovery import durable_through, remember, replay
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.effects import (
    Applied,
    Decision,
    Dialed,
    Effects,
    Event,
    HungUp,
    Leaving,
    Lookup,
    Lost,
    Outcome,
    Persisted,
    Received,
    Ticked,
)
from kvpaxos.paxos.formation import Standing
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Decided, Envelope, Incarnations
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Installed
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.paxos.replica import Replica
from test.simulator.agenda import Agenda
from test.simulator.checker import Checker
from test.simulator.clients import Clients
from test.simulator.disk import Disk, Readable
from test.simulator.machine import Machine
from test.simulator.membership import Membership, form
from test.simulator.network import Network
from test.simulator.shelf import Kept, KeptShelf
from test.simulator.transfers import Clockwork, Flusher, Transfers

LOOKUP_BATCHES_MAX = 4
"""Few, so that a peer that lags has to ask often."""


REMIND_S = 0.5
"""How often a process that is not part of the cluster yet says so again."""


@dataclass(frozen=True)
class Storage:
    """How journals and states are kept, and handed on.

    :ivar journal_slots_max: how many slots a journal holds for those that lag; 0 for any number.
    :ivar piece_bytes: how much of a state is sent at once.
    """

    journal_slots_max: int
    piece_bytes: int
    random: Random


class Process:
    """A node that can be stopped at any moment, and started again from what its disk kept.

    :ivar up: whether the process runs, or would if it were not paused.
    :ivar replica: None while the node takes no part in Paxos.
    :ivar machine: its state in memory, lost in a crash.
    :ivar kept: its state on disk.
    :ivar memory: what its replica began with.
    :ivar crashes: how often it has died.
    :ivar lost: how many records it has lost that way.
    :ivar disks: how many disks it has had.
    :ivar installed: how many states of others have taken the place of its own.
    :ivar mortal: asked after each step whether the node dies in the middle of it.
    :ivar refuses: asked before each write whether the disk refuses it.
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
        storage: Storage,
        trace: Callable[[NodeId, Event, Effects], None],
    ) -> None:
        self.name = name
        self.disk = disk
        self.up = False
        self.replica: Replica | None = None
        self.machine = Machine()
        self.kept = Kept()
        self.memory = Memory()
        self.life = 0
        self.crashes = 0
        self.lost = 0
        self.disks = 1
        self.installed = 0
        self.mortal: Callable[[], bool] = lambda: False
        self.refuses: Callable[[], bool] = lambda: False
        self.died: Callable[[], None] = lambda: None
        self.network: Network
        self.clients: Clients
        self._agenda = agenda
        self._random = random
        self._quorum = quorum
        self._members = sorted(quorum.members)
        self._checker = checker
        self._limits = limits
        self._timing = timing
        self._tick_s = tick_s
        self._storage = storage
        self._trace = trace
        self._paused = False
        self._inbox: list[Event] = []
        self._early: list[Event] = []
        self._membership: Membership
        self._journal: Journal
        self._flusher: Flusher
        self._transfers: Transfers
        disk.disturb = self._disturb
        disk.failed = self._refused
        form(disk, name, self._members)

    @property
    def leads(self) -> bool:
        """Whether this node believes that it leads."""
        return self.replica is not None and self.replica.leader.node == self.name

    @property
    def whole(self) -> bool:
        """Whether its disk would let it vote again after a crash, and has the state it needs."""
        disk, through = self.disk, self.kept.through
        if disk.formed is None or disk.forming is None:
            return False
        if disk.forming.incarnation not in {FIRST_INCARNATION, disk.survived.rejoined}:
            return False
        return through + 1 >= disk.kept_from or disk.content.decided_through <= through

    def start(self) -> None:
        """Begin a life with what the disk remembers."""
        assert not self.up
        self.life += 1
        journal = Readable(self.disk)
        # As much of the interface as is used.
        self._journal = cast("Journal", journal)
        self.disk.boot += 1
        shelf = KeptShelf(self.kept, self._disturb)
        self.machine = Machine(shelf.open())
        durable = durable_through(self._journal, self.machine.state)
        replay(self._journal, self.machine.state, alone=len(self._members) == 1)
        self._furnish(shelf, durable, self.life)
        self._membership = Membership(
            self.name,
            self._members,
            self.disk,
            journal,
            tell=partial(self.network.tell, self.name),
            formed=self._formed,
            failed=self._refused,
        )
        self._paused = False
        self._inbox.clear()
        self._early.clear()
        self.up = True
        if self._membership.standing.formed:
            self._take_part()
        else:
            self._remind(self.life)
        self._tick_at(self._agenda.now)
        self.network.start(self.name)
        self.post(self._persisted(self._flusher.durable_through))

    def _furnish(self, shelf: KeptShelf, durable: Slot, life: int) -> None:
        """Make what gives and gets states in this life."""
        self._flusher = Flusher(
            self.machine.state,
            self.kept,
            self.disk,
            durable_through=durable,
            persisted=lambda through: self._later(self._persisted(through)),
            disturb=self._disturb,
            failed=self._broken,
        )
        self._transfers = Transfers(
            self.machine.state,
            shelf,
            self._flusher,
            self.disk,
            Clockwork(self._agenda, lambda: self.up and self.life == life, lambda: self._paused),
            journal_slots_max=self._storage.journal_slots_max,
            piece_bytes=self._storage.piece_bytes,
            flush_s=self.disk.sync_s,
            send=lambda to, message: self._send((Envelope(to, message),)),
            install=self._installed,
            failed=self._broken,
            random=self._storage.random,
        )

    def _take_part(self) -> None:
        """Begin to take part in Paxos."""
        incarnation = self._membership.incarnation
        self.memory = remember(self._journal, self.machine.state, self.disk.boot, incarnation)
        self._checker.begins(self.name, incarnation, self.memory.life)
        self.replica = Replica(
            self.name,
            self._quorum,
            self.memory,
            random=Random(self._random.random()),
            now=self._agenda.now,
            limits=self._limits,
            timing=self._timing,
        )
        self._membership.know(self.replica.disks)

    def _formed(self) -> None:
        """Take part in Paxos from now on, on a disk that was empty when this process began."""
        self._take_part()
        early, self._early = self._early, []
        for event in early:
            self._later(event)

    def _remind(self, life: int) -> None:
        def remind() -> None:
            if self.up and self.life == life and self.replica is None:
                if not self._paused:
                    self._membership.remind()
                self._remind(life)

        self._agenda.after(REMIND_S, remind)

    def introduction(self) -> tuple[Standing, Incarnations]:
        """Return what the node says of itself to whom it meets."""
        news = self._membership.news
        return news.standing, news.incarnations

    def heard(self, peer: NodeId, standing: Standing, incarnations: Incarnations) -> None:
        """Take what ``peer`` says of itself."""
        if self.up:
            self._membership.heard(peer, standing, incarnations)

    def crash(self, *, silently: bool = False) -> None:
        """Die, and lose what was not synced, or some of it."""
        assert self.up
        self.up = False
        self.replica = None
        self.crashes += 1
        self.lost += self.disk.crash(self._random)
        self.network.stop(self.name, silently=silently)
        self.clients.died(self.name)
        self.died()

    def lose_disk(self) -> None:
        """Die, and come back with an empty disk when it is started again."""
        self.disks += 1
        if self.up:
            self.crash()
        self.disk.lose()
        self.kept.lose()
        self._checker.loses(self.name)

    def lose_state(self) -> None:
        """Die, and find the state damaged and the journal sound when it is started again."""
        if self.up:
            self.crash()
        self.kept.lose()

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
        if not self.up:
            return
        if self._paused:
            self._inbox.append(event)
        elif self.replica is not None:
            if not self._takes(event):
                self._step(self.replica, event)
        elif isinstance(event, Dialed | Lost | HungUp | Persisted):
            self._early.append(event)

    def usurp(self) -> None:
        """Stand for leader, against all rules but those of Paxos."""
        replica = self.replica
        if replica is not None and replica.probation is None and not self._paused:
            self._carry_out(replica, Leaving(), replica.election._campaign(self._agenda.now))

    def spill(self) -> None:
        """Make the state durable, whatever of the journal is, as an engine may at any time."""
        self._flusher.spill()

    def persist(self) -> None:
        """Make the state durable, the journal first, and say so."""
        self._flusher.flush()

    def _persisted(self, through: Slot) -> Persisted:
        return Persisted(through, self._transfers.surplus_through(through))

    def _takes(self, event: Event) -> bool:
        """Take an event that has to do with whole states, and say whether it has."""
        if not isinstance(event, Received):
            return False
        return self._transfers.takes(event.sender, event.message)

    def _installed(self, slot: Slot) -> None:
        """Do what the driver does when the state is one from elsewhere."""
        assert self.replica is not None
        self.installed += 1
        self._checker.applies(self.name, self.machine)
        self._later(Installed(slot))
        outcomes = [
            Outcome(sequence, result)
            for sequence in self.replica.forwarding.outbox.sent
            if (result := self.machine.state.answer(self.name, self.memory.life, sequence))
            is not None
        ]
        if outcomes:
            self._later(Applied(tuple(outcomes)))

    # What it dies of.

    def _disturb(self) -> None:
        """Raise what a disk raises that refuses, now and then."""
        if self.up and self.refuses():
            raise DiskError("refused")

    def _refused(self) -> None:
        """Stop: the disk has refused something."""
        if self.up:
            self.crash()

    def _broken(self, failure: Failure) -> None:
        """Stop if the disk has refused something; anything else is for whoever runs the world."""
        if failure.check(DiskError) is None:
            self._agenda.after(0.0, failure.raiseException)
        self._refused()

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
        try:
            self._do(replica, effects)
        except DiskError:
            self._refused()

    def _do(self, replica: Replica, effects: Effects) -> None:
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
        if effects.fetch is not None:
            self._transfers.recipient.fetch(effects.fetch)

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
            needed = self.kept.through
            assert effects.forget_through <= needed, f"{self.name} drops what it may need"
            self.disk.forget(effects.forget_through)

    def _apply(self, decided: tuple[Decision, ...]) -> None:
        outcomes = []
        for decision in decided:
            self._checker.decides(self.name, decision)
            if decision.slot <= self.machine.applied:
                continue  # The state was ahead of the journal when this life began.
            for command, result in self.machine.apply(decision.slot, decision.batch):
                if (command.node, command.life) == (self.name, self.memory.life):
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
        if not batches:
            gone = lookup.from_slot < self.disk.kept_from
            assert gone or lookup.to == self.name, (
                f"{self.name} does not keep slot {lookup.from_slot}, and said it does"
            )
            return
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

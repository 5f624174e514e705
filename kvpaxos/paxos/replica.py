"""The replica: acceptor, learner and proposer behind one function.

Read `acceptor`, `learner`, `proposer`, `reads`, `outbox`, `peers`, `election`, `catchup`,
`forwarding` and `leadership` first: here they only meet. A step takes one event; what the
event makes possible (a slot to open, a read to grant, a hole to fill) is done at its end, in
one place, whatever it was.
"""

from __future__ import annotations

from random import Random
from typing import assert_never

from kvpaxos.paxos.acceptor import Acceptor
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.catchup import CatchUps
from kvpaxos.paxos.effects import (
    NOTHING,
    Applied,
    Dialed,
    Effects,
    Event,
    Gathered,
    HungUp,
    Leaving,
    Lost,
    Persisted,
    Proposed,
    ReadWanted,
    Received,
    Ticked,
)
from kvpaxos.paxos.election import Election
from kvpaxos.paxos.forwarding import Forwarding
from kvpaxos.paxos.leadership import Leadership
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    AskReadSlot,
    AskState,
    CatchUp,
    Chosen,
    Confirm,
    Confirmed,
    Decided,
    Envelope,
    Forward,
    Health,
    Incarnations,
    Message,
    Nack,
    NoState,
    Ping,
    Pong,
    Prepare,
    Promise,
    ReadSlot,
    Rejoin,
    Reply,
    Report,
    StateDigest,
    StatePiece,
    TakeOver,
    Watermark,
    Withdraw,
)
from kvpaxos.paxos.outbox import Outbox
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.proposer import Following, Leading, Preparing, Role
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.reads import Reads
from kvpaxos.paxos.records import Installed
from kvpaxos.paxos.rejoin import Disks, Probation


class Replica:
    """One member of the group, as a deterministic state machine.

    It reads no clock, opens no socket and draws no random number but from the generator
    it was given: the same events give the same effects.
    """

    def __init__(
        self,
        node: NodeId,
        quorum: Quorum,
        memory: Memory,
        *,
        random: Random,
        now: float,
        limits: Limits | None = None,
        timing: Timing | None = None,
    ) -> None:
        limits = limits or Limits()
        timing = timing or Timing.of(limits)
        self.node = node
        self.peers = peers = Peers(node, quorum, timing)
        self.learner = learner = Learner(memory.decided_through, memory.kept_from, limits)
        self.acceptor = acceptor = Acceptor(
            memory.promised,
            memory.votes,
            ahead_slots_max=limits.ahead_slots_max,
            message_bytes_max=limits.message_bytes_max,
        )
        self.election = Election(
            acceptor, learner, peers, random=random, limits=limits, timing=timing, now=now
        )
        self.disks = Disks({**memory.incarnations, node: memory.incarnation})
        acceptor.incarnations = self.disks.shown
        self.probation: Probation | None = None
        if not memory.may_vote:
            self.probation = Probation(node, memory.incarnation, quorum)
            self.election.probation = True
        self._surplus_through = NO_SLOT
        outbox, reads = Outbox(node, memory.life, limits), Reads(random.getrandbits(32))
        self.forwarding = Forwarding(outbox, reads, peers, limits)
        self._leadership = Leadership(acceptor, learner, peers, limits)
        self._catch_ups = CatchUps(learner, peers, limits, timing)

    @property
    def role(self) -> Role:
        """What this replica is doing."""
        return self.election.role

    @property
    def leader(self) -> Ballot:
        """The ballot of the leader, this node's own while it leads, or ``ZERO_BALLOT``."""
        return self.election.leader

    def step(self, event: Event, now: float) -> Effects:
        """Take one event and return what must be done about it.

        :param now: monotonic seconds; never less than in an earlier step.
        """
        return self._handle(event, now) + self._follow_up(now)

    def _handle(self, event: Event, now: float) -> Effects:  # noqa: C901, PLR0911, PLR0912  (one arm an event)
        match event:
            case Received(sender, message):
                return self._receive(sender, message, now)
            case Proposed(wishes):
                self.forwarding.outbox.add(wishes)
            case ReadWanted(reads):
                self.forwarding.reads.want(reads)
            case Applied():
                return Effects(answers=self.forwarding.applied(event, now))
            case Persisted(through, surplus_through):
                assert surplus_through <= through
                self.election.durable_through = max(self.election.durable_through, through)
                self._surplus_through = max(self._surplus_through, surplus_through)
            case Installed(through):
                return self._install(through)
            case Dialed(peer):
                return self.election.ping([peer], now)
            case Lost(peer):
                self.forwarding.lost(peer)
                return self.election.lost(peer, now)
            case HungUp(peer):
                self.peers.hung_up(peer)
            case Ticked():
                return self._tick(event, now)
            case Gathered():
                pass  # What it makes possible is done at the end of every step.
            case Leaving():
                self.election.leaving = True
            case _:
                assert_never(event)
        return NOTHING

    def _receive(self, sender: NodeId, message: Message, now: float) -> Effects:  # noqa: C901, PLR0911, PLR0912  (one arm a message)
        if sender not in self.peers.quorum.members:
            return NOTHING
        if self.probation is not None:
            return self._receive_on_probation(self.probation, sender, message, now)
        match message:
            case Prepare():
                return self.election.prepare(sender, message, now)
            case Accept():
                return self._accept(sender, message, now)
            case Watermark(ballot, through):
                self._hear(ballot, through, now)
            case Ping(health):
                self._take_health(sender, health)
                return self.election.pinged(sender, message, now)
            case Forward():
                return self._forwarded(message, now)
            case CatchUp():
                return self._catch_ups.teach(sender, message)
            case AskReadSlot(question):
                if isinstance(self.role, Leading):
                    self.role.reads.ask(sender, question)
            case Confirm():
                return self.acceptor.confirm(sender, message)
            case TakeOver(ballot):
                return self.election.take_over(ballot, now)
            case Withdraw(ballot):
                self.election.withdrawn(ballot, now)
            case Chosen() | AskState() | StateDigest():
                pass  # A log is not agreed on slot by slot; and states are not its business.
            case Rejoin(incarnation):
                return self._readmit(sender, incarnation)
            case _:
                return self._receive_reply(sender, message, now)
        return NOTHING

    def _receive_reply(self, sender: NodeId, message: Reply, now: float) -> Effects:  # noqa: C901, PLR0911  (one arm a message)
        match message:
            case Accepted(ballot, slot, incarnations):
                effects = self._renew(incarnations)
                if self.disks.counts(sender, incarnations) and isinstance(self.role, Leading):
                    self._leadership.accepted(self.role, sender, ballot, slot, now)
                return effects
            case Promise():
                effects = self._renew(message.incarnations)
                if self.disks.counts(sender, message.incarnations):
                    self.election.promised(sender, message)
                return effects
            case Nack(ballot, promised):
                return self.election.refused(ballot, promised, now)
            case Pong(health):
                self._take_health(sender, health)
                return self.election.ponged(sender, message, now)
            case Decided():
                return self._catch_ups.taught(message)
            case ReadSlot(question, ballot, slot):
                self.forwarding.reads.grant(question, ballot, slot)
            case Confirmed(ballot, number):
                if isinstance(self.role, Leading):
                    return self._leadership.confirmed(self.role, sender, ballot, number)
            case Report() | StatePiece() | NoState():
                pass  # It has learnt what it needed.
            case _:
                assert_never(message)
        return NOTHING

    # Lost disks.

    def _receive_on_probation(
        self, probation: Probation, sender: NodeId, message: Message, now: float
    ) -> Effects:
        """Take a message without promising, voting or confirming anything."""
        match message:
            case Report():
                effects = self._renew(message.incarnations)
                if self.disks.counts(sender, message.incarnations):
                    probation.hear(sender, message)
                return effects
            case Accept(ballot, _, _, through) | Watermark(ballot, through):
                self._hear(ballot, through, now)
            case Ping(health):
                self._take_health(sender, health)
                return self.election.pinged(sender, message, now)
            case Forward():
                return self._forwarded(message, now)
            case CatchUp():
                return self._catch_ups.teach(sender, message)
            case Pong() | Decided() | ReadSlot():
                return self._receive_reply(sender, message, now)
            case _:
                pass
        return NOTHING

    def _readmit(self, sender: NodeId, incarnation: int) -> Effects:
        """Report to a node that lost its disk, and count nothing from what it said before."""
        if sender == self.node or incarnation < self.disks.newest(sender):
            return NOTHING
        effects = self._renew(((sender, incarnation),))
        through = max(self.learner.once_known_through, *self.acceptor.votes, NO_SLOT)
        report = Report(incarnation, self.acceptor.promised, Slot(through), self.disks.shown)
        return effects + Effects(replies=(Envelope(sender, report),))

    def _renew(self, incarnations: Incarnations) -> Effects:
        """Take over which disks others are on, and discard what was counted from older ones."""
        if not (records := self.disks.renew(incarnations)):
            return NOTHING
        self.acceptor.incarnations = self.disks.shown
        for record in records:
            self.election.renew(record.node)
            if self.probation is not None:
                self.probation.discard(record.node)
        return Effects(records=records)

    def _end_probation(self, probation: Probation, now: float) -> Effects:
        """Ask for what is missing; begin to vote once nothing is."""
        ended = probation.end(self.learner.decided_through)
        if ended is None:
            self.learner.expect(probation.must_learn_through)
            return probation.ask(now, self.peers.retry_s)
        promised, record = ended
        self.probation = None
        self.election.probation = False
        return self.acceptor.readmit(promised) + Effects(records=(record,))

    # What a message brings.

    def _take_health(self, sender: NodeId, health: Health) -> None:
        self.learner.expect(health.decided_through)
        if health.following.node == sender:
            self.learner.hear(health.following, health.decided_through, self.acceptor.votes)

    def _hear(self, ballot: Ballot, through: Slot, now: float) -> None:
        """Take a leader's word that it lives, and that all through ``through`` is decided."""
        self.learner.hear(ballot, through, self.acceptor.votes)
        self.election.hear(ballot, now)

    def _accept(self, sender: NodeId, accept: Accept, now: float) -> Effects:
        learner, slot = self.learner, accept.slot
        self._hear(accept.ballot, accept.decided_through, now)
        effects = self.acceptor.accept(
            sender,
            accept,
            learner.decided_through,
            decided=learner.knows(slot) or slot < learner.kept_from,
        )
        if (vote := self.acceptor.votes.get(slot)) is not None:
            learner.cover(vote)
        return effects

    def _forwarded(self, forward: Forward, now: float) -> Effects:
        if isinstance(self.role, Leading):
            self.role.admit(forward.commands)
        elif forward.hops > 0 and (route := self._route(now)) is not None:
            further = Forward(forward.commands, forward.hops - 1)
            return Effects(sends=(Envelope(route[1], further),))
        return NOTHING

    def _tick(self, tick: Ticked, now: float) -> Effects:
        self.peers.observe(tick.lag_s, tick.sync_s)
        late = self.forwarding.outbox.expire(now) + self.forwarding.reads.expire(now)
        effects = Effects(expired=late) + self.election.tick(tick, now)
        role, slow, forwarding = self.role, self.election.slow_disk(now), self.forwarding
        if isinstance(role, Leading):
            effects += self._leadership.offer_again(role, now)
        elif isinstance(role, Following) and not slow and forwarding.gives_up(role.leader, now):
            effects += self.election.resent(now)
        return effects + self._forget()

    def _forget(self) -> Effects:
        """Let go of what every member's state durably holds: nobody will ask for it.

        Where that would be too much to keep, whoever lags fetches a state instead.
        """
        everywhere = self.peers.durable_through(self.election.durable_through)
        through = max(everywhere, self._surplus_through)
        if through < self.learner.kept_from:
            return NOTHING
        self.learner.forget(through)
        return Effects(forget_through=through)

    def _install(self, through: Slot) -> Effects:
        """Go on after what a state from elsewhere has executed."""
        records = self.learner.install(through)
        if not records:
            return NOTHING
        self.acceptor.forget([slot for slot in self.acceptor.votes if slot <= through])
        return Effects(records=records)

    # What an event has made possible.

    def _follow_up(self, now: float) -> Effects:
        effects = self._advance(now)
        if self.probation is not None:
            effects += self._end_probation(self.probation, now)
        unknown = self.probation is not None and self.probation.awaited
        if isinstance(self.role, Preparing):
            effects += self._lead_if_won(self.role, now)
        if isinstance(self.role, Leading):
            effects += self._lead(self.role, now)
        elif not unknown and (route := self._route(now)) is not None:
            effects += self.forwarding.to_leader(*route, now)
        effects += self.forwarding.granted(self.learner.decided_through)
        return effects + self.forwarding.question(self.leader, now) + self._fill_holes(now)

    def _advance(self, now: float) -> Effects:
        decisions, records = self.learner.advance()
        if not decisions:
            return NOTHING
        self.acceptor.forget(decision.slot for decision in decisions)
        self.forwarding.decided(now)
        effects = Effects(records=records, decided=decisions)
        role = self.role
        if isinstance(role, Leading) and not all(map(role.settle, decisions)):
            effects += self.election.step_down(now)
        return effects

    def _lead_if_won(self, role: Preparing, now: float) -> Effects:
        begun = self._leadership.begin(role, now)
        if begun is None:
            return NOTHING
        leading, effects = begun
        self.election.win(leading)
        return effects + self.election.ping_all(now)

    def _lead(self, role: Leading, now: float) -> Effects:
        effects = NOTHING
        forwarding, leadership = self.forwarding, self._leadership
        for commands in forwarding.due_again(role.ballot, now):
            role.admit(commands)
        while role.has_room(self.learner.decided_through) and not self.election.closing(now):
            if forwarding.outbox.can_send and not role.is_full:
                role.admit(forwarding.fresh(now))
            if now < role.gathers_until or (offer := leadership.open_slot(role, now)) is NOTHING:
                break
            effects += offer
        return effects + leadership.read_round(role, now) + leadership.tell(role)

    def _route(self, now: float) -> tuple[Ballot, NodeId] | None:
        """Return the leader's ballot, and to whom to send what is meant for it."""
        if self.leader != ZERO_BALLOT:
            return self.leader, self.leader.node
        return self.peers.relay(now)

    def _fill_holes(self, now: float) -> Effects:
        """Fetch what is missing: at once if no message that is on its way can bring it."""
        ballot, through = self.learner.announced
        told = ballot == self.leader and through > self.learner.decided_through
        return self._catch_ups.ask(now, urgent=told or isinstance(self.role, Preparing))

"""Agreement on each slot by itself: another policy over the same acceptor.

A `Replica` keeps a log: one leader fills its slots in order, and gaps are closed with no-ops.
Here any member may propose in any slot, a slot that nobody proposes in stays open, each
decision is announced by itself, and a member that missed it learns it when it proposes there.

What is the same is Paxos: the acceptor, its votes and its records; ballots and quorums; phase
1, which covers all slots at once, and its choice of the vote of the highest ballot; the
messages. So a proposer that was not overtaken since goes straight to phase 2.

Lamport, "Paxos Made Simple" (2001), sections 2.2 to 2.5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from kvpaxos.paxos.acceptor import Acceptor
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.decisions import Decisions, Status, batch_of
from kvpaxos.paxos.effects import NOTHING, Effects, Persisted, Received, Ticked
from kvpaxos.paxos.limits import Timing
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    Batch,
    CatchUp,
    Chosen,
    Decided,
    Envelope,
    Health,
    Message,
    Nack,
    Pong,
    Prepare,
    Promise,
    Request,
    Vote,
)
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.proposer import Following, Preparing, Proposal
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import (
    DecidedThrough,
    Installed,
    Learned,
    Promised,
    Rejoined,
    Renewed,
    ReplicaRecord,
)

BACKOFF_MAX_S: Final = 1.0
"""Whoever was overtaken waits no longer than this before it tries again."""

DOUBLINGS_MAX: Final = 10
"""Its wait doubles with each time, but no more often than this."""

ANY_SLOT: Final = 2**62
"""Acceptors vote however far ahead a slot is: gaps may stay open for ever."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The application proposes ``value``, which may be empty, in ``slot``."""

    slot: Slot
    value: bytes


AgreementEvent: TypeAlias = Begun | Persisted | Received | Ticked
"""What goes into `Agreements`. `Persisted` says through which slot the application is done."""


@dataclass(slots=True)
class Proposing:
    """Phase 1 is done, for all slots that were undecided here; ``open`` are those in phase 2.

    :ivar obliged: what must be offered in a slot, if anything is.
    """

    ballot: Ballot
    obliged: dict[Slot, Batch]
    open: dict[Slot, Proposal] = field(default_factory=dict)

    def close(self, slot: Slot) -> None:
        """Offer nothing in ``slot`` any more."""
        self.open.pop(slot, None)
        self.obliged.pop(slot, None)


class Agreements:
    """One member's part in the agreements of a group, as a deterministic state machine.

    :ivar decisions: what this member knows.
    :ivar wanted: what its application proposes in slots that are not decided yet.
    """

    def __init__(
        self,
        node: NodeId,
        quorum: Quorum,
        records: Iterable[ReplicaRecord] = (),
        *,
        random: Random,
        now: float,
        timing: Timing | None = None,
    ) -> None:
        """Begin, or go on from what an earlier life of this member wrote down.

        With which slots it is done, the application must say anew.

        :param records: all of them, in order; those of votes and decisions in slots through
            an `Effects.forget_through` may be missing.
        """
        self.node = node
        self.decisions = Decisions()
        self.wanted: dict[Slot, Batch] = {}
        self._timing = timing or Timing()
        self._peers = Peers(node, quorum, self._timing)
        self._acceptor = self._remember(records)
        self._random = random
        self._born_at = now
        self._attempts = 0
        self._highest_seen = self._acceptor.promised
        self._role: Following | Preparing | Proposing = Following(ZERO_BALLOT, now, now)

    def status(self, slot: Slot) -> Status:
        """Say what this member knows of ``slot``. Asks nobody."""
        return self.decisions.status(slot)

    def step(self, event: AgreementEvent, now: float) -> Effects:
        """Take one event and return what must be done about it.

        What is `Effects.decided` comes in any order, each slot once.

        :param now: monotonic seconds; never less than in an earlier step.
        """
        effects = self._handle(event, now)
        effects += self._forget(self._peers.durable_through(self.decisions.done_through))
        return effects + self._propose(now)

    def _handle(self, event: AgreementEvent, now: float) -> Effects:
        match event:
            case Begun(slot, value):
                self._want(slot, value, now)
            case Persisted(through):
                self.decisions.done_through = max(self.decisions.done_through, through)
            case Ticked(lag_s, sync_s):
                self._peers.observe(lag_s, sync_s)
                return self._repeat(now)
            case Received(sender, message):
                if sender in self._peers.quorum.members:
                    return self._receive(sender, message, now)
        return NOTHING

    def _receive(self, sender: NodeId, message: Message, now: float) -> Effects:  # noqa: C901, PLR0911  (one arm a message)
        match message:
            case Prepare():
                effects = self._promise(sender, message)
                if effects.records:
                    self._give_way(message.ballot, now + self._peers.retry_s)
                return effects
            case Accept():
                return self._accept(sender, message, now)
            case Chosen():
                return self._chosen(sender, message, now)
            case CatchUp(slot):
                batch = self.decisions.known(slot)
                return NOTHING if batch is None else _send(sender, Decided(slot, (batch,)))
            case Promise():
                return self._promised(sender, message)
            case Accepted():
                return self._accepted(sender, message, now)
            case Nack(ballot, promised):
                self._refused(ballot, promised, now)
            case Pong(health, sent_at) if self._born_at <= sent_at <= now:
                self._peers.reached(sender, health, sent_at, now)
                return self._forget(health.decided_through)
            case Decided(slot, (batch, *_)):
                return self._decide(slot, batch)
            case _:
                pass  # It is about a log.
        return NOTHING

    # As acceptor and learner.

    def _promise(self, sender: NodeId, prepare: Prepare) -> Effects:
        through = self.decisions.forgotten_through
        return self._acceptor.prepare(sender, prepare, through, Slot(through + 1))

    def _accept(self, sender: NodeId, accept: Accept, now: float) -> Effects:
        slot, decisions = accept.slot, self.decisions
        effects = self._forget(accept.decided_through)
        if slot <= decisions.forgotten_through:
            # All members are done with it, its proposer too: a promise says so.
            after_all = Prepare(accept.ballot, Slot(decisions.highest + 1))
            return effects + self._promise(sender, after_all)
        voted = self._vote(sender, accept)
        if voted.records:
            decisions.notice(slot)
            wait_s = self._peers.retry_s if slot in self.wanted else 0.0
            self._give_way(accept.ballot, now + wait_s)
        return effects + voted

    def _vote(self, sender: NodeId, accept: Accept) -> Effects:
        decisions = self.decisions
        decided = not decisions.is_open(accept.slot)
        return self._acceptor.accept(sender, accept, decisions.forgotten_through, decided=decided)

    def _chosen(self, sender: NodeId, chosen: Chosen, now: float) -> Effects:
        """Decide what our own vote shows to be chosen, or else ask for it, once."""
        slot = chosen.slot
        self._peers.heard(sender, chosen.health, now)
        effects = _send(sender, Pong(self._health(), chosen.sent_at))
        effects += self._forget(chosen.health.decided_through)
        if not self.decisions.is_open(slot):
            return effects
        # Once a batch is chosen, all higher ballots offer it.
        vote = self._acceptor.votes.get(slot)
        if vote is not None and vote.ballot >= chosen.ballot:
            return effects + self._decide(slot, vote.batch, vote.ballot)
        return effects + _send(sender, CatchUp(slot, slot))

    def _decide(self, slot: Slot, batch: Batch, ballot: Ballot = ZERO_BALLOT) -> Effects:
        if self.wanted.pop(slot, None) is not None:
            self._attempts = 0
        if isinstance(self._role, Proposing):
            self._role.close(slot)
        return self.decisions.decide(slot, batch, ballot)

    def _forget(self, through: Slot) -> Effects:
        """Let go of the slots through ``through``: all members are done with them."""
        effects = self.decisions.forget(through)
        if effects is not NOTHING:
            old = [slot for slot in self._acceptor.votes if slot <= through]
            self._acceptor.forget(old)
            for slot in {*old, *(slot for slot in self.wanted if slot <= through)}:
                self.wanted.pop(slot, None)
                if isinstance(self._role, Proposing):
                    self._role.close(slot)
        return effects

    # As proposer.

    def _want(self, slot: Slot, value: bytes, now: float) -> None:
        if not self.decisions.is_open(slot):
            return
        self.decisions.notice(slot)
        overtaken = self._acceptor.promised.node not in ("", self.node)
        if overtaken and not self.wanted and isinstance(self._role, Following):
            # Whoever has done phase 1 since may be asked for this slot, too, and is faster.
            self._role.stand_at = max(self._role.stand_at, now + self._jitter())
        self.wanted.setdefault(slot, batch_of(self.node, value))

    def _give_way(self, ballot: Ballot, until: float) -> None:
        """Begin nothing before ``until``, and stop what is under way, unless ``ballot`` is ours."""
        self._see(ballot)
        if ballot.node == self.node:
            return
        if not isinstance(self._role, Following):
            self._role = Following(ZERO_BALLOT, until, until)
        self._role.stand_at = max(self._role.stand_at, until + self._jitter())

    def _promised(self, sender: NodeId, promise: Promise) -> Effects:
        role = self._role
        if isinstance(role, Following) or promise.ballot != role.ballot:
            return NOTHING
        effects = self._forget(promise.decided_through)
        if isinstance(role, Preparing):
            role.add(sender, promise)
            if role.won(self._peers.quorum):
                is_open, highest = self.decisions.is_open, role.highest()
                obliged = {slot: batch for slot, batch in highest.items() if is_open(slot)}
                self._role = Proposing(role.ballot, obliged)
        return effects

    def _refused(self, ballot: Ballot, promised: Ballot, now: float) -> None:
        self._see(promised)
        if not isinstance(self._role, Following) and self._role.ballot == ballot:
            self._attempts += 1
            self._role = Following(ZERO_BALLOT, now, now + self._jitter())

    def _accepted(self, sender: NodeId, accepted: Accepted, now: float) -> Effects:
        ballot, slot, role = accepted.ballot, accepted.slot, self._role
        if not isinstance(role, Proposing) or role.ballot != ballot:
            return NOTHING
        proposal = role.open.get(slot)
        if proposal is None or not proposal.voted(sender, self._peers.quorum):
            return NOTHING
        announced = self._to_others(Chosen(ballot, slot, self._health(), now))
        return announced + self._decide(slot, proposal.batch, ballot)

    def _propose(self, now: float) -> Effects:
        """Do what has become possible: begin phase 1, or offer what is wanted."""
        role = self._role
        if isinstance(role, Following) and self.wanted and now >= role.stand_at:
            return self._campaign(now)
        effects = NOTHING
        if isinstance(role, Proposing):
            for slot in sorted(self.wanted.keys() - role.open.keys()):
                effects += self._offer(role, slot, now)
        return effects

    def _campaign(self, now: float) -> Effects:
        ballot = max(self._acceptor.promised, self._highest_seen).above(self.node)
        self._see(ballot)
        self._role = role = Preparing(ballot, now + self._peers.retry_s)
        # The others are asked only once this node cannot forget that it made this ballot.
        return self._promise(self.node, self._prepare(role)) + self._ask(role)

    def _prepare(self, role: Preparing) -> Prepare:
        return Prepare(role.ballot, self.decisions.first_open)

    def _ask(self, role: Preparing) -> Effects:
        prepare, whole = self._prepare(role), role.whole()
        missing = [node for node in self._peers.known if node not in whole]
        return Effects(replies=tuple(Envelope(node, prepare) for node in missing))

    def _offer(self, role: Proposing, slot: Slot, now: float) -> Effects:
        batch = role.obliged.get(slot, self.wanted[slot])
        role.open[slot] = Proposal(batch, now)
        accept = Accept(role.ballot, slot, batch, self.decisions.forgotten_through)
        # Our own vote takes the road of everyone's: it counts once it is durable.
        return self._to_others(accept) + self._vote(self.node, accept)

    def _repeat(self, now: float) -> Effects:
        """Repeat what has not been answered for longer than an answer should take."""
        role, late = self._role, now - self._peers.retry_s
        effects = NOTHING
        if isinstance(role, Preparing) and now >= role.deadline:
            if not self.wanted:
                self._role = Following(ZERO_BALLOT, now, now)
                return NOTHING
            role.deadline = now + self._peers.retry_s
            return self._ask(role)
        if isinstance(role, Proposing):
            through = self.decisions.forgotten_through
            for slot, proposal in role.open.items():
                if proposal.sent_at <= late:
                    proposal.sent_at = now
                    accept = Accept(role.ballot, slot, proposal.batch, through)
                    effects += self._to_others(accept, but=proposal.voters)
        return effects

    def _see(self, ballot: Ballot) -> None:
        self._highest_seen = max(self._highest_seen, ballot)

    def _jitter(self) -> float:
        """Return how long to wait before another try, in which others may be done instead."""
        widest_s = max(self._timing.backoff_s, self._peers.slack_s)
        widest_s *= 1 << min(self._attempts, DOUBLINGS_MAX)
        return min(widest_s, BACKOFF_MAX_S) * self._random.uniform(0.5, 1.0)

    def _health(self) -> Health:
        through = self.decisions.forgotten_through
        return Health(
            self._acceptor.promised,
            able=True,
            decided_through=through,
            kept_from=Slot(through + 1),
            durable_through=self.decisions.done_through,
        )

    def _to_others(self, message: Request, but: Collection[NodeId] = ()) -> Effects:
        return Effects(
            sends=tuple(Envelope(node, message) for node in self._peers.known if node not in but)
        )

    def _remember(self, records: Iterable[ReplicaRecord]) -> Acceptor:
        """Return the acceptor that wrote ``records``; take up what was decided."""
        promised, votes = ZERO_BALLOT, dict[Slot, Vote]()
        for record in records:
            match record:
                case Promised(ballot):
                    promised = max(promised, ballot)
                case Vote(slot):
                    votes[slot] = record
                    self.decisions.notice(slot)
                case Learned(slot, batch):
                    self.decisions.decide(slot, batch)
                case DecidedThrough(slot):
                    self.decisions.forget(slot)
                    self.decisions.notice(slot)
                case Installed() | Renewed() | Rejoined():
                    pass  # Only a log has a state to install, and members that come back.
        acceptor = Acceptor(promised, votes, ahead_slots_max=ANY_SLOT)
        acceptor.forget([slot for slot in votes if slot <= self.decisions.forgotten_through])
        return acceptor


def _send(to: NodeId, message: Pong | CatchUp | Decided) -> Effects:
    return Effects(sends=(Envelope(to, message),))

"""Leadership: what a leader does, from the end of phase 1 on.

It offers slots and counts votes, tells the others what is decided, and confirms with a
quorum that it still leads when somebody wants to read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from kvpaxos.paxos.acceptor import Acceptor
from kvpaxos.paxos.ballot import NO_SLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Effects
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import Accept, Batch, Confirm, Envelope, ReadSlot, Request, Watermark
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.proposer import Leading, Preparing


class Leadership:
    """Carries out the leader's side of the protocol on a `Leading` that it is handed."""

    def __init__(self, acceptor: Acceptor, learner: Learner, peers: Peers, limits: Limits) -> None:
        self._acceptor = acceptor
        self._learner = learner
        self._peers = peers
        self._limits = limits

    def begin(self, role: Preparing, now: float) -> tuple[Leading, Effects] | None:
        """Return what leading begins with; None while phase 1 is not won, or not learned from.

        What phase 1 obliges us to offer is offered at once, window or not.
        """
        if not role.won(self._peers.quorum):
            return None
        learner = self._learner
        must_learn_through = role.must_learn_through(self._peers.quorum)
        if learner.decided_through < must_learn_through:
            learner.expect(must_learn_through)
            return None
        # The heartbeat with which it begins tells the others how much is decided.
        told_through = learner.decided_through
        gather_s = self._peers.timing.gather_s
        leading = Leading(
            role.ballot, learner.first_hole, NO_SLOT, self._limits, told_through, gather_s
        )
        effects = NOTHING
        for _, batch in role.obliged(learner.first_hole):
            effects += self._offer(leading, batch, now)
        leading.suffix_through = Slot(leading.next_slot - 1)
        return leading, effects

    def open_slot(self, role: Leading, now: float) -> Effects:
        """Offer what waits in the queue, as far as it fits into one slot."""
        batch = role.next_batch()
        return self._offer(role, batch, now) if batch else NOTHING

    def accepted(
        self, role: Leading, sender: NodeId, ballot: Ballot, slot: Slot, now: float
    ) -> None:
        """Count a vote; a slot that a quorum has voted for is decided."""
        if ballot == role.ballot:
            batch = role.voted(sender, slot, self._peers.quorum, now)
            if batch is not None:
                self._learner.decide(slot, ballot, batch)

    def tell(self, role: Leading) -> Effects:
        """Let the watermark travel by itself if no Accept carries it."""
        through = self._learner.decided_through
        if role.told_through >= through:
            return NOTHING
        role.told_through = through
        return self._to_others(Watermark(role.ballot, through))

    def offer_again(self, role: Leading, now: float) -> Effects:
        """Repeat what has not been answered for longer than an answer should take."""
        effects = NOTHING
        late = now - self._peers.retry_s
        for slot, proposal in role.open.items():
            if proposal.sent_at <= late - self._peers.timing.transfer_s(proposal.size):
                proposal.sent_at = now
                accept = Accept(role.ballot, slot, proposal.batch, self._learner.decided_through)
                effects += self._to_others(accept, but=proposal.voters)
        if role.reads.asking and role.reads.begun_at <= late:
            role.reads.begun_at = now
            confirm = Confirm(role.ballot, role.reads.number)
            effects += self._to_others(confirm, but=role.reads.confirmed)
        return effects

    def read_round(self, role: Leading, now: float) -> Effects:
        """Begin a round if reads wait for one. Here a lease will grant them without."""
        # What phase 1 obliged us to offer may have been decided, and answered, before us.
        slot = max(self._learner.decided_through, role.suffix_through)
        if not role.reads.begin(slot, now):
            return NOTHING
        confirm = Confirm(role.ballot, role.reads.number)
        return self._to_others(confirm) + self.confirmed(
            role, self._peers.node, role.ballot, role.reads.number
        )

    def confirmed(self, role: Leading, sender: NodeId, ballot: Ballot, number: int) -> Effects:
        """Count a confirmation; a quorum of them grants the reads that waited for the round."""
        if ballot != role.ballot:
            return NOTHING
        questions = role.reads.confirm(sender, number, self._peers.quorum)
        return _answers(role, questions)

    def _offer(self, role: Leading, batch: Batch, now: float) -> Effects:
        slot = role.offer(batch, now)
        learner = self._learner
        role.told_through = learner.decided_through
        accept = Accept(role.ballot, slot, batch, role.told_through)
        # Our own vote takes the road of everyone's: it counts once it is durable.
        vote = self._acceptor.accept(
            self._peers.node, accept, learner.decided_through, decided=learner.knows(slot)
        )
        return self._to_others(accept) + vote

    def _to_others(self, message: Request, but: Collection[NodeId] = ()) -> Effects:
        return Effects(
            sends=tuple(Envelope(node, message) for node in self._peers.known if node not in but)
        )


def _answers(role: Leading, questions: Mapping[NodeId, int]) -> Effects:
    return Effects(
        sends=tuple(
            Envelope(node, ReadSlot(number, role.ballot, role.reads.slot))
            for node, number in questions.items()
        )
    )

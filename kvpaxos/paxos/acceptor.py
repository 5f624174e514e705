"""The acceptor: the memory of Paxos, and its only durable part.

Lamport, "Paxos Made Simple" (2001), section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Effects
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    Batch,
    Confirm,
    Confirmed,
    Envelope,
    Incarnations,
    Nack,
    Prepare,
    Promise,
    Reply,
    Vote,
)
from kvpaxos.paxos.records import Promised


def size_of(batch: Batch) -> int:
    """About how many bytes ``batch`` takes in a message or a record.

    Rather too many for a small one: what is cut by bytes has no absurd number of parts then.
    """
    return sum(len(command.body) + 64 for command in batch) + 64


class Acceptor:
    """Keeps two rules, and keeps them across crashes.

    P1. It promises a ballot only if it has promised none above it.
    P2. It votes in a ballot only if it has promised none above it.

    Votes are kept for undecided slots only: what is decided is the learner's.

    :ivar promised: the highest ballot promised, or voted in: a vote is a promise too.
    :ivar votes: the last vote in each slot.
    :ivar incarnations: what its replies show. See `kvpaxos.paxos.rejoin`.
    """

    def __init__(
        self,
        promised: Ballot = ZERO_BALLOT,
        votes: Mapping[Slot, Vote] | None = None,
        *,
        ahead_slots_max: int = 128,
        message_bytes_max: int = 2**21,
    ) -> None:
        self.votes: dict[Slot, Vote] = dict(votes or {})
        self.promised = max([promised, *(vote.ballot for vote in self.votes.values())])
        self.incarnations: Incarnations = ()
        self._ahead_slots_max = ahead_slots_max
        self._message_bytes_max = message_bytes_max

    def prepare(
        self, sender: NodeId, prepare: Prepare, decided_through: Slot, kept_from: Slot
    ) -> Effects:
        """Answer phase 1a with a promise, or with a refusal.

        The promise names the votes in undecided slots, and how much is decided: a candidate
        must learn that much before it proposes anything.
        """
        if prepare.ballot < self.promised:
            return self._refuse(sender, prepare.ballot)
        effects = self._promise(prepare.ballot)
        first = max(prepare.from_slot, Slot(decided_through + 1))
        votes = [vote for slot, vote in sorted(self.votes.items()) if slot >= first]
        pieces = list(self._pieces(votes))
        return effects + _replies(
            sender,
            (
                Promise(
                    prepare.ballot,
                    piece,
                    decided_through,
                    kept_from,
                    part,
                    len(pieces),
                    self.incarnations,
                )
                for part, piece in enumerate(pieces)
            ),
        )

    def accept(
        self, sender: NodeId, accept: Accept, decided_through: Slot, *, decided: bool
    ) -> Effects:
        """Answer phase 2a with a vote, or with a refusal, or, far ahead, not at all.

        :param decided: whether this node knows already what is decided in that slot.
        """
        ballot, slot = accept.ballot, accept.slot
        if ballot < self.promised:
            return self._refuse(sender, ballot)
        if slot > decided_through + self._ahead_slots_max:
            return NOTHING
        # Where it is decided, some quorum has voted for a batch, durably, and whoever may still
        # propose there offers the same. Our vote would add nothing, and must not take the
        # place of the one by which our journal shows what was decided.
        vote = Vote(slot, ballot, accept.batch)
        effects = self._promise(ballot) if decided else self._vote(vote)
        return effects + _replies(sender, (Accepted(ballot, slot, self.incarnations),))

    def confirm(self, sender: NodeId, confirm: Confirm) -> Effects:
        """Say whether a ballot above the one asked about has been promised."""
        if confirm.ballot < self.promised:
            return self._refuse(sender, confirm.ballot)
        # It speaks of now, and promises nothing for later: so it need not wait for the disk.
        return Effects(sends=(Envelope(sender, Confirmed(confirm.ballot, confirm.round)),))

    def readmit(self, promised: Ballot) -> Effects:
        """Begin to vote with what others have promised: nothing lower was meant to come back."""
        return self._promise(promised) if promised > self.promised else NOTHING

    def forget(self, slots: Iterable[Slot]) -> None:
        """Drop the votes in ``slots``, which are decided."""
        for slot in slots:
            self.votes.pop(slot, None)

    def _promise(self, ballot: Ballot) -> Effects:
        if ballot == self.promised:
            return NOTHING
        assert ballot > self.promised
        self.promised = ballot
        return Effects(records=(Promised(ballot),))

    def _vote(self, vote: Vote) -> Effects:
        cast = self.votes.get(vote.slot)
        if cast is not None and cast.ballot == vote.ballot:
            assert cast.batch == vote.batch, f"two batches in slot {vote.slot} of {vote.ballot}"
            return NOTHING
        self.promised = vote.ballot
        self.votes[vote.slot] = vote
        return Effects(records=(vote,))

    def _refuse(self, sender: NodeId, ballot: Ballot) -> Effects:
        return _replies(sender, (Nack(ballot, self.promised),))

    def _pieces(self, votes: Sequence[Vote]) -> Iterator[tuple[Vote, ...]]:
        """Cut ``votes`` where a message would grow too long. There is at least one piece."""
        piece: list[Vote] = []
        size = 0
        for vote in votes:
            size += size_of(vote.batch)
            if piece and size > self._message_bytes_max:
                yield tuple(piece)
                piece, size = [], size_of(vote.batch)
            piece.append(vote)
        yield tuple(piece)


def _replies(to: NodeId, messages: Iterable[Reply]) -> Effects:
    return Effects(replies=tuple(Envelope(to, message) for message in messages))

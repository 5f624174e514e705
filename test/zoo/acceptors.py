"""Bugs of acceptors: of what they promise, and of what they remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kvpaxos.journal.state import GroupState, needs_sync
from kvpaxos.node import disk, driver
from kvpaxos.paxos.acceptor import Acceptor
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision, Effects
from kvpaxos.paxos.election import Election
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.messages import Accept, Accepted, Confirm, Confirmed, Envelope, Prepare, Vote
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Promised, Record, ReplicaRecord
from test.zoo.bug import Patch, bug


@bug("PySyncObj #84, NodeDB #161; §2")
def prepare_is_shown_before_its_promise_is_durable(patch: Patch) -> None:
    """A candidate sends its ballot around before its own promise is durable."""
    right = Election._campaign

    def campaign(self: Election, now: float) -> Effects:
        effects = right(self, now)
        early = tuple(e for e in effects.replies if isinstance(e.message, Prepare))
        late = tuple(e for e in effects.replies if e not in early)
        return replace(effects, sends=effects.sends + early, replies=late)

    patch.setattr(Election, "_campaign", campaign)


@bug("PySyncObj #84, NodeDB #161; §2")
def promises_are_shown_before_they_are_durable(patch: Patch) -> None:
    """An acceptor answers phase 1 before its promise is durable."""
    _answer_early(patch, "prepare")


@bug("PySyncObj #84, NodeDB #161; §2")
def votes_are_shown_before_they_are_durable(patch: Patch) -> None:
    """An acceptor answers phase 2 before its vote is durable."""
    _answer_early(patch, "accept")


def _answer_early(patch: Patch, method: str) -> None:
    right = getattr(Acceptor, method)

    def answer(self: Acceptor, *arguments: Any, **options: Any) -> Effects:
        effects: Effects = right(self, *arguments, **options)
        return replace(effects, sends=effects.sends + effects.replies, replies=())

    patch.setattr(Acceptor, method, answer)


@bug("the same, one layer below")
def promises_are_written_and_not_synced(patch: Patch) -> None:
    """Nobody waits for the sync of a record that holds a promise."""

    def needs(record: Record) -> bool:
        return not isinstance(record, Promised) and needs_sync(record)

    for module in (driver, disk):
        patch.setattr(module, "needs_sync", needs)


@bug("PySyncObj #201, #202")
def promises_are_forgotten_in_a_crash(patch: Patch) -> None:
    """After a restart a node has promised nothing but what it voted for."""
    right = Acceptor.__init__

    def remember(self: Acceptor, _: Ballot, votes: Mapping[Slot, Vote], **options: Any) -> None:
        right(self, ZERO_BALLOT, votes, **options)

    patch.setattr(Acceptor, "__init__", remember)


@bug("PySyncObj #201, #202")
def votes_are_forgotten_in_a_crash(patch: Patch) -> None:
    """After a restart a node has voted for nothing."""
    right = Acceptor.__init__

    def remember(self: Acceptor, promised: Ballot, _: Mapping[Slot, Vote], **options: Any) -> None:
        right(self, promised, {}, **options)

    patch.setattr(Acceptor, "__init__", remember)


@bug("hashicorp/raft #661")
def a_vote_and_its_ballot_are_two_writes(patch: Patch) -> None:
    """A crash comes between the write of a vote and that of the ballot it promises."""
    right = GroupState.apply

    def apply(self: GroupState, record: ReplicaRecord) -> list[Decision]:
        promised = self.promised
        decisions = right(self, record)
        if isinstance(record, Vote):
            self.promised = promised
        return decisions

    def remember(
        self: Acceptor, promised: Ballot, votes: Mapping[Slot, Vote], **options: Any
    ) -> None:
        begin(self, promised, votes, **options)
        self.promised = promised

    begin = Acceptor.__init__
    patch.setattr(GroupState, "apply", apply)
    patch.setattr(Acceptor, "__init__", remember)


@bug("Paxos, rule P2; an old leader's late Accepts")
def an_acceptor_votes_below_its_promise(patch: Patch) -> None:
    """A vote is given to whoever asks, unless a higher ballot has got one in that slot."""
    right = Acceptor.accept

    def accept(
        self: Acceptor, sender: NodeId, wanted: Accept, through: Slot, *, decided: bool
    ) -> Effects:
        cast = self.votes.get(wanted.slot)
        if decided or (cast is not None and cast.ballot >= wanted.ballot):
            return right(self, sender, wanted, through, decided=decided)
        vote = self.votes[wanted.slot] = Vote(wanted.slot, wanted.ballot, wanted.batch)
        self.promised = max(self.promised, wanted.ballot)
        accepted = Accepted(wanted.ballot, wanted.slot, self.incarnations)
        return Effects(records=(vote,), replies=(Envelope(sender, accepted),))

    patch.setattr(Acceptor, "accept", accept)


@bug("ballots that are not unique per node")
def two_candidates_of_one_round_are_taken_for_one(patch: Patch) -> None:
    """Acceptors compare the rounds of ballots, and not whose they are."""
    right_prepare, right_accept = Acceptor.prepare, Acceptor.accept

    def lower(self: Acceptor, ballot: Ballot) -> None:
        if ballot.round == self.promised.round:
            self.promised = min(ballot, self.promised)

    def prepare(self: Acceptor, sender: NodeId, wanted: Prepare, *rest: Slot) -> Effects:
        lower(self, wanted.ballot)
        return right_prepare(self, sender, wanted, *rest)

    def accept(
        self: Acceptor, sender: NodeId, wanted: Accept, through: Slot, *, decided: bool
    ) -> Effects:
        lower(self, wanted.ballot)
        return right_accept(self, sender, wanted, through, decided=decided)

    patch.setattr(Acceptor, "prepare", prepare)
    patch.setattr(Acceptor, "accept", accept)


@bug("ballots that come again after a restart")
def a_candidate_forgets_its_ballot_in_a_restart(patch: Patch) -> None:
    """A candidate's own promise is kept in memory only."""
    right = Election._campaign

    def campaign(self: Election, now: float) -> Effects:
        return replace(right(self, now), records=())

    patch.setattr(Election, "_campaign", campaign)


@bug("commit messages that name a slot only; §2")
def a_watermark_covers_a_vote_of_another_ballot(patch: Patch) -> None:
    """What was voted for in a slot is taken for decided, whatever the ballot was."""

    def cover(self: Learner, vote: Vote) -> None:
        if self.decided_through < vote.slot <= self.announced[1]:
            self._know(Decision(vote.slot, vote.ballot, vote.batch))

    patch.setattr(Learner, "cover", cover)


@bug(
    "§2",
    rare="a slot that is decided above a hole must be offered again before that closes",
)
def what_is_decided_above_a_hole_is_voted_in_again(patch: Patch) -> None:
    """A vote in a decided slot takes the place of the one that shows what was decided."""
    patch.setattr(Learner, "knows", lambda self, slot: slot <= self.decided_through)


@bug("§5; etcd #20418")
def an_acceptor_confirms_a_leader_that_was_replaced(patch: Patch) -> None:
    """Whoever asks whether it still leads is told that it does."""

    def confirm(_: Acceptor, sender: NodeId, asked: Confirm) -> Effects:
        return Effects(sends=(Envelope(sender, Confirmed(asked.ballot, asked.round)),))

    patch.setattr(Acceptor, "confirm", confirm)


@bug("quorums that do not meet")
def half_of_the_members_is_a_quorum(patch: Patch) -> None:
    """A quorum is half of the members, rounded down."""
    patch.setattr(Quorum, "size", property(lambda self: len(self.members) // 2))

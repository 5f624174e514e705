"""Bugs of candidates and leaders: of what they offer, and what they take for decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kvpaxos.paxos.ballot import NO_SLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision, Effects
from kvpaxos.paxos.election import Election
from kvpaxos.paxos.leadership import Leadership
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.messages import Batch, Prepare, Promise
from kvpaxos.paxos.proposer import Leading, Preparing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import DecidedThrough
from test.zoo.bug import Patch, bug


@bug("§2, a lagging candidate")
def a_candidate_offers_before_it_has_learned(patch: Patch) -> None:
    """Phase 1 is over once it is won, whatever others know as decided."""
    patch.setattr(Preparing, "must_learn_through", lambda *_: NO_SLOT)


@bug("§2, a lagging candidate")
def slots_that_nobody_keeps_are_taken_for_free(patch: Patch) -> None:
    """A candidate heeds what promisers know as decided, and not what they have forgotten."""

    def must_learn_through(self: Preparing, _: Quorum) -> Slot:
        promises = [one for parts in self.promises.values() for one in parts.values()]
        return max(promise.decided_through for promise in promises)

    patch.setattr(Preparing, "must_learn_through", must_learn_through)


@bug("Paxos, rule P2c")
def a_candidate_takes_the_vote_of_the_lowest_ballot(patch: Patch) -> None:
    """Where several were voted for, the oldest one is offered again."""

    def highest(self: Preparing) -> dict[Slot, Batch]:
        votes = [v for parts in self.promises.values() for p in parts.values() for v in p.votes]
        votes.sort(key=lambda vote: vote.ballot, reverse=True)
        return {vote.slot: vote.batch for vote in votes}

    patch.setattr(Preparing, "highest", highest)


@bug("highest slot instead of highest ballot")
def a_candidate_takes_the_longest_log(patch: Patch) -> None:
    """Of all promises, the one with the highest slot is heeded, and no other."""

    def highest(self: Preparing) -> dict[Slot, Batch]:
        logs = [
            {vote.slot: vote.batch for part in parts.values() for vote in part.votes}
            for parts in self.promises.values()
        ]
        return max(logs, key=lambda log: max(log, default=NO_SLOT))

    patch.setattr(Preparing, "highest", highest)


@bug("phase 1 that does not cover all open slots")
def a_leader_is_obliged_to_nothing(patch: Patch) -> None:
    """A new leader offers what is new to it in slots that were voted in."""

    def obliged(*_: object) -> Iterator[tuple[Slot, Batch]]:
        return iter(())

    patch.setattr(Preparing, "obliged", obliged)


@bug("phase 1 that does not cover all open slots")
def a_candidate_asks_for_one_slot_too_few(patch: Patch) -> None:
    """Phase 1 begins one slot after the first undecided one."""
    right = Election._campaign

    def campaign(self: Election, now: float) -> Effects:
        effects = right(self, now)
        late = tuple(
            replace(envelope, message=replace(message, from_slot=Slot(message.from_slot + 1)))
            if isinstance(message := envelope.message, Prepare)
            else envelope
            for envelope in effects.replies
        )
        return replace(effects, replies=late)

    patch.setattr(Election, "_campaign", campaign)


@bug(
    "holes that no no-op fills",
    rare="a slot must be free below one that was voted in: connections keep order",
    test="test/paxos/test_proposer.py::TestObliged::test_obliged",
)
def slots_that_are_free_are_left_out(patch: Patch) -> None:
    """What was voted for above a free slot is offered one slot lower."""

    def obliged(self: Preparing, first: Slot) -> Iterator[tuple[Slot, Batch]]:
        return ((slot, batch) for slot, batch in sorted(self.highest().items()) if slot >= first)

    patch.setattr(Preparing, "obliged", obliged)


@bug("holes that are executed past")
def a_hole_is_passed_over(patch: Patch) -> None:
    """What is decided above a slot that is not known is executed at once."""
    right = Learner.advance

    def advance(self: Learner) -> tuple[tuple[Decision, ...], tuple[DecidedThrough, ...]]:
        if self._known:
            self.decided_through = Slot(min(self._known) - 1)
        return right(self)

    patch.setattr(Learner, "advance", advance)


@bug(
    "an old leader's late votes",
    rare="a vote must be under way while its leader is elected again",
    test="test/paxos/test_replica.py::TestLeading::test_votes_in_another_ballot_do_not_count",
)
def a_leader_counts_votes_of_other_ballots(patch: Patch) -> None:
    """A vote counts for a slot, whatever ballot it was cast in."""

    def accepted(
        self: Leadership, role: Leading, sender: NodeId, _: Ballot, slot: Slot, now: float
    ) -> None:
        batch = role.voted(sender, slot, self._peers.quorum, now)
        if batch is not None:
            self._learner.decide(slot, role.ballot, batch)

    patch.setattr(Leadership, "accepted", accepted)


@bug("§2: its own vote takes the same road")
def a_leader_counts_its_own_vote_before_it_is_durable(patch: Patch) -> None:
    """One sync less is waited for than there must be."""
    right = Leading.offer

    def offer(self: Leading, batch: Batch, now: float) -> Slot:
        slot = right(self, batch, now)
        self.open[slot].voters.add(self.ballot.node)
        return slot

    patch.setattr(Leading, "offer", offer)


@bug(
    "§2: a watermark goes with its ballot",
    rare="a leader must be taught what another has decided before it hears of that one",
    test="test/paxos/test_proposer.py::TestSettle::test_it_says_whether_it_is_this_leaders_doing",
)
def a_leader_goes_on_after_another_has_decided(patch: Patch) -> None:
    """A leader that learns of a batch it has not offered leads on, and announces the slot."""
    right = Leading.settle

    def settle(self: Leading, decision: Decision) -> bool:
        right(self, decision)
        return True

    patch.setattr(Leading, "settle", settle)


@bug("promises that are counted in parts")
def a_promise_of_another_ballot_counts(patch: Patch) -> None:
    """A promise that was given to an earlier candidacy counts for this one."""
    right = Election.promised

    def promised(self: Election, sender: NodeId, promise: Promise) -> None:
        if isinstance(self.role, Preparing):
            promise = replace(promise, ballot=self.role.ballot)
        right(self, sender, promise)

    patch.setattr(Election, "promised", promised)

"""A node that lost its disk votes again only when it can contradict nothing that it has said."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Final

import pytest

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Proposed, Wish
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    CatchUp,
    Confirm,
    Confirmed,
    Decided,
    Forward,
    Incarnations,
    Message,
    Nack,
    Pong,
    Prepare,
    Promise,
    Rejoin,
    Report,
    TakeOver,
    Watermark,
    Withdraw,
)
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Promised, Rejoined, Renewed
from kvpaxos.paxos.rejoin import FIRST_INCARNATION, Disks, Probation
from test.paxos.bench import TIMING, Bench, messages
from test.paxos.cluster import NEVER
from test.paxos.values import (
    FIVE,
    HIGH,
    LOW,
    MIDDLE,
    ONE,
    THREE,
    TWO,
    A,
    B,
    C,
    D,
    E,
    X,
    Y,
    health,
    promise,
)

RETRY_S: Final = 1.0
B_RENEWED: Final[Incarnations] = ((B, 2),)
WISH: Final = Proposed((Wish(1, b"1", NEVER),))


def report(
    promised: Ballot = ZERO_BALLOT,
    voted: int = 0,
    *,
    incarnation: int = 2,
    shown: Incarnations = (),
) -> Report:
    return Report(incarnation, promised, Slot(voted), shown)


def on_probation(quorum: Quorum = THREE) -> Bench:
    """Return a node whose second disk was empty."""
    return Bench(quorum, Memory(incarnation=2, may_vote=False))


def is_on_probation(bench: Bench) -> bool:
    return bench.replica.probation is not None


class TestQuorum:
    @pytest.mark.parametrize("count", range(1, 8))
    def test_others_meet_a_node_if_they_are_in_all_its_majorities(self, count: int) -> None:
        members = [NodeId(f"n{number}") for number in range(count)]
        node, quorum = members[0], Quorum(frozenset(members))
        majorities = [
            {node, *rest} for size in range(count) for rest in combinations(members[1:], size)
        ]
        majorities = [one for one in majorities if quorum.reached(one)]
        for size in range(count):
            for others in combinations(members[1:], size):
                in_all = all(one.intersection(others) for one in majorities)
                assert quorum.meets(node, others) == in_all, others

    @pytest.mark.parametrize(("count", "needed"), [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)])
    def test_so_many_others_meet_a_node(self, count: int, needed: int) -> None:
        members = [NodeId(f"n{number}") for number in range(count)]
        quorum = Quorum(frozenset(members))
        assert quorum.meets(members[0], members[1 : 1 + needed])
        assert not quorum.meets(members[0], members[1:needed])

    def test_neither_the_node_itself_nor_a_stranger_helps(self) -> None:
        assert not THREE.meets(A, (A, B))
        assert not THREE.meets(A, (B, D, E))
        assert THREE.meets(A, (B, C))


class TestDisks:
    def test_everybody_begins_on_the_first(self) -> None:
        disks = Disks({A: 1})
        assert disks.newest(A) == disks.newest(B) == FIRST_INCARNATION
        assert disks.shown == ()
        assert disks.counts(B, ())

    def test_a_newer_one_is_taken_over_once(self) -> None:
        disks = Disks({A: 2})
        assert disks.renew(((A, 1), (B, 3), (C, 1))) == (Renewed(B, 3),)
        assert disks.renew(((B, 3),)) == disks.renew(((B, 2),)) == ()
        assert disks.shown == ((A, 2), (B, 3))

    @pytest.mark.parametrize(
        ("shown", "counts"),
        [
            pytest.param((), False, id="the first"),
            pytest.param(((B, 2),), False, id="an earlier one"),
            pytest.param(((C, 9),), False, id="one of another node"),
            pytest.param(((B, 3),), True, id="the newest"),
            pytest.param(((A, 2), (B, 4)), True, id="one that is newer still"),
        ],
    )
    def test_only_the_newest_counts(self, shown: Incarnations, counts: bool) -> None:  # noqa: FBT001
        assert Disks({B: 3}).counts(B, shown) is counts


class TestProbation:
    def test_those_who_have_not_reported_are_asked_now_and_then(self) -> None:
        probation = Probation(A, 2, THREE)
        question = Rejoin(2)
        asked = probation.ask(0.0, RETRY_S)
        assert messages(asked, Rejoin) == [(B, question), (C, question)]
        assert messages(probation.ask(0.9 * RETRY_S, RETRY_S), Rejoin) == []
        probation.hear(B, report())
        assert messages(probation.ask(RETRY_S, RETRY_S), Rejoin) == [(C, question)]
        probation.hear(C, report())
        assert messages(probation.ask(9 * RETRY_S, RETRY_S), Rejoin) == []

    def test_with_five_members_any_three_are_enough(self) -> None:
        probation = Probation(A, 2, FIVE)
        probation.hear(B, report())
        probation.hear(D, report())
        assert probation.awaited == {C, E}
        probation.hear(E, report())
        assert probation.awaited == frozenset()

    @pytest.mark.parametrize("incarnation", [1, 3])
    def test_an_answer_to_another_disk_does_not_count(self, incarnation: int) -> None:
        probation = Probation(A, 2, THREE)
        probation.hear(B, report(incarnation=incarnation))
        assert probation.awaited == {B, C}

    def test_the_first_report_stands(self) -> None:
        probation = Probation(A, 2, THREE)
        probation.hear(B, report(LOW, 3))
        probation.hear(B, report(HIGH, 9))
        assert probation.must_learn_through == 3

    def test_it_ends_with_the_highest_of_all_that_was_reported(self) -> None:
        probation = Probation(A, 2, THREE)
        probation.hear(B, report(HIGH, 3))
        assert probation.end(Slot(99)) is None
        probation.hear(C, report(LOW, 5))
        assert probation.end(Slot(4)) is None
        assert probation.end(Slot(5)) == (HIGH, Rejoined(2))


class TestOnProbation:
    def test_it_asks_all_others_first(self) -> None:
        assert messages(on_probation().tick(), Rejoin) == [(B, Rejoin(2)), (C, Rejoin(2))]

    @pytest.mark.parametrize(
        "message",
        [
            Prepare(HIGH, ONE),
            Accept(HIGH, ONE, X, NO_SLOT),
            Confirm(HIGH, 1),
            Rejoin(2),
            TakeOver(LOW),
            Withdraw(LOW),
            Promise(HIGH, (), NO_SLOT, ONE),
            Accepted(HIGH, ONE),
            Nack(LOW, HIGH),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_it_promises_votes_and_confirms_nothing(self, message: Message) -> None:
        bench = on_probation()
        effects = bench.receive(B, message)
        assert effects.records == ()
        assert effects.replies == ()
        assert messages(effects, Confirmed) == []
        assert bench.replica.acceptor.promised == ZERO_BALLOT
        assert bench.replica.acceptor.votes == {}
        assert is_on_probation(bench)

    def test_the_same_messages_are_answered_by_others(self) -> None:
        """What the test above proves is not proved by messages that nobody answers."""
        for message in (Prepare(HIGH, ONE), Accept(HIGH, ONE, X, NO_SLOT), Rejoin(2)):
            assert len(Bench().receive(B, message).replies) == 1
        assert len(messages(Bench().receive(B, Confirm(HIGH, 1)), Confirmed)) == 1

    def test_it_never_stands(self) -> None:
        bench = on_probation()
        bench.live(5.0, both={B: health(), C: health()})
        assert not bench.stands()
        assert bench.ballots == []

    def test_it_says_that_it_cannot_lead(self) -> None:
        bench = on_probation()
        bench.dialed_by(B, health())
        pongs = [pong for one in bench.history for _, pong in messages(one, Pong)]
        assert [pong.health.able for pong in pongs] == [False]

    def test_it_learns_and_teaches(self) -> None:
        bench = on_probation()
        bench.follow(LOW)
        bench.touch(C, says=health(LOW, through=2))
        effects = bench.receive(B, Watermark(LOW, TWO))
        assert messages(effects, CatchUp) == [(C, CatchUp(ONE, TWO))]
        effects = bench.receive(C, Decided(ONE, (X, Y)))
        assert [decision.batch for decision in effects.decided] == [X, Y]
        effects = bench.receive(B, CatchUp(ONE, TWO))
        assert messages(effects, Decided) == [(B, Decided(ONE, (X, Y)))]

    def test_it_numbers_no_wish_before_enough_know_of_its_disk(self) -> None:
        """If this disk were lost too, the next one could get the same number, and begin at 1."""
        bench = on_probation()
        bench.follow(LOW)
        assert messages(bench.step(WISH), Forward) == []
        assert messages(bench.receive(B, report()), Forward) == []
        ((to, forward),) = messages(bench.receive(C, report(voted=9)), Forward)
        assert (to, len(forward.commands)) == (B, 1)

    def test_it_forwards_what_its_clients_wish(self) -> None:
        bench = on_probation()
        bench.follow(LOW)
        bench.receive(B, report(voted=9))
        bench.receive(C, report(voted=9))
        ((to, forward),) = messages(bench.step(WISH), Forward)
        assert (to, len(forward.commands)) == (B, 1)

    def test_it_ends_only_with_enough_reports(self) -> None:
        bench = on_probation()
        assert bench.receive(B, report(HIGH)).records == ()
        bench.tick(2 * TIMING.retry_s)
        assert is_on_probation(bench)
        effects = bench.receive(C, report(LOW))
        assert effects.records == (Promised(HIGH), Rejoined(2))
        assert not is_on_probation(bench)

    def test_it_ends_only_with_enough_learned(self) -> None:
        bench = on_probation()
        bench.receive(B, report(LOW, 2))
        bench.receive(C, report(LOW, 1))
        bench.receive(C, Decided(ONE, (X,)))
        assert is_on_probation(bench)
        effects = bench.receive(C, Decided(TWO, (Y,)))
        assert effects.records[-2:] == (Promised(LOW), Rejoined(2))
        assert not is_on_probation(bench)

    def test_what_was_reported_is_asked_for(self) -> None:
        bench = on_probation()
        bench.touch(B, says=health(LOW, through=2))
        bench.receive(B, report(LOW, 2))
        bench.receive(C, report(LOW, 2))
        bench.tick(2 * TIMING.hole_s)
        asked = [pair for one in bench.history for pair in messages(one, CatchUp)]
        assert asked[-1] == (B, CatchUp(ONE, TWO))

    def test_it_takes_over_which_disks_are_void_for_those_who_report(self) -> None:
        """It takes the place of a node that may have reported the same to others."""
        bench = on_probation(FIVE)
        bench.receive(B, report(shown=((A, 2), (E, 3))))
        bench.receive(C, report(shown=((A, 2),)))
        assert bench.replica.disks.newest(E) == 3
        bench.receive(D, report(shown=((A, 2),)))
        assert not is_on_probation(bench)
        ((_, promised),) = messages(bench.receive(B, Prepare(LOW, ONE)), Promise)
        assert promised.incarnations == ((A, 2), (E, 3))

    def test_what_it_takes_over_is_written_down(self) -> None:
        effects = on_probation().receive(B, report(shown=((A, 2), (C, 3))))
        assert effects.records == (Renewed(C, 3),)

    def test_a_report_of_a_disk_that_is_void_does_not_count(self) -> None:
        bench = on_probation()
        bench.receive(B, report())
        bench.receive(C, report(shown=((A, 2), (B, 2))))
        assert is_on_probation(bench)
        bench.receive(B, report())
        assert is_on_probation(bench)
        bench.receive(B, report(shown=((A, 2), (B, 2))))
        assert not is_on_probation(bench)

    def test_a_stranger_reports_nothing(self) -> None:
        bench = on_probation()
        bench.receive(B, report())
        bench.receive(D, report())
        assert is_on_probation(bench)

    def test_afterwards_it_keeps_the_promises_of_others(self) -> None:
        bench = on_probation()
        bench.receive(B, report(HIGH))
        bench.receive(C, report())
        refused = bench.receive(B, Accept(MIDDLE, ONE, X, NO_SLOT))
        assert messages(refused, Nack) == [(B, Nack(MIDDLE, HIGH))]
        voted = bench.receive(B, Accept(HIGH, ONE, X, NO_SLOT))
        assert messages(voted, Accepted) == [(B, Accepted(HIGH, ONE, ((A, 2),)))]

    def test_where_nobody_has_promised_anything_it_promises_nothing(self) -> None:
        bench = on_probation()
        bench.receive(B, report())
        assert bench.receive(C, report()).records == (Rejoined(2),)


class TestReadmitting:
    def test_a_report_waits_until_it_is_durable_that_the_old_disk_is_void(self) -> None:
        effects = Bench().receive(B, Rejoin(2))
        assert effects.records == (Renewed(B, 2),)
        assert [envelope.message for envelope in effects.replies] == [report(shown=B_RENEWED)]
        assert messages(replace(effects, replies=()), Report) == []

    def test_it_says_what_this_node_has_promised_and_voted(self) -> None:
        bench = Bench()
        bench.receive(C, Accept(LOW, Slot(4), X, NO_SLOT))
        bench.receive(C, Prepare(HIGH, ONE))
        assert messages(bench.receive(B, Rejoin(2)), Report) == [
            (B, report(HIGH, 4, shown=B_RENEWED))
        ]

    def test_what_is_decided_counts_as_voted(self) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(7), kept_from=Slot(3)))
        assert messages(bench.receive(B, Rejoin(2)), Report) == [
            (B, report(voted=7, shown=B_RENEWED))
        ]

    def test_what_was_decided_before_the_state_was_lost_counts_as_voted(self) -> None:
        """Its votes there are gone, and the state that came of them; but they were cast."""
        bench = Bench(memory=Memory(decided_through=NO_SLOT, kept_from=Slot(8)))
        assert messages(bench.receive(B, Rejoin(2)), Report) == [
            (B, report(voted=7, shown=B_RENEWED))
        ]

    def test_it_says_of_which_others_it_knows_a_newer_disk(self) -> None:
        bench = Bench(memory=Memory(incarnations={C: 4}, incarnation=3))
        ((_, reported),) = messages(bench.receive(B, Rejoin(2)), Report)
        assert reported.incarnations == ((A, 3), (B, 2), (C, 4))

    def test_to_ask_again_gets_another_report_and_no_record(self) -> None:
        bench = Bench()
        bench.receive(B, Rejoin(2))
        effects = bench.receive(B, Rejoin(2))
        assert effects.records == ()
        assert messages(effects, Report) == [(B, report(shown=B_RENEWED))]

    @pytest.mark.parametrize("sender", [A, D], ids=["itself", "a stranger"])
    def test_nothing_is_reported_to(self, sender: NodeId) -> None:
        effects = Bench().receive(sender, Rejoin(2))
        assert (effects.records, effects.replies) == ((), ())

    def test_an_earlier_disk_is_not_readmitted(self) -> None:
        bench = Bench(memory=Memory(incarnations={B: 3}))
        effects = bench.receive(B, Rejoin(2))
        assert (effects.records, effects.replies) == ((), ())

    def test_every_promise_and_vote_shows_it(self) -> None:
        bench = Bench()
        bench.receive(B, Rejoin(2))
        ((_, promised),) = messages(bench.receive(C, Prepare(LOW, ONE)), Promise)
        ((_, accepted),) = messages(bench.receive(C, Accept(LOW, ONE, X, NO_SLOT)), Accepted)
        assert promised.incarnations == accepted.incarnations == B_RENEWED

    def test_what_was_written_down_is_shown_in_the_next_life(self) -> None:
        bench = Bench(memory=Memory(incarnations={B: 2}, incarnation=3))
        ((_, promised),) = messages(bench.receive(C, Prepare(LOW, ONE)), Promise)
        assert promised.incarnations == ((A, 3), (B, 2))


class TestCounting:
    """What an old disk has said is void for a leader, and for a candidate."""

    def leader(self) -> tuple[Bench, Ballot]:
        """Return one that has offered something in slot 1."""
        bench = Bench()
        ballot = bench.lead()
        bench.step(WISH)
        return bench, ballot

    def decided(self, bench: Bench) -> bool:
        return bench.replica.learner.decided_through >= ONE

    def test_a_vote_counts_without_any_of_this(self) -> None:
        bench, ballot = self.leader()
        bench.receive(B, Accepted(ballot, ONE))
        bench.receive(A, Accepted(ballot, ONE))
        assert self.decided(bench)

    def test_a_leader_discards_the_votes_of_the_old_disk(self) -> None:
        bench, ballot = self.leader()
        bench.receive(B, Accepted(ballot, ONE))
        bench.receive(B, Rejoin(2))
        bench.receive(A, Accepted(ballot, ONE, B_RENEWED))
        assert not self.decided(bench)
        bench.receive(C, Accepted(ballot, ONE, B_RENEWED))
        assert self.decided(bench)

    def test_it_does_not_count_one_that_comes_late(self) -> None:
        bench, ballot = self.leader()
        bench.receive(B, Rejoin(2))
        bench.receive(A, Accepted(ballot, ONE, B_RENEWED))
        bench.receive(B, Accepted(ballot, ONE))
        assert not self.decided(bench)
        bench.receive(B, Accepted(ballot, ONE, B_RENEWED))
        assert self.decided(bench)

    def test_it_hears_of_a_new_disk_from_whoever_votes(self) -> None:
        bench, ballot = self.leader()
        bench.receive(B, Accepted(ballot, ONE))
        effects = bench.receive(C, Accepted(ballot, ONE, B_RENEWED))
        assert effects.records == (Renewed(B, 2),)
        assert not self.decided(bench)
        bench.receive(A, Accepted(ballot, ONE))
        assert self.decided(bench)

    def test_a_candidate_discards_the_promises_of_the_old_disk(self) -> None:
        bench = Bench()
        ballot = bench.campaign()
        bench.receive(B, promise(ballot=ballot))
        bench.receive(B, Rejoin(2))
        shown = replace(promise(ballot=ballot), incarnations=B_RENEWED)
        bench.receive(A, shown)
        assert not bench.leads()
        bench.receive(B, promise(ballot=ballot))
        assert not bench.leads()
        bench.receive(C, shown)
        assert bench.leads()

    def test_it_hears_of_a_new_disk_from_whoever_promises(self) -> None:
        bench = Bench()
        ballot = bench.campaign()
        bench.receive(B, promise(ballot=ballot))
        bench.receive(C, replace(promise(ballot=ballot), incarnations=B_RENEWED))
        assert not bench.leads()
        bench.receive(A, promise(ballot=ballot))
        assert bench.leads()

    def test_what_the_old_disk_held_durably_is_not_forgotten_anywhere_else(self) -> None:
        """A peer with a new disk has no state yet: what it was thought to hold must be kept."""
        bench = Bench()
        bench.touch(B, C, says=health(durable=5))
        assert bench.replica.peers.durable_through(Slot(5)) == 5
        bench.receive(B, Rejoin(2))
        assert bench.replica.peers.durable_through(Slot(5)) == NO_SLOT

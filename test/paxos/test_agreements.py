"""Agreement slot by slot: any member, any slot, one value."""

from __future__ import annotations

from random import Random

import pytest

from kvpaxos.paxos.agreements import Agreements, Begun
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.decisions import Agreed, Forgotten, Pending
from kvpaxos.paxos.effects import Received, Ticked
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    CatchUp,
    Chosen,
    Decided,
    Envelope,
    Message,
    Nack,
    Ping,
    Pong,
    Prepare,
    Promise,
)
from kvpaxos.paxos.records import DecidedThrough, Learned, Promised
from test.paxos.group import Group
from test.paxos.values import ALONE, FIVE, ONE, THREE, TWO, A, B, C, D, E, X, health, vote


def member(node: NodeId = A) -> Agreements:
    return Agreements(node, THREE, random=Random(1), now=100.0)


# What is agreed on.


def test_a_value_is_agreed_on_by_all() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"hello")
    assert [m.status(ONE) for m in group.members.values()] == [Agreed(b"hello")] * 3


@pytest.mark.parametrize("value", [b"", b"\x00", b"x" * 1_000_000])
def test_a_value_has_any_length(value: bytes) -> None:
    group = Group(THREE)
    group.agree(A, 1, value)
    assert group.members[C].status(ONE) == Agreed(value)


def test_a_member_alone_agrees_with_itself() -> None:
    group = Group(ALONE)
    group.agree(A, 7, b"x")
    assert group.members[A].status(Slot(7)) == Agreed(b"x")


def test_several_proposals_for_a_slot_make_one_decision() -> None:
    group = Group(THREE)
    for node in (A, B, C):
        group.start(node, 1, node.encode())
    group.run(1)
    assert group.knowing(1) == "abc"
    assert group.values[ONE] in (b"a", b"b", b"c")


def test_a_second_proposal_of_a_member_does_not_replace_its_first() -> None:
    group = Group(THREE)
    group.start(A, 1, b"first")
    group.agree(A, 1, b"second")
    assert group.values == {ONE: b"first"}


def test_slots_are_independent_and_gaps_stay_open() -> None:
    group = Group(THREE)
    for node, slot in ((A, 8), (B, 7), (A, 6), (B, 5)):
        group.start(node, slot, b"%d" % slot)
    group.run(1)
    assert group.values == {Slot(slot): b"%d" % slot for slot in (5, 6, 7, 8)}
    for one in group.members.values():
        assert one.decisions.highest == 8
        assert {type(one.status(Slot(slot))) for slot in (1, 2, 3, 4, 9)} == {Pending}
    group.agree(C, 2, b"2")
    assert group.knowing(2) == "abc"


def test_a_slot_far_ahead_is_agreed_on_like_any_other() -> None:
    group = Group(THREE)
    group.agree(B, 10**12, b"far")
    assert group.knowing(10**12) == "abc"


def test_what_is_decided_is_not_proposed_again() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.sent.clear()
    group.agree(B, 1, b"y")
    assert group.requests() == 0
    assert group.members[B].status(ONE) == Agreed(b"x")


# What it costs.


def test_an_agreement_costs_four_requests_and_the_first_of_a_proposer_two_more() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    assert group.sent == {
        "Prepare": 2,
        "Promise": 2,
        "Accept": 2,
        "Accepted": 2,
        "Chosen": 2,
        "Pong": 2,
    }
    for slot in range(2, 12):
        group.sent.clear()
        group.agree(A, slot, b"x")
        assert group.sent == {"Accept": 2, "Accepted": 2, "Chosen": 2, "Pong": 2}


def test_it_costs_no_more_if_all_propose_and_one_of_them_has_done_phase_1() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    for slot in range(2, 12):
        group.sent.clear()
        for node in (C, B, A):
            group.start(node, slot, node.encode())
        group.run(0.5)
        assert group.knowing(slot) == "abc"
        assert group.requests() == 4


def test_nobody_says_anything_unless_something_is_proposed() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.sent.clear()
    group.run(10)
    assert not group.sent


# Who knows what.


def test_what_a_minority_voted_for_is_taken_up_by_whoever_hears_of_it() -> None:
    group = Group(FIVE)
    group.loses = lambda _sender, to, message: isinstance(message, Accept) and to != B
    group.start(A, 1, b"old")
    group.run(0.1)
    assert group.knowing(1) == ""
    group.loses = lambda sender, to, _: A in (sender, to)
    group.start(B, 1, b"new")
    group.run(1)
    assert group.knowing(1) == "bcde"
    assert group.values == {ONE: b"old"}


def test_a_member_that_missed_a_decision_learns_it_when_it_proposes_there() -> None:
    group = Group(FIVE)
    deaf = {A, E}

    def loses(_sender: NodeId, to: NodeId, message: Message) -> bool:
        return to in deaf and isinstance(message, Prepare | Accept | Chosen | CatchUp)

    group.loses = loses
    group.start(B, 1, b"old")
    group.run(2)
    assert group.knowing(1) == "bcd"
    group.start(A, 1, b"new")
    group.run(2)
    assert group.knowing(1) == "abcd"
    group.start(E, 1, b"newer")
    group.run(2)
    assert group.knowing(1) == "abcde"
    assert group.values == {ONE: b"old"}


def test_who_hears_of_a_decision_without_having_voted_asks_for_it_once() -> None:
    group = Group(THREE)
    group.loses = lambda _sender, to, message: isinstance(message, Accept) and to == C
    group.agree(A, 1, b"x")
    assert group.knowing(1) == "abc"
    assert (group.sent["CatchUp"], group.sent["Decided"]) == (1, 1)


def test_a_vote_shows_what_was_chosen_in_its_ballot_or_a_lower_one() -> None:
    for ballot, asks in ((Ballot(1, B), False), (Ballot(2, B), False), (Ballot(3, B), True)):
        one = member()
        one.step(Received(B, Accept(Ballot(2, B), ONE, X, Slot(0))), 100.0)
        effects = one.step(Received(C, Chosen(ballot, ONE, health(), 7.0)), 100.0)
        asked = Envelope(C, CatchUp(ONE, ONE)) in effects.sends
        assert (asked, bool(effects.decided)) == (asks, not asks)


def test_an_announcement_is_answered_by_what_this_member_is_done_with() -> None:
    one = member()
    effects = one.step(Received(B, Chosen(Ballot(1, B), ONE, health(), 7.0)), 100.0)
    pongs = [sent.message for sent in effects.sends if isinstance(sent.message, Pong)]
    assert [(pong.sent_at, pong.health.durable_through) for pong in pongs] == [(7.0, 0)]


def test_what_is_not_decided_here_is_not_handed_out() -> None:
    assert member().step(Received(B, CatchUp(ONE, ONE)), 100.0).sends == ()


# What must be durable first.


def test_a_ballot_is_shown_only_once_this_member_cannot_forget_it() -> None:
    effects = member().step(Begun(ONE, b"x"), 100.0)
    assert effects.sends == ()
    assert effects.records == (Promised(Ballot(1, A)),)
    assert Envelope(B, Prepare(Ballot(1, A), ONE)) in effects.replies


def test_its_own_vote_takes_the_road_of_all() -> None:
    one = member()
    one.step(Begun(ONE, b"x"), 100.0)
    promises = [Promise(Ballot(1, A), (), Slot(0), ONE)] * 2
    one.step(Received(A, promises[0]), 100.0)
    effects = one.step(Received(B, promises[1]), 100.0)
    assert effects.replies == (Envelope(A, Accepted(Ballot(1, A), ONE)),)
    assert [type(sent.message) for sent in effects.sends] == [Accept, Accept]
    assert one.step(Received(B, Accepted(Ballot(1, A), ONE)), 100.0).decided == ()
    (decision,) = one.step(Received(A, Accepted(Ballot(1, A), ONE)), 100.0).decided
    assert (decision.slot, decision.ballot) == (ONE, Ballot(1, A))


def test_a_new_life_remembers_promises_votes_and_decisions() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.loses = lambda _sender, _to, message: isinstance(message, Accepted | Chosen)
    group.start(A, 2, b"y")
    group.run(0.1)
    group.loses = lambda sender, to, _: A in (sender, to)
    group.restart(B)
    assert group.members[B].status(ONE) == Agreed(b"x")
    assert group.members[B].decisions.highest == TWO
    late = group.members[B].step(Received(A, Accept(Ballot(0, A), TWO, X, Slot(0))), group.now)
    assert late.replies == (Envelope(A, Nack(Ballot(0, A), Ballot(1, A))),)
    group.start(B, 2, b"z")
    group.run(1)
    assert group.values[TWO] == b"y"


def test_a_new_life_makes_no_ballot_again() -> None:
    group = Group(THREE)
    group.loses = lambda *_: True
    group.start(A, 1, b"x")
    group.restart(A)
    group.start(A, 1, b"y")
    ballots = [record for record in group.records[A] if isinstance(record, Promised)]
    assert ballots == [Promised(Ballot(1, A)), Promised(Ballot(2, A))]


# Giving way.


def test_whoever_is_overtaken_offers_nothing_more_and_comes_back_later() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.agree(B, 2, b"y")
    group.sent.clear()
    group.start(A, 3, b"z")
    assert group.requests() == 0
    group.run(0.3)
    assert group.values[Slot(3)] == b"z"
    assert group.sent["Prepare"] == 2


def test_a_refused_proposer_waits_longer_each_time() -> None:
    one = member()
    one.step(Begun(ONE, b"x"), 100.0)
    waits, now, number = [], 100.0, 1
    for _ in range(8):
        one.step(Received(B, Nack(Ballot(number, A), Ballot(number + 1, B))), now)
        refused_at = now
        while not (effects := one.step(Ticked(), now)).replies:
            now += 0.001
        waits.append(now - refused_at)
        number = next(r.ballot.round for r in effects.records if isinstance(r, Promised))
    assert all(0.019 * 2**n <= wait <= 0.042 * 2**n for n, wait in enumerate(waits[:4], 1))
    assert max(waits) <= 1.01


def test_whoever_repeats_what_it_asked_keeps_nobody_waiting() -> None:
    one = member()
    prepare = Prepare(Ballot(5, B), ONE)
    accept = Accept(Ballot(5, B), ONE, X, Slot(0))
    for first in (prepare, accept):
        one.step(Received(B, first), 100.0)
    one.step(Begun(ONE, b"y"), 100.0)
    asked = []
    for tick in range(30):
        now = 100.0 + tick * 0.02
        for event in (Received(B, prepare), Received(B, accept), Ticked()):
            effects = one.step(event, now)
            asked += [now for sent in effects.replies if isinstance(sent.message, Prepare)]
    assert asked
    assert asked[0] <= 100.3


def asks_at(one: Agreements, now: float) -> float:
    """Return when ``one`` begins phase 1, to the millisecond."""
    while not any(isinstance(s.message, Prepare) for s in one.step(Ticked(), now).replies):
        now += 0.001
    return now


def test_who_wants_a_slot_that_another_is_at_work_on_gives_it_time() -> None:
    for slot, least, most in ((ONE, 0.15, 0.2), (TWO, 0.0, 0.05)):
        one = member()
        one.step(Received(B, Prepare(Ballot(5, B), ONE)), 0.0)
        one.step(Begun(ONE, b"y"), 100.0)
        one.step(Received(B, Accept(Ballot(5, B), slot, X, Slot(0))), 100.0)
        assert least <= asks_at(one, 100.0) - 100.0 <= most


def test_a_proposer_that_got_through_waits_no_longer_than_at_first() -> None:
    one = member()
    one.step(Begun(ONE, b"x"), 100.0)
    for number in range(1, 5):
        one.step(Received(B, Nack(Ballot(number, A), Ballot(number, B))), 100.0 + number)
        asks_at(one, 100.0 + number)
    one.step(Received(B, Decided(ONE, (X,))), 110.0)
    one.step(Received(B, Prepare(Ballot(9, B), ONE)), 110.0)
    one.step(Begun(TWO, b"y"), 120.0)
    assert asks_at(one, 120.0) < 120.05


def test_a_vote_in_a_slot_that_is_known_is_granted_and_not_written() -> None:
    one = member()
    one.step(Received(B, Decided(ONE, (X,))), 100.0)
    effects = one.step(Received(B, Accept(Ballot(1, B), ONE, X, Slot(0))), 100.0)
    assert effects.records == (Promised(Ballot(1, B)),)
    assert effects.replies == (Envelope(B, Accepted(Ballot(1, B), ONE)),)


def test_what_is_not_answered_is_repeated_to_those_that_did_not_answer() -> None:
    group = Group(THREE)
    group.loses = lambda _sender, to, _: to == C
    group.start(A, 1, b"x")
    group.run(0.1)
    assert group.knowing(1) == "ab"
    group.loses = lambda _sender, to, _: to != A
    group.start(A, 2, b"y")
    group.run(2)
    before = group.sent["Accept"]
    assert before >= 10
    group.loses = lambda *_: False
    group.run(0.2)
    assert group.knowing(2) == "abc"
    assert group.sent["Accept"] <= before + 2


def test_phase_1_is_repeated_until_a_quorum_promises() -> None:
    group = Group(FIVE)
    group.loses = lambda sender, to, _: B not in (sender, to)
    group.start(A, 1, b"x")
    group.run(1)
    assert group.knowing(1) == ""
    group.sent.clear()
    group.loses = lambda *_: False
    group.run(0.3)
    assert group.knowing(1) == "abcde"
    assert group.sent["Prepare"] == 3, "b has promised already"


def test_a_proposer_that_learns_the_decision_stops_asking() -> None:
    group = Group(THREE)
    group.loses = lambda sender, to, _: A in (sender, to)
    group.start(A, 1, b"x")
    group.agree(B, 1, b"y")
    group.loses = lambda _sender, to, _: to == A
    group.agree(C, 2, b"z")
    batch = group.members[B].decisions.known(ONE)
    assert batch is not None
    group.step(A, Received(B, Decided(ONE, (batch,))))
    group.sent.clear()
    group.run(2)
    assert group.sent["Prepare"] == 0


# Forgetting.


def test_what_all_are_done_with_is_forgotten_and_what_one_is_not_is_kept() -> None:
    group = Group(THREE)
    for slot in (1, 2):
        group.agree(A, slot, b"x")
    group.done(1)
    group.done(2, B, C)
    assert group.members[A].status(ONE) == Agreed(b"x"), "it has not heard of the others"
    for number, node in enumerate((A, B, C), 3):
        group.agree(node, number, b"y")
    for one in group.members.values():
        assert one.status(ONE) == Forgotten()
        assert one.status(TWO) == Agreed(b"x")
        assert one.decisions.forgotten_through == ONE


def test_a_member_that_is_away_keeps_everything_from_being_forgotten() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.done(1, A, B)
    group.loses = lambda sender, to, _: C in (sender, to)
    for slot, node in enumerate((A, B, A, B), 2):
        group.agree(node, slot, b"y")
    assert group.members[A].status(ONE) == Agreed(b"x")


def test_a_proposal_in_a_forgotten_slot_has_no_effect() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.done(1)
    for slot, node in enumerate((A, B, C), 2):
        group.agree(node, slot, b"y")
    group.sent.clear()
    for node in (A, B, C):
        group.agree(node, 1, b"z")
        assert group.members[node].status(ONE) == Forgotten()
    assert group.requests() == 0


def test_forgetting_lets_go_of_values_votes_and_proposals() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.loses = lambda _sender, _to, message: isinstance(message, Accepted)
    group.agree(A, 2, b"y")
    group.loses = lambda *_: False
    group.done(5)
    for slot, node in enumerate((A, B, C), 6):
        group.agree(node, slot, b"z")
    for one in group.members.values():
        assert one.decisions.forgotten_through == 5
        assert min(one._acceptor.votes) == 6
        assert not one.wanted
        assert one.decisions.known(ONE) is None
    assert group.members[A].decisions.highest == 8


def test_a_new_life_that_may_have_lost_old_records_knows_that_they_are_forgotten() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.done(1)
    for slot, node in enumerate((A, B, C), 2):
        group.agree(node, slot, b"y")
    kept = (Promised, DecidedThrough)
    group.records[A] = [record for record in group.records[A] if isinstance(record, kept)]
    group.restart(A)
    assert group.members[A].status(ONE) == Forgotten()
    assert group.members[A].status(TWO) == Pending()


def test_who_does_not_know_that_all_are_done_is_told_when_it_proposes() -> None:
    group = Group(THREE)
    group.agree(A, 1, b"x")
    group.agree(A, 2, b"x")
    group.done(2)
    # All but c hear of that.
    group.loses = lambda _sender, to, message: to == C and isinstance(message, Chosen | Pong)
    for slot, node in enumerate((A, B, C), 3):
        group.agree(node, slot, b"y")
    group.loses = lambda *_: False
    group.members[C] = Agreements(C, THREE, random=Random(3), now=group.now)
    for node in (A, B):
        assert group.members[node].status(ONE) == Forgotten()
    group.agree(C, 1, b"z")
    assert group.members[C].status(ONE) == Forgotten()
    assert ONE not in group.members[C].wanted


def test_an_offer_in_a_forgotten_slot_gets_no_vote() -> None:
    one = member()
    ballot = Ballot(9, B)
    one.step(Received(B, Chosen(ballot, Slot(4), health(through=3, durable=3), 0.0)), 100.0)
    effects = one.step(Received(B, Accept(ballot, TWO, X, Slot(0))), 100.0)
    assert effects.records == (Promised(ballot),)
    assert effects.replies == (Envelope(B, Promise(ballot, (), Slot(3), Slot(4))),)


# Others.


def test_strangers_are_not_heard() -> None:
    one = member()
    assert one.step(Received(D, Prepare(Ballot(1, D), ONE)), 100.0).replies == ()


def test_what_is_about_a_log_is_passed_over() -> None:
    one = member()
    assert one.step(Received(B, Ping(health(), 1.0)), 100.0).sends == ()


def test_an_answer_to_an_earlier_life_measures_nothing() -> None:
    one = member()
    one.step(Received(B, Pong(health(), 99.0)), 100.0)
    assert one._peers.known[B].round_trip_s is None
    one.step(Received(B, Pong(health(), 100.0)), 100.5)
    assert one._peers.known[B].round_trip_s == 0.5


def test_a_decision_that_was_handed_out_is_written_down() -> None:
    one = member()
    batch = vote(1).batch
    effects = one.step(Received(B, Decided(ONE, (batch,))), 100.0)
    assert effects.records == (Learned(ONE, batch),)


# Storms.


def storm(seed: int) -> Group:
    """Lose, delay, reorder and restart at random, and then let the weather clear."""
    random = Random(seed)
    group = Group(FIVE if seed % 2 else THREE, seed=seed)
    names = sorted(group.members)
    loss, restarts = random.uniform(0, 0.4), random.uniform(0, 0.02)
    group.loses = lambda *_: random.random() < loss
    slots = range(1, 13)
    for _ in range(400):
        if random.random() < 0.1:
            name = random.choice(names)
            group.start(name, random.choice(slots), f"{name} {random.random()}".encode())
        if random.random() < restarts:
            group.restart(random.choice(names))
        if random.random() < 0.05:
            group.done(random.randint(1, 4), random.choice(names))
        if random.random() < 0.3:
            group.tick()
        for _ in range(random.randrange(8)):
            if group.line:
                # Any of those that wait may be the next; they come in no order.
                group.line.rotate(-random.randrange(len(group.line)))
                sender, to, message = group.line.popleft()
                group.step(to, Received(sender, message))
    group.loses = lambda *_: False
    for slot in slots:
        for name in names:
            group.start(name, slot, b"calm")
    group.run(6)
    return group


@pytest.mark.parametrize("seed", range(60))
def test_storms_lead_to_one_value_in_each_slot_and_then_to_all_of_them(seed: int) -> None:
    group = storm(seed)
    for one in group.members.values():
        for slot in map(Slot, range(1, 13)):
            if slot > one.decisions.forgotten_through:
                assert one.status(slot) == Agreed(group.values[slot])
        assert one.decisions.forgotten_through <= 4


def test_storms_are_not_so_calm_that_they_show_nothing() -> None:
    groups = [storm(seed) for seed in range(10)]
    assert sum(group.sent["Nack"] for group in groups) >= 30
    assert sum(value != b"calm" for group in groups for value in group.values.values()) >= 40
    assert sum(one.decisions.forgotten_through for g in groups for one in g.members.values()) >= 20


def test_the_same_events_have_the_same_effects() -> None:
    assert (storm(3).sent, storm(3).values) == (storm(3).sent, storm(3).values)

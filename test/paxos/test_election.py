"""Who stands for leader and who does not, who gives way, and who takes over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import pytest

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import HungUp, Leaving, Lost, Persisted, Proposed, Wish
from kvpaxos.paxos.election import BACKOFF_MAX_S, SLOW_MAX_S
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    Envelope,
    Health,
    Message,
    Nack,
    Ping,
    Pong,
    Prepare,
    Promise,
    TakeOver,
    Watermark,
    Withdraw,
)
from kvpaxos.paxos.proposer import Following, Preparing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Promised
from test.paxos.bench import TICK_S, TIMING, Bench, Widest, messages
from test.paxos.values import ALONE, FIVE, ONE, THREE, A, B, C, D, E, X, health, promise

B_LEADS: Final = Ballot(1, B)
C_LEADS: Final = Ballot(1, C)

SILENT: Final = health()
"""What a peer says that hears no leader."""

HEARS_B: Final = health(B_LEADS)
HEARS_C: Final = health(C_LEADS)

Says = dict[NodeId, Health]

EVERYBODY_SILENT: Final[Says] = {B: SILENT, C: SILENT}
EVERYBODY_HEARS_B: Final[Says] = {B: HEARS_B, C: HEARS_B}


@dataclass(frozen=True)
class Stands:
    """What node a goes through for two seconds, and whether it stands for leader.

    :ivar dialed_by: whose heartbeats come.
    :ivar answered_by: who answers those of node a.
    :ivar both: with whom it is both.
    """

    name: str
    verdict: Literal["stands", "waits"]
    both: Says = field(default_factory=dict)
    dialed_by: Says = field(default_factory=dict)
    answered_by: Says = field(default_factory=dict)
    quorum: Quorum = THREE
    sync_s: float = 0.0
    leaving: bool = False


STANDS = [
    Stands("a single node stands", "stands", quorum=ALONE),
    Stands("one that reaches nobody does not", "waits"),
    Stands("nor one that is dialed, but not answered", "waits", dialed_by={B: SILENT, C: SILENT}),
    Stands("nor one that is answered, but not dialed", "waits", answered_by={B: SILENT, C: SILENT}),
    Stands(
        "nor one that has each way with another",
        "waits",
        dialed_by={B: SILENT},
        answered_by={C: SILENT},
    ),
    Stands("one that reaches a quorum both ways does", "stands", {B: SILENT}),
    Stands("two of five are no quorum", "waits", {B: SILENT}, quorum=FIVE),
    Stands("three of five are", "stands", {B: SILENT, C: SILENT}, quorum=FIVE),
    Stands(
        "two of five both ways and the rest one way are none",
        "waits",
        {B: SILENT},
        dialed_by={C: SILENT, D: SILENT, E: SILENT},
        quorum=FIVE,
    ),
    Stands("a follower of a leader that is heard does not", "waits", {B: HEARS_B, C: HEARS_B}),
    Stands("nor does it if only a peer hears the leader", "waits", {B: HEARS_C}),
    Stands("it does if a quorum hears none", "stands", {B: HEARS_C, C: SILENT}),
    Stands(
        "also if one more does hear one",
        "stands",
        {B: SILENT, C: SILENT, D: health(Ballot(1, E))},
        quorum=FIVE,
    ),
    Stands(
        "but not if too few have lost it",
        "waits",
        {B: SILENT, C: health(Ballot(1, E)), D: health(Ballot(1, E))},
        quorum=FIVE,
    ),
    Stands(
        "what one says that cannot be dialed does not count", "waits", {B: HEARS_C}, {C: SILENT}
    ),
    Stands("one whose disk is stuck does not", "waits", {B: SILENT, C: SILENT}, sync_s=1.1),
    Stands("one whose disk is slow does", "stands", {B: SILENT, C: SILENT}, sync_s=0.9),
    Stands("one that is leaving does not", "waits", {B: SILENT, C: SILENT}, leaving=True),
]


@pytest.mark.parametrize("case", STANDS, ids=lambda case: case.name)
def test_who_stands(case: Stands) -> None:
    bench = Bench(case.quorum)
    if case.leaving:
        bench.step(Leaving())
    bench.live(
        2.0,
        both=case.both,
        dialed_by=case.dialed_by,
        answered_by=case.answered_by,
        sync_s=case.sync_s,
    )
    assert bool(bench.ballots) == (case.verdict == "stands")


def test_nobody_stands_who_was_hung_up_on_before_it_is_dialed_again() -> None:
    """Nobody can dial it, maybe: then it does not hear that another leads meanwhile."""
    bench = Bench()
    bench.touch(B, C, says=SILENT)
    bench.step(HungUp(B))
    bench.step(HungUp(C))
    bench.live(TIMING.patience_s / 2, answered_by={B: SILENT, C: SILENT})
    assert bench.ballots == []
    bench.dialed_by(B, SILENT)
    bench.live(TIMING.patience_s / 2, answered_by={B: SILENT, C: SILENT}, until=bench.stands)
    assert bench.stands()


def test_a_leader_stays_one_while_those_who_hung_up_dial_again() -> None:
    bench = Bench()
    bench.lead()
    bench.step(HungUp(B))
    bench.step(HungUp(C))
    bench.tick()
    assert bench.leads()


class TestFollowing:
    @dataclass(frozen=True)
    class Case:
        """What happens to a follower of b, whom c hears too, and whether it keeps b."""

        name: str
        verdict: Literal["kept", "lost"]
        both: Says = field(default_factory=dict)
        dialed_by: Says = field(default_factory=dict)
        answered_by: Says = field(default_factory=dict)

    CASES = (
        Case("a leader that is heard and reached is kept", "kept", {B: HEARS_B}),
        Case("one that can be dialed no more is lost", "lost", dialed_by={B: HEARS_B}),
        Case("one that dials no more is lost", "lost", answered_by={B: HEARS_B}),
        Case("one that is silent is lost", "lost", {C: HEARS_B}),
        Case("one that says that it leads no more is lost", "lost", {B: SILENT}),
        Case("one that follows another is lost", "lost", {B: HEARS_C}),
        Case("though others say that they hear none", "kept", {B: HEARS_B, C: SILENT}),
    )

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_when_a_leader_is_lost(self, case: Case) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.live(1.0, both=case.both, dialed_by=case.dialed_by, answered_by=case.answered_by)
        assert bench.leader == (B_LEADS if case.verdict == "kept" else ZERO_BALLOT)

    def test_a_lost_leader_alone_is_no_reason_to_stand(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.live(3.0, both={C: HEARS_B})
        assert bench.leader == ZERO_BALLOT
        assert bench.ballots == []

    def test_but_it_is_once_a_quorum_has_lost_it(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.live(3.0, both={C: SILENT}, until=bench.stands)
        assert bench.stands()
        assert bench.ballots == [B_LEADS.above(A)]

    @pytest.mark.parametrize("patience", [0.8, 1.2], ids=["less than", "more than"])
    def test_silence_counts_after_patience(self, patience: float) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.live(patience * TIMING.patience_s, both={C: HEARS_B})
        assert (bench.leader == B_LEADS) == (patience < 1)

    def test_a_leader_that_steps_down_is_lost_at_its_word_and_the_others_hear_of_it(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        effects = bench.dialed_by(B, SILENT)
        assert bench.leader == ZERO_BALLOT
        told = messages(effects, Ping)
        assert [(to, ping.health.following) for to, ping in told] == [
            (B, ZERO_BALLOT),
            (C, ZERO_BALLOT),
        ]

    def test_so_is_one_whose_connection_broke(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.step(Lost(C))
        assert bench.leader == B_LEADS
        effects = bench.step(Lost(B))
        assert bench.leader == ZERO_BALLOT
        assert len(messages(effects, Ping)) == 2

    @pytest.mark.parametrize(
        "message",
        [
            Ping(health(Ballot(2, C)), 0.0),
            Pong(health(Ballot(2, C)), 100.0),
            Watermark(Ballot(2, C), NO_SLOT),
            Accept(Ballot(2, C), ONE, X, NO_SLOT),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_the_leader_of_a_higher_ballot_is_followed_at_its_first_word(
        self, message: Message
    ) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.receive(C, message)
        assert bench.leader == Ballot(2, C)

    def test_one_of_a_lower_ballot_is_not(self) -> None:
        bench = Bench()
        bench.follow(Ballot(2, B))
        bench.receive(C, Watermark(C_LEADS, NO_SLOT))
        assert bench.leader == Ballot(2, B)

    def test_nor_one_that_can_be_sent_nothing(self) -> None:
        bench = Bench()
        bench.dialed_by(B, HEARS_B)
        assert bench.leader == ZERO_BALLOT
        bench.answered_by(B, HEARS_B)
        assert bench.leader == B_LEADS

    def test_nor_one_below_what_was_promised_and_it_is_told_so(self) -> None:
        bench = Bench(memory=Memory(promised=Ballot(5, C)))
        effects = bench.dialed_by(B, HEARS_B)
        assert messages(effects, Nack) == [(B, Nack(B_LEADS, Ballot(5, C)))]
        bench.answered_by(B, HEARS_B)
        assert bench.leader == ZERO_BALLOT


class TestHopelessLeaders:
    """One that is heard, but gets nothing done."""

    def give_up(self) -> Bench:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.step(Proposed((Wish(1, b"x", 1e9),)))
        bench.live(5.0, both={B: HEARS_B, C: HEARS_B}, until=lambda: bench.leader == ZERO_BALLOT)
        assert bench.leader == ZERO_BALLOT
        return bench

    def test_are_given_up_whatever_they_say(self) -> None:
        bench = self.give_up()
        bench.live(1.5 * TIMING.patience_s, both={B: HEARS_B, C: HEARS_B})
        assert bench.leader == ZERO_BALLOT

    def test_are_replaced_if_others_have_lost_them_too(self) -> None:
        bench = self.give_up()
        bench.live(1.5 * TIMING.patience_s, both={B: HEARS_B, C: SILENT}, until=bench.stands)
        assert bench.ballots == [B_LEADS.above(A)]

    def test_have_another_chance_later(self) -> None:
        bench = self.give_up()
        bench.live(2.2 * TIMING.patience_s, both={B: HEARS_B, C: HEARS_B})
        assert bench.leader == B_LEADS

    def test_or_with_another_ballot(self) -> None:
        bench = self.give_up()
        bench.touch(B, says=health(Ballot(2, B)))
        assert bench.leader == Ballot(2, B)


class TestStanding:
    def test_first_of_all_is_the_own_promise_and_the_others_are_asked_once_it_is_durable(
        self,
    ) -> None:
        bench = Bench()
        ballot = bench.campaign()
        effects = next(e for e in bench.history if messages(e, Prepare))
        assert effects.records == (Promised(ballot),)
        assert effects.replies == (
            Envelope(A, promise(ballot=ballot)),
            Envelope(B, Prepare(ballot, ONE)),
            Envelope(C, Prepare(ballot, ONE)),
        )

    def test_nothing_shows_a_ballot_before_it_is_durable(self) -> None:
        bench = Bench()
        ballot = bench.campaign()
        # Its disk takes its time; all it says meanwhile may leave at once.
        bench.live(0.1, both={B: SILENT, C: HEARS_C})
        bench.step(Lost(B))
        for effects in bench.history:
            for envelope in effects.sends:
                assert ballot not in ballots_in(envelope.message)

    def test_it_asks_about_the_first_slot_that_it_does_not_know(self) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(7)))
        bench.campaign()
        assert {p.from_slot for e in bench.history for _, p in messages(e, Prepare)} == {8}

    def test_its_ballot_is_above_all_that_it_promised(self) -> None:
        bench = Bench(memory=Memory(promised=Ballot(9, C)))
        assert bench.campaign() == Ballot(10, A)

    def test_and_above_all_that_it_has_seen(self) -> None:
        bench = Bench()
        bench.follow(Ballot(9, C))
        bench.touch(C)
        assert bench.campaign() == Ballot(10, A)

    def test_a_quorum_of_promises_makes_it_leader_and_everyone_hears_at_once(self) -> None:
        bench = Bench()
        ballot = bench.campaign()
        bench.receive(A, promise(ballot=ballot))
        assert not bench.leads()
        effects = bench.receive(C, promise(ballot=ballot))
        assert bench.leads()
        assert [(to, p.health.following) for to, p in messages(effects, Ping)] == [
            (B, ballot),
            (C, ballot),
        ]

    def test_promises_for_another_ballot_do_not_count(self) -> None:
        bench = Bench()
        ballot = bench.campaign()
        for voter in (A, B, C):
            bench.receive(voter, promise(ballot=Ballot(ballot.round - 1, A)))
            bench.receive(voter, promise(ballot=Ballot(ballot.round, B)))
        assert bench.stands()

    def test_it_ends_without_a_quorum_and_begins_again_with_a_higher_ballot(self) -> None:
        bench = Bench()
        first = bench.campaign()
        bench.live(2.0, both={B: SILENT, C: SILENT}, until=lambda: not bench.stands())
        assert not bench.stands()
        assert bench.campaign() == first.above(A)

    def test_each_failure_doubles_the_wait_up_to_a_bound(self) -> None:
        bench = Bench(random=Widest())
        waits_s = []
        for _ in range(8):
            role = bench.replica.role
            assert isinstance(role, Following)
            waits_s.append(role.stand_at - bench.now)
            bench.live(2.0, both={B: SILENT, C: SILENT}, until=bench.stands)
            assert bench.stands()
            bench.live(LONG_S, both={B: SILENT, C: SILENT}, until=lambda: not bench.stands())
        expected = [min(TIMING.backoff_s * 2**failures, BACKOFF_MAX_S) for failures in range(8)]
        assert waits_s == pytest.approx(expected)

    def test_each_failure_doubles_the_time_to_win_up_to_a_bound(self) -> None:
        bench = Bench()
        times_s = [time_to_win(bench)]
        for _ in range(7):
            bench.live(LONG_S, both={B: SILENT, C: SILENT}, until=lambda: not bench.stands())
            times_s.append(time_to_win(bench))
        once_s = bench.replica.peers.patience_s
        assert times_s == pytest.approx([once_s * n for n in (1, 2, 4, 8, 16, 32, 32, 32)])

    def test_so_does_each_candidate_that_comes_between(self) -> None:
        bench = Bench()
        times_s = [time_to_win(bench)]
        for number in range(10, 13):
            bench.receive(C, Prepare(Ballot(number, C), ONE))
            times_s.append(time_to_win(bench))
        once_s = bench.replica.peers.patience_s
        assert times_s == pytest.approx([once_s * n for n in (1, 2, 4, 8)])

    def test_a_leader_that_is_heard_ends_it_and_makes_the_waits_short_again(self) -> None:
        bench = Bench(random=Widest())
        for _ in range(3):
            bench.campaign()
            bench.live(LONG_S, both={B: SILENT, C: SILENT}, until=lambda: not bench.stands())
        ballot = bench.campaign()
        bench.touch(C, says=health(ballot.above(C)))
        assert bench.leader == ballot.above(C)
        bench.dialed_by(C, SILENT)
        role = bench.replica.role
        assert isinstance(role, Following)
        assert role.stand_at - bench.now == pytest.approx(TIMING.backoff_s)

    def test_one_that_would_have_to_learn_a_lot_lets_another_go_first_for_a_while(self) -> None:
        bench = Bench(limits=Limits(ahead_slots_max=10))
        ahead = {B: health(through=11), C: SILENT}
        bench.live(0.9 * TIMING.patience_s, both=ahead)
        assert bench.ballots == []
        bench.live(0.3 * TIMING.patience_s, both=ahead)
        assert bench.ballots != []

    @pytest.mark.parametrize(
        "says", [health(through=10), health(through=11, able=False)], ids=["a little", "unable"]
    )
    def test_but_not_if_it_is_a_little_nor_for_one_that_could_not_lead(self, says: Health) -> None:
        bench = Bench(limits=Limits(ahead_slots_max=10))
        bench.live(0.9 * TIMING.patience_s, both={B: says, C: SILENT})
        assert bench.ballots != []


class TestGivingTime:
    """How long a candidate is let alone by whoever has promised to it."""

    THEIRS: Final = Ballot(9, C)

    def promised(self) -> Bench:
        bench = Bench(random=Widest())
        bench.touch(B, C)
        bench.receive(C, Prepare(self.THEIRS, ONE))
        return bench

    def test_one_that_has_not_withdrawn_has_time_to_win(self) -> None:
        bench = self.promised()
        bench.live(TIMING.patience_s, both=EVERYBODY_SILENT)
        assert bench.ballots == []

    def test_one_that_has_is_given_none(self) -> None:
        bench = self.promised()
        bench.receive(C, Withdraw(self.THEIRS))
        bench.live(0.5 * TIMING.patience_s, both=EVERYBODY_SILENT)
        assert bench.ballots == [Ballot(10, A)]

    def test_that_an_earlier_one_has_does_not_matter(self) -> None:
        bench = self.promised()
        bench.receive(B, Withdraw(Ballot(8, B)))
        bench.live(TIMING.patience_s, both=EVERYBODY_SILENT)
        assert bench.ballots == []

    def test_who_reaches_no_quorum_any_more_gives_up_however_long_it_may_try(self) -> None:
        bench = Bench()
        for _ in range(3):
            time_to_win(bench)
            bench.live(LONG_S, both=EVERYBODY_SILENT, until=lambda: not bench.stands())
        assert time_to_win(bench) > 3 * TIMING.patience_s
        ballot = bench.ballots[-1]
        bench.live(1.5 * TIMING.patience_s, dialed_by=EVERYBODY_SILENT)
        assert not bench.stands()
        told = [one for effects in bench.history for one in messages(effects, Withdraw)]
        assert told == [(B, Withdraw(ballot)), (C, Withdraw(ballot))]

    def test_it_says_so_no_sooner_than_its_ballot_is_durable(self) -> None:
        bench, ballot = candidate()
        bench.live(LONG_S, until=lambda: not bench.stands())
        assert [one.message for one in bench.history[-1].replies] == 2 * [Withdraw(ballot)]


LONG_S: Final = 20.0
"""However long a candidate tries, it has given up after so much time."""


def time_to_win(bench: Bench) -> float:
    """Let it stand for leader, and return how long it may take to win."""
    bench.live(LONG_S, both={B: SILENT, C: SILENT}, until=bench.stands)
    role = bench.replica.role
    assert isinstance(role, Preparing)
    return role.deadline - bench.now


def ballots_in(message: Message) -> set[Ballot]:
    """Return all ballots that ``message`` shows."""
    found = {getattr(message, name, ZERO_BALLOT) for name in ("ballot", "promised")}
    if isinstance(message, Ping | Pong):
        found.add(message.health.following)
    return found


def candidate() -> tuple[Bench, Ballot]:
    bench = Bench()
    return bench, bench.campaign()


def leader() -> tuple[Bench, Ballot]:
    bench = Bench()
    return bench, bench.lead()


@pytest.mark.parametrize("make", [candidate, leader])
class TestGivingWay:
    """What makes candidates and leaders alike give way."""

    def test_a_refusal_does_and_the_next_ballot_is_above_it(
        self, make: Callable[[], tuple[Bench, Ballot]]
    ) -> None:
        bench, ballot = make()
        bench.receive(B, Nack(ballot, Ballot(9, C)))
        assert bench.leader == ZERO_BALLOT
        assert not bench.stands()
        assert bench.campaign() == Ballot(10, A)

    def test_a_refusal_of_an_earlier_ballot_does_not(
        self, make: Callable[[], tuple[Bench, Ballot]]
    ) -> None:
        bench, ballot = make()
        role = bench.replica.role
        bench.receive(B, Nack(Ballot(ballot.round - 1, A), Ballot(9, C)))
        assert bench.replica.role is role

    def test_a_candidate_of_a_higher_ballot_does_and_has_time_to_win(
        self, make: Callable[[], tuple[Bench, Ballot]]
    ) -> None:
        bench, ballot = make()
        higher = ballot.above(C)
        effects = bench.receive(C, Prepare(higher, ONE))
        assert effects.records == (Promised(higher),)
        assert [to for to, _ in messages(effects, Promise)] == [C]
        bench.live(0.9 * TIMING.patience_s, both={B: SILENT, C: SILENT})
        assert bench.ballots == [ballot]
        assert isinstance(bench.replica.role, Following)

    def test_one_of_a_lower_ballot_is_refused(
        self, make: Callable[[], tuple[Bench, Ballot]]
    ) -> None:
        bench, ballot = make()
        role = bench.replica.role
        lower = Ballot(ballot.round - 1, C)
        effects = bench.receive(C, Prepare(lower, ONE))
        assert effects.replies == (Envelope(C, Nack(lower, ballot)),)
        assert bench.replica.role is role

    @pytest.mark.parametrize("how", ["watermark", "accept", "heartbeat"])
    def test_a_leader_of_a_higher_ballot_does(
        self, make: Callable[[], tuple[Bench, Ballot]], how: str
    ) -> None:
        bench, ballot = make()
        higher = ballot.above(C)
        messages_by: dict[str, Message] = {
            "watermark": Watermark(higher, NO_SLOT),
            "accept": Accept(higher, ONE, X, NO_SLOT),
            "heartbeat": Ping(health(higher), 0.0),
        }
        bench.receive(C, messages_by[how])
        assert bench.leader == higher

    def test_one_of_a_lower_ballot_does_not(self, make: Callable[[], tuple[Bench, Ballot]]) -> None:
        bench, ballot = make()
        role = bench.replica.role
        lower = Ballot(ballot.round - 1, C)
        bench.receive(C, Watermark(lower, NO_SLOT))
        effects = bench.receive(C, Ping(health(lower), 0.0))
        assert bench.replica.role is role
        assert messages(effects, Nack) == [(C, Nack(lower, ballot))]


class TestLeading:
    @dataclass(frozen=True)
    class Case:
        """What a leader of three hears of the others for a second, and whether it goes on."""

        name: str
        verdict: Literal["leads on", "steps down"]
        both: Says = field(default_factory=dict)
        dialed_by: Says = field(default_factory=dict)
        answered_by: Says = field(default_factory=dict)

    CASES = (
        Case("one follower both ways is enough", "leads on", {B: SILENT}),
        Case("one that is cut off steps down", "steps down"),
        Case(
            "one that cannot be dialed steps down", "steps down", answered_by={B: SILENT, C: SILENT}
        ),
        Case("one that can dial nobody steps down", "steps down", dialed_by={B: SILENT, C: SILENT}),
        Case("each way with another is no quorum", "steps down", {}, {B: SILENT}, {C: SILENT}),
    )

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_a_leader_needs_a_quorum_both_ways(self, case: Case) -> None:
        bench = Bench()
        ballot = bench.lead()
        bench.live(1.0, both=case.both, dialed_by=case.dialed_by, answered_by=case.answered_by)
        assert bench.leader == (ballot if case.verdict == "leads on" else ZERO_BALLOT)

    def test_a_connection_that_breaks_alone_unseats_nobody(self) -> None:
        bench = Bench()
        ballot = bench.lead()
        bench.step(Lost(B))
        bench.step(Lost(C))
        bench.tick()
        assert bench.leader == ballot

    def test_one_that_steps_down_says_so_at_once(self) -> None:
        bench = Bench()
        bench.lead()
        bench.live(2.0, until=lambda: not bench.leads())
        told = messages(bench.history[-1], Ping)
        assert [(to, ping.health.following) for to, ping in told][-2:] == [
            (B, ZERO_BALLOT),
            (C, ZERO_BALLOT),
        ]

    def test_a_single_node_leads_for_ever(self) -> None:
        bench = Bench(ALONE)
        bench.live(1.0, until=bench.stands)
        (ballot,) = bench.ballots
        bench.receive(A, promise(ballot=ballot))
        bench.live(10.0)
        assert bench.leader == ballot

    def test_heartbeats_are_sent_as_often_as_they_are_due(self) -> None:
        bench = Bench()
        bench.lead()
        start = len(bench.history)
        bench.live(1.0, both={B: SILENT, C: SILENT})
        sent = [to for effects in bench.history[start:] for to, _ in messages(effects, Ping)]
        assert sent.count(B) == sent.count(C)
        assert abs(sent.count(B) - 1.0 / TIMING.heartbeat_s) <= 2


class TestHandingOver:
    def leave(self, **says: Health) -> tuple[Bench, Ballot, list[tuple[NodeId, TakeOver]]]:
        """Return a leader that was told to leave, and whom it asked to take over."""
        bench = Bench()
        ballot = bench.lead()
        for name, one in says.items():
            bench.touch(NodeId(name), says=one)
        bench.step(Leaving())
        return bench, ballot, messages(bench.tick(), TakeOver)

    def test_the_heir_is_the_one_that_knows_most(self) -> None:
        bench, ballot, asked = self.leave(b=health(through=3), c=health(through=5))
        assert asked == [(C, TakeOver(ballot))]
        assert not bench.leads()

    def test_it_is_told_what_is_decided_first(self) -> None:
        bench, ballot, _ = self.leave(b=health(), c=health(able=False))
        sends = [envelope for envelope in bench.history[-1].sends if envelope.to == B]
        assert sends[-2:] == [
            Envelope(B, Watermark(ballot, NO_SLOT)),
            Envelope(B, TakeOver(ballot)),
        ]

    def test_there_is_none_if_nobody_could_lead(self) -> None:
        unable = health(able=False)
        bench, _, asked = self.leave(b=unable, c=unable)
        assert asked == []
        assert bench.leads()

    def test_one_that_left_does_not_come_back(self) -> None:
        bench, _, _ = self.leave(b=health())
        bench.live(5.0, both={B: SILENT, C: SILENT})
        assert len(bench.ballots) == 1

    def test_not_before_the_open_slots_are_decided(self) -> None:
        bench = Bench()
        ballot = bench.lead()
        bench.step(Proposed((Wish(1, b"x", 1e9),)))
        bench.step(Leaving())
        assert messages(bench.tick(), TakeOver) == []
        accepts = [accept for effects in bench.history for _, accept in messages(effects, Accept)]
        assert {accept.slot for accept in accepts} == {1}
        for voter in (A, B):
            bench.receive(voter, _accepted(accepts[0]))
        assert messages(bench.tick(), TakeOver) == [(B, TakeOver(ballot))]

    def test_no_slot_is_opened_meanwhile(self) -> None:
        bench = Bench()
        bench.lead()
        bench.step(Leaving())
        effects = bench.step(Proposed((Wish(1, b"x", 1e9),)))
        assert messages(effects, Accept) == []

    def test_but_if_there_is_no_heir_work_goes_on(self) -> None:
        bench = Bench()
        bench.lead()
        bench.touch(B, C, says=health(able=False))
        bench.step(Leaving())
        effects = bench.step(Proposed((Wish(1, b"x", 1e9),)))
        assert len(messages(effects, Accept)) == 2

    @pytest.mark.parametrize("sync_s", [0.9, 1.1], ids=["slow", "stuck"])
    def test_a_leader_whose_disk_is_stuck_hands_over_too(self, sync_s: float) -> None:
        bench = Bench()
        ballot = bench.lead()
        stuck = sync_s > TIMING.stuck_s
        effects = bench.tick(sync_s=sync_s)
        assert messages(effects, TakeOver) == ([(B, TakeOver(ballot))] if stuck else [])
        assert bench.leads() != stuck

    def test_it_says_that_it_could_not_lead(self) -> None:
        bench = Bench()
        bench.touch(B, C)
        assert bench.replica.election.health(bench.now).able
        bench.tick(sync_s=1.1)
        assert not bench.replica.election.health(bench.now).able


def _accepted(accept: Accept) -> Accepted:
    return Accepted(accept.ballot, accept.slot)


class TestAFullDisk:
    @dataclass(frozen=True)
    class Case:
        """A leader that knows 200 slots, and what its peers say when its disk is nearly full.

        :ivar heir: whom it asks to take over.
        """

        name: str
        heir: NodeId | None
        b: Health
        c: Health
        low: bool = True

    FAR, NEAR = 200 - Limits().ahead_slots_max, 201 - Limits().ahead_slots_max
    LAGS, KNOWS, UNFIT = health(through=FAR), health(through=NEAR), health(able=False, through=200)

    CASES = (
        Case("it hands over to one that knows nearly as much", C, LAGS, KNOWS),
        Case("to the one that knows most", C, KNOWS, health(through=200)),
        Case("with room it leads on", None, KNOWS, KNOWS, low=False),
        Case("where all are low, or slow, it leads on", None, UNFIT, UNFIT),
        Case("one that lags far behind is no help", None, LAGS, UNFIT),
    )

    def lead(self) -> tuple[Bench, Ballot]:
        bench = Bench(memory=Memory(decided_through=Slot(200), kept_from=Slot(1)))
        ballot = bench.campaign()
        for voter in (A, B):
            bench.receive(voter, promise(ballot=ballot, through=200))
        assert bench.leads()
        return bench, ballot

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_who_takes_over(self, case: Case) -> None:
        bench, ballot = self.lead()
        bench.touch(B, says=case.b)
        bench.touch(C, says=case.c)
        # Its disk is noticed, and then it has nothing open.
        asked = messages(bench.tick(low=case.low), TakeOver)
        assert asked == ([] if case.heir is None else [(case.heir, TakeOver(ballot))])
        assert bench.leads() == (case.heir is None)
        effects = bench.step(Proposed((Wish(1, b"x", 1e9),)))
        assert bool(messages(effects, Accept)) == (case.heir is None)

    def test_not_before_the_open_slots_are_decided_and_none_is_opened_meanwhile(self) -> None:
        bench, ballot = self.lead()
        bench.touch(B, C, says=health(through=200))
        effects = bench.step(Proposed((Wish(1, b"x", 1e9),)))
        ((_, accept), *_) = messages(effects, Accept)
        assert messages(bench.tick(low=True), TakeOver) == []
        assert messages(bench.step(Proposed((Wish(2, b"y", 1e9),))), Accept) == []
        for voter in (A, B):
            bench.receive(voter, _accepted(accept))
        assert messages(bench.tick(low=True), TakeOver) == [(B, TakeOver(ballot))]

    def test_it_says_that_others_should_rather_lead_until_there_is_room(self) -> None:
        bench = Bench()
        able = []
        for low in (False, True, True, False):
            bench.touch(B, C)
            bench.tick(low=low)
            able.append(bench.replica.election.health(bench.now).able)
        assert able == [True, False, False, True]

    def test_it_lets_one_with_room_stand_first_but_does_not_wait_for_ever(self) -> None:
        bench = Bench()
        bench.touch(B, C)
        bench.live(0.9 * TIMING.patience_s, both=EVERYBODY_SILENT, low=True)
        assert bench.ballots == []
        bench.live(4.0, both=EVERYBODY_SILENT, low=True, until=bench.stands)
        assert len(bench.ballots) == 1

    def test_where_all_are_low_it_stands_at_once(self) -> None:
        low, roomy = Bench(random=Widest()), Bench(random=Widest())
        unfit = {B: health(able=False), C: health(able=False)}
        low.live(4.0, both=unfit, low=True, until=low.stands)
        roomy.live(4.0, both=unfit, until=roomy.stands)
        assert low.now == roomy.now

    def test_one_that_is_asked_to_take_over_does_so(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.tick(low=True)
        bench.receive(B, TakeOver(B_LEADS))
        assert bench.ballots == [B_LEADS.above(A)]


class TestTakingOver:
    def ask(self, bench: Bench, ballot: Ballot) -> bool:
        """Let ``ballot``'s leader ask for it, and return whether the node stands at once."""
        before = bench.ballots
        bench.receive(ballot.node, TakeOver(ballot))
        return bench.ballots != before

    def test_it_stands_at_the_word_of_the_leader_that_it_follows(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        assert self.ask(bench, B_LEADS)
        assert bench.ballots == [B_LEADS.above(A)]

    @pytest.mark.parametrize(
        "ballot",
        [
            pytest.param(Ballot(2, B), id="its next ballot"),
            pytest.param(Ballot(0, B), id="an earlier one"),
            pytest.param(C_LEADS, id="another node"),
            pytest.param(ZERO_BALLOT, id="nobody"),
        ],
    )
    def test_of_no_other(self, ballot: Ballot) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        assert not self.ask(bench, ballot)
        assert bench.leader == B_LEADS

    def test_nor_if_it_follows_nobody(self) -> None:
        bench = Bench()
        bench.touch(B, C)
        assert not self.ask(bench, B_LEADS)
        assert not self.ask(bench, ZERO_BALLOT)

    def test_nor_if_it_leads_itself(self) -> None:
        bench = Bench()
        ballot = bench.lead()
        assert not self.ask(bench, ballot)
        assert bench.leads()

    def test_nor_if_it_is_leaving_too(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.step(Leaving())
        assert not self.ask(bench, B_LEADS)

    def test_nor_if_its_disk_is_stuck(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.tick(sync_s=1.1)
        assert not self.ask(bench, B_LEADS)

    def test_nor_if_it_reaches_no_quorum(self) -> None:
        bench = Bench(FIVE)
        bench.touch(B, says=HEARS_B)
        assert bench.leader == B_LEADS
        assert not self.ask(bench, B_LEADS)


class TestPauses:
    """This process did not run for a minute: nobody else was silent."""

    PAUSE_S: Final = 60.0

    def test_a_follower_keeps_its_leader(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.tick(self.PAUSE_S, lag_s=self.PAUSE_S - TICK_S)
        assert bench.leader == B_LEADS

    def test_but_loses_it_if_it_is_silent_from_then_on(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.tick(self.PAUSE_S, lag_s=self.PAUSE_S - TICK_S)
        bench.live(1.2 * TIMING.patience_s, both={C: HEARS_B})
        assert bench.leader == ZERO_BALLOT

    def test_a_leader_goes_on(self) -> None:
        bench = Bench()
        ballot = bench.lead()
        bench.tick(self.PAUSE_S, lag_s=self.PAUSE_S - TICK_S)
        assert bench.leader == ballot

    def test_but_gives_way_to_the_next_one(self) -> None:
        bench = Bench()
        ballot = bench.lead()
        bench.tick(self.PAUSE_S, lag_s=self.PAUSE_S - TICK_S)
        bench.touch(C, says=health(ballot.above(C)))
        assert bench.leader == ballot.above(C)

    def test_a_candidate_has_its_time(self) -> None:
        bench = Bench()
        bench.campaign()
        bench.tick(self.PAUSE_S, lag_s=self.PAUSE_S - TICK_S)
        assert bench.stands()
        bench.live(2.0, both={B: SILENT, C: SILENT}, until=lambda: not bench.stands())
        assert not bench.stands()

    def test_without_one_as_much_silence_would_count(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.tick(self.PAUSE_S)
        assert bench.leader == ZERO_BALLOT


class TestSlowness:
    """Ticks of this process come late, but they come: that is no pause."""

    @pytest.mark.parametrize("lag_s", [0.02, 0.09, 0.15, 0.4, 0.9])
    def test_a_follower_whose_every_tick_is_late_loses_a_silent_leader_all_the_same(
        self, lag_s: float
    ) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        heard_at = bench.now
        while bench.leader == B_LEADS:
            bench.touch(C, says=HEARS_B)
            bench.tick(TICK_S + lag_s, lag_s=lag_s)
        peers = bench.replica.peers
        assert bench.now - heard_at <= peers.patience_s + peers.slack_s + TICK_S

    @pytest.mark.parametrize("lag_s", [0.02, 0.15, 0.4, 0.9])
    def test_nor_does_a_candidate_stand_for_ever(self, lag_s: float) -> None:
        bench = Bench()
        bench.campaign()
        role = bench.replica.role
        assert isinstance(role, Preparing)
        deadline = role.deadline
        while bench.stands():
            bench.touch(B, C)
            bench.tick(TICK_S + lag_s, lag_s=lag_s)
        assert bench.now <= deadline + lag_s + TICK_S

    @pytest.mark.parametrize("lag_s", [0.15, 0.4, 0.9])
    def test_one_tick_that_is_late_loses_nobody_who_is_heard_as_often_as_before(
        self, lag_s: float
    ) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.tick(TIMING.heartbeat_s)
        bench.tick(TICK_S + lag_s, lag_s=lag_s)
        assert bench.leader == B_LEADS


class TestSlowDisks:
    """Where our own disk is slow, those of others may be as slow, and are waited for."""

    SYNC_S: Final = 5.0

    def sync(self, bench: Bench, says: Says) -> None:
        """Let something that was just written become durable, and that take long."""
        began_at = bench.now
        while bench.now < began_at + self.SYNC_S:
            for node, what in says.items():
                bench.touch(node, says=what)
            bench.tick(sync_s=bench.now - began_at)
        bench.tick()

    def test_a_candidate_stands_until_others_have_had_twice_as_long(self) -> None:
        bench = Bench()
        bench.campaign()
        self.sync(bench, EVERYBODY_SILENT)
        assert bench.stands()
        bench.live(1.9 * self.SYNC_S, both=EVERYBODY_SILENT)
        assert bench.stands()
        bench.live(0.2 * self.SYNC_S, both=EVERYBODY_SILENT, until=lambda: not bench.stands())
        assert not bench.stands()

    def test_and_so_long_does_whoever_promised_to_it_let_it(self) -> None:
        bench = Bench()
        bench.touch(B, C)
        bench.receive(B, Prepare(Ballot(1, B), ONE))
        self.sync(bench, EVERYBODY_SILENT)
        bench.live(1.9 * self.SYNC_S, both=EVERYBODY_SILENT)
        assert bench.ballots == []
        bench.live(0.2 * self.SYNC_S, both=EVERYBODY_SILENT, until=bench.stands)
        assert bench.stands()

    def test_but_no_longer_once_it_has_withdrawn(self) -> None:
        bench = Bench()
        bench.touch(B, C)
        bench.receive(B, Prepare(Ballot(1, B), ONE))
        self.sync(bench, EVERYBODY_SILENT)
        bench.receive(B, Withdraw(Ballot(1, B)))
        bench.live(self.SYNC_S, both=EVERYBODY_SILENT)
        assert bench.stands()

    def test_who_has_promised_to_nobody_does_not_wait(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        self.sync(bench, EVERYBODY_HEARS_B)
        bench.live(2.0, both=EVERYBODY_SILENT, until=bench.stands)
        assert bench.now < 100.0 + self.SYNC_S + 2 * TIMING.patience_s

    def test_a_leader_is_not_blamed_for_what_takes_as_long_here(self) -> None:
        bench = Bench()
        bench.follow(B_LEADS)
        bench.step(Proposed((Wish(1, b"x", 1e9),)))
        self.sync(bench, EVERYBODY_HEARS_B)
        bench.live(1.9 * self.SYNC_S, both=EVERYBODY_HEARS_B)
        assert bench.leader == B_LEADS
        bench.live(0.2 * self.SYNC_S, both=EVERYBODY_HEARS_B, until=lambda: bench.leader != B_LEADS)
        assert bench.leader == ZERO_BALLOT

    def test_half_as_slow_as_a_stuck_one_is_slow_and_makes_no_heir(self) -> None:
        bench = Bench()
        able = []
        for sync_s in (0.0, 0.49, 0.51, 0.0):
            bench.touch(B, C)
            bench.tick(sync_s=sync_s)
            able.append(bench.replica.election.health(bench.now).able)
        bench.live(2 * 0.51, both=EVERYBODY_HEARS_B)
        able.append(bench.replica.election.health(bench.now).able)
        assert able == [True, True, False, False, True]

    def test_a_sync_that_took_minutes_does_not_tell_of_minutes(self) -> None:
        bench = Bench()
        bench.touch(B, C)
        bench.tick(sync_s=500.0)
        bench.live(2 * SLOW_MAX_S, both=EVERYBODY_SILENT)
        assert bench.replica.election.health(bench.now).able

    @pytest.mark.parametrize(
        ("sync_s", "able"),
        [
            pytest.param([20.01, 20.06, 0.01], True, id="one that began before the pause"),
            pytest.param([19.99, 20.04], True, id="one that began in the same turn"),
            pytest.param([20.3, 20.6], False, id="one that goes on and on"),
            pytest.param([20.01, 0.1, 0.6], False, id="one that began after it"),
        ],
    )
    def test_what_passed_while_the_node_stood_still_is_not_the_disks(
        self, sync_s: list[float], *, able: bool
    ) -> None:
        bench = Bench()
        for lag_s, so_long_s in zip((20.0, 0.0, 0.0), sync_s, strict=False):
            bench.touch(B, C)
            bench.tick(lag_s=lag_s, sync_s=so_long_s)
        assert bench.replica.election.health(bench.now).able == able


class TestHeartbeats:
    def test_they_say_what_the_node_knows(self) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(9), kept_from=Slot(4)))
        bench.step(Persisted(Slot(6)))
        effects = bench.receive(B, Ping(HEARS_B, 1.5))
        expected = health(able=False, through=9, kept=4, durable=6)
        assert messages(effects, Pong) == [(B, Pong(expected, 1.5))]

    def test_what_was_durable_stays_so(self) -> None:
        bench = Bench()
        bench.step(Persisted(Slot(6)))
        bench.step(Persisted(Slot(5)))
        assert bench.replica.election.health(bench.now).durable_through == 6

    @pytest.mark.parametrize("sent_at", [99.0, 100.5], ids=["an earlier life", "the future"])
    def test_answers_to_what_was_never_sent_prove_nothing(self, sent_at: float) -> None:
        bench = Bench()
        bench.dialed_by(B, SILENT)
        bench.receive(B, Pong(SILENT, sent_at))
        assert not bench.replica.peers.reaches(B, bench.now)
        bench.receive(B, Pong(SILENT, bench.now))
        assert bench.replica.peers.reaches(B, bench.now)

"""What one replica makes of its parts; and what a write and a read cost, by counts."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

import pytest

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import (
    NOTHING,
    Decision,
    Effects,
    Expired,
    Persisted,
    Proposed,
    ReadWanted,
    Ticked,
    Wish,
)
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    AskReadSlot,
    CatchUp,
    Confirm,
    Confirmed,
    Decided,
    Envelope,
    Forward,
    Message,
    Nack,
    Ping,
    Pong,
    Prepare,
    Promise,
    ReadSlot,
    TakeOver,
    Vote,
    Watermark,
    Withdraw,
)
from kvpaxos.paxos.records import DecidedThrough, Installed, Learned
from test.paxos.bench import TIMING, Bench, messages
from test.paxos.cluster import NEVER, TICK_S, Cluster
from test.paxos.values import (
    ALONE,
    FIVE,
    HIGH,
    LOW,
    ONE,
    THREE,
    TWO,
    A,
    B,
    C,
    X,
    Y,
    commands,
    health,
    promise,
    vote,
)

STRANGER: Final = NodeId("z")


def ready(cluster: Cluster) -> Cluster:
    """Write once, so that everything is under way, and begin to count."""
    cluster.write(A)
    cluster.start_counting()
    return cluster


def wish(request: int, deadline: float = NEVER) -> Wish:
    return Wish(request, b"%d" % request, deadline)


class TestCosts:
    """Every message and every sync that a request costs."""

    @pytest.mark.parametrize(
        ("node", "forwards"),
        [pytest.param(A, 0, id="at the leader"), pytest.param(B, 1, id="at a follower")],
    )
    def test_a_serial_write(self, node: NodeId, forwards: int) -> None:
        cluster = ready(Cluster(THREE))
        cluster.write(node)
        assert cluster.sent.pop("Watermark") <= 2
        assert cluster.sent.pop("Forward", 0) == forwards
        assert cluster.sent == {"Accept": 2, "Accepted": 2}
        assert [one.syncs for one in cluster.nodes.values()] == [1, 1, 1]
        assert len(cluster.nodes[node].answers) == 1

    def test_a_node_writes_a_vote_and_a_watermark_for_each_slot(self) -> None:
        cluster = ready(Cluster(THREE))
        cluster.write(A)
        for node in cluster.nodes.values():
            assert [type(record) for record in node.records] == [Vote, DecidedThrough]

    def test_many_serial_writes_cost_each_the_same(self) -> None:
        cluster = ready(Cluster(THREE))
        for _ in range(10):
            cluster.write(A)
        assert cluster.sent.pop("Watermark") <= 20
        assert cluster.sent == {"Accept": 20, "Accepted": 20}
        assert [node.syncs for node in cluster.nodes.values()] == [10, 10, 10]

    def test_with_five_nodes(self) -> None:
        cluster = ready(Cluster(FIVE))
        cluster.write(A)
        assert cluster.sent.pop("Watermark") <= 4
        assert cluster.sent == {"Accept": 4, "Accepted": 4}
        assert [node.syncs for node in cluster.nodes.values()] == [1] * 5

    @pytest.mark.parametrize("node", [A, B], ids=["at the leader", "at a follower"])
    def test_writes_that_come_together_share_a_slot(self, node: NodeId) -> None:
        cluster = ready(Cluster(THREE))
        cluster.write(node, 100)
        assert cluster.sent["Accept"] == 2
        assert cluster.sent["Forward"] == (node != A)
        assert [len(one.answers) for one in cluster.nodes.values()] == [
            100 * (name == node) for name in cluster.nodes
        ]
        for one in cluster.nodes.values():
            assert [len(batch) for batch in one.decided] == [100]
            assert one.syncs == 1

    def test_writes_that_come_while_the_window_is_full_share_the_next_slot(self) -> None:
        limits, timing = Limits(open_slots_max=3), Timing(gather_s=0.0)
        cluster = ready(Cluster(THREE, limits=limits, timing=timing))
        cluster.held = True
        for _ in range(10):
            cluster.write(A)
        cluster.release()
        assert [len(batch) for batch in cluster.nodes[A].decided] == [1, 1, 1, 7]
        assert len(cluster.nodes[A].answers) == 10

    def test_writes_that_come_right_after_a_slot_was_opened_share_the_next(self) -> None:
        cluster = ready(Cluster(THREE))
        cluster.held = True
        for _ in range(10):
            cluster.write(A)
        cluster.release()
        assert [len(batch) for batch in cluster.nodes[A].decided] == [1, 9]

    def test_large_batches_are_cut(self) -> None:
        cluster = ready(Cluster(THREE, limits=Limits(batch_commands_max=40)))
        cluster.write(A, 100)
        assert [len(batch) for batch in cluster.nodes[A].decided] == [40, 40, 20]

    @pytest.mark.parametrize(
        ("node", "questions"),
        [pytest.param(A, 0, id="at the leader"), pytest.param(B, 1, id="at a follower")],
    )
    @pytest.mark.parametrize("count", [1, 100])
    def test_reads_that_come_together_share_a_round_and_write_nothing(
        self, node: NodeId, questions: int, count: int
    ) -> None:
        cluster = ready(Cluster(THREE))
        cluster.read(node, count)
        assert cluster.sent.pop("AskReadSlot", 0) == questions
        assert cluster.sent.pop("ReadSlot", 0) == questions
        assert cluster.sent == {"Confirm": 2, "Confirmed": 2}
        assert all(one.records == [] for one in cluster.nodes.values())
        assert len(cluster.nodes[node].reads) == count

    def test_a_single_node_decides_and_reads_alone(self) -> None:
        cluster = ready(Cluster(ALONE))
        cluster.write(A, 10)
        cluster.read(A, 10)
        assert cluster.sent == {}
        assert cluster.nodes[A].syncs == 1
        assert len(cluster.nodes[A].answers) == 10
        assert len(cluster.nodes[A].reads) == 10

    def test_an_idle_cluster_sends_heartbeats_and_nothing_else(self) -> None:
        cluster = ready(Cluster(THREE))
        for _ in range(100):
            cluster.tick()
        seconds = 100 * TICK_S
        assert set(cluster.sent) == {"Ping", "Pong"}
        assert cluster.sent["Ping"] <= 6 * (seconds / TIMING.heartbeat_s + 1)
        assert all(node.records == [] for node in cluster.nodes.values())


EVERYTHING: Final[tuple[Message, ...]] = (
    Prepare(HIGH, ONE),
    Accept(HIGH, ONE, X, ONE),
    Watermark(HIGH, ONE),
    Ping(health(HIGH, through=5), 0.0),
    Forward(commands(1, 2), 2),
    CatchUp(ONE, ONE),
    AskReadSlot(1),
    Confirm(HIGH, 1),
    TakeOver(HIGH),
    Withdraw(HIGH),
    promise(),
    Accepted(HIGH, ONE),
    Nack(LOW, HIGH),
    Pong(health(HIGH, through=5), 100.0),
    Decided(ONE, (X,)),
    ReadSlot(1, HIGH, ONE),
    Confirmed(HIGH, 1),
)


@pytest.mark.parametrize("message", EVERYTHING, ids=lambda message: type(message).__name__)
def test_a_stranger_is_not_answered_and_changes_nothing(message: Message) -> None:
    bench, untouched = Bench(), Bench()
    assert bench.receive(STRANGER, message) == NOTHING
    for each in (bench, untouched):
        each.touch(B, C)
        each.live(1.0, both={B: health(), C: health()})
    assert bench.history[1:] == untouched.history


@pytest.mark.parametrize("message", EVERYTHING, ids=lambda message: type(message).__name__)
def test_a_node_that_knows_nothing_yet_is_surprised_by_no_message(message: Message) -> None:
    bench = Bench()
    bench.receive(B, message)
    bench.receive(B, message)
    assert not bench.leads()


def test_the_same_events_have_the_same_effects() -> None:
    first, second = Bench(random=Random(5)), Bench(random=Random(5))
    for bench in (first, second):
        bench.step(Proposed((wish(1),)))
        bench.step(ReadWanted(((2, NEVER),)))
        bench.lead()
    assert first.history == second.history


class TestAccepting:
    def test_a_watermark_decides_the_vote_it_covers(self) -> None:
        bench = Bench()
        bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        effects = bench.receive(B, Watermark(LOW, ONE))
        assert effects.decided == (Decision(ONE, LOW, X),)
        assert effects.records == (DecidedThrough(ONE, LOW),)

    def test_so_does_the_next_accept(self) -> None:
        bench = Bench()
        bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        effects = bench.receive(B, Accept(LOW, TWO, Y, ONE))
        assert effects.decided == (Decision(ONE, LOW, X),)
        assert effects.records == (Vote(TWO, LOW, Y), DecidedThrough(ONE, LOW))

    def test_and_the_leaders_heartbeat(self) -> None:
        bench = Bench()
        bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        effects = bench.dialed_by(B, health(LOW, through=1))
        assert effects.decided == (Decision(ONE, LOW, X),)

    def test_but_not_that_of_a_follower(self) -> None:
        bench = Bench()
        bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        assert bench.dialed_by(C, health(LOW, through=1)).decided == ()

    def test_a_vote_that_comes_after_its_watermark_is_decided_at_once(self) -> None:
        bench = Bench()
        bench.receive(B, Watermark(LOW, ONE))
        effects = bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        assert effects.decided == (Decision(ONE, LOW, X),)
        assert effects.replies == (Envelope(B, Accepted(LOW, ONE)),)

    def test_no_watermark_covers_a_vote_of_another_ballot(self) -> None:
        bench = Bench()
        bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        assert bench.receive(C, Watermark(Ballot(2, C), ONE)).decided == ()

    def test_a_vote_is_told_of_only_when_it_is_durable(self) -> None:
        bench = Bench()
        effects = bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        assert effects == Effects(
            records=(Vote(ONE, LOW, X),), replies=(Envelope(B, Accepted(LOW, ONE)),)
        )

    def test_decided_slots_are_forgotten_by_the_acceptor(self) -> None:
        bench = Bench()
        bench.receive(B, Accept(LOW, ONE, X, ONE))
        effects = bench.receive(C, Prepare(Ballot(2, C), ONE))
        assert messages(effects, Promise) == [(C, promise(ballot=Ballot(2, C), through=1))]

    def test_a_reborn_acceptor_remembers_what_it_promised_and_voted_for(self) -> None:
        memory = Memory(2, Ballot(5, C), {TWO: Vote(TWO, LOW, X)}, ONE)
        refused = Bench(memory=memory).receive(B, Prepare(Ballot(5, B), ONE))
        assert messages(refused, Nack) == [(B, Nack(Ballot(5, B), Ballot(5, C)))]
        granted = Bench(memory=memory).receive(B, Prepare(Ballot(6, B), ONE))
        answer = promise(vote(2, LOW, X), ballot=Ballot(6, B), through=1)
        assert messages(granted, Promise) == [(B, answer)]


class TestBeginningToLead:
    def campaign(self, *votes: Vote) -> tuple[Bench, Ballot]:
        bench = Bench(memory=Memory(votes={one.slot: one for one in votes}))
        return bench, bench.campaign()

    def win(self, bench: Bench, ballot: Ballot, theirs: Promise) -> Effects:
        """Give the candidate its own promise, and then that of b."""
        own = [pair for effects in bench.history for pair in messages(effects, Promise)]
        for _, one in own:
            bench.receive(A, one)
        return bench.receive(B, replace(theirs, ballot=ballot))

    def test_the_votes_of_a_quorum_are_offered_again_and_gaps_filled(self) -> None:
        bench, ballot = self.campaign(vote(1, LOW, X))
        effects = self.win(bench, ballot, promise(vote(3, LOW, Y)))
        offered = [(to, a.slot, a.batch) for to, a in messages(effects, Accept) if to == B]
        assert offered == [(B, 1, X), (B, 2, ()), (B, 3, Y)]
        own = [Vote(Slot(slot), ballot, batch) for slot, batch in ((1, X), (2, ()), (3, Y))]
        assert effects.records == tuple(own)
        assert {envelope.to for envelope in effects.replies} == {A}, "its own votes go by the disk"

    def test_what_somebody_knows_is_learned_before_anything_is_offered(self) -> None:
        bench, ballot = self.campaign()
        bench.step(Proposed((wish(1),)))
        asked = self.win(bench, ballot, promise(through=2))
        assert messages(asked, CatchUp) == [(B, CatchUp(ONE, TWO))]
        assert messages(asked, Accept) == []
        assert bench.stands()
        learned = bench.receive(B, Decided(ONE, (X, Y)))
        assert learned.records[:3] == (
            Learned(ONE, X),
            Learned(TWO, Y),
            DecidedThrough(TWO, ZERO_BALLOT),
        )
        assert bench.leads()
        assert {accept.slot for _, accept in messages(learned, Accept)} == {3}

    def test_its_first_heartbeat_tells_the_others_how_much_is_decided(self) -> None:
        bench, ballot = self.campaign()
        self.win(bench, ballot, promise(through=1))
        effects = bench.receive(B, Decided(ONE, (X,)))
        told = [(to, ping.health) for to, ping in messages(effects, Ping)]
        assert told == [(to, health(ballot, through=1)) for to in (B, C)]
        assert messages(effects, Watermark) == []

    def test_part_of_it_is_not_enough(self) -> None:
        bench, ballot = self.campaign()
        self.win(bench, ballot, promise(through=2))
        more = bench.receive(B, Decided(ONE, (X,)))
        assert bench.stands()
        assert messages(more, CatchUp) == [(B, CatchUp(TWO, TWO))]

    def test_what_nobody_keeps_any_more_is_never_offered(self) -> None:
        bench, ballot = self.campaign()
        effects = self.win(bench, ballot, promise(kept=3))
        assert messages(effects, Accept) == []
        assert bench.stands()

    def test_more_than_the_window_is_offered_if_phase_1_obliges_to(self) -> None:
        bench = Bench(limits=Limits(open_slots_max=2))
        ballot = bench.campaign()
        votes = [vote(slot, LOW) for slot in range(1, 6)]
        effects = self.win(bench, ballot, promise(*votes))
        assert [a.slot for to, a in messages(effects, Accept) if to == B] == [1, 2, 3, 4, 5]
        assert messages(bench.step(Proposed((wish(1),))), Accept) == []

    def test_reads_wait_for_what_phase_1_obliged_to_offer(self) -> None:
        bench, ballot = self.campaign(vote(1, LOW, X))
        self.win(bench, ballot, promise())
        bench.step(ReadWanted(((7, NEVER),)))
        bench.receive(A, AskReadSlot(self.question(bench)))
        granted = bench.receive(B, Confirmed(ballot, 1))
        ((_, answer),) = messages(granted, ReadSlot)
        assert answer.decided_through == 1
        assert bench.receive(A, answer).reads == ()
        bench.receive(A, Accepted(ballot, ONE))
        assert [r.request for r in bench.receive(B, Accepted(ballot, ONE)).reads] == [7]

    def question(self, bench: Bench) -> int:
        ((_, question),) = messages(bench.history[-1], AskReadSlot)
        return question.round

    def test_what_was_wished_before_is_offered_then(self) -> None:
        bench, ballot = self.campaign()
        bench.step(Proposed((wish(1), wish(2))))
        effects = self.win(bench, ballot, promise())
        ((_, accept), _) = messages(effects, Accept)
        assert [command.body for command in accept.batch] == [b"1", b"2"]


class TestLeading:
    def offer(self) -> tuple[Bench, Ballot, Effects]:
        bench = Bench()
        ballot = bench.lead()
        return bench, ballot, bench.step(Proposed((wish(1),)))

    def test_a_slot_that_stays_open_holds_up_no_other(self) -> None:
        bench, _, _ = self.offer()
        early = bench.step(Proposed((wish(2),)))
        bench.now += 2 * TIMING.gather_s
        late = bench.step(Proposed((wish(3),)))
        assert messages(early, Accept) == []
        assert {len(accept.batch) for _, accept in messages(late, Accept)} == {2}

    def test_the_own_vote_takes_the_same_road_as_everyone_elses(self) -> None:
        _, ballot, effects = self.offer()
        ((_, accept), _) = messages(effects, Accept)
        assert effects.records == (Vote(ONE, ballot, accept.batch),)
        assert effects.replies == (Envelope(A, Accepted(ballot, ONE)),)

    def test_two_others_decide_before_the_own_vote_is_durable(self) -> None:
        bench, ballot, _ = self.offer()
        assert bench.receive(B, Accepted(ballot, ONE)).decided == ()
        effects = bench.receive(C, Accepted(ballot, ONE))
        assert [decision.slot for decision in effects.decided] == [1]
        assert messages(effects, Watermark) == [
            (B, Watermark(ballot, ONE)),
            (C, Watermark(ballot, ONE)),
        ]

    def test_votes_in_another_ballot_do_not_count(self) -> None:
        bench, ballot, _ = self.offer()
        for voter in (A, B, C):
            bench.receive(voter, Accepted(Ballot(ballot.round - 1, A), ONE))
        assert bench.replica.learner.decided_through == 0

    def test_a_watermark_rides_on_an_accept_if_there_is_one(self) -> None:
        bench, ballot, _ = self.offer()
        bench.step(Proposed((wish(2),)))
        for _ in range(Limits().open_slots_max):
            bench.step(Proposed((wish(3),)))
        bench.receive(A, Accepted(ballot, ONE))
        effects = bench.receive(B, Accepted(ballot, ONE))
        assert {accept.decided_through for _, accept in messages(effects, Accept)} == {1}
        assert messages(effects, Watermark) == []

    def test_what_is_not_answered_is_offered_again_to_those_that_have_not_voted(self) -> None:
        bench, ballot, offered = self.offer()
        bench.receive(A, Accepted(ballot, ONE))
        silent = {B: health(ballot), C: health(ballot)}
        start = len(bench.history)
        bench.live(1.2 * TIMING.retry_s, both=silent)
        again = [pair for effects in bench.history[start:] for pair in messages(effects, Accept)]
        assert again == messages(offered, Accept)

    def test_a_decision_that_this_leader_did_not_bring_about_unseats_it(self) -> None:
        bench, _, _ = self.offer()
        bench.receive(C, Decided(ONE, (X,)))
        assert not bench.leads()

    def test_one_that_it_did_does_not(self) -> None:
        bench, _, effects = self.offer()
        ((_, accept), _) = messages(effects, Accept)
        bench.receive(C, Decided(ONE, (accept.batch,)))
        assert bench.leads()

    def test_confirmations_of_another_ballot_do_not_count(self) -> None:
        bench = Bench()
        ballot = bench.lead()
        bench.receive(C, AskReadSlot(1))
        stale = bench.receive(B, Confirmed(Ballot(ballot.round - 1, A), 1))
        assert messages(stale, ReadSlot) == []
        granted = bench.receive(B, Confirmed(ballot, 1))
        assert messages(granted, ReadSlot) == [(C, ReadSlot(1, ballot, NO_SLOT))]

    def test_a_round_that_is_not_answered_is_asked_again(self) -> None:
        bench = Bench()
        ballot = bench.lead()
        bench.receive(C, AskReadSlot(1))
        start = len(bench.history)
        bench.live(1.2 * TIMING.retry_s, both={B: health(ballot), C: health(ballot)})
        again = [pair for effects in bench.history[start:] for pair in messages(effects, Confirm)]
        assert again == [(B, Confirm(ballot, 1)), (C, Confirm(ballot, 1))]


class TestForwards:
    def forwarded(self, bench: Bench, hops: int) -> list[tuple[NodeId, Forward]]:
        return messages(bench.receive(C, Forward(commands(1, 1, node=C), hops)), Forward)

    def test_a_leader_offers_what_it_is_sent(self) -> None:
        bench = Bench()
        bench.lead()
        effects = bench.receive(C, Forward(commands(1, 2, node=C), 0))
        assert {accept.batch for _, accept in messages(effects, Accept)} == {commands(1, 2, node=C)}

    def test_a_follower_passes_it_on_with_one_hop_less(self) -> None:
        bench = Bench()
        bench.follow(LOW)
        assert self.forwarded(bench, 2) == [(B, Forward(commands(1, 1, node=C), 1))]

    def test_but_not_for_ever(self) -> None:
        bench = Bench()
        bench.follow(LOW)
        assert self.forwarded(bench, 0) == []

    def test_nor_if_nobody_leads(self) -> None:
        bench = Bench()
        bench.touch(B, C)
        assert self.forwarded(bench, 2) == []

    def test_a_peer_that_hears_a_leader_passes_on_what_this_node_wishes(self) -> None:
        bench = Bench()
        bench.touch(B, says=health(Ballot(1, C)))
        effects = bench.step(Proposed((wish(1),)))
        assert [(to, forward.hops) for to, forward in messages(effects, Forward)] == [
            (B, Limits().hops_max)
        ]

    def test_what_was_wished_without_a_leader_is_sent_to_the_first(self) -> None:
        bench = Bench()
        assert bench.step(Proposed((wish(1), wish(2)))) == NOTHING
        bench.dialed_by(B, health(LOW))
        effects = bench.answered_by(B, health(LOW))
        ((to, forward),) = messages(effects, Forward)
        assert to == B
        assert [command.sequence for command in forward.commands] == [1, 2]


class TestDeadlines:
    def test_whoever_waits_in_vain_is_told_at_the_next_tick(self) -> None:
        bench = Bench()
        bench.step(Proposed((wish(1, bench.now + 0.5), wish(2, bench.now + 9.0))))
        bench.step(ReadWanted(((3, bench.now + 0.5),)))
        assert bench.tick(0.4).expired == ()
        assert set(bench.tick(0.2).expired) == {Expired(1, sent=False), Expired(3, sent=False)}

    def test_and_whether_it_may_be_executed_still(self) -> None:
        bench = Bench()
        bench.follow(LOW)
        bench.step(Proposed((wish(1, bench.now + 0.1),)))
        assert bench.tick(0.2).expired == (Expired(1, sent=True),)


class TestForgetting:
    def persist(self, own: int, *others: int) -> Effects:
        bench = Bench(memory=Memory(decided_through=Slot(9)))
        bench.step(Persisted(Slot(own)))
        for node, durable in zip((B, C), others, strict=False):
            bench.touch(node, says=health(LOW, durable=durable))
        return bench.tick()

    @pytest.mark.parametrize(
        ("own", "others", "through"),
        [
            pytest.param(7, (5, 6), 5, id="what everybody has durably"),
            pytest.param(4, (5, 6), 4, id="and this node too"),
            pytest.param(7, (5,), 0, id="nothing while one has not spoken"),
            pytest.param(7, (5, 0), 0, id="nothing that one may ask for"),
        ],
    )
    def test_the_journal_may_forget(self, own: int, others: tuple[int, ...], through: int) -> None:
        assert self.persist(own, *others).forget_through == through

    def test_it_is_told_once(self) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(9)))
        bench.step(Persisted(Slot(7)))
        bench.touch(B, C, says=health(durable=5))
        assert [bench.tick().forget_through for _ in range(3)] == [5, 0, 0]
        assert bench.replica.learner.kept_from == 6

    @pytest.mark.parametrize(
        ("durable", "surplus", "through"),
        [
            pytest.param(2, 4, 4, id="what is too much"),
            pytest.param(6, 4, 6, id="what everybody has"),
            pytest.param(2, 0, 2, id="no more without need"),
        ],
    )
    def test_a_surplus_is_forgotten_whoever_may_lack_it(
        self, durable: int, surplus: int, through: int
    ) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(9)))
        bench.step(Persisted(Slot(7), Slot(surplus)))
        bench.touch(B, C, says=health(durable=durable))
        assert bench.tick().forget_through == through
        assert bench.replica.learner.kept_from == through + 1

    def test_a_surplus_is_forgotten_though_one_has_never_spoken(self) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(9)))
        bench.step(Persisted(Slot(7), Slot(4)))
        bench.touch(B, says=health(durable=2))
        assert [bench.tick().forget_through for _ in range(2)] == [4, 0]


class TestInstalling:
    def test_votes_in_slots_of_the_state_are_dropped(self) -> None:
        bench = Bench()
        for slot in (2, 3, 4):
            bench.receive(B, Accept(LOW, Slot(slot), X, NO_SLOT))
        effects = bench.step(Installed(Slot(3)))
        assert effects.records == (Installed(Slot(3)),)
        assert list(bench.replica.acceptor.votes) == [4]
        assert bench.replica.learner.decided_through == 3

    def test_nothing_is_handed_on_of_what_the_state_has_executed(self) -> None:
        bench = Bench()
        bench.receive(B, Decided(TWO, (X, Y)))
        effects = bench.step(Installed(TWO))
        assert [decision.slot for decision in effects.decided] == [3]

    def test_an_older_state_is_no_news(self) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(9)))
        assert bench.step(Installed(Slot(9))) == NOTHING

    def test_a_vote_in_such_a_slot_is_not_written_down(self) -> None:
        bench = Bench()
        bench.step(Installed(Slot(5)))
        effects = bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        assert bench.replica.acceptor.votes == {}
        assert messages(effects, Accepted) == [(B, Accepted(LOW, ONE))]


def test_a_tick_may_come_at_any_time() -> None:
    bench = Bench()
    assert bench.step(Ticked()) == NOTHING

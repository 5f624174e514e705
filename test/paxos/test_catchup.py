"""How missed slots are asked for, and handed out."""

from __future__ import annotations

from typing import Final

import pytest

from kvpaxos.paxos.acceptor import size_of
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, NodeId, Slot
from kvpaxos.paxos.catchup import ASKED_MAX
from kvpaxos.paxos.effects import Decision, Fetch, Lookup
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Accept, CatchUp, Decided, Health, Watermark
from kvpaxos.paxos.records import DecidedThrough, Installed, Learned
from test.paxos.bench import TIMING, Bench, messages
from test.paxos.values import LOW, ONE, TWO, A, B, C, X, Y, batch, health

FOLLOWS_B: Final = health(LOW)


def asked(bench: Bench, since: int = 0) -> list[tuple[NodeId, CatchUp]]:
    """Return whom ``bench`` has asked for what, from its ``since``-th step on."""
    return [pair for effects in bench.history[since:] for pair in messages(effects, CatchUp)]


def lagging(**says: Health) -> Bench:
    """Return a follower of b that has missed slots, if its peers say so."""
    bench = Bench()
    bench.follow(LOW)
    for name, one in says.items():
        bench.touch(NodeId(name), says=one)
    return bench


class TestAsking:
    def test_what_the_leader_announced_is_missing_at_once(self) -> None:
        bench = lagging(c=health(LOW, through=3))
        assert asked(bench) == []
        effects = bench.receive(B, Watermark(LOW, Slot(3)))
        assert messages(effects, CatchUp) == [(C, CatchUp(ONE, Slot(3)))]

    def test_what_only_a_follower_told_of_may_be_on_its_way(self) -> None:
        bench = lagging(c=health(LOW, through=3))
        bench.tick(0.9 * TIMING.hole_s)
        assert asked(bench) == []
        bench.tick(0.2 * TIMING.hole_s)
        assert asked(bench) == [(C, CatchUp(ONE, Slot(3)))]

    def test_and_if_it_comes_nobody_is_asked(self) -> None:
        bench = lagging(c=health(LOW, through=1))
        bench.receive(B, Accept(LOW, ONE, X, ONE))
        bench.tick(2 * TIMING.hole_s)
        assert asked(bench) == []

    def test_the_next_hole_has_its_time_too(self) -> None:
        bench = lagging(c=health(LOW, through=1))
        bench.receive(B, Accept(LOW, ONE, X, ONE))
        bench.tick(TIMING.hole_s)
        bench.touch(C, says=health(LOW, through=2))
        bench.tick(0.9 * TIMING.hole_s)
        assert asked(bench) == []

    def test_nobody_is_asked_twice_while_an_answer_may_come(self) -> None:
        bench = lagging(b=health(LOW, through=3))
        start = len(bench.history)
        for _ in range(5):
            bench.tick(0.15 * TIMING.retry_s)
        assert len(asked(bench)) == 1
        assert asked(bench, start) == []

    def test_then_another_one_is(self) -> None:
        bench = lagging(c=health(LOW, through=3), b=health(LOW, through=3))
        for _ in range(3):
            bench.tick(1.01 * TIMING.retry_s)
        assert [to for to, _ in asked(bench)] == [B, C, B, C]

    def test_the_first_hole_is_asked_for_first(self) -> None:
        bench = lagging(b=health(LOW))
        bench.receive(B, Accept(LOW, Slot(4), X, NO_SLOT))
        bench.touch(B, says=health(LOW, through=6))
        assert asked(bench) == [(B, CatchUp(ONE, Slot(3)))]

    @pytest.mark.parametrize(
        "says",
        [health(LOW, through=9, kept=5), FOLLOWS_B],
        ids=["keeps it no more", "does not know it"],
    )
    def test_nobody_is_asked_who(self, says: Health) -> None:
        bench = lagging(b=health(LOW, through=9, kept=5), c=says)
        bench.tick(2 * TIMING.hole_s)
        assert asked(bench) == []


class TestLearning:
    def test_what_comes_is_written_down_and_decided(self) -> None:
        bench = lagging()
        effects = bench.receive(B, Decided(ONE, (X, Y)))
        assert effects.decided == (Decision(ONE, ZERO_BALLOT, X), Decision(TWO, ZERO_BALLOT, Y))
        assert effects.records == (
            Learned(ONE, X),
            Learned(TWO, Y),
            DecidedThrough(TWO, ZERO_BALLOT),
        )

    def test_copies_are_not(self) -> None:
        bench = lagging()
        bench.receive(B, Decided(ONE, (X, Y)))
        effects = bench.receive(C, Decided(TWO, (Y, X)))
        assert effects.records[0] == Learned(Slot(3), X)
        assert [decision.slot for decision in effects.decided] == [3]

    def test_the_own_vote_in_that_slot_counts_no_more(self) -> None:
        bench = lagging()
        bench.receive(B, Accept(LOW, ONE, X, NO_SLOT))
        bench.receive(C, Decided(ONE, (Y,)))
        assert bench.replica.acceptor.votes == {}

    def test_whoever_teaches_is_asked_for_the_rest_at_once(self) -> None:
        bench = lagging(c=health(LOW, through=9), b=health(LOW, through=9))
        (first,) = asked(bench)
        effects = bench.receive(first[0], Decided(ONE, (X, Y)))
        assert messages(effects, CatchUp) == [(first[0], CatchUp(Slot(3), Slot(9)))]

    def test_whoever_teaches_nothing_new_is_not(self) -> None:
        bench = lagging(b=health(LOW, through=9))
        effects = bench.receive(B, Decided(ONE, ()))
        assert messages(effects, CatchUp) == []


class TestTeaching:
    SIZE: Final = size_of(batch("", 100))

    def teacher(self, limits: Limits | None = None) -> Bench:
        """Return a node that knows five slots."""
        bench = Bench(limits=limits)
        bench.receive(B, Decided(ONE, tuple(batch("", 100) for _ in range(5))))
        return bench

    @pytest.mark.parametrize(
        ("first", "through", "taught"),
        [
            pytest.param(1, 5, 5, id="what was asked for"),
            pytest.param(2, 3, 2, id="and no more"),
            pytest.param(4, 9, 2, id="nothing undecided"),
            pytest.param(5, 5, 1, id="a single one"),
        ],
    )
    def test_decided_slots_are_handed_out(self, first: int, through: int, taught: int) -> None:
        effects = self.teacher().receive(C, CatchUp(Slot(first), Slot(through)))
        ((to, decided),) = messages(effects, Decided)
        assert (to, decided.from_slot, len(decided.batches)) == (C, first, taught)

    @pytest.mark.parametrize(
        ("limits", "taught"),
        [
            pytest.param(Limits(message_bytes_max=3 * SIZE), 3, id="so many bytes"),
            pytest.param(Limits(message_bytes_max=1), 1, id="one always fits"),
            pytest.param(Limits(catch_up_slots_max=2), 2, id="so many slots"),
            pytest.param(Limits(catch_up_commands_max=4), 4, id="so many commands"),
            pytest.param(Limits(catch_up_commands_max=0), 1, id="though one always fits"),
        ],
    )
    def test_at_most(self, limits: Limits, taught: int) -> None:
        effects = self.teacher(limits).receive(C, CatchUp(ONE, Slot(5)))
        ((_, decided),) = messages(effects, Decided)
        assert len(decided.batches) == taught

    @pytest.mark.parametrize("first", [3, 4, 9], ids=["the first kept", "some", "the last decided"])
    def test_what_is_not_in_memory_is_looked_up(self, first: int) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(9), kept_from=Slot(3)))
        effects = bench.receive(C, CatchUp(Slot(first), Slot(20)))
        assert effects.lookups == (Lookup(C, Slot(first), Slot(9)),)
        assert messages(effects, Decided) == []

    @pytest.mark.parametrize(
        "question",
        [
            pytest.param(CatchUp(Slot(10), Slot(12)), id="what is not decided here"),
            pytest.param(CatchUp(Slot(2), Slot(5)), id="what is kept no more"),
            pytest.param(CatchUp(Slot(6), Slot(5)), id="nothing"),
            pytest.param(CatchUp(Slot(0), Slot(5)), id="a slot that does not exist"),
        ],
    )
    def test_there_is_no_answer_to_a_question_for(self, question: CatchUp) -> None:
        bench = Bench(memory=Memory(decided_through=Slot(9), kept_from=Slot(3)))
        effects = bench.receive(C, question)
        assert effects.lookups == ()
        assert messages(effects, Decided) == []


class TestLookingAtHome:
    """A state that was lost leaves a journal behind, which may know what nobody else does."""

    def lost(self) -> Bench:
        """Return a node that has lost its state, and knew that 7 slots were decided."""
        return Bench(memory=Memory(decided_through=NO_SLOT, kept_from=Slot(8)))

    def lookups(self, bench: Bench) -> list[Lookup]:
        return [lookup for effects in bench.history for lookup in effects.lookups]

    def test_its_own_journal_is_looked_up_though_nobody_has_told_of_the_slots(self) -> None:
        bench = self.lost()
        bench.tick()
        bench.tick(2 * TIMING.hole_s)
        assert self.lookups(bench) == [Lookup(A, ONE, Slot(7))]

    def test_and_a_peer_is_asked_as_well(self) -> None:
        bench = self.lost()
        bench.touch(B, says=health(through=9, kept=5))
        bench.tick(2 * TIMING.hole_s)
        assert self.lookups(bench) == [Lookup(A, ONE, Slot(7))]
        assert [one.fetch for one in bench.history if one.fetch] == [Fetch(B, ONE)]

    def test_now_and_then_until_it_is_known(self) -> None:
        bench = self.lost()
        bench.tick(2 * TIMING.hole_s)
        bench.tick(0.5 * TIMING.retry_s)
        bench.step(Installed(Slot(5)))
        bench.tick(1.01 * TIMING.retry_s)
        assert self.lookups(bench) == [Lookup(A, ONE, Slot(7)), Lookup(A, Slot(6), Slot(7))]
        effects = bench.receive(A, Decided(Slot(6), (X, Y)))
        assert [decision.batch for decision in effects.decided] == [X, Y]
        bench.tick(1.01 * TIMING.retry_s)
        assert len(self.lookups(bench)) == 2

    def test_a_journal_beside_its_state_is_not(self) -> None:
        bench = lagging(c=health(LOW, through=3))
        bench.tick(2 * TIMING.hole_s)
        assert len(asked(bench)) == 1
        assert self.lookups(bench) == []


class TestFetching:
    """What nobody keeps any more came to a state, and that can be got."""

    def fetches(self, bench: Bench) -> list[Fetch]:
        return [effects.fetch for effects in bench.history if effects.fetch is not None]

    def test_a_state_is_fetched_if_nobody_keeps_the_slot(self) -> None:
        bench = lagging(b=health(LOW, through=9, kept=5), c=FOLLOWS_B)
        bench.tick(2 * TIMING.hole_s)
        assert self.fetches(bench) == [Fetch(B, ONE)]
        assert asked(bench) == []

    def test_not_if_anybody_does(self) -> None:
        bench = lagging(c=health(LOW, through=3), b=health(LOW, through=9, kept=5))
        for _ in range(4):
            bench.tick(1.01 * TIMING.retry_s)
        assert self.fetches(bench) == []
        assert {to for to, _ in asked(bench)} == {C}

    def test_but_if_whoever_does_never_answers(self) -> None:
        """Its disk may be stuck, say."""
        bench = lagging(c=health(LOW, through=9), b=health(LOW, through=9, kept=5))
        for _ in range(2 * ASKED_MAX):
            bench.touch(B, says=health(LOW, through=9, kept=5))
            bench.touch(C, says=health(LOW, through=9))
            if not self.fetches(bench):
                assert len(asked(bench)) <= ASKED_MAX
            bench.tick(1.01 * TIMING.retry_s)
        assert len(asked(bench)) == ASKED_MAX
        assert {fetch.donor for fetch in self.fetches(bench)} == {B}
        count = len(self.fetches(bench))
        bench.receive(C, Decided(ONE, (X,)))
        assert len(asked(bench)) == ASKED_MAX + 1
        assert len(self.fetches(bench)) == count

    def test_nor_from_one_whose_state_lacks_it_too(self) -> None:
        bench = lagging(b=health(LOW, kept=5), c=health(LOW, kept=5))
        bench.receive(B, Accept(LOW, Slot(4), X, NO_SLOT))
        bench.replica.learner.expect(Slot(3))
        bench.tick(2 * TIMING.hole_s)
        assert self.fetches(bench) == []

    def test_another_donor_is_named_the_next_time(self) -> None:
        bench = lagging(c=health(LOW, through=9, kept=5), b=health(LOW, through=9, kept=5))
        bench.tick(2 * TIMING.hole_s)
        start = len(self.fetches(bench))
        for _ in range(2):
            bench.tick(1.01 * TIMING.retry_s)
        assert start == 1
        assert [fetch.donor for fetch in self.fetches(bench)] == [B, C, B]

    def test_none_is_needed_once_it_is_installed(self) -> None:
        bench = lagging(b=health(LOW, through=9, kept=5))
        bench.tick(2 * TIMING.hole_s)
        start = len(bench.history)
        effects = bench.step(Installed(Slot(9)))
        assert effects.records == (Installed(Slot(9)),)
        for _ in range(3):
            bench.tick(1.01 * TIMING.retry_s)
        assert [one.fetch for one in bench.history[start:]] == [None] * 4

    def test_what_came_after_it_is_asked_for(self) -> None:
        bench = lagging(b=health(LOW, through=9, kept=5))
        bench.tick(2 * TIMING.hole_s)
        bench.step(Installed(Slot(6)))
        bench.tick(1.01 * TIMING.retry_s)
        assert asked(bench) == [(B, CatchUp(Slot(7), Slot(9)))]

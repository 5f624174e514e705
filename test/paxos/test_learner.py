"""What counts as decided, in which order it is handed on, and what of it a journal shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from kvpaxos.journal.state import GroupState
from kvpaxos.paxos.acceptor import Acceptor, size_of
from kvpaxos.paxos.ballot import FIRST_SLOT, NO_SLOT, ZERO_BALLOT, Ballot, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import Accept, Batch, Vote
from kvpaxos.paxos.records import DecidedThrough, Installed, Learned, ReplicaRecord
from test.paxos.values import HIGH, LOW, MIDDLE, ONE, THIRD, TWO, B, X, Y, batch, vote


def make(
    through: int = 0, kept: int = 1, *, votes: Iterable[Vote] = (), recent_bytes_max: int = 2**25
) -> tuple[Learner, dict[Slot, Vote]]:
    """Return a learner, and the votes that its acceptor has cast."""
    learner = Learner(Slot(through), Slot(kept), Limits(recent_bytes_max=recent_bytes_max))
    return learner, {vote.slot: vote for vote in votes}


def handed_on(learner: Learner) -> list[int]:
    """Let ``learner`` hand on what is decided, and return in which slots that is."""
    decisions, _ = learner.advance()
    return [decision.slot for decision in decisions]


PLENTY: Final = 2**20


def filled(sizes: Iterable[int], recent_bytes_max: int = 2**25) -> tuple[Learner, list[Batch]]:
    """Return a learner that has handed on batches of these sizes, and the batches."""
    learner, _ = make(recent_bytes_max=recent_bytes_max)
    batches = [batch("", size) for size in sizes]
    for slot, one in enumerate(batches, 1):
        learner.learn(Slot(slot), one)
    learner.advance()
    return learner, batches


@dataclass(frozen=True)
class Case:
    """The ballots of our votes by slot, the watermarks that come, and what that decides.

    :ivar known: decided, though perhaps above a hole.
    """

    name: str
    votes: dict[int, Ballot]
    watermarks: tuple[tuple[Ballot, int], ...]
    known: tuple[int, ...] = ()


CASES = [
    Case("no watermark decides nothing", {1: LOW}, ()),
    Case("a watermark decides the votes of its ballot", {1: LOW, 2: LOW}, ((LOW, 2),), (1, 2)),
    Case("but none above it", {1: LOW, 2: LOW, 3: LOW}, ((LOW, 2),), (1, 2)),
    Case("no vote of a lower ballot", {1: LOW}, ((HIGH, 1),)),
    Case("no vote of a higher ballot", {1: HIGH}, ((LOW, 1),)),
    Case("no vote of its round by another node", {1: HIGH}, ((MIDDLE, 1),)),
    Case("votes of its ballot among others", {1: HIGH, 2: LOW, 3: HIGH}, ((HIGH, 3),), (1, 3)),
    Case("slots without a vote stay open", {2: LOW}, ((LOW, 3),), (2,)),
    Case("it moves on", {1: LOW, 2: LOW}, ((LOW, 1), (LOW, 2)), (1, 2)),
    Case("it takes nothing back", {1: LOW, 2: LOW}, ((LOW, 2), (LOW, 1)), (1, 2)),
    Case("the next leader's decides too", {1: LOW, 2: HIGH}, ((LOW, 1), (HIGH, 2)), (1, 2)),
    Case("the next leader's begins anew", {1: HIGH, 2: LOW}, ((LOW, 2), (HIGH, 1)), (1, 2)),
    Case("a deposed leader's comes too late", {1: HIGH, 2: LOW}, ((HIGH, 1), (LOW, 2)), (1,)),
    Case("many votes, few newly covered", dict.fromkeys(range(1, 9), LOW), ((LOW, 1),), (1,)),
    Case("few votes, many newly covered", {7: LOW}, ((LOW, 99),), (7,)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_watermark(case: Case) -> None:
    learner, votes = make(votes=[vote(slot, ballot) for slot, ballot in case.votes.items()])
    for ballot, through in case.watermarks:
        learner.hear(ballot, Slot(through), votes)
    known = tuple(slot for slot in range(1, 100) if learner.knows(Slot(slot)))
    assert known == case.known


@given(
    st.dictionaries(st.integers(1, 12), st.sampled_from([LOW, MIDDLE, HIGH]), max_size=8),
    st.lists(st.tuples(st.sampled_from([LOW, MIDDLE, HIGH]), st.integers(0, 14)), max_size=6),
)
def test_watermarks_cover_exactly_the_votes_of_their_own_ballot(
    ballots: dict[int, Ballot], watermarks: list[tuple[Ballot, int]]
) -> None:
    learner, votes = make(votes=[vote(slot, ballot) for slot, ballot in ballots.items()])
    highest, covered, expected = ZERO_BALLOT, set[int](), 0
    for ballot, through in watermarks:
        learner.hear(ballot, Slot(through), votes)
        expected = max(expected, through)
        if ballot >= highest:
            highest = ballot
            covered |= {
                slot for slot, cast in ballots.items() if cast == ballot and slot <= through
            }
        learner.advance()
        assert {slot for slot in range(1, 15) if learner.knows(Slot(slot))} == covered
        assert learner.target == expected


class TestLateVotes:
    @pytest.mark.parametrize(
        ("late", "decides"),
        [
            pytest.param(vote(2, LOW), True, id="a vote of its ballot, at its end"),
            pytest.param(vote(1, LOW), True, id="a vote of its ballot, below"),
            pytest.param(vote(3, LOW), False, id="a vote above it"),
            pytest.param(vote(1, HIGH), False, id="a vote of a higher ballot"),
            pytest.param(vote(1, Ballot(0, B)), False, id="a vote of a lower ballot"),
        ],
    )
    def test_are_covered_by_the_watermark_that_came_before_them(
        self, late: Vote, *, decides: bool
    ) -> None:
        learner, votes = make()
        learner.hear(LOW, TWO, votes)
        learner.cover(late)
        assert learner.knows(late.slot) == decides

    def test_in_slots_that_were_handed_on_change_nothing(self) -> None:
        learner, votes = make(votes=[vote(1)])
        learner.hear(LOW, ONE, votes)
        learner.advance()
        learner.cover(vote(1))
        assert learner.advance() == ((), ())


class TestHoles:
    @pytest.mark.parametrize(
        ("expected", "known", "hole"),
        [
            pytest.param(0, (), None, id="nothing is missing at first"),
            pytest.param(3, (), (1, 3), id="everything that somebody knows is missing"),
            pytest.param(3, (1,), (2, 3), id="but what is known here"),
            pytest.param(3, (3,), (1, 2), id="a hole ends before what is known"),
            pytest.param(9, (4, 6), (1, 3), id="the first hole first"),
            pytest.param(9, (1, 2, 6), (3, 5), id="between what is known"),
            pytest.param(0, (2,), (1, 1), id="what is known above tells of a hole"),
            pytest.param(2, (1, 2), None, id="all known is no hole"),
        ],
    )
    def test_hole(
        self, expected: int, known: tuple[int, ...], hole: tuple[int, int] | None
    ) -> None:
        learner, _ = make()
        learner.expect(Slot(expected))
        for slot in known:
            learner.learn(Slot(slot), X)
        learner.advance()
        assert learner.has_hole == (hole is not None)
        if hole is not None:
            assert (learner.first_hole, learner.hole_through()) == hole

    def test_a_watermark_tells_of_slots_that_were_missed(self) -> None:
        learner, votes = make(5)
        learner.hear(LOW, Slot(7), votes)
        assert (learner.first_hole, learner.hole_through()) == (6, 7)

    def test_so_does_one_of_a_deposed_leader(self) -> None:
        learner, votes = make()
        learner.hear(HIGH, NO_SLOT, votes)
        learner.hear(LOW, Slot(3), votes)
        assert learner.has_hole

    def test_what_is_expected_never_shrinks(self) -> None:
        learner, _ = make(5)
        learner.expect(Slot(7))
        learner.expect(Slot(6))
        assert learner.target == 7


class TestLearnAndDecide:
    def test_what_is_learned_is_written_down(self) -> None:
        learner, _ = make()
        assert learner.learn(TWO, X) == (Learned(TWO, X),)
        assert learner.knows(TWO)

    def test_but_once(self) -> None:
        learner, _ = make()
        learner.learn(ONE, X)
        assert learner.learn(ONE, X) == ()
        learner.advance()
        assert learner.learn(ONE, X) == ()

    def test_nor_if_it_was_decided_by_votes_before(self) -> None:
        learner, _ = make()
        learner.decide(ONE, LOW, X)
        assert learner.learn(ONE, X) == ()
        assert learner.advance() == ((Decision(ONE, LOW, X),), (DecidedThrough(ONE, LOW),))

    def test_what_was_learned_first_stays_learned(self) -> None:
        learner, _ = make()
        learner.learn(ONE, X)
        learner.decide(ONE, LOW, X)
        decisions, _ = learner.advance()
        assert decisions == (Decision(ONE, ZERO_BALLOT, X),)

    @pytest.mark.parametrize("first", ["learned", "decided", "covered"])
    @pytest.mark.parametrize(
        ("slot", "second"),
        [
            pytest.param(ONE, "decided", id="handed on, then decided"),
            pytest.param(TWO, "decided", id="above a hole, then decided"),
            pytest.param(TWO, "covered", id="above a hole, then covered"),
        ],
    )
    def test_a_slot_decided_twice_differently_is_a_mistake_of_ours(
        self, first: str, slot: Slot, second: str
    ) -> None:
        learner, _ = make()
        learner.hear(LOW, TWO, {})
        ways: dict[str, Callable[[Batch], object]] = {
            "learned": lambda what: learner.learn(slot, what),
            "decided": lambda what: learner.decide(slot, LOW, what),
            "covered": lambda what: learner.cover(Vote(slot, LOW, what)),
        }
        ways[first](X)
        learner.advance()
        with pytest.raises(AssertionError, match=f"slot {slot} decided twice"):
            ways[second](Y)

    def test_what_comes_late_is_neither_handed_on_nor_a_hole(self) -> None:
        learner, _ = make()
        learner.learn(ONE, X)
        learner.advance()
        learner.decide(ONE, LOW, X)
        learner.expect(THIRD)
        assert learner.advance() == ((), ())
        assert (learner.first_hole, learner.hole_through()) == (2, 3)


class TestAdvance:
    def test_hands_on_what_is_decided_without_a_gap(self) -> None:
        learner, _ = make()
        for slot in (2, 1, 4):
            learner.learn(Slot(slot), X)
        assert handed_on(learner) == [1, 2]
        assert learner.decided_through == 2

    def test_nothing_twice(self) -> None:
        learner, _ = make()
        learner.learn(ONE, X)
        assert handed_on(learner) == [1]
        assert learner.advance() == ((), ())

    def test_the_rest_once_the_gap_is_closed(self) -> None:
        learner, _ = make()
        for slot in (5, 2, 3):
            learner.learn(Slot(slot), X)
        assert handed_on(learner) == []
        learner.learn(ONE, X)
        assert handed_on(learner) == [1, 2, 3]

    def test_from_where_an_earlier_life_ended(self) -> None:
        learner, _ = make(7)
        learner.learn(Slot(8), X)
        assert handed_on(learner) == [8]

    @pytest.mark.parametrize(
        ("ballots", "watermarks"),
        [
            pytest.param([LOW, LOW], [(2, LOW)], id="one for all votes of a ballot"),
            pytest.param([LOW, HIGH], [(1, LOW), (2, HIGH)], id="one for each ballot"),
            pytest.param([HIGH, LOW], [(1, HIGH), (2, LOW)], id="in the order of slots"),
            pytest.param([LOW, HIGH, LOW], [(1, LOW), (2, HIGH), (3, LOW)], id="each time anew"),
            pytest.param([ZERO_BALLOT] * 2, [(2, ZERO_BALLOT)], id="learned slots need no ballot"),
            pytest.param([ZERO_BALLOT, LOW], [(2, LOW)], id="learned slots before votes"),
            pytest.param([LOW, ZERO_BALLOT, LOW], [(3, LOW)], id="learned slots among votes"),
            pytest.param([LOW, ZERO_BALLOT, HIGH], [(2, LOW), (3, HIGH)], id="and between ballots"),
        ],
    )
    def test_writes_watermarks(
        self, ballots: list[Ballot], watermarks: list[tuple[int, Ballot]]
    ) -> None:
        learner, _ = make()
        for slot, ballot in enumerate(ballots, 1):
            if ballot == ZERO_BALLOT:
                learner.learn(Slot(slot), X)
            else:
                learner.decide(Slot(slot), ballot, X)
        _, records = learner.advance()
        assert records == tuple(DecidedThrough(Slot(slot), ballot) for slot, ballot in watermarks)


class TestRecall:
    SIZE: Final = size_of(batch("", 100))

    @pytest.mark.parametrize(
        ("first", "through", "batches_max", "recalled"),
        [
            pytest.param(1, 5, 9, (1, 2, 3, 4, 5), id="what was asked for"),
            pytest.param(2, 3, 9, (2, 3), id="and no more"),
            pytest.param(4, 9, 9, (4, 5), id="nothing undecided"),
            pytest.param(1, 5, 3, (1, 2, 3), id="as much as fits"),
            pytest.param(2, 5, 0, (2,), id="though one always fits"),
            pytest.param(6, 9, 9, (), id="nothing if nothing of it is decided"),
        ],
    )
    def test_recall(
        self, first: int, through: int, batches_max: int, recalled: tuple[int, ...]
    ) -> None:
        learner, batches = filled([100] * 5)
        answer = learner.recall(Slot(first), Slot(through), batches_max * self.SIZE, PLENTY)
        assert answer == tuple(batches[slot - 1] for slot in recalled)

    def test_one_byte_too_many_does_not_fit(self) -> None:
        learner, batches = filled([100] * 3)
        assert learner.recall(ONE, THIRD, 2 * self.SIZE - 1, PLENTY) == (batches[0],)
        assert learner.recall(ONE, THIRD, 2 * self.SIZE, PLENTY) == tuple(batches[:2])

    def test_one_command_too_many_does_not_fit(self) -> None:
        learner, _ = make()
        batches = [X + Y, X, Y]
        for slot, one in enumerate(batches, 1):
            learner.learn(Slot(slot), one)
        learner.advance()
        assert learner.recall(ONE, THIRD, PLENTY, 3) == tuple(batches[:2])
        assert learner.recall(ONE, THIRD, PLENTY, 2) == (batches[0],)
        assert learner.recall(ONE, THIRD, PLENTY, 1) == (batches[0],)

    def test_the_oldest_are_dropped_where_memory_ends(self) -> None:
        learner, batches = filled([100] * 5, recent_bytes_max=3 * self.SIZE)
        assert learner.recall(TWO, Slot(5), PLENTY, PLENTY) is None
        assert learner.recall(THIRD, Slot(5), PLENTY, PLENTY) == tuple(batches[2:])

    def test_the_last_one_is_kept_however_large(self) -> None:
        learner, batches = filled([100, 9999], recent_bytes_max=self.SIZE)
        assert learner.recall(ONE, TWO, PLENTY, PLENTY) is None
        assert learner.recall(TWO, TWO, PLENTY, PLENTY) == (batches[1],)

    def test_what_nobody_will_ask_for_takes_no_memory(self) -> None:
        learner, batches = filled([100] * 5, recent_bytes_max=5 * self.SIZE)
        learner.forget(THIRD)
        assert learner.kept_from == 4
        assert list(learner._recent) == [4, 5]
        for slot in range(6, 9):
            learner.decide(Slot(slot), HIGH, batches[0])
        learner.advance()
        # There is room for three more, and none of those that are needed is dropped.
        assert list(learner._recent) == [4, 5, 6, 7, 8]
        learner.forget(TWO)
        assert learner.kept_from == 4

    def test_so_many_commands_are_remembered(self) -> None:
        learner = Learner(NO_SLOT, FIRST_SLOT, Limits(recent_commands_max=4))
        for slot, one in enumerate([X, X + Y, (), X, Y, X * 9], 1):
            learner.learn(Slot(slot), one)
            learner.advance()
            # A slot in which nothing was written counts as much as one with one command.
            first = {1: 1, 2: 1, 3: 1, 4: 2, 5: 3, 6: 6}[slot]
            assert list(learner._recent) == list(range(first, slot + 1))

    def test_whatever_is_let_go_of_is_found_without_a_search(self) -> None:
        class Unsearched(dict[Slot, Batch]):
            @override
            def __iter__(self) -> Iterator[Slot]:
                raise AssertionError("a dict walks over all that it held once to find its first")

        learner, batches = filled([100] * 5, recent_bytes_max=5 * self.SIZE)
        learner._recent = Unsearched(learner._recent)
        learner.forget(TWO)
        for slot in (6, 7, 8):
            learner.learn(Slot(slot), batches[0])
        learner.advance()
        # Two had been forgotten, and one more was to go.
        assert sorted(learner._recent.keys()) == [4, 5, 6, 7, 8]
        learner.install(Slot(20))
        learner.learn(Slot(21), batches[0])
        learner.advance()
        learner.forget(Slot(20))
        assert learner.recall(Slot(21), Slot(21), PLENTY, PLENTY) == (batches[0],)
        learner.forget(Slot(21))
        assert (learner._recent, learner._recent_bytes) == ({}, 0)

    def test_an_earlier_life_is_not_remembered(self) -> None:
        learner, _ = make(3)
        assert learner.recall(TWO, THIRD, PLENTY, PLENTY) is None
        assert learner.recall(Slot(4), Slot(9), PLENTY, PLENTY) == ()


# Recovery: what a node did live, and what its journal shows.

BALLOTS: Final = (LOW, MIDDLE, HIGH)
SLOTS: Final = range(1, 7)


@dataclass
class Node:
    """Acceptor, learner and journal of one node, in a world where some batches are chosen.

    :param chosen_in: for each slot, the place in BALLOTS of the ballot in which its batch was
        chosen: leaders of that ballot and those above offer this batch, others another one.
    """

    chosen_in: list[int]
    acceptor: Acceptor = field(default_factory=Acceptor)
    learner: Learner = field(default_factory=lambda: Learner(NO_SLOT, FIRST_SLOT, Limits()))
    journal: GroupState = field(default_factory=GroupState)
    live: list[Decision] = field(default_factory=list)
    shown: list[Decision] = field(default_factory=list)

    def batch(self, slot: int, ballot: Ballot) -> Batch:
        """Return what the leader of ``ballot`` offers in ``slot``."""
        chosen = BALLOTS.index(ballot) >= self.chosen_in[slot - 1]
        return batch(f"{slot}") if chosen else batch(f"{slot} of {ballot}")

    def truth(self, ballot: Ballot, through: int) -> Slot:
        """Return how far the leader of ``ballot`` may know, if it says ``through``."""
        later = [s for s in SLOTS if self.chosen_in[s - 1] > BALLOTS.index(ballot)]
        return Slot(min(through, *(slot - 1 for slot in later), SLOTS[-1]))

    def accept(self, slot: int, ballot: Ballot, through: int) -> None:
        """Do what the replica does with an `Accept`."""
        learner = self.learner
        accept = Accept(ballot, Slot(slot), self.batch(slot, ballot), self.truth(ballot, through))
        learner.hear(ballot, accept.decided_through, self.acceptor.votes)
        effects = self.acceptor.accept(
            B, accept, learner.decided_through, decided=learner.knows(accept.slot)
        )
        if accept.slot in self.acceptor.votes:
            learner.cover(self.acceptor.votes[accept.slot])
        self.finish(effects.records)

    def hear(self, ballot: Ballot, through: int) -> None:
        """Do what the replica does with a `Watermark`."""
        self.learner.hear(ballot, self.truth(ballot, through), self.acceptor.votes)
        self.finish(())

    def learn(self, slot: int) -> None:
        """Do what the replica does with a batch that a peer handed out."""
        self.finish(self.learner.learn(Slot(slot), self.batch(slot, HIGH)))

    def finish(self, records: tuple[ReplicaRecord, ...]) -> None:
        """End the step, and write everything down."""
        decisions, watermarks = self.learner.advance()
        self.acceptor.forget(decision.slot for decision in decisions)
        self.live += decisions
        for record in (*records, *watermarks):
            self.shown += self.journal.apply(record)

    def restart(self) -> None:
        """Lose all but the journal."""
        state = self.journal
        self.acceptor = Acceptor(state.promised, state.votes)
        self.learner = Learner(state.decided_through, FIRST_SLOT, Limits())
        self.live = list(self.shown)


HISTORIES = st.lists(
    st.one_of(
        st.tuples(
            st.just("accept"), st.sampled_from(SLOTS), st.sampled_from(BALLOTS), st.integers(0, 6)
        ),
        st.tuples(st.just("hear"), st.sampled_from(BALLOTS), st.integers(0, 6)),
        st.tuples(st.just("learn"), st.sampled_from(SLOTS)),
    ),
    max_size=30,
)

CHOSEN_IN = st.lists(st.integers(0, 2), min_size=len(SLOTS), max_size=len(SLOTS))


@given(CHOSEN_IN, HISTORIES)
def test_the_journal_shows_exactly_what_was_decided(
    chosen_in: list[int], history: list[tuple[str, int]]
) -> None:
    node = Node(chosen_in)
    for what, *details in history:
        getattr(node, what)(*details)
        assert node.shown == node.live
        assert node.journal.decided_through == node.learner.decided_through
        assert node.journal.votes == node.acceptor.votes


@given(CHOSEN_IN, st.lists(HISTORIES.map(lambda history: history[:8]), max_size=5))
def test_after_restarts_too_it_shows_nothing_but_what_was_chosen(
    chosen_in: list[int], lives: list[list[tuple[str, int]]]
) -> None:
    node = Node(chosen_in)
    for history in lives:
        for what, *details in history:
            getattr(node, what)(*details)
        # A slot that was learned above a hole is learned again, or known from the journal.
        assert node.journal.decided_through >= node.learner.decided_through
        assert [decision.slot for decision in node.shown] == list(range(1, len(node.shown) + 1))
        for decision in node.shown:
            assert decision.batch == node.batch(decision.slot, HIGH)
        node.restart()


class TestInstalling:
    """A state from elsewhere has executed slots that this learner never saw."""

    def test_the_slots_of_a_state_are_skipped(self) -> None:
        learner, _ = make(2)
        assert learner.install(Slot(7)) == (Installed(Slot(7)),)
        assert (learner.decided_through, learner.kept_from, learner.first_hole) == (7, 8, 8)
        assert not learner.has_hole
        assert handed_on(learner) == []

    def test_what_is_known_beyond_it_follows(self) -> None:
        learner, _ = make()
        for slot in (5, 7, 8, 10):
            learner.learn(Slot(slot), X)
        learner.install(Slot(6))
        assert handed_on(learner) == [7, 8]
        assert (learner.first_hole, learner.hole_through()) == (9, 9)

    @pytest.mark.parametrize("through", [3, 5])
    def test_an_older_state_changes_nothing(self, through: int) -> None:
        learner, _ = make(5, 2)
        assert learner.install(Slot(through)) == ()
        assert (learner.decided_through, learner.kept_from) == (5, 2)

    def test_nothing_before_it_is_in_memory_any_more(self) -> None:
        learner, _ = filled([100] * 3)
        learner.install(Slot(5))
        learner.learn(Slot(6), X)
        assert handed_on(learner) == [6]
        assert learner.recall(THIRD, Slot(6), PLENTY, PLENTY) is None
        assert learner.recall(Slot(6), Slot(6), PLENTY, PLENTY) == (X,)
        # And what is counted is what is there: room for others is not lost.
        assert learner._recent_bytes == size_of(X)

    def test_the_journal_comes_to_the_same(self) -> None:
        learner, _ = make()
        group = GroupState()
        records: list[ReplicaRecord] = [
            *learner.learn(Slot(4), X),
            *learner.install(THIRD),
            *learner.advance()[1],
        ]
        for record in records:
            group.apply(record)
        assert group.decided_through == learner.decided_through == 4

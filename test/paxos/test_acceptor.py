"""The acceptor's two rules, case by case, and that its records say all that it knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Literal, TypeAlias, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.journal.state import GroupState
from kvpaxos.paxos.acceptor import Acceptor, size_of
from kvpaxos.paxos.ballot import FIRST_SLOT, NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Effects
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    Confirm,
    Confirmed,
    Envelope,
    Message,
    Nack,
    Prepare,
    Promise,
    Vote,
)
from kvpaxos.paxos.records import DecidedThrough, Learned, Promised, ReplicaRecord
from test.paxos.values import HIGH, LOW, MIDDLE, ONE, THIRD, TWO, A, B, X, Y, batch, promise, vote

Records: TypeAlias = tuple[ReplicaRecord, ...]
Question: TypeAlias = Literal["prepare", "accept", "confirm"]
Relation: TypeAlias = Literal["below", "equal", "above"]
Standing: TypeAlias = Literal["fresh", "promised", "voted", "forgotten"]

HISTORIES: Final[dict[Standing, Records]] = {
    "fresh": (),
    "promised": (Promised(MIDDLE),),
    "voted": (Vote(ONE, MIDDLE, X),),
    "forgotten": (Vote(ONE, MIDDLE, X), DecidedThrough(ONE, MIDDLE)),
}
"""How an acceptor came to promise MIDDLE, if it did. What was decided it has forgotten."""

BALLOTS: Final[dict[Relation, Ballot]] = {"below": LOW, "equal": MIDDLE, "above": HIGH}
"""How the ballot asked about relates to MIDDLE."""

VOTED: Final = Vote(ONE, MIDDLE, X)


@dataclass(frozen=True)
class Case:
    """What an acceptor says when it is asked about slot 1, and what it writes down."""

    question: Question
    standing: Standing
    relation: Relation
    answer: Message
    records: Records = ()

    @property
    def name(self) -> str:
        return f"{self.question} {self.relation}, {self.standing}"


CASES = [
    # A promise, unless one above it was given; and what it rests on, if it is a new one.
    Case("prepare", "fresh", "above", promise(ballot=HIGH), (Promised(HIGH),)),
    Case("prepare", "promised", "below", Nack(LOW, MIDDLE)),
    Case("prepare", "promised", "equal", promise(ballot=MIDDLE)),
    Case("prepare", "promised", "above", promise(ballot=HIGH), (Promised(HIGH),)),
    Case("prepare", "voted", "below", Nack(LOW, MIDDLE)),
    Case("prepare", "voted", "equal", promise(VOTED, ballot=MIDDLE)),
    Case("prepare", "voted", "above", promise(VOTED, ballot=HIGH), (Promised(HIGH),)),
    Case("prepare", "forgotten", "below", Nack(LOW, MIDDLE)),
    Case("prepare", "forgotten", "equal", promise(ballot=MIDDLE, through=1)),
    Case("prepare", "forgotten", "above", promise(ballot=HIGH, through=1), (Promised(HIGH),)),
    # A vote, unless a ballot above was promised. A vote is a promise too. Where it is decided
    # the vote would take the place of the one that shows it: the promise alone is kept.
    Case("accept", "fresh", "above", Accepted(HIGH, ONE), (Vote(ONE, HIGH, X),)),
    Case("accept", "promised", "below", Nack(LOW, MIDDLE)),
    Case("accept", "promised", "equal", Accepted(MIDDLE, ONE), (VOTED,)),
    Case("accept", "promised", "above", Accepted(HIGH, ONE), (Vote(ONE, HIGH, X),)),
    Case("accept", "voted", "below", Nack(LOW, MIDDLE)),
    Case("accept", "voted", "equal", Accepted(MIDDLE, ONE)),
    Case("accept", "voted", "above", Accepted(HIGH, ONE), (Vote(ONE, HIGH, X),)),
    Case("accept", "forgotten", "below", Nack(LOW, MIDDLE)),
    Case("accept", "forgotten", "equal", Accepted(MIDDLE, ONE)),
    Case("accept", "forgotten", "above", Accepted(HIGH, ONE), (Promised(HIGH),)),
    # Whether a ballot above was promised; that promises nothing.
    Case("confirm", "fresh", "above", Confirmed(HIGH, 7)),
    Case("confirm", "promised", "below", Nack(LOW, MIDDLE)),
    Case("confirm", "promised", "equal", Confirmed(MIDDLE, 7)),
    Case("confirm", "promised", "above", Confirmed(HIGH, 7)),
    Case("confirm", "voted", "below", Nack(LOW, MIDDLE)),
    Case("confirm", "voted", "equal", Confirmed(MIDDLE, 7)),
    Case("confirm", "voted", "above", Confirmed(HIGH, 7)),
    Case("confirm", "forgotten", "below", Nack(LOW, MIDDLE)),
    Case("confirm", "forgotten", "equal", Confirmed(MIDDLE, 7)),
    Case("confirm", "forgotten", "above", Confirmed(HIGH, 7)),
]


def recover(records: Iterable[ReplicaRecord]) -> GroupState:
    """Return what a journal with ``records`` says."""
    state = GroupState()
    for record in records:
        state.apply(record)
    return state


def acceptor_of(state: GroupState) -> Acceptor:
    return Acceptor(state.promised, state.votes)


def same(one: Acceptor, other: Acceptor) -> bool:
    return (one.promised, one.votes) == (other.promised, other.votes)


def ask(
    acceptor: Acceptor, sender: NodeId, question: Question, ballot: Ballot, state: GroupState
) -> Effects:
    """Ask ``acceptor`` about slot 1, for batch X."""
    through = state.decided_through
    match question:
        case "prepare":
            return acceptor.prepare(sender, Prepare(ballot, ONE), through, FIRST_SLOT)
        case "accept":
            accept = Accept(ballot, ONE, X, NO_SLOT)
            return acceptor.accept(sender, accept, through, decided=through >= ONE)
        case "confirm":
            return acceptor.confirm(sender, Confirm(ballot, 7))


def test_the_table_has_every_relation() -> None:
    rows = [(case.question, case.standing, case.relation) for case in CASES]
    every = product(get_args(Question), get_args(Standing), get_args(Relation))
    # Nothing a node can make is below or equal to what a fresh acceptor starts with.
    assert rows == [row for row in every if row[1] != "fresh" or row[2] == "above"]


@pytest.mark.parametrize("sender", [A, B], ids=["own", "other"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_its_records_and_its_recovery(case: Case, sender: NodeId) -> None:
    history = HISTORIES[case.standing]
    state = recover(history)
    acceptor = acceptor_of(state)
    effects = ask(acceptor, sender, case.question, BALLOTS[case.relation], state)
    answer = (Envelope(sender, case.answer),)
    if isinstance(case.answer, Confirmed):
        assert effects == Effects(sends=answer)
    else:
        assert effects == Effects(records=case.records, replies=answer)
    assert same(acceptor, acceptor_of(recover(history + case.records)))


@pytest.mark.parametrize("sender", [A, B], ids=["own", "other"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_question_again_has_the_same_answer_and_no_new_record(
    case: Case, sender: NodeId
) -> None:
    state = recover(HISTORIES[case.standing])
    acceptor = acceptor_of(state)
    ballot = BALLOTS[case.relation]
    first = ask(acceptor, sender, case.question, ballot, state)
    again = ask(acceptor, sender, case.question, ballot, state)
    assert again == replace(first, records=())


class TestPrepare:
    def test_the_round_decides_before_the_node(self) -> None:
        acceptor = Acceptor(Ballot(1, B))
        effects = acceptor.prepare(A, Prepare(Ballot(2, A), ONE), NO_SLOT, FIRST_SLOT)
        assert effects.records == (Promised(Ballot(2, A)),)

    def test_the_node_decides_between_equal_rounds(self) -> None:
        acceptor = Acceptor(Ballot(2, B))
        effects = acceptor.prepare(A, Prepare(Ballot(2, A), ONE), NO_SLOT, FIRST_SLOT)
        assert effects.replies == (Envelope(A, Nack(Ballot(2, A), Ballot(2, B))),)

    @pytest.mark.parametrize(
        ("from_slot", "decided_through", "reported"),
        [
            pytest.param(1, 0, (1, 2, 4, 5), id="all of them if all slots are asked for"),
            pytest.param(2, 0, (2, 4, 5), id="those from the slot asked for on"),
            pytest.param(3, 0, (4, 5), id="also if nobody voted in that slot"),
            pytest.param(1, 2, (4, 5), id="none in decided slots"),
            pytest.param(5, 2, (5,), id="whichever of the two is higher"),
            pytest.param(6, 0, (), id="none below the slot asked for"),
            pytest.param(1, 5, (), id="none if everything is decided"),
        ],
    )
    def test_a_promise_reports_votes(
        self, from_slot: int, decided_through: int, reported: tuple[int, ...]
    ) -> None:
        votes = {Slot(slot): vote(slot) for slot in (4, 2, 5, 1)}
        acceptor = Acceptor(votes=votes)
        prepare = Prepare(HIGH, Slot(from_slot))
        effects = acceptor.prepare(B, prepare, Slot(decided_through), FIRST_SLOT)
        answer = promise(*(votes[Slot(slot)] for slot in reported), through=decided_through)
        assert effects.replies == (Envelope(B, answer),)

    def test_a_promise_says_what_is_decided_and_what_is_still_kept(self) -> None:
        effects = Acceptor().prepare(B, Prepare(HIGH, ONE), Slot(9), Slot(5))
        assert effects.replies == (Envelope(B, promise(through=9, kept=5)),)

    @pytest.mark.parametrize(
        ("sizes", "room", "parts"),
        [
            pytest.param([], 300, [[]], id="no votes make one empty part"),
            pytest.param([100], 300, [[1]], id="one vote makes one part"),
            pytest.param(
                [100, 100], 300, [[1], [2]], id="what does not fit goes into the next part"
            ),
            pytest.param([50, 50], 356, [[1, 2]], id="what just fits goes into the same part"),
            pytest.param([50, 51], 356, [[1], [2]], id="one byte more does not fit"),
            pytest.param([900, 1, 1], 300, [[1], [2, 3]], id="one vote always fits"),
            pytest.param([1, 900, 1], 300, [[1], [2], [3]], id="a large one stands alone"),
            pytest.param([100] * 5, 500, [[1, 2], [3, 4], [5]], id="parts are filled in order"),
        ],
    )
    def test_a_promise_is_cut_in_parts_by_bytes(
        self, sizes: list[int], room: int, parts: list[list[int]]
    ) -> None:
        votes = {
            Slot(slot): Vote(Slot(slot), LOW, batch("", size or 1))
            for slot, size in enumerate(sizes, 1)
        }
        acceptor = Acceptor(votes=votes, message_bytes_max=room)
        effects = acceptor.prepare(B, Prepare(HIGH, ONE), NO_SLOT, FIRST_SLOT)
        assert effects.replies == tuple(
            Envelope(
                B,
                promise(*(votes[Slot(slot)] for slot in slots), part=part, parts=len(parts)),
            )
            for part, slots in enumerate(parts)
        )

    def test_an_empty_batch_has_a_size_too(self) -> None:
        assert size_of(()) > 0


class TestAccept:
    def test_a_vote_in_a_higher_ballot_takes_the_place_of_the_one_below(self) -> None:
        acceptor = Acceptor(votes={ONE: Vote(ONE, LOW, X)})
        acceptor.accept(B, Accept(HIGH, ONE, Y, NO_SLOT), NO_SLOT, decided=False)
        assert acceptor.votes == {ONE: Vote(ONE, HIGH, Y)}

    def test_slots_have_votes_of_their_own(self) -> None:
        acceptor = Acceptor(votes={ONE: Vote(ONE, LOW, X)})
        acceptor.accept(B, Accept(LOW, TWO, Y, NO_SLOT), NO_SLOT, decided=False)
        assert acceptor.votes == {ONE: Vote(ONE, LOW, X), TWO: Vote(TWO, LOW, Y)}

    def test_a_refused_vote_is_not_cast(self) -> None:
        acceptor = Acceptor(HIGH)
        acceptor.accept(B, Accept(LOW, ONE, X, NO_SLOT), NO_SLOT, decided=False)
        assert acceptor.votes == {}

    def test_two_batches_under_one_ballot_and_slot_are_a_mistake_of_ours(self) -> None:
        acceptor = Acceptor(votes={ONE: Vote(ONE, LOW, X)})
        with pytest.raises(AssertionError, match="two batches in slot 1"):
            acceptor.accept(B, Accept(LOW, ONE, Y, NO_SLOT), NO_SLOT, decided=False)

    def test_where_another_batch_is_decided_above_a_hole_the_vote_that_shows_it_stays(self) -> None:
        state = recover([Vote(THIRD, LOW, X)])
        acceptor = acceptor_of(state)
        effects = acceptor.accept(B, Accept(HIGH, THIRD, X, NO_SLOT), NO_SLOT, decided=True)
        assert effects.records == (Promised(HIGH),)
        assert effects.replies == (Envelope(B, Accepted(HIGH, THIRD)),)
        assert acceptor.votes == {THIRD: Vote(THIRD, LOW, X)}

    @pytest.mark.parametrize(
        ("slot", "decided_through", "votes"),
        [
            pytest.param(10, 0, True, id="as far ahead as allowed"),
            pytest.param(11, 0, False, id="one slot too far ahead"),
            pytest.param(15, 5, True, id="it is counted from the decided slots on"),
            pytest.param(16, 5, False, id="and ends so many slots above them"),
        ],
    )
    def test_what_is_too_far_ahead_is_not_answered(
        self, slot: int, decided_through: int, *, votes: bool
    ) -> None:
        acceptor = Acceptor(ahead_slots_max=10)
        accept = Accept(LOW, Slot(slot), X, NO_SLOT)
        effects = acceptor.accept(B, accept, Slot(decided_through), decided=False)
        if votes:
            assert effects.replies == (Envelope(B, Accepted(LOW, Slot(slot))),)
        else:
            assert effects == NOTHING
            assert acceptor.promised == ZERO_BALLOT

    def test_but_it_is_refused_if_a_higher_ballot_was_promised(self) -> None:
        acceptor = Acceptor(HIGH, ahead_slots_max=10)
        effects = acceptor.accept(B, Accept(LOW, Slot(99), X, NO_SLOT), NO_SLOT, decided=False)
        assert effects.replies == (Envelope(B, Nack(LOW, HIGH)),)


def test_forgotten_slots_have_no_votes_any_more() -> None:
    acceptor = Acceptor(votes={slot: Vote(slot, LOW, X) for slot in (ONE, TWO)})
    acceptor.forget([ONE, THIRD])
    assert acceptor.votes == {TWO: Vote(TWO, LOW, X)}


def test_a_recovered_vote_is_a_promise_too() -> None:
    assert Acceptor(LOW, {ONE: Vote(ONE, HIGH, X), TWO: Vote(TWO, LOW, X)}).promised == HIGH
    assert Acceptor(HIGH, {ONE: Vote(ONE, LOW, X)}).promised == HIGH


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["prepare", "accept", "learn"]),
        st.builds(Ballot, st.integers(1, 3), st.sampled_from([A, B])),
        st.integers(1, 4).map(Slot),
    ),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_the_records_say_all_that_the_acceptor_knows(
    steps: list[tuple[str, Ballot, Slot]],
) -> None:
    acceptor, state = Acceptor(), GroupState()
    for kind, ballot, slot in steps:
        promised, through = acceptor.promised, state.decided_through
        if kind == "learn":
            following = Slot(through + 1)
            acceptor.forget([following])
            effects = Effects(records=(Learned(following, X),))
        elif kind == "prepare":
            effects = acceptor.prepare(B, Prepare(ballot, slot), through, FIRST_SLOT)
        else:
            # What is offered depends on ballot and slot alone, as it should.
            accept = Accept(ballot, slot, batch(f"{ballot} {slot}"), NO_SLOT)
            effects = acceptor.accept(B, accept, through, decided=slot <= through)
        for record in effects.records:
            state.apply(record)

        assert same(acceptor, acceptor_of(state))
        assert acceptor.promised >= promised, "a promise fell"
        if ballot < promised:
            assert not any(isinstance(record, Promised | Vote) for record in effects.records)
        for envelope in effects.replies:
            assert isinstance(envelope.message, Nack) == (ballot < promised)
            if isinstance(envelope.message, Promise):
                assert all(v.slot > through for v in envelope.message.votes)


@pytest.mark.parametrize(
    ("promised", "records"),
    [(LOW, ()), (MIDDLE, ()), (HIGH, (Promised(HIGH),))],
    ids=["lower", "the same", "higher"],
)
def test_to_be_readmitted_is_to_promise_what_others_have(
    promised: Ballot, records: Records
) -> None:
    acceptor = Acceptor(MIDDLE)
    assert acceptor.readmit(promised) == Effects(records=records)
    assert acceptor.promised == max(MIDDLE, promised)


def test_promises_and_votes_show_the_known_disks() -> None:
    acceptor = Acceptor()
    acceptor.incarnations = ((B, 2),)
    (promised,) = acceptor.prepare(B, Prepare(LOW, ONE), NO_SLOT, FIRST_SLOT).replies
    (accepted,) = acceptor.accept(B, Accept(LOW, ONE, X, NO_SLOT), NO_SLOT, decided=False).replies
    assert promised.message == replace(promise(ballot=LOW), incarnations=((B, 2),))
    assert accepted.message == Accepted(LOW, ONE, ((B, 2),))

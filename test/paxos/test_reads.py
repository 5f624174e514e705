"""Reads are fresh: the round that confirms the leader began after they had arrived."""

from __future__ import annotations

from typing import Final

import pytest

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Expired, ReadReady
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.reads import ReadRounds, Reads
from test.paxos.values import ALONE, FIVE, HIGH, LOW, THREE, A, B, C, D

RETRY_S: Final = 0.25
NEVER: Final = 1e9
STRANGER: Final = NodeId("z")


def begun(*askers: NodeId, slot: int = 5) -> ReadRounds:
    """Return a leader's rounds, the first of which these nodes share."""
    rounds = ReadRounds()
    for asker in askers:
        rounds.ask(asker, 1)
    assert rounds.begin(Slot(slot), 0.0)
    return rounds


class TestRounds:
    def test_none_begins_if_nobody_asks(self) -> None:
        assert not ReadRounds().begin(NO_SLOT, 0.0)

    def test_one_is_shared_by_all_that_asked_before(self) -> None:
        rounds = begun(A, B)
        assert rounds.confirm(A, 1, THREE) == {}
        assert rounds.confirm(C, 1, THREE) == {A: 1, B: 1}

    def test_whoever_asks_while_it_is_on_its_way_waits_for_the_next(self) -> None:
        rounds = begun(A)
        rounds.ask(B, 7)
        assert rounds.confirm(A, 1, ALONE) == {A: 1}
        assert rounds.begin(Slot(9), 1.0)
        assert rounds.confirm(A, 2, ALONE) == {B: 7}

    def test_so_does_the_next_question_of_the_same_node(self) -> None:
        rounds = begun(A)
        rounds.ask(A, 2)
        assert rounds.confirm(A, 1, ALONE) == {A: 1}
        assert rounds.begin(Slot(9), 1.0)
        assert rounds.confirm(A, 2, ALONE) == {A: 2}

    def test_but_not_the_same_question_again(self) -> None:
        rounds = begun(A)
        rounds.ask(A, 1)
        assert rounds.confirm(A, 1, ALONE) == {A: 1}
        assert not rounds.begin(Slot(9), 1.0)

    def test_of_the_questions_of_a_node_the_last_counts(self) -> None:
        rounds = ReadRounds()
        rounds.ask(A, 1)
        rounds.ask(A, 2)
        rounds.begin(NO_SLOT, 0.0)
        assert rounds.confirm(A, 1, ALONE) == {A: 2}

    def test_one_at_a_time(self) -> None:
        rounds = begun(A)
        rounds.ask(B, 1)
        assert not rounds.begin(Slot(9), 1.0)
        assert (rounds.number, rounds.slot, rounds.begun_at) == (1, 5, 0.0)

    def test_each_has_the_slot_of_its_own_beginning(self) -> None:
        rounds = begun(A, slot=5)
        rounds.confirm(A, 1, ALONE)
        rounds.ask(A, 2)
        rounds.begin(Slot(9), 1.0)
        assert (rounds.number, rounds.slot, rounds.begun_at) == (2, 9, 1.0)

    @pytest.mark.parametrize(
        ("quorum", "confirmers", "granted_by"),
        [
            pytest.param(ALONE, [A], 0, id="the only one"),
            pytest.param(THREE, [A, A], None, id="copies do not count"),
            pytest.param(THREE, [A, STRANGER], None, id="nor do strangers"),
            pytest.param(THREE, [A, B, C], 1, id="the second of three"),
            pytest.param(FIVE, [A, B, C, D], 2, id="the third of five"),
        ],
    )
    def test_a_quorum_ends_it_once(
        self, quorum: Quorum, confirmers: list[NodeId], granted_by: int | None
    ) -> None:
        rounds = begun(A)
        granted = [rounds.confirm(confirmer, 1, quorum) for confirmer in confirmers]
        assert granted == [{A: 1} if i == granted_by else {} for i in range(len(confirmers))]

    @pytest.mark.parametrize("number", [0, 1, 3], ids=["never begun", "before", "not yet begun"])
    def test_what_confirms_another_round_does_not_count(self, number: int) -> None:
        rounds = begun(A)
        rounds.confirm(A, 1, ALONE)
        rounds.ask(A, 2)
        rounds.begin(Slot(9), 1.0)
        assert rounds.confirm(A, number, ALONE) == {}

    def test_confirmations_of_the_round_before_are_not_carried_over(self) -> None:
        rounds = begun(A)
        rounds.confirm(A, 1, THREE)
        rounds.confirm(B, 1, THREE)
        rounds.ask(A, 2)
        rounds.begin(Slot(9), 1.0)
        assert rounds.confirm(A, 2, THREE) == {}


def reads(*requests: int, deadline: float = NEVER) -> Reads:
    waiting = Reads()
    waiting.want((request, deadline) for request in requests)
    return waiting


def ask(waiting: Reads, now: float, leader: Ballot = LOW) -> int | None:
    return waiting.ask(leader, now, RETRY_S)


def ready(waiting: Reads, decided_through: int) -> list[int]:
    """Return the requests that may be done now."""
    found = waiting.ready(Slot(decided_through))
    assert all(one == ReadReady(one.request, "quorum") for one in found)
    return [one.request for one in found]


class TestQuestions:
    def test_none_is_put_if_nobody_reads(self) -> None:
        waiting = Reads()
        assert not waiting.has_question
        assert ask(waiting, 0.0) is None

    def test_none_is_put_if_nobody_leads(self) -> None:
        assert ask(reads(11), 0.0, ZERO_BALLOT) is None

    def test_one_for_all_that_wait(self) -> None:
        waiting = reads(11, 12)
        assert ask(waiting, 0.0) == 1
        waiting.grant(1, LOW, NO_SLOT)
        assert ready(waiting, 0) == [11, 12]

    def test_they_are_numbered_from_where_they_shall_be(self) -> None:
        waiting = Reads(100)
        waiting.want([(11, NEVER)])
        assert ask(waiting, 0.0) == 101

    def test_one_is_on_its_way_at_a_time(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.want([(12, NEVER)])
        assert ask(waiting, 0.1) is None
        waiting.grant(1, LOW, NO_SLOT)
        assert ready(waiting, 0) == [11], "what came after the question waits for the next"
        assert ask(waiting, 0.1) == 2

    def test_an_unanswered_one_is_put_again_under_its_number(self) -> None:
        waiting = reads(11)
        times = (0.0, 0.9 * RETRY_S, RETRY_S, 1.9 * RETRY_S, 2 * RETRY_S)
        assert [ask(waiting, now) for now in times] == [1, None, 1, None, 1]

    def test_what_came_meanwhile_does_not_join_it(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.want([(12, NEVER)])
        assert ask(waiting, RETRY_S) == 1
        waiting.grant(1, LOW, NO_SLOT)
        assert ready(waiting, 0) == [11]

    def test_the_next_leader_is_asked_anew_for_all(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.want([(12, NEVER)])
        assert ask(waiting, 0.01, HIGH) == 2
        waiting.grant(2, HIGH, NO_SLOT)
        assert ready(waiting, 0) == [11, 12]

    def test_so_is_the_same_one_if_it_was_lost_in_between(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        assert ask(waiting, 0.01, ZERO_BALLOT) is None
        assert ask(waiting, 0.02) == 2


class TestGrants:
    @pytest.mark.parametrize(
        ("number", "ballot"),
        [
            pytest.param(0, LOW, id="an earlier question"),
            pytest.param(2, LOW, id="a question that was not put"),
            pytest.param(1, HIGH, id="of a leader that was not asked"),
            pytest.param(1, Ballot(0, B), id="of one that leads no more"),
        ],
    )
    def test_answers_to_something_else_are_ignored(self, number: int, ballot: Ballot) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.grant(number, ballot, NO_SLOT)
        assert ready(waiting, 99) == []
        waiting.grant(1, LOW, NO_SLOT)
        assert ready(waiting, 99) == [11]

    def test_an_answer_counts_once(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.grant(1, LOW, NO_SLOT)
        waiting.want([(12, NEVER)])
        waiting.grant(1, LOW, NO_SLOT)
        assert ready(waiting, 99) == [11]

    def test_an_answer_of_the_leader_that_was_given_up_is_ignored(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        ask(waiting, 0.01, ZERO_BALLOT)
        waiting.grant(1, LOW, NO_SLOT)
        assert ready(waiting, 99) == []

    def test_a_read_waits_for_its_slot(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.grant(1, LOW, Slot(5))
        assert [ready(waiting, through) for through in (4, 5, 6)] == [[], [11], []]

    def test_each_for_its_own(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.grant(1, LOW, Slot(7))
        waiting.want([(12, NEVER)])
        ask(waiting, 0.1)
        waiting.grant(2, LOW, Slot(6))
        assert [ready(waiting, through) for through in (5, 6, 7)] == [[], [12], [11]]

    def test_what_was_granted_stays_so_when_the_leader_is_lost(self) -> None:
        waiting = reads(11)
        ask(waiting, 0.0)
        waiting.grant(1, LOW, Slot(5))
        assert ask(waiting, 0.1, HIGH) is None
        assert ready(waiting, 5) == [11]


class TestExpiry:
    @pytest.mark.parametrize("stage", ["waiting", "asked", "granted"])
    def test_a_read_is_given_up_at_its_deadline_wherever_it_waits(self, stage: str) -> None:
        waiting = reads(11, deadline=5.0)
        waiting.want([(12, NEVER)])
        if stage != "waiting":
            ask(waiting, 0.0)
        if stage == "granted":
            waiting.grant(1, LOW, Slot(5))
        assert waiting.expire(4.9) == ()
        assert waiting.expire(5.0) == (Expired(11, sent=False),)
        assert waiting.expire(5.1) == ()
        ask(waiting, 5.1)
        waiting.grant(1, LOW, Slot(5))
        assert ready(waiting, 5) == [12]

    def test_an_answer_to_nobody_is_ignored(self) -> None:
        waiting = reads(11, deadline=5.0)
        ask(waiting, 0.0)
        waiting.expire(5.0)
        assert not waiting.has_question
        waiting.want([(12, NEVER)])
        waiting.grant(1, LOW, NO_SLOT)
        assert ready(waiting, 99) == []
        assert ask(waiting, 5.0) == 2

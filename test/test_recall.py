"""Who is asked for what was lost, and when it is given up."""

from __future__ import annotations

from collections.abc import Iterable

from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.formation import EMPTY, Standing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.recall import (
    RECALL_BYTES_MAX,
    RECALL_RETRY_S,
    RECALL_SLOTS_MAX,
    Inquiry,
    Recall,
    Recalled,
    Standings,
    Wanted,
)

A, B, C, D, E = (NodeId(name) for name in "abcde")
FORMED = Standing("x", formed=True)


def slots(*numbers: int) -> tuple[Slot, ...]:
    return tuple(map(Slot, numbers))


def inquiry(*wanted: int, members: Iterable[NodeId] = (A, B, C), size: int = 100) -> Inquiry:
    quorum = Quorum(frozenset(members))
    return Inquiry(A, quorum, {Wanted(0, Slot(slot)): size for slot in wanted})


def none_of(*numbers: int) -> Recalled:
    return Recalled(0, slots(*numbers), 0)


def asked(of: Inquiry, standings: Standings, now: float) -> dict[NodeId, tuple[Slot, ...]]:
    return {node: question.slots for node, question in of.ask(standings, now)}


def given_up(of: Inquiry) -> list[Slot]:
    lost = of.hopeless
    return [] if lost is None else [lost.slot]


def test_all_that_are_here_are_asked_whatever_their_standing_and_nobody_twice_at_once() -> None:
    mine = inquiry(3, 7)
    assert mine.ask({B: EMPTY, C: None}, 0.0) == [(B, Recall(0, slots(3, 7)))]
    assert asked(mine, {B: EMPTY, C: FORMED}, 0.1) == {C: slots(3, 7)}
    assert asked(mine, {B: EMPTY, C: FORMED}, RECALL_RETRY_S - 0.1) == {}
    assert asked(mine, {B: EMPTY, C: FORMED}, RECALL_RETRY_S) == {B: slots(3, 7)}


def test_what_was_lost_with_a_connection_is_asked_again_at_once() -> None:
    mine = inquiry(3)
    assert asked(mine, {B: FORMED, C: None}, 0.0) == {B: slots(3)}
    assert asked(mine, {B: None, C: None}, 0.1) == {}
    assert asked(mine, {B: FORMED, C: None}, 0.2) == {B: slots(3)}


def test_a_question_is_bounded_and_the_next_one_follows_its_answer() -> None:
    mine = inquiry(*range(1, RECALL_SLOTS_MAX + 11))
    first = asked(mine, {B: FORMED, C: None}, 0.0)[B]
    assert first == slots(*range(1, RECALL_SLOTS_MAX + 1))
    mine.heard(B, Recalled(0, first, 0), formed=True)
    assert asked(mine, {B: FORMED, C: None}, 0.1) == {
        B: slots(*range(RECALL_SLOTS_MAX + 1, RECALL_SLOTS_MAX + 11))
    }
    large = inquiry(1, 2, 3, size=RECALL_BYTES_MAX // 2)
    assert asked(large, {B: FORMED, C: None}, 0.0) == {B: slots(1, 2)}
    larger = inquiry(1, 2, size=2 * RECALL_BYTES_MAX)
    assert asked(larger, {B: FORMED, C: None}, 0.0) == {B: slots(1)}


def test_what_was_told_is_asked_no_more() -> None:
    mine = inquiry(3, 7)
    mine.settle({Wanted(0, Slot(7)): 100})
    assert asked(mine, {B: FORMED, C: None}, 0.0) == {B: slots(7)}


def test_a_formed_member_is_believed_and_one_that_may_be_mending_is_asked_again() -> None:
    mine = inquiry(3)
    assert asked(mine, {B: FORMED, C: EMPTY}, 0.0) == {B: slots(3), C: slots(3)}
    mine.heard(B, none_of(3), formed=True)
    assert mine.awaited == (C,)
    later = RECALL_RETRY_S + 1
    assert asked(mine, {B: FORMED, C: EMPTY}, later) == {C: slots(3)}
    other = inquiry(3)
    asked(other, {B: EMPTY, C: None}, 0.0)
    other.heard(B, none_of(3), formed=False)
    assert asked(other, {B: EMPTY, C: None}, 0.1) == {}
    assert asked(other, {B: EMPTY, C: None}, later) == {B: slots(3)}


def test_groups_are_asked_for_one_by_one() -> None:
    quorum = Quorum(frozenset((A, B, C)))
    mine = Inquiry(A, quorum, {Wanted(0, Slot(3)): 1, Wanted(1, Slot(4)): 1, Wanted(0, Slot(5)): 1})
    assert mine.ask({B: FORMED}, 0.0) == [(B, Recall(0, slots(3, 5)))]
    mine.heard(B, none_of(3, 5), formed=True)
    assert mine.ask({B: FORMED}, 0.0) == [(B, Recall(1, slots(4)))]


def test_it_is_hopeless_once_all_others_have_told_and_a_slot_is_missing() -> None:
    mine = inquiry(3, 7)
    mine.heard(B, none_of(3, 7), formed=False)
    assert given_up(mine) == []
    mine.heard(C, none_of(7), formed=False)
    assert given_up(mine) == [7]
    mine.settle({Wanted(0, Slot(3)): 100})
    assert given_up(mine) == []


def test_it_is_hopeless_once_so_many_formed_ones_have_told_that_it_can_come_back_with_them() -> (
    None
):
    mine = inquiry(3, members=(A, B, C, D, E))
    mine.heard(B, none_of(3), formed=True)
    mine.heard(C, none_of(3), formed=True)
    mine.heard(D, none_of(3), formed=False)
    assert given_up(mine) == []
    mine.heard(D, none_of(3), formed=True)
    assert given_up(mine) == [3]
    assert mine.awaited == (E,)


def test_as_long_as_somebody_is_silent_it_is_waited_for() -> None:
    mine = inquiry(3)
    mine.heard(B, none_of(3), formed=True)
    assert given_up(mine) == []
    assert mine.awaited == (C,)

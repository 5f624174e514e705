"""Whose state is right, whose is wrong, and who must not answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.comparison import (
    SLOTS_MAX,
    Agrees,
    Comparison,
    Finding,
    IsDisputed,
    IsWrong,
)
from kvpaxos.paxos.quorum import Quorum
from test.paxos.values import ALONE, FIVE, ONE, THIRD, THREE, TWO, A, B, C, D, E

TWO_MEMBERS = Quorum(frozenset({A, B}))
NOTHING_KNOWN = Agrees(NO_SLOT)


@dataclass(frozen=True)
class Case:
    """What was told at each slot, as a letter for each of a, b, c, d and e, and what follows for a.

    A dot is for somebody who has told nothing.
    """

    name: str
    told: Mapping[int, str]
    finding: Finding
    quorum: Quorum = THREE


CASES = (
    Case("nothing is known at first", {}, NOTHING_KNOWN),
    Case("nor if it tells alone", {1: "x.."}, NOTHING_KNOWN),
    Case("nor if others do", {1: ".xx"}, NOTHING_KNOWN),
    Case("two of three are a majority", {1: "xx."}, Agrees(ONE)),
    Case("three too", {1: "xxx"}, Agrees(ONE)),
    Case("the third is wrong then", {1: "yxx"}, IsWrong(ONE, (B, C))),
    Case("and the two are right", {1: "xyx"}, Agrees(ONE)),
    Case("two that differ are no majority", {1: "xy."}, IsDisputed(ONE, (A,), (B,))),
    Case("three that differ neither", {1: "xyz"}, IsDisputed(ONE, (A,), (B, C))),
    Case("a dispute of others is not its own", {1: ".xy"}, NOTHING_KNOWN),
    Case("the last slot of a majority is named", {1: "xxx", 2: "yyy"}, Agrees(TWO)),
    Case("what is told at a later slot settles a dispute", {1: "xy.", 2: "zz."}, Agrees(TWO)),
    Case(
        "also against it",
        {1: "xy.", 2: "zww"},
        IsWrong(TWO, (B, C)),
    ),
    Case(
        "but not what others tell there",
        {1: "xy.", 2: ".zz"},
        IsDisputed(ONE, (A,), (B,)),
    ),
    Case(
        "whoever was right may be disputed later",
        {1: "xxx", 3: "xy."},
        IsDisputed(THIRD, (A,), (B,)),
    ),
    Case("whoever was wrong stays so", {1: "yxx", 2: "z.."}, IsWrong(ONE, (B, C))),
    Case("also if it is disputed later", {1: "yxx", 2: "zw."}, IsWrong(ONE, (B, C))),
    Case("unless it is right by then", {1: "yxx", 2: "zz."}, Agrees(TWO)),
    Case("two of five are none", {1: "xx..."}, NOTHING_KNOWN, FIVE),
    Case("nor against a third", {1: "xxy.."}, IsDisputed(ONE, (A, B), (C,)), FIVE),
    Case("three of five are", {1: "xxyzx"}, Agrees(ONE), FIVE),
    Case("against both others", {1: "yzxxx"}, IsWrong(ONE, (C, D, E)), FIVE),
    Case("two against two, and one", {1: "xxyyz"}, IsDisputed(ONE, (A, B), (C, D, E)), FIVE),
    Case("of two members both are needed", {1: "xx"}, Agrees(ONE), TWO_MEMBERS),
    Case("and neither is right", {1: "xy"}, IsDisputed(ONE, (A,), (B,)), TWO_MEMBERS),
    Case("one alone is always right", {1: "x"}, Agrees(ONE), ALONE),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    comparison = Comparison(case.quorum)
    for slot, told in case.told.items():
        for node, digest in zip((A, B, C, D, E), told, strict=False):
            if digest != ".":
                comparison.note(node, Slot(slot), digest.encode())
    assert comparison.find(A) == case.finding


def test_what_a_node_told_before_is_void() -> None:
    comparison = Comparison(THREE)
    for node, digest in ((A, b"y"), (B, b"x"), (C, b"x"), (A, b"x")):
        comparison.note(node, ONE, digest)
    assert comparison.find(A) == Agrees(ONE)


def test_a_state_that_came_from_elsewhere_is_not_judged_by_the_old_one() -> None:
    comparison = Comparison(THREE)
    for node, digest in ((A, b"y"), (B, b"x"), (C, b"x")):
        comparison.note(node, ONE, digest)
    comparison.forget(A)
    assert comparison.find(A) == NOTHING_KNOWN
    assert comparison.find(B) == Agrees(ONE)


def test_strangers_do_not_count() -> None:
    comparison = Comparison(THREE)
    comparison.note(A, ONE, b"x")
    comparison.note(NodeId("z"), ONE, b"x")
    assert comparison.find(A) == NOTHING_KNOWN


def test_only_the_last_slots_are_kept() -> None:
    comparison = Comparison(THREE)
    for slot in range(1, SLOTS_MAX + 2):
        comparison.note(B, Slot(slot), b"x")
    assert not comparison.is_compared(ONE)
    assert all(comparison.is_compared(Slot(slot)) for slot in range(2, SLOTS_MAX + 2))

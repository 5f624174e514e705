"""Commands of nodes: executed in order, never twice, answered for as long as somebody waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.store.commands import Append, Set
from kvpaxos.store.layout import Layout
from kvpaxos.store.machine import Machine
from kvpaxos.store.results import Refusal, Result
from test.store.building import GROUP, LIFE, NODE, apply_all, submission, write

EXECUTED: Final = "executed"
GAP: Final = Refusal.GAP
DUPLICATE: Final = Refusal.DUPLICATE
OLD_LIFE: Final = Refusal.OLD_LIFE

Sent: TypeAlias = tuple[int, int, int]
"""Life, sequence, settled through."""


@dataclass(frozen=True)
class Case:
    rule: str
    sent: list[Sent]
    outcomes: list[str | Refusal]
    answered: set[int]


CASES = [
    Case("the first is 1", [(1, 1, 0)], [EXECUTED], {1}),
    Case("none is 0", [(1, 0, 0)], [DUPLICATE], set()),
    Case("a negative sequence is none", [(1, -1, 0)], [DUPLICATE], set()),
    Case(
        "the first is not 2", [(1, 2, 0), (1, 1, 0), (1, 2, 0)], [GAP, EXECUTED, EXECUTED], {1, 2}
    ),
    Case("one follows the other", [(1, 1, 0), (1, 2, 0), (1, 3, 0)], [EXECUTED] * 3, {1, 2, 3}),
    Case("none is executed twice", [(1, 1, 0), (1, 1, 0)], [EXECUTED, DUPLICATE], {1}),
    Case(
        "none is overtaken",
        [(1, 1, 0), (1, 3, 0), (1, 2, 0), (1, 3, 0)],
        [EXECUTED, GAP, EXECUTED, EXECUTED],
        {1, 2, 3},
    ),
    Case(
        "settled answers are dropped",
        [(1, 1, 0), (1, 2, 0), (1, 3, 2)],
        [EXECUTED] * 3,
        {3},
    ),
    Case(
        "what was settled stays settled",
        [(1, 1, 0), (1, 2, 1), (1, 3, 0)],
        [EXECUTED] * 3,
        {2, 3},
    ),
    Case(
        "what was given up is passed",
        [(1, 1, 0), (1, 4, 3)],
        [EXECUTED, EXECUTED],
        {4},
    ),
    Case(
        "what was given up is never executed",
        [(1, 1, 0), (1, 4, 3), (1, 2, 0), (1, 3, 0)],
        [EXECUTED, EXECUTED, DUPLICATE, DUPLICATE],
        {4},
    ),
    Case(
        "a refused command settles too",
        [(1, 1, 0), (1, 9, 5), (1, 5, 0), (1, 6, 0)],
        [EXECUTED, GAP, DUPLICATE, EXECUTED],
        {6},
    ),
    Case(
        "a copy settles too",
        [(1, 1, 0), (1, 2, 0), (1, 2, 1)],
        [EXECUTED, EXECUTED, DUPLICATE],
        {2},
    ),
    Case("nobody sends what he has settled", [(1, 3, 3), (1, 4, 3)], [DUPLICATE, EXECUTED], {4}),
    Case(
        "a newer life begins at 1",
        [(1, 1, 0), (1, 2, 0), (2, 3, 0), (2, 1, 0)],
        [EXECUTED, EXECUTED, GAP, EXECUTED],
        {1},
    ),
    Case(
        "a newer life ends the older one",
        [(1, 1, 0), (2, 1, 0), (1, 2, 0)],
        [EXECUTED, EXECUTED, OLD_LIFE],
        {1},
    ),
    Case(
        "a newer life ends the older one even if its first command is refused",
        [(1, 1, 0), (3, 2, 0), (2, 1, 0), (1, 2, 0)],
        [EXECUTED, GAP, OLD_LIFE, OLD_LIFE],
        set(),
    ),
    Case("lives may be skipped", [(1, 1, 0), (7, 1, 0)], [EXECUTED, EXECUTED], {1}),
    Case("a life can begin with settled ones", [(1, 9, 8)], [EXECUTED], {9}),
    Case("an old life settles nothing", [(2, 1, 0), (1, 9, 8)], [EXECUTED, OLD_LIFE], {1}),
    Case("a negative life is old", [(-1, 1, 0)], [OLD_LIFE], set()),
    Case("the largest numbers fit", [(2**64 - 1, 2**64 - 1, 2**64 - 2)], [EXECUTED], {2**64 - 1}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
@pytest.mark.parametrize("runs", ["in one run", "with restarts"])
def test_order(case: Case, runs: str) -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    outcomes: list[str | Refusal] = []
    for life, sequence, settled in case.sent:
        outcome = machine.apply(
            submission(Append(b"key", b"x"), sequence, life=life, settled=settled)
        )
        outcomes.append(EXECUTED if isinstance(outcome, Result) else outcome)
        write(machine, engine)
        if runs == "with restarts":
            machine = Machine(engine, GROUP)

    assert outcomes == case.outcomes
    newest = max(life for life, _, _ in case.sent)
    sequences = {sequence for _, sequence, _ in case.sent}
    answered = {one for one in sequences if machine.answer(NODE, newest, one) is not None}
    assert answered == case.answered
    assert machine.revision == case.outcomes.count(EXECUTED)
    assert machine.view().recompute_digest() == machine.digest


def test_an_answer_is_what_the_command_returned() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    results = apply_all(machine, [submission(Append(b"key", b"x"), number) for number in (1, 2, 3)])
    assert results == [Result("ok", b"x" * number, number) for number in (1, 2, 3)]
    assert [machine.answer(NODE, LIFE, number) for number in (1, 2, 3)] == results


def test_an_answer_belongs_to_its_node_and_life() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    machine.apply(submission(Set(b"key", b"x"), 1))
    assert machine.answer(NODE, LIFE, 1) is not None
    assert machine.answer(NODE, LIFE - 1, 1) is None
    assert machine.answer(NODE, LIFE + 1, 1) is None
    assert machine.answer("n02", LIFE, 1) is None
    assert machine.answer(NODE, LIFE, 2) is None
    assert machine.answer(NODE, LIFE, -1) is None


def test_nodes_do_not_wait_for_each_other() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    batch = [
        submission(Append(b"key", b"1"), 1, node="n01"),
        submission(Append(b"key", b"2"), 1, node="n02", life=1),
        submission(Append(b"key", b"3"), 2, node="n02", life=1),
        submission(Append(b"key", b"4"), 2, node="n01"),
    ]
    results = apply_all(machine, batch)
    assert [getattr(result, "value", None) for result in results] == [
        b"1",
        b"12",
        b"123",
        b"1234",
    ]


def test_names_of_nodes_that_begin_alike_are_kept_apart() -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    nodes = ["n", "n0", "n\0", "n\0\0\0\0\0\0\0\1", "né"]
    for number in (1, 2, 3):
        apply_all(machine, [submission(Set(b"key", b"x"), number, node=node) for node in nodes])
    write(machine, engine)
    again = Machine(engine, GROUP)
    assert all(again.answer(node, LIFE, 3) is not None for node in nodes)
    assert again.view().recompute_digest() == again.digest == machine.digest


def test_the_same_submissions_again_change_nothing() -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    batch = [
        submission(Append(b"key", b"x"), number, settled=max(0, number - 3))
        for number in range(1, 20)
    ]
    apply_all(machine, batch)
    write(machine, engine)
    digest = machine.digest
    assert apply_all(machine, batch) == [Refusal.DUPLICATE] * len(batch)
    assert machine.take_changes() == {}
    assert machine.digest == digest


def test_a_large_answer_is_written_once() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    machine.apply(submission(Append(b"key", b"x" * 1000), 1))
    first = machine.take_changes()
    machine.apply(submission(Set(b"other", b""), 2))
    second = machine.take_changes()
    place = Layout(GROUP).answer(NODE, 1)
    assert place in first
    assert place not in second
    assert sum(len(record or b"") for record in second.values()) < 200


def test_no_answers_are_kept_that_were_settled_within_the_batch() -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    for number in range(1, 101):
        machine.apply(submission(Set(b"key", b"x"), number, settled=number - 1))
    write(machine, engine)
    view = machine.view()
    assert len(list(view.records())) == 3  # the key, the session, the last answer

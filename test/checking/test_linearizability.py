"""Tiny histories of one key, and whether one machine could have answered so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from kvpaxos.checking.history import UNTOLD, Call, Dump, KeyOperation, Outcome, Told
from kvpaxos.checking.linearizability import Verdict, check
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Set,
    Update,
)
from test.checking.brute import KEY, changed, linearizable, true_history

OTHER = b"other"


def did(
    operation: KeyOperation, began: float, ended: float, told: Told = UNTOLD, by: str = "c"
) -> Call:
    return Call(by, operation, began, ended, "done", told)


def refused(operation: KeyOperation, began: float, ended: float, told: Told = UNTOLD) -> Call:
    return Call("c", operation, began, ended, "refused", told)


def maybe(operation: KeyOperation, began: float) -> Call:
    return Call("c", operation, began, None, "unknown")


def failed(operation: KeyOperation, began: float, ended: float) -> Call:
    return Call("c", operation, began, ended, "failed")


def put(value: str, key: bytes = KEY) -> Set:
    return Set(key, value.encode())


GET = Get(KEY)
DELETE = Delete(KEY)


@dataclass
class Case:
    name: str
    calls: list[Call]


RIGHT = [
    Case("nothing happened", []),
    Case("a read of nothing", [refused(GET, 0, 1)]),
    Case("a read sees the last write", [did(put("a"), 0, 1), did(GET, 2, 3, b"a")]),
    Case(
        "a read may see a write that overlaps it",
        [did(put("a"), 0, 1), did(put("b"), 2, 9), did(GET, 3, 4, b"b"), did(GET, 5, 6, b"b")],
    ),
    Case(
        "or may not see it yet",
        [did(put("a"), 0, 1), did(put("b"), 2, 9), did(GET, 3, 4, b"a"), did(GET, 5, 6, b"b")],
    ),
    Case(
        "what ends as another begins overlaps it",
        [did(put("a"), 0, 1), did(put("b"), 1, 2), did(GET, 3, 4, b"a")],
    ),
    Case("an unknown write may have been", [maybe(put("a"), 0), did(GET, 5, 6, b"a")]),
    Case("or not", [maybe(put("a"), 0), refused(GET, 5, 6)]),
    Case(
        "or later",
        [maybe(put("a"), 0), refused(GET, 5, 6), did(put("b"), 7, 8), did(GET, 9, 10, b"a")],
    ),
    Case(
        "an unknown insert makes another one refused",
        [maybe(Insert(KEY, b"a"), 0), refused(Insert(KEY, b"b"), 1, 2), did(GET, 3, 4, b"a")],
    ),
    Case(
        "a write that nobody reads makes an insert refused",
        [maybe(put("a"), 0), refused(Insert(KEY, b"b"), 1, 2)],
    ),
    Case(
        "a write that nobody reads lets an unknown update be",
        [maybe(put("a"), 0), maybe(Update(KEY, b"b"), 0), did(GET, 1, 2, b"b")],
    ),
    Case(
        "two unknown appends are both there, in either order",
        [
            *(maybe(Append(KEY, b"a"), 0), maybe(Append(KEY, b"b"), 0)),
            *(did(GET, 1, 2, b"b"), did(GET, 3, 4, b"ba")),
        ],
    ),
    Case(
        "a compare-and-set of an unknown outcome lets another one be",
        [
            did(put("a"), 0, 1),
            maybe(CompareAndSet(KEY, b"a", b"b"), 2),
            did(CompareAndSet(KEY, b"b", b"c"), 3, 4),
        ],
    ),
    Case(
        "a write of what is there already comes where it is needed",
        [
            did(put("a"), 0, 1),
            *(did(put("a"), 2, 9), did(put("b"), 2, 9)),
            *(did(GET, 3, 4, b"b"), did(GET, 5, 6, b"a")),
        ],
    ),
    Case(
        "a comparison is refused with what the key holds",
        [
            refused(CompareAndSet(KEY, b"a", b"b"), 0, 1, None),
            did(put("c"), 2, 3),
            refused(CompareAndSet(KEY, b"a", b"b"), 4, 5, b"c"),
            refused(CompareAndSet(KEY, None, b"b"), 4, 5, b"c"),
        ],
    ),
    Case("what failed was not", [failed(put("a"), 0, 1), refused(GET, 2, 3)]),
    Case(
        "old values are shown",
        [did(put("a"), 0, 1), did(Update(KEY, b"b"), 2, 3, b"a"), did(DELETE, 4, 5, b"b")],
    ),
    Case("an empty value is a value", [maybe(Append(KEY, b""), 0), did(GET, 1, 2, b"")]),
]

WRONG = [
    Case("a read of what nobody wrote", [did(GET, 0, 1, b"a")]),
    Case("a stale read", [did(put("a"), 0, 1), did(put("b"), 2, 3), did(GET, 4, 5, b"a")]),
    Case("a write is lost", [did(put("a"), 0, 1), refused(GET, 2, 3)]),
    Case(
        "a read goes back",
        [did(put("a"), 0, 1), did(put("b"), 2, 9), did(GET, 3, 4, b"b"), did(GET, 5, 6, b"a")],
    ),
    Case(
        "an update is lost",
        [
            did(put("a"), 0, 1),
            did(Update(KEY, b"b"), 2, 3, b"a"),
            did(Update(KEY, b"c"), 4, 5, b"a"),
        ],
    ),
    Case("an append came twice", [did(Append(KEY, b"x"), 0, 1, b"x"), did(GET, 2, 3, b"xx")]),
    Case(
        "an append of an unknown outcome came twice",
        [maybe(Append(KEY, b"x"), 0), did(GET, 2, 3, b"xx")],
    ),
    Case(
        "two comparisons with the same value both won",
        [
            did(put("a"), 0, 1),
            did(CompareAndSet(KEY, b"a", b"b"), 2, 5),
            did(CompareAndSet(KEY, b"a", b"c"), 2, 5),
        ],
    ),
    Case(
        "two inserts both won",
        [did(Insert(KEY, b"a"), 0, 5), did(Insert(KEY, b"b"), 0, 5)],
    ),
    Case("an insert is refused although the key is absent", [refused(Insert(KEY, b"a"), 0, 1)]),
    Case(
        "an update is refused although the key is there",
        [did(put("a"), 0, 1), refused(Update(KEY, b"b"), 2, 3)],
    ),
    Case(
        "a comparison is refused although it holds",
        [did(put("a"), 0, 1), refused(CompareAndSet(KEY, b"a", b"b"), 2, 3)],
    ),
    Case(
        "a comparison is refused with what the key does not hold",
        [did(put("a"), 0, 1), refused(CompareAndSet(KEY, b"c", b"b"), 2, 3, b"b")],
    ),
    Case("what failed was done", [failed(put("a"), 0, 1), did(GET, 2, 3, b"a")]),
    Case("an unknown write before its call", [did(GET, 0, 1, b"a"), maybe(put("a"), 2)]),
    Case(
        "an unknown write went and came back",
        [
            maybe(put("a"), 0),
            *(did(GET, 1, 2, b"a"), did(put("b"), 3, 4)),
            *(did(GET, 5, 6, b"b"), did(GET, 7, 8, b"a")),
        ],
    ),
    Case("a refused write was done", [refused(Insert(KEY, b"a"), 0, 1), did(GET, 0, 1, b"a")]),
    Case(
        "a delete shows another old value",
        [did(put("a"), 0, 1), did(DELETE, 2, 3, b"b")],
    ),
    Case("an empty value is not nothing", [did(put(""), 0, 1), refused(GET, 2, 3)]),
]


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_one_machine_could_have_answered_so(case: Case) -> None:
    verdict = check(case.calls)
    assert (verdict.outcome, verdict.breaks, verdict.undecided) == ("linearizable", (), ())
    assert linearizable(case.calls)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_no_machine_could_have_answered_so(case: Case) -> None:
    verdict = check(case.calls)
    assert verdict.outcome == "broken"
    assert [found.key for found in verdict.breaks] == [KEY]
    assert not linearizable(case.calls)


def test_one_broken_key_breaks_the_history_and_the_others_are_judged_too() -> None:
    third = b"third"
    calls = [
        *(did(put("a"), 0, 1), did(GET, 2, 3, b"a")),
        *(did(put("b", OTHER), 0, 1), did(Get(OTHER), 2, 3, b"a")),
        *(did(put("c", third), 0, 1), refused(Get(third), 2, 3)),
    ]
    verdict = check(calls)
    assert (verdict.keys, verdict.calls) == (3, 6)
    assert {found.key for found in verdict.breaks} == {OTHER, third}


def test_what_promises_less_or_spans_keys_is_left_out_and_counted() -> None:
    stale = replace(did(GET, 2, 3, b"a"), read="stale")
    count = Call("c", Count(), 4, 5, "done", b"7")
    dump = Call("c", Dump(), 4, 5, "done", pairs=((b"k", b"z"),))
    verdict = check([did(put("b"), 0, 1), stale, count, dump])
    assert (verdict.outcome, verdict.calls, verdict.left_out) == ("linearizable", 1, 3)


# Against every order there is.

HISTORIES = 1500


def judged(calls: list[Call]) -> Verdict:
    # Longer than any of these takes, and far less than they would take without the memory.
    verdict = check(calls, steps_max=20_000)
    assert not verdict.undecided
    return verdict


def test_what_one_machine_did_answer_is_linearizable_however_calls_overlap() -> None:
    random = Random("true histories")
    for _ in range(HISTORIES):
        assert judged(true_history(random, random.randrange(1, 12))).outcome == "linearizable"


def test_with_one_answer_changed_the_verdict_is_that_of_all_orders_there_are() -> None:
    random = Random("changed histories")
    broken = 0
    for _ in range(HISTORIES):
        calls = list(changed(random, true_history(random, random.randrange(1, 6))))
        possible = linearizable(calls)
        assert (judged(calls).outcome == "linearizable") == possible, calls
        broken += not possible
    assert HISTORIES / 4 < broken < HISTORIES * 3 / 4


# Cost.


def crowd(random: Random, count: int, keys: int, clients: int, unknown: float) -> list[Call]:
    """Return what ``clients`` saw that asked one machine without a pause."""
    calls: list[Call] = []
    held: dict[bytes, bytes | None] = {}
    free = [0.0] * clients
    for number in range(count):
        client = min(range(clients), key=free.__getitem__)
        began = free[client]
        at = began + random.random()
        free[client] = at + random.random()
        calls.append(Call(f"c{client}", Get(b"%d" % random.randrange(keys)), began, at, "done"))
        calls[-1] = replace(calls[-1], slot=number)
    carried_out: list[Call] = []
    for call in sorted(calls, key=lambda call: call.ended or 0):
        assert isinstance(call.operation, Get)
        assert call.ended is not None
        carried_out.append(answered(random, call, call.operation.key, held, unknown))
    return carried_out


def answered(
    random: Random, call: Call, key: bytes, held: dict[bytes, bytes | None], unknown: float
) -> Call:
    """Return ``call``, whose end is when it was carried out, with what it did and was told."""
    before, value = held.get(key), b"%d" % (call.slot or 0)
    operation: KeyOperation
    told: Told
    outcome: Outcome
    after: bytes | None
    match random.randrange(4):
        case 0:
            operation, after, outcome, told = Set(key, value), value, "done", UNTOLD
        case 1:
            operation = CompareAndSet(key, before, value)
            after, outcome, told = value, "done", UNTOLD
        case 2:
            operation, after = Get(key), before
            outcome, told = ("refused", UNTOLD) if before is None else ("done", before)
        case _:
            operation, after = Delete(key), None
            outcome, told = ("refused", UNTOLD) if before is None else ("done", before)
    if random.random() < unknown:
        outcome, told = "unknown", UNTOLD
        after = random.choice((before, after))
    held[key] = after
    assert call.ended is not None
    return replace(
        call, operation=operation, ended=call.ended + random.random(), outcome=outcome, told=told
    )


def test_ten_thousand_calls_take_a_few_steps_each() -> None:
    verdict = check(crowd(Random(1), 10_000, 20, 8, unknown=0.0))
    assert (verdict.outcome, verdict.calls, verdict.keys) == ("linearizable", 10_000, 20)
    assert verdict.visited < 10_000
    assert verdict.steps < 40_000


def test_unknown_outcomes_cost_little_more() -> None:
    verdict = check(crowd(Random(2), 5_000, 10, 8, unknown=0.1))
    assert verdict.outcome == "linearizable"
    assert verdict.steps < 5_000 * 40


def test_a_hundred_unknown_writes_that_nobody_reads_cost_nothing() -> None:
    lost = [maybe(put(f"lost {number}"), number) for number in range(100)]
    calls = [*lost, did(put("a"), 200, 201), did(GET, 202, 203, b"b")]
    verdict = check(calls)
    assert verdict.outcome == "broken"
    assert verdict.steps < 10


def test_unknown_writes_that_somebody_might_have_needed_are_tried_by_kind_and_not_one_by_one() -> (
    None
):
    lost = [maybe(put(f"lost {number}"), number) for number in range(100)]
    calls = [*lost, refused(Insert(KEY, b"x"), 200, 201), did(GET, 202, 203, b"b")]
    verdict = check(calls)
    assert verdict.outcome == "broken"
    assert verdict.steps < 500


def test_beyond_the_limit_of_steps_there_is_no_verdict_rather_than_a_wrong_one() -> None:
    calls = crowd(Random(1), 60, 2, 4, unknown=0.0)
    verdict = check(calls, steps_max=60)
    assert (verdict.outcome, verdict.breaks) == ("undecided", ())
    assert verdict.undecided
    assert verdict.steps == 60
    wrong = [*calls, did(Get(b"0"), 0, 1e9, b"nobody wrote this")]
    assert check(wrong, steps_max=60).outcome == "undecided"
    assert check(wrong).outcome == "broken"

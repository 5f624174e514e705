"""Requests of clients that come again: executed once, and answered alike."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.store.commands import (
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    Update,
)
from kvpaxos.store.limits import KEY_BYTES_MAX, OPID_MAX
from kvpaxos.store.machine import Machine
from kvpaxos.store.requests import Identity, Named, encode_request
from kvpaxos.store.results import Outcome, Result
from test.store.asking import AGAIN, EXECUTED, ONE, TWO, Asker, K, X, Y, anonymous, me, you
from test.store.building import GROUP, LIFE, Caller, submission, write


@dataclass(frozen=True)
class Case:
    rule: str
    asked: list[tuple[Identity, Operation]]
    outcomes: list[str]


CASES = [
    Case("a greater opid is executed", [(me(1), X), (me(2), X)], [EXECUTED, EXECUTED]),
    Case(
        "a greater opid is executed, whatever it asks for",
        [(me(1), X), (me(2), Y)],
        [EXECUTED, EXECUTED],
    ),
    Case("the same opid gets its answer again", [(me(1), X)] * 3, [EXECUTED, AGAIN, AGAIN]),
    Case(
        "the same opid for something else is refused",
        [(me(1), X), (me(1), Y), (me(1), X)],
        [EXECUTED, "reused", AGAIN],
    ),
    Case("a lower opid is refused", [(me(2), X), (me(1), X)], [EXECUTED, "stale"]),
    Case(
        "a lower opid is refused, whatever it asks for",
        [(me(2), X), (me(1), Y)],
        [EXECUTED, "stale"],
    ),
    Case(
        "a lower opid is refused even if it was answered once",
        [(me(1), X), (me(2), X), (me(1), X)],
        [EXECUTED, EXECUTED, "stale"],
    ),
    Case(
        "a lower opid changes nothing for the newest",
        [(me(2), X), (me(1), X), (me(2), X), (me(3), X)],
        [EXECUTED, "stale", AGAIN, EXECUTED],
    ),
    Case("opids may be skipped", [(me(3), X), (me(9), X)], [EXECUTED, EXECUTED]),
    Case(
        "opids go from 0 to the greatest",
        [(me(0), X), (me(0), X), (me(OPID_MAX), X), (me(OPID_MAX), X), (me(0), X)],
        [EXECUTED, AGAIN, EXECUTED, AGAIN, "stale"],
    ),
    Case(
        "clients are independent of each other",
        [(me(5), X), (you(1), X), (me(5), X), (you(1), Y)],
        [EXECUTED, EXECUTED, AGAIN, "reused"],
    ),
    Case(
        "the anonymous client is a client of its own",
        [(me(5), X), (anonymous(1), X), (anonymous(1), X), (anonymous(0), X)],
        [EXECUTED, EXECUTED, AGAIN, "stale"],
    ),
    Case(
        "request ids have no order",
        [(TWO, X), (ONE, X), (TWO, X), (ONE, X)],
        [EXECUTED, EXECUTED, AGAIN, AGAIN],
    ),
    Case(
        "a request id for something else is refused",
        [(ONE, X), (ONE, Y), (ONE, X)],
        [EXECUTED, "reused", AGAIN],
    ),
    Case("the empty request id is one too", [(Named(b""), X)] * 2, [EXECUTED, AGAIN]),
    Case(
        "a request id is no client",
        [(Named(b"me"), X), (me(0), X), (Named(b"me"), X), (me(0), X)],
        [EXECUTED, EXECUTED, AGAIN, AGAIN],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
@pytest.mark.parametrize("restarts", [False, True], ids=["in one run", "with restarts"])
def test_repeats(case: Case, restarts: bool) -> None:  # noqa: FBT001 - a parameter of tests
    asker = Asker(restarts=restarts)
    assert [asker.ask(*asked) for asked in case.asked] == case.outcomes
    assert asker.machine.revision == case.outcomes.count(EXECUTED)
    assert asker.machine.view().recompute_digest() == asker.machine.digest


FAILURES: list[tuple[Operation, Outcome, bytes | None]] = [
    (Insert(K, b"b"), "exists", None),
    (Update(b"other", b"b"), "missing", None),
    (Delete(b"other"), "missing", None),
    (CompareAndSet(K, b"b", b"c"), "differs", b"a"),
    (CompareAndSet(K, None, b"c"), "exists", b"a"),
    (Get(b"other"), "missing", None),
    (Get(b"k" * (KEY_BYTES_MAX + 1)), "too_large", None),
    (Set(b"k" * (KEY_BYTES_MAX + 1), b""), "too_large", None),
]


@pytest.mark.parametrize(("operation", "outcome", "value"), FAILURES, ids=repr)
@pytest.mark.parametrize("identity", [ONE, me(1)], ids=["request id", "client"])
def test_a_failure_is_an_answer_too(
    operation: Operation, outcome: Outcome, value: bytes | None, identity: Identity
) -> None:
    call = Caller(Machine(MemoryEngine(), GROUP))
    call(Set(K, b"a"))
    first = call(operation, identity)
    assert first == Result(outcome, value, 1)
    call(Delete(K))
    call(Set(b"other", b"b"))
    assert call(operation, identity) == first


def test_a_read_with_an_identity_shows_again_what_it_once_showed() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    call = Caller(machine)
    call(Set(K, b"a"))
    assert call(Get(K), ONE) == Result("ok", b"a", 1)
    assert call(Count(), TWO) == Result("ok", b"1", 1)
    call(Set(K, b"b"))
    call(Set(b"other", b""))
    assert call(Get(K), ONE) == Result("ok", b"a", 1)
    assert call(Count(), TWO) == Result("ok", b"1", 1)
    assert call(Get(K)) == Result("ok", b"b", 3)
    assert call(Count()) == Result("ok", b"2", 3)
    assert (machine.count, machine.revision) == (2, 3)


def test_a_read_is_not_taken_for_a_write_of_the_same_key() -> None:
    call = Caller(Machine(MemoryEngine(), GROUP))
    call(Set(K, b"a"))
    assert call(Get(K), ONE).outcome == "ok"
    assert call(Delete(K), ONE).outcome == "reused"


DAMAGED = {
    "an identity cut short": b"\x40\x02me",
    "an operation cut short": encode_request(Set(K, b""), me(2))[:-1],
    "an operation that nobody knows": b"\x41\x03one\xff\0\0\0\0",
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_request_is_invalid_and_leaves_nothing_behind(body: bytes) -> None:
    machine = Machine(MemoryEngine(), GROUP)
    call = Caller(machine)
    call(X, me(1))
    call(X, ONE)
    before = machine.remembered
    assert machine.apply(submission(body, 3)) == Result("invalid", None, 2)
    assert machine.remembered == before
    assert machine.apply(submission(encode_request(X, me(1)), 4)) == Result("ok", b"x", 1)


def test_every_node_answers_a_request_that_comes_again() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    body = encode_request(X, ONE)
    first = machine.apply(submission(body, 1, node="n01"))
    assert machine.apply(submission(body, 1, node="n02")) == first
    assert machine.apply(submission(body, 1, node="n01", life=LIFE + 1)) == first
    assert machine.answer("n02", LIFE, 1) == first
    assert machine.revision == 1


def test_a_command_that_its_node_sends_again_is_no_use_of_its_identity() -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    bodies = [encode_request(X, me(1)), encode_request(X, ONE)]
    batch = [submission(body, number) for number, body in enumerate(bodies, start=1)]
    for one in batch:
        machine.apply(one)
    write(machine, engine)
    digest = machine.digest
    for one in batch:
        machine.apply(one)
    assert machine.digest == digest
    assert machine.take_changes() == {}

"""Answers to requests: kept within bounds, forgotten in the order of their last use."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import StateDamaged
from kvpaxos.store.commands import Append, Operation, Set
from kvpaxos.store.layout import Layout
from kvpaxos.store.limits import IdentityLimits
from kvpaxos.store.machine import Machine
from kvpaxos.store.requests import Identity, Named, Numbered, encode_request
from test.store.asking import (
    AGAIN,
    EXECUTED,
    ONE,
    THREE,
    TWO,
    Asker,
    K,
    X,
    Y,
    anonymous,
    me,
    you,
)
from test.store.building import GROUP, NODE, Caller, submission, write

LAYOUT = Layout(GROUP)


def clients(count: int = 10, size: int = 10**6) -> IdentityLimits:
    return IdentityLimits(client_sessions_max=count, client_sessions_bytes_max=size)


def ids(count: int = 10, size: int = 10**6) -> IdentityLimits:
    return IdentityLimits(request_ids_max=count, request_ids_bytes_max=size)


# The name has 3 bytes, the answer 11 and its value 1 to 10.
LARGE = Append(b"other", b"z" * 10)


@dataclass(frozen=True)
class Case:
    rule: str
    limits: IdentityLimits
    asked: list[Identity | tuple[Identity, Operation]]
    outcomes: list[str]


BOUNDS = [
    Case(
        "two of two are remembered",
        ids(count=2),
        [ONE, TWO, ONE, TWO],
        [EXECUTED, EXECUTED, AGAIN, AGAIN],
    ),
    Case(
        "the first of three is forgotten",
        ids(count=2),
        [ONE, TWO, THREE, TWO, THREE, ONE],
        [EXECUTED, EXECUTED, EXECUTED, AGAIN, AGAIN, EXECUTED],
    ),
    Case(
        "a repetition is a use",
        ids(count=2),
        [ONE, TWO, ONE, THREE, ONE, TWO],
        [EXECUTED, EXECUTED, AGAIN, EXECUTED, AGAIN, EXECUTED],
    ),
    Case(
        "a refused request is a use",
        ids(count=2),
        [ONE, TWO, (ONE, Y), THREE, ONE, TWO],
        [EXECUTED, EXECUTED, "reused", EXECUTED, AGAIN, EXECUTED],
    ),
    Case(
        "a stale request is a use",
        clients(count=2),
        [me(1), you(1), me(0), anonymous(1), me(1), you(1)],
        [EXECUTED, EXECUTED, "stale", EXECUTED, AGAIN, EXECUTED],
    ),
    Case(
        "a newer request is a use, and no second session",
        clients(count=2),
        [me(1), you(1), me(2), you(1), me(2)],
        [EXECUTED, EXECUTED, EXECUTED, AGAIN, AGAIN],
    ),
    Case(
        "what was forgotten may be stale and is executed",
        clients(count=1),
        [me(5), you(1), me(3)],
        [EXECUTED, EXECUTED, EXECUTED],
    ),
    Case(
        "what was forgotten may ask for something else",
        ids(count=1),
        [ONE, TWO, (ONE, Y)],
        [EXECUTED, EXECUTED, EXECUTED],
    ),
    Case(
        "request ids do not drive out sessions",
        IdentityLimits(client_sessions_max=1, request_ids_max=1),
        [me(1), ONE, TWO, me(1), you(1), TWO],
        [EXECUTED, EXECUTED, EXECUTED, AGAIN, EXECUTED, AGAIN],
    ),
    # After the first append the answers have 12, 13, … bytes.
    Case(
        "as many bytes as are allowed are remembered",
        ids(size=3 + 12 + 3 + 13),
        [ONE, TWO, ONE],
        [EXECUTED, EXECUTED, AGAIN],
    ),
    Case(
        "one byte less forgets the first",
        ids(size=3 + 12 + 3 + 13 - 1),
        [ONE, TWO, TWO, ONE],
        [EXECUTED, EXECUTED, AGAIN, EXECUTED],
    ),
    Case(
        "one large answer can drive out several",
        ids(size=3 + 12 + 3 + 13 + 5),
        [ONE, TWO, (THREE, LARGE), (THREE, LARGE), ONE, TWO],
        [EXECUTED, EXECUTED, EXECUTED, AGAIN, EXECUTED, EXECUTED],
    ),
    Case(
        "an answer over the bound is remembered as long as it is alone",
        ids(size=1),
        [ONE, ONE, TWO, TWO, ONE],
        [EXECUTED, AGAIN, EXECUTED, AGAIN, EXECUTED],
    ),
    Case(
        "an answer that has grown drives out others",
        clients(size=2 + 12 + 3 + 13),
        [me(1), you(1), (me(2), LARGE), (me(2), LARGE), you(1)],
        [EXECUTED, EXECUTED, EXECUTED, AGAIN, EXECUTED],
    ),
]


@pytest.mark.parametrize("case", BOUNDS, ids=lambda case: case.rule)
@pytest.mark.parametrize("restarts", [False, True], ids=["in one run", "with restarts"])
def test_bounds(case: Case, restarts: bool) -> None:  # noqa: FBT001 - a parameter of tests
    asker = Asker(case.limits, restarts=restarts)
    asked = [one if isinstance(one, tuple) else (one, X) for one in case.asked]
    assert [asker.ask(*one) for one in asked] == case.outcomes
    assert asker.machine.view().recompute_digest() == asker.machine.digest


def test_what_is_forgotten_leaves_nothing_in_the_engine() -> None:
    asker = Asker(IdentityLimits(client_sessions_max=2, request_ids_max=3))
    for number in range(20):
        asker.ask(Numbered(b"client %d" % number, 1))
        asker.ask(Named(b"request %d" % number))
    places = [place for place, _ in asker.machine.view().records()]
    # For each its record and its answer; the node's session and last answer; the key.
    assert len(places) == 2 * 2 + 3 * 2 + 2 + 1


def test_what_is_forgotten_within_its_batch_leaves_nothing_either() -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP, identity_limits=ids(count=1))
    call = Caller(machine)
    for number in range(20):
        call(X, Named(b"%d" % number))
    write(machine, engine)
    assert len(list(machine.view().records())) == 2 + 2 + 1
    assert machine.view().recompute_digest() == machine.digest


@pytest.mark.parametrize("restarts", [False, True], ids=["in one run", "with restarts"])
def test_what_is_remembered_is_counted(restarts: bool) -> None:  # noqa: FBT001 - as above
    asker = Asker(restarts=restarts)
    assert set(asker.machine.remembered.values()) == {0}
    for identity in (me(1), you(1), me(2), ONE):
        asker.ask(identity, Set(K, b"value"))
    assert asker.machine.remembered == {
        "client_sessions": 2,
        "client_sessions_bytes": len("me") + len("you") + 2 * 11,
        "request_ids": 1,
        "request_ids_bytes": len("one") + 11,
    }


def test_a_count_of_what_is_remembered_is_named_like_its_limit() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    limits = IdentityLimits.__dataclass_fields__
    assert [f"{name}_max" for name in machine.remembered] == list(limits)


@pytest.mark.parametrize("identity", [ONE, me(1)], ids=["request id", "client"])
def test_a_large_answer_is_written_once(identity: Identity) -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    call = Caller(machine)
    large = Append(K, b"x" * 1000)
    call(large, identity)
    first = machine.take_changes()
    engine.write(first)
    call(large, identity)
    second = machine.take_changes()
    # The node keeps the answer for as long as it waits for it, like any other.
    del second[LAYOUT.answer(NODE, 2)]
    assert sum(len(record or b"") for record in first.values()) > 3000
    assert sum(len(record or b"") for record in second.values()) < 300


def test_a_view_needs_uses_to_be_written_too() -> None:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    Caller(machine)(X, ONE)
    write(machine, engine)
    machine.view().close()
    Caller(machine, "n02")(X, ONE)
    with pytest.raises(AssertionError):
        machine.view()


def _remembering() -> MemoryEngine:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    Caller(machine)(X, ONE)
    write(machine, engine)
    return engine


@pytest.mark.parametrize("record", [b"", b"\x02" + bytes(52), b"\x01" + bytes(51)])
def test_a_damaged_record_of_a_request_stops_the_node(record: bytes) -> None:
    engine = _remembering()
    place = LAYOUT.request_ids.record(b"one")
    assert engine.get(place) is not None
    engine.write({place: record})
    with pytest.raises(StateDamaged, match=place.hex()):
        Machine(engine, GROUP)


@pytest.mark.parametrize("record", [None, b"", b"\x01\x00\x01" + bytes(8) + b"y"])
def test_an_answer_that_is_not_the_one_that_was_kept_stops_the_node(record: bytes | None) -> None:
    engine = _remembering()
    place = LAYOUT.request_ids.answer(b"one")
    assert engine.get(place) is not None
    engine.write({place: record})
    machine = Machine(engine, GROUP)
    with pytest.raises(StateDamaged, match=place.hex()):
        machine.apply(submission(encode_request(X, ONE), 1, node="n02"))

"""The state machine as a whole, on the engine in memory."""

from __future__ import annotations

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import StartError, StateDamaged
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Delete,
    Insert,
    Operation,
    Set,
    Update,
    encode_operation,
)
from kvpaxos.store.entry import Entry
from kvpaxos.store.layout import Layout, applied_key
from kvpaxos.store.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from kvpaxos.store.machine import Machine
from kvpaxos.store.results import Result
from test.store.building import GROUP, LIFE, NODE, Caller, apply_all, submission, write

K = b"key"
FAILURES: list[Operation] = [
    Insert(K, b"b"),
    Update(b"other", b"b"),
    Delete(b"other"),
    CompareAndSet(K, b"b", b"c"),
    CompareAndSet(K, None, b"c"),
    CompareAndSet(b"other", b"b", b"c"),
    Set(b"k" * (KEY_BYTES_MAX + 1), b""),
    Set(K, b"v" * (VALUE_BYTES_MAX + 1)),
    Append(K, b"v" * VALUE_BYTES_MAX),
]


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
def machine(engine: MemoryEngine) -> Machine:
    return Machine(engine, GROUP)


@pytest.fixture
def call(machine: Machine) -> Caller:
    return Caller(machine)


def test_a_new_state_is_empty(machine: Machine) -> None:
    assert (machine.count, machine.revision) == (0, 0)
    assert machine.get(K) is None
    assert machine.take_changes() == {}


def test_each_write_counts_one_revision(machine: Machine, call: Caller) -> None:
    assert call(Set(K, b"a")) == Result("ok", None, 1)
    assert call(Insert(b"other", b"a")) == Result("ok", None, 2)
    assert call(Update(K, b"b")) == Result("ok", b"a", 3)
    assert call(Append(K, b"c")) == Result("ok", b"bc", 4)
    assert call(CompareAndSet(K, b"bc", b"d")) == Result("ok", None, 5)
    assert call(Delete(b"other")) == Result("ok", b"a", 6)
    assert (machine.count, machine.revision) == (1, 6)


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_failure_changes_no_key_and_no_revision(
    machine: Machine, call: Caller, failure: Operation
) -> None:
    call(Set(K, b"a"))
    before = machine.get(K)
    result = call(failure)
    assert result.outcome != "ok"
    assert result.revision == 1
    assert (machine.count, machine.revision) == (1, 1)
    assert machine.get(K) == before


def test_setting_an_equal_value_is_a_write(machine: Machine, call: Caller) -> None:
    call(Set(K, b"a"))
    call(Set(K, b"a"))
    assert machine.get(K) == Entry(b"a", create_revision=1, modify_revision=2, version=2)


def test_a_key_keeps_its_history_through_every_kind_of_write(
    machine: Machine, call: Caller
) -> None:
    call(Set(b"other", b""))
    call(Insert(K, b"a"))
    call(Update(K, b"b"))
    call(Append(K, b"c"))
    call(CompareAndSet(K, b"bc", b"d"))
    assert machine.get(K) == Entry(b"d", create_revision=2, modify_revision=5, version=4)


def test_a_deleted_key_begins_anew_but_the_revision_goes_on(machine: Machine, call: Caller) -> None:
    call(Set(K, b"a"))
    call(Delete(K))
    assert machine.get(K) is None
    assert machine.count == 0
    call(Insert(K, b"b"))
    assert machine.get(K) == Entry(b"b", create_revision=3, modify_revision=3, version=1)


def test_commands_of_one_batch_see_each_other(engine: MemoryEngine, call: Caller) -> None:
    assert call(Insert(K, b"a")).outcome == "ok"
    assert call(Insert(K, b"b")).outcome == "exists"
    assert call(Delete(K)).value == b"a"
    assert call(Update(K, b"c")).outcome == "missing"
    assert engine.get(Layout(GROUP).user(K)) is None


def test_a_batch_is_one_write_of_each_key(machine: Machine, call: Caller) -> None:
    for number in range(10):
        call(Set(K, b"%d" % number))
    layout = Layout(GROUP)
    changes = machine.take_changes()
    assert {layout.meta, layout.session(NODE), layout.user(K)} <= changes.keys()
    assert len([place for place in changes if layout.users[0] <= place]) == 1


def test_changes_are_taken_once(machine: Machine, call: Caller) -> None:
    call(Set(K, b"a"))
    assert machine.take_changes()
    assert machine.take_changes() == {}


def test_a_refused_command_leaves_nothing_to_write(
    machine: Machine, engine: MemoryEngine, call: Caller
) -> None:
    call(Set(K, b"a"))
    write(machine, engine)
    apply_all(machine, [submission(Set(K, b"b"), 1), submission(Set(K, b"b"), 9)])
    assert machine.take_changes() == {}


def test_the_driver_has_a_key_of_its_own(machine: Machine, engine: MemoryEngine) -> None:
    digest = machine.digest
    engine.write({applied_key(GROUP): b"17"})
    assert Machine(engine, GROUP).digest == digest
    view = machine.view()
    assert view.recompute_digest() == digest
    assert view.page(None, 10, 100) == []


@pytest.mark.parametrize("body", [b"", b"\xff", b"\x04\0\0\0\x09key"])
def test_a_body_that_is_no_operation_is_executed_as_invalid(machine: Machine, body: bytes) -> None:
    assert machine.apply(submission(body, 1)) == Result("invalid", None, 0)
    assert machine.answer(NODE, LIFE, 1) == Result("invalid", None, 0)
    assert machine.apply(submission(Set(K, b"a"), 2)) == Result("ok", None, 1)


def test_the_limit_of_values_is_the_machines_own(engine: MemoryEngine) -> None:
    call = Caller(Machine(engine, GROUP, value_bytes_max=3))
    assert call(Set(K, b"abcd")) == Result("too_large", None, 0)
    assert call(Set(K, b"abc")) == Result("ok", None, 1)
    assert call(Append(K, b"d")) == Result("too_large", None, 1)


def test_a_restart_finds_everything(machine: Machine, engine: MemoryEngine, call: Caller) -> None:
    call(Set(K, b"a"))
    call(Set(b"other", b"b"))
    call(Delete(b"other"))
    write(machine, engine)
    again = Machine(engine, GROUP)
    assert (again.count, again.revision, again.digest) == (1, 3, machine.digest)
    assert again.get(K) == machine.get(K)
    assert again.answer(NODE, LIFE, 3) == Result("ok", b"b", 3)
    assert again.apply(submission(Set(K, b"b"), 4)) == Result("ok", None, 4)


def test_a_restart_forgets_what_was_not_written(
    machine: Machine, engine: MemoryEngine, call: Caller
) -> None:
    call(Set(K, b"a"))
    write(machine, engine)
    digest = machine.digest
    call(Set(K, b"b"))
    again = Machine(engine, GROUP)
    assert (again.revision, again.digest) == (1, digest)
    assert again.apply(submission(Set(K, b"b"), 2, settled=1)) == Result("ok", None, 2)
    assert again.digest == machine.digest


def test_groups_share_an_engine_and_nothing_else(engine: MemoryEngine) -> None:
    one, other = Machine(engine, 1), Machine(engine, 2)
    Caller(one)(Set(K, b"one"))
    Caller(other)(Set(K, b"other"))
    engine.write({**one.take_changes(), **other.take_changes()})
    assert Machine(engine, 1).get(K) == Entry(b"one", 1, 1, 1)
    assert Machine(engine, 2).get(K) == Entry(b"other", 1, 1, 1)
    view = Machine(engine, 1).view()
    assert view.page(None, 10, 100) == [(K, Entry(b"one", 1, 1, 1))]
    assert view.recompute_digest() == one.digest


def test_the_digest_follows_from_the_state_and_not_from_the_road_to_it(
    machine: Machine, call: Caller
) -> None:
    call(Set(b"a", b"1"))
    call(Set(b"b", b"1"))

    other = Machine(MemoryEngine(), GROUP)
    batch = [submission(Set(b"a", b"1"), 1), submission(Set(b"b", b"1"), 2, settled=1)]
    for one in batch:
        other.apply(one)
        other.take_changes()
    assert other.digest == machine.digest


def test_the_digest_sees_every_part_of_the_state(machine: Machine) -> None:
    digests = [machine.digest]
    for one in (
        submission(Set(b"a", b"1"), 1),
        submission(Set(b"a", b"1"), 2),  # another revision
        submission(Insert(b"a", b"1"), 3),  # another answer
        submission(Insert(b"a", b"1"), 4, settled=3),  # fewer answers
        submission(Delete(b"a"), 9, settled=4),  # refused, but it settles
        submission(b"", 1, node="n02"),  # another session
    ):
        machine.apply(one)
        digests.append(machine.digest)
    assert len(set(digests)) == len(digests)
    assert all(0 <= digest < 2**128 for digest in digests)


def test_an_old_state_is_refused_if_its_format_is_unknown(engine: MemoryEngine) -> None:
    engine.write({Layout(GROUP).meta: b"\x02" + bytes(32)})
    with pytest.raises(StartError, match="format 2"):
        Machine(engine, GROUP)


def _written_state() -> MemoryEngine:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    apply_all(machine, [submission(Set(K, b"a"), number) for number in (1, 2, 3)])
    write(machine, engine)
    return engine


LAYOUT = Layout(GROUP)


@pytest.mark.parametrize(
    "damage",
    [
        {LAYOUT.meta: None},
        {LAYOUT.meta: b"\x01"},
        {LAYOUT.session(NODE): None},
        {LAYOUT.session(NODE): b"\x01"},
        {LAYOUT.session(NODE): b"\x07" + bytes(24)},
        {LAYOUT.answer(NODE, 1): None},
        {LAYOUT.answer(NODE, 3): None},
        {LAYOUT.answer(NODE, 5): b"x"},
    ],
    ids=[
        "no meta record",
        "half a meta record",
        "no session",
        "half a session",
        "a session of another format",
        "no first answer",
        "no last answer",
        "an answer to nothing",
    ],
)
def test_a_state_that_does_not_fit_together_is_damaged(damage: dict[bytes, bytes | None]) -> None:
    engine = _written_state()
    engine.write(damage)
    with pytest.raises(StateDamaged):
        Machine(engine, GROUP)


def test_a_key_that_rotted_is_damage_and_not_an_answer() -> None:
    engine = _written_state()
    machine = Machine(engine, GROUP)
    engine.write({LAYOUT.user(K): b"rot", LAYOUT.answer(NODE, 2): None})
    with pytest.raises(StateDamaged):
        machine.get(K)
    with pytest.raises(StateDamaged):
        machine.apply(submission(Update(K, b"b"), 4))
    with pytest.raises(StateDamaged):
        machine.answer(NODE, LIFE, 2)


def test_the_recomputed_digest_sees_what_the_kept_one_cannot() -> None:
    engine = _written_state()
    place = LAYOUT.user(K)
    record = engine.get(place)
    assert record is not None
    engine.write({place: record[:-1] + b"!"})
    machine = Machine(engine, GROUP)
    assert machine.view().recompute_digest() != machine.digest
    engine.write({place: record})
    assert machine.view().recompute_digest() == machine.digest


def test_a_key_that_vanished_shows_in_the_recomputed_digest() -> None:
    engine = _written_state()
    engine.write({LAYOUT.user(K): None})
    machine = Machine(engine, GROUP)
    assert machine.view().recompute_digest() != machine.digest


def test_the_digest_of_a_known_state_never_changes() -> None:
    machine = Machine(MemoryEngine(), GROUP)
    machine.apply((NODE, LIFE, 1, 0, encode_operation(Set(b"key", b"value"))))
    # The sum of b2sum -l 128 over the three records and over format, count and revision.
    assert machine.digest == 0x8DC217A064E34ED6734CD83F64543DE3

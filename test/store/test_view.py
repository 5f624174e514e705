"""Pages of the state as it was at one moment."""

from __future__ import annotations

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import StateClosed
from kvpaxos.store.commands import Delete, Set
from kvpaxos.store.machine import Machine
from test.store.building import GROUP, Caller, write

KEYS = [b"", b"\0", b"a", b"a\0", b"a\0\0", b"aa", b"b", b"\xff", b"\xff\xff"]
WIDE = 10**6


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
def machine(engine: MemoryEngine) -> Machine:
    machine = Machine(engine, GROUP)
    call = Caller(machine)
    for key in reversed(KEYS):
        call(Set(key, b"v" * 10))
    write(machine, engine)
    return machine


def test_keys_come_in_order(machine: Machine) -> None:
    assert [key for key, _ in machine.view().page(None, 100, WIDE)] == KEYS


@pytest.mark.parametrize("position", range(len(KEYS)))
def test_a_page_begins_after_the_key_that_it_is_told(machine: Machine, position: int) -> None:
    page = machine.view().page(KEYS[position], 100, WIDE)
    assert [key for key, _ in page] == KEYS[position + 1 :]


def test_a_page_may_begin_after_a_key_that_is_not_there(machine: Machine) -> None:
    page = machine.view().page(b"a\0\0\0", 2, WIDE)
    assert [key for key, _ in page] == [b"aa", b"b"]


@pytest.mark.parametrize("limit", [1, 2, 4, 9, 10])
def test_pages_together_are_the_whole(machine: Machine, limit: int) -> None:
    view = machine.view()
    keys: list[bytes] = []
    while page := view.page(keys[-1] if keys else None, limit, WIDE):
        assert len(page) <= limit
        keys += [key for key, _ in page]
    assert keys == KEYS


@pytest.mark.parametrize(
    ("bytes_max", "number"),
    [(0, 1), (9, 1), (10, 1), (20, 1), (21, 2), (31, 2), (32, 3)],
)
def test_a_page_is_bounded_by_bytes_but_never_empty(
    machine: Machine, bytes_max: int, number: int
) -> None:
    # The first keys have 0, 1 and 1 bytes, and each value has 10.
    page = machine.view().page(None, 100, bytes_max)
    assert [key for key, _ in page] == KEYS[:number]


def test_after_the_last_key_the_page_is_empty(machine: Machine) -> None:
    assert machine.view().page(KEYS[-1], 1, 0) == []


def test_a_view_shows_one_moment(machine: Machine, engine: MemoryEngine) -> None:
    view = machine.view()
    known = (machine.count, machine.revision, machine.digest)
    call = Caller(machine, "n02")
    for operation in (Delete(b"a"), Set(b"b", b"changed"), Set(b"new", b"new")):
        call(operation)
    write(machine, engine)

    assert (view.count, view.revision, view.digest) == known
    assert view.recompute_digest() == view.digest != machine.digest
    page = view.page(None, 100, WIDE)
    assert [key for key, _ in page] == KEYS
    assert {entry.value for _, entry in page} == {b"v" * 10}


def test_a_closed_view_shows_nothing(machine: Machine) -> None:
    view = machine.view()
    view.close()
    view.close()
    with pytest.raises(StateClosed):
        view.page(None, 1, WIDE)


def test_a_view_ends_with_the_engine(machine: Machine, engine: MemoryEngine) -> None:
    view = machine.view()
    engine.close()
    with pytest.raises(StateClosed):
        view.page(None, 1, WIDE)


def test_a_view_needs_all_changes_to_be_taken(machine: Machine) -> None:
    Caller(machine, "n02")(Set(b"key", b"value"))
    with pytest.raises(AssertionError):
        machine.view()

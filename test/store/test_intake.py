"""A state that is made out of the pieces of another one."""

from __future__ import annotations

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import StateDamaged
from kvpaxos.store.commands import Delete, Set
from kvpaxos.store.intake import Intake
from kvpaxos.store.layout import applied_key
from kvpaxos.store.machine import Machine
from kvpaxos.store.requests import Numbered
from kvpaxos.store.view import Record
from test.store.building import GROUP, Caller, write

WIDE = 10**6


@pytest.fixture
def machine() -> Machine:
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    call = Caller(machine)
    for number in range(30):
        call(Set(b"%02d" % number, b"v" * number), Numbered(b"client", number + 1))
    call(Delete(b"07"))
    write(machine, engine)
    engine.write({applied_key(GROUP): b"\0" * 7 + b"\x09"})
    return machine


def pieces(machine: Machine, bytes_max: int, records_max: int | None = None) -> list[list[Record]]:
    view = machine.view()
    found: list[list[Record]] = []
    while piece := view.piece(found[-1][-1][0] if found else None, bytes_max, records_max):
        found.append(piece)
    return found


@pytest.mark.parametrize("bytes_max", [0, 1, 100, 1000, WIDE])
def test_pieces_of_any_size_make_the_same_state(machine: Machine, bytes_max: int) -> None:
    engine = MemoryEngine()
    intake = Intake(engine, GROUP)
    for piece in pieces(machine, bytes_max):
        intake.add(piece)
    intake.finish(machine.digest)
    copy = Machine(engine, GROUP)
    assert (copy.count, copy.revision, copy.digest) == (29, 31, machine.digest)
    assert copy.view().page(None, 99, WIDE) == machine.view().page(None, 99, WIDE)
    assert engine.get(applied_key(GROUP)) is None
    assert intake.records == sum(map(len, pieces(machine, bytes_max)))


def test_pieces_are_as_long_as_asked_for(machine: Machine) -> None:
    sizes = [sum(len(k) + len(v) for k, v in piece) for piece in pieces(machine, 500)]
    assert max(sizes) <= 500
    assert len(sizes) < 2 * sum(sizes) / 500 + 1


@pytest.mark.parametrize("records_max", [1, 2, 7])
def test_pieces_have_as_many_records_as_asked_for(machine: Machine, records_max: int) -> None:
    (whole,) = pieces(machine, WIDE)
    *full, last = pieces(machine, WIDE, records_max)
    assert {len(piece) for piece in full} == {records_max}
    assert 0 < len(last) <= records_max
    assert [record for piece in (*full, last) for record in piece] == whole


def test_an_empty_state_has_no_pieces() -> None:
    empty = Machine(MemoryEngine(), GROUP)
    assert pieces(empty, WIDE) == []
    Intake(MemoryEngine(), GROUP).finish(empty.digest)


def test_a_record_that_is_missing_changed_added_or_moved_is_noticed(machine: Machine) -> None:
    (whole,) = pieces(machine, WIDE)
    place, held = whole[5]
    following, _ = whole[6]
    wrong = {
        "missing": [*whole[:5], *whole[6:]],
        "changed": [*whole[:5], (place, held + b"x"), *whole[6:]],
        "added": [*whole[:6], (place + b"\0", held), *whole[6:]],
        "moved": [*whole[:5], (place + b"\0", held), *whole[6:]],
        "no meta": whole[1:],
    }
    assert place + b"\0" < following
    for what, piece in wrong.items():
        intake = Intake(MemoryEngine(), GROUP)
        intake.add(piece)
        with pytest.raises(StateDamaged, match="digest"):
            intake.finish(machine.digest)
        assert what


def test_another_states_digest_is_not_taken(machine: Machine) -> None:
    intake = Intake(MemoryEngine(), GROUP)
    for piece in pieces(machine, WIDE):
        intake.add(piece)
    with pytest.raises(StateDamaged, match="digest"):
        intake.finish(machine.digest ^ 1)


def test_a_piece_that_comes_twice_or_out_of_order_is_refused(machine: Machine) -> None:
    first, second, *_ = pieces(machine, 100)
    for wrong in ([first, first], [second, first]):
        intake = Intake(MemoryEngine(), GROUP)
        intake.add(wrong[0])
        with pytest.raises(StateDamaged, match="out of order"):
            intake.add(wrong[1])


@pytest.mark.parametrize("place", [applied_key(GROUP), applied_key(GROUP + 1), b"", b"\xff" * 9])
def test_what_is_no_part_of_the_state_is_refused(place: bytes) -> None:
    with pytest.raises(StateDamaged, match="no place"):
        Intake(MemoryEngine(), GROUP).add([(place, b"")])

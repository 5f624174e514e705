"""A state takes the place of another one whole, whatever comes between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvpaxos.engine.shelf import MemoryShelf, RocksShelf, Shelf
from kvpaxos.errors import DiskError, StateClosed, StateDamaged
from kvpaxos.store.engine import Engine
from test.engine.shelver import DIED, NEW, OLD

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=[MemoryShelf, RocksShelf])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    shelf: Shelf = MemoryShelf() if request.param is MemoryShelf else RocksShelf(tmp_path)
    yield shelf
    shelf.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a data directory that holds the state `OLD`."""
    shelf = RocksShelf(tmp_path)
    shelf.open().write(OLD)
    shelf.close()
    return tmp_path


def content(engine: Engine) -> dict[bytes, bytes]:
    return dict(engine.snapshot().scan(b"", b"\xff"))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_new_shelf_holds_an_empty_state(shelf: Shelf) -> None:
    assert content(shelf.open()) == {}


def test_a_fresh_state_is_empty_and_changes_nothing_of_the_current_one(shelf: Shelf) -> None:
    current = shelf.open()
    current.write(OLD)
    fresh = shelf.fresh()
    assert content(fresh) == {}
    fresh.write(NEW)
    assert content(current) == OLD


def test_an_adopted_state_takes_the_place_of_the_current_one(shelf: Shelf) -> None:
    current = shelf.open()
    current.write(OLD)
    reading = current.snapshot()
    shelf.fresh().write(NEW)
    adopted = shelf.adopt()
    assert content(adopted) == NEW
    adopted.write({b"more": b"1"})
    for closed in (current, reading):
        with pytest.raises(StateClosed):
            closed.get(b"0001")


def test_states_can_be_adopted_again_and_again(shelf: Shelf) -> None:
    shelf.open()
    for number in range(3):
        shelf.fresh().write({b"number": b"%d" % number})
        assert content(shelf.adopt()) == {b"number": b"%d" % number}
    shelf.clear()


def test_a_second_fresh_state_discards_the_first(shelf: Shelf) -> None:
    current = shelf.open()
    first = shelf.fresh()
    first.write(NEW)
    assert content(shelf.fresh()) == {}
    with pytest.raises(StateClosed):
        first.get(b"0001")
    shelf.discard()
    assert content(current) == {}


def test_to_discard_nothing_and_to_close_twice_is_harmless(shelf: Shelf) -> None:
    shelf.discard()
    shelf.open()
    shelf.close()
    shelf.close()


def test_memory_keeps_nothing_aside() -> None:
    shelf = MemoryShelf()
    shelf.open().write(OLD)
    assert shelf.set_aside() is None
    assert content(shelf.open()) == {}


def test_an_adopted_state_is_there_after_a_restart(old: Path) -> None:
    shelf = RocksShelf(old)
    shelf.open()
    shelf.fresh().write(NEW)
    shelf.adopt()
    shelf.close()
    assert content(shelf.open()) == NEW
    shelf.close()


def test_what_is_given_up_is_deleted_once_it_is_asked_for(old: Path) -> None:
    shelf = RocksShelf(old)
    shelf.open()
    shelf.fresh().write(NEW)
    shelf.adopt()
    shelf.fresh()
    shelf.discard()
    assert names(old) == ["state", "state.trash-1", "state.trash-2"]
    shelf.clear()
    assert names(old) == ["state"]
    shelf.close()


def test_what_was_being_built_is_never_taken_for_the_state(old: Path) -> None:
    shelf = RocksShelf(old)
    shelf.open()
    shelf.close()
    # Whole, but nobody has adopted it; and the state itself is lost.
    (old / "state").rename(old / "state.incoming")
    assert content(shelf.open()) == {}
    shelf.close()


def test_a_state_that_was_set_aside_is_kept_and_an_empty_one_begins(old: Path) -> None:
    shelf = RocksShelf(old)
    assert shelf.set_aside() == old / "state.damaged-1"
    assert content(shelf.open()) == {}
    shelf.close()
    (old / "state.damaged-1").rename(old / "state.trash-1")
    (old / "state").rename(old / "state.damaged-1")
    (old / "state.trash-1").rename(old / "state")
    assert content(shelf.open()) == OLD
    shelf.close()


def test_an_open_state_can_be_set_aside(old: Path) -> None:
    shelf = RocksShelf(old)
    current = shelf.open()
    assert shelf.set_aside() == old / "state.damaged-1"
    with pytest.raises(StateClosed):
        current.get(b"0001")
    assert content(shelf.open()) == {}
    shelf.close()


def test_a_damaged_state_can_be_set_aside(old: Path) -> None:
    (old / "state" / "CURRENT").unlink()
    shelf = RocksShelf(old)
    with pytest.raises(StateDamaged):
        shelf.open()
    assert shelf.set_aside() == old / "state.damaged-1"
    assert content(shelf.open()) == {}
    shelf.close()


def test_only_what_was_set_aside_last_is_kept(old: Path) -> None:
    shelf = RocksShelf(old)
    for number in (1, 2, 3):
        assert shelf.set_aside() == old / f"state.damaged-{number}"
        shelf.open()
    shelf.clear()
    assert names(old) == ["state", "state.damaged-3"]
    shelf.close()


def test_there_may_be_nothing_to_set_aside(tmp_path: Path) -> None:
    assert RocksShelf(tmp_path / "data" / "n01").set_aside() is None
    assert names(tmp_path) == []


def test_a_link_to_another_disk_is_given_up_and_not_what_it_leads_to(
    old: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "state"
    shutil.move(old / "state", elsewhere)
    (old / "state").symlink_to(elsewhere)
    shelf = RocksShelf(old)
    shelf.open()
    shelf.fresh().write(NEW)
    assert content(shelf.adopt()) == NEW
    shelf.clear()
    shelf.close()
    assert names(old) == ["state"]
    assert (elsewhere / "CURRENT").exists()


@pytest.mark.parametrize(("function", "deed"), [("rename", "rename"), ("fsync", "sync")])
def test_a_disk_that_refuses_is_said_in_one_sentence(
    old: Path, monkeypatch: pytest.MonkeyPatch, function: str, deed: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    shelf = RocksShelf(old)
    shelf.open()
    shelf.fresh().write(NEW)
    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(DiskError, match=rf"cannot {deed} it \(No space left on device\); see"):
        shelf.adopt()
    monkeypatch.undo()
    shelf.close()
    assert content(shelf.open()) in (OLD, NEW)
    shelf.close()


def deaths(directory: Path, work: str, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield what a process left that died after each of its deeds, and what it had said."""
    deeds, status = 0, DIED
    while status == DIED:
        copy = tmp_path / f"{deeds}"
        shutil.copytree(directory, copy)
        died = subprocess.run(  # noqa: S603  # our own interpreter
            [sys.executable, "-m", "test.engine.shelver", str(copy), work, str(deeds)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        status = died.returncode
        assert status in (0, DIED)
        yield copy, died.stdout
        shutil.rmtree(copy)
        deeds += 1


def reopened(directory: Path, look: Callable[[Engine], object]) -> list[str]:
    """Let ``look`` see what a shelf opens, and return the names that are left then."""
    shelf = RocksShelf(directory)
    look(shelf.open())
    shelf.clear()
    shelf.close()
    return names(directory)


def test_a_death_amid_an_adoption_leaves_the_old_state_or_the_new_one(
    old: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen: list[dict[bytes, bytes]] = []
    for left, said in deaths(old, "adopt", tmp_path_factory.mktemp("deaths")):
        assert reopened(left, lambda engine: seen.append(content(engine))) == ["state"]
        assert seen[-1] == NEW if said else seen[-1] in (OLD, NEW)
    turned = seen.index(NEW)
    assert turned > 0
    assert all(state == NEW for state in seen[turned:]), "there was a way back"


def test_a_death_while_a_state_is_discarded_leaves_the_current_one(
    old: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen: list[dict[bytes, bytes]] = []
    for left, _ in deaths(old, "discard", tmp_path_factory.mktemp("deaths")):
        assert reopened(left, lambda engine: seen.append(content(engine))) == ["state"]
        assert seen[-1] == OLD


def test_a_death_while_a_state_is_set_aside_loses_nothing_of_it(
    old: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen: list[dict[bytes, bytes]] = []
    for left, _ in deaths(old, "set_aside", tmp_path_factory.mktemp("deaths")):
        rest = reopened(left, lambda engine: seen.append(content(engine)))
        if seen[-1] == OLD:
            assert rest == ["state"]
        else:
            assert seen[-1] == {}
            (left / "state").rename(left / "empty")
            (left / "state.damaged-1").rename(left / "state")
            reopened(left, lambda engine: seen.append(content(engine)))
            assert seen[-1] == OLD

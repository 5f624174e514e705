"""How far a file was loaded, as remembered beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvpaxos.cli.checkpoint import START, Checkpoint, Position

POSITION = START.after(b"one\n").after(b"two\n")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pairs.jsonl"


def test_a_position_counts_lines_and_bytes_and_knows_what_they_were() -> None:
    assert (POSITION.lines, POSITION.size) == (2, 8)
    assert START.after(b"one\n").after(b"two\n") == POSITION
    assert START.after(b"one\n").after(b"tow\n") != POSITION
    assert START.after(b"two\n").after(b"one\n") != POSITION
    assert POSITION.digest != START.after(b"on\n").after(b"etwo\n").digest


def test_what_was_saved_last_is_what_is_loaded(file: Path) -> None:
    checkpoint = Checkpoint(file, "cluster")
    assert checkpoint.load() is None
    for position in (START, POSITION):
        checkpoint.save(position)
        assert Checkpoint(file, "cluster").load() == position
    assert [path.name for path in file.parent.iterdir()] == ["pairs.jsonl.kvpaxos-load"]


def test_what_was_loaded_into_another_cluster_counts_for_nothing(file: Path) -> None:
    Checkpoint(file, "one").save(POSITION)
    assert Checkpoint(file, "other").load() is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": 2, "cluster": "c", "lines": 1}', "\udcff"],
)
def test_what_is_no_checkpoint_counts_for_nothing(text: str, file: Path) -> None:
    checkpoint = Checkpoint(file, "c")
    checkpoint.path.write_bytes(text.encode(errors="surrogateescape"))
    assert checkpoint.load() is None


def test_when_all_is_loaded_nothing_stays_behind(file: Path) -> None:
    checkpoint = Checkpoint(file, "cluster")
    checkpoint.remove()
    checkpoint.save(Position(1, 2, "00"))
    checkpoint.remove()
    assert list(file.parent.iterdir()) == []

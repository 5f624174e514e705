"""The mark that lets a node come back with an empty directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvpaxos.errors import DiskError
from kvpaxos.node.options import Options
from kvpaxos.node.replacement import MARK, clear, is_marked, mark


def test_a_mark_lasts_until_it_is_cleared(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "n01"
    clear(directory)
    assert not is_marked(directory)
    mark(directory)
    mark(directory)
    assert is_marked(directory)
    clear(directory)
    assert not is_marked(directory)
    assert list(directory.iterdir()) == []


def test_a_node_whose_directory_is_marked_may_rejoin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = Options()
    options.parseOptions(["--node", "n02"])
    assert not options.may_rejoin()
    mark(tmp_path / "data" / "n02")
    assert options.may_rejoin()


def test_a_disk_that_refuses_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=f"{MARK}: cannot make it"):
        mark(tmp_path / "file")
    (tmp_path / MARK).mkdir()
    with pytest.raises(DiskError, match=f"{MARK}: cannot delete it"):
        clear(tmp_path)

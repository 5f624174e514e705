"""The reserve takes room for as long as it is held, and gives it at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvpaxos.errors import DiskError
from kvpaxos.journal.files import lacks_space
from kvpaxos.journal.reserve import Reserve

SIZE = 1024 * 1024 + 512


def refuse(code: int) -> Callable[..., Any]:
    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return refused


def held(reserve: Reserve) -> bool:
    return reserve.held


def taken(path: Path) -> int:
    """Return the bytes that a file really takes."""
    return path.stat().st_blocks * 512


def test_it_takes_all_of_its_room_and_gives_it_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, SIZE)
    assert not held(reserve)
    reserve.make()
    assert held(reserve)
    assert taken(reserve.path) >= SIZE

    assert reserve.release()
    assert not held(reserve)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_cannot_be_given_up(tmp_path: Path) -> None:
    assert not Reserve(tmp_path, SIZE).release()


def test_one_that_another_process_began_is_none_before_it_is_made(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, SIZE)
    reserve.path.write_bytes(b"some")
    assert not held(reserve)
    reserve.make()
    assert held(reserve)
    assert taken(reserve.path) >= SIZE


@pytest.mark.parametrize("way", ["unknown", "unsupported"])
def test_where_room_cannot_be_set_aside_it_is_written(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "unknown":
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse(errno.EOPNOTSUPP))
    reserve = Reserve(tmp_path, SIZE)
    reserve.make()
    assert held(reserve)
    assert taken(reserve.path) >= SIZE
    assert any(reserve.path.read_bytes()[-512:])


def test_without_room_nothing_of_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC))
    with pytest.raises(DiskError, match="cannot make it") as caught:
        Reserve(tmp_path, SIZE).make()
    assert lacks_space(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "reserve").mkdir()
    for use in (Reserve(tmp_path, SIZE).make, Reserve(tmp_path, SIZE).release):
        with pytest.raises(DiskError, match=r"reserve: cannot (make|delete) it \("):
            use()

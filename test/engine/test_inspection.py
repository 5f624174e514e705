"""A state is looked at without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvpaxos.engine.inspection import RocksInspection
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.errors import DiskError, StartError, StateDamaged

RECORDS = {b"%06d" % number: b"v" * 100 for number in range(5000)}


def written(directory: Path) -> Path:
    engine = RocksEngine(directory)
    engine.write(RECORDS)
    engine.close()
    return directory


def traces(directory: Path) -> object:
    files = {
        file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in directory.iterdir()
    }
    return directory.stat().st_mtime_ns, files


def test_all_is_read_and_nothing_is_touched(tmp_path: Path) -> None:
    directory = written(tmp_path / "state")
    before = traces(directory)
    engine = RocksInspection(directory)
    snapshot = engine.snapshot()
    assert dict(snapshot.scan(b"", b"\xff")) == RECORDS
    assert engine.get(b"000007") == b"v" * 100
    snapshot.close()
    engine.close()
    assert traces(directory) == before
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_a_file_that_is_not_what_was_written_is_found(tmp_path: Path) -> None:
    directory = written(tmp_path / "state")
    (table,) = directory.glob("*.sst")
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)
    engine = RocksInspection(directory)
    with pytest.raises(StateDamaged, match=str(directory)):
        list(engine.snapshot().scan(b"", b"\xff"))
    engine.close()


@pytest.mark.parametrize("pattern", ["*.sst", "CURRENT", "MANIFEST*"])
def test_a_file_that_is_missing_is_found(tmp_path: Path, pattern: str) -> None:
    directory = written(tmp_path / "state")
    for file in directory.glob(pattern):
        file.unlink()
    before = traces(directory)
    with pytest.raises((StateDamaged, DiskError)):  # noqa: PT012 -- as soon or as late as it shows
        engine = RocksInspection(directory)
        try:
            list(engine.snapshot().scan(b"", b"\xff"))
        finally:
            engine.close()
    assert traces(directory) == before


def test_where_there_is_none_is_said_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read"):
        RocksInspection(tmp_path / "state")
    assert list(tmp_path.iterdir()) == []

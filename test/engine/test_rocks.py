"""What holds for the engine on RocksDB alone: disks, locks, threads, memory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from rocksdict import Rdict, WriteBatch

from kvpaxos.engine import rocks
from kvpaxos.engine.rocks import MEMORY_BYTES_MIN, RocksEngine
from kvpaxos.errors import DiskError, StartError, StateClosed, StateDamaged

RECORDS: dict[bytes, bytes | None] = {
    b"%06d" % number: bytes([number % 256, number // 256]) * 50 for number in range(3000)
}
MIDDLE = b"001500"
START, END = b"", b"\xff"

OPEN = """
import sys
from pathlib import Path
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.errors import StartError
try:
    RocksEngine(Path(sys.argv[1])).close()
except StartError as error:
    print(error)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "some" / "state"


@pytest.fixture
def written(directory: Path) -> Path:
    """Return a directory with `RECORDS` in one file of tables."""
    engine = RocksEngine(directory)
    engine.write(RECORDS)
    engine.close()
    return directory


def table_of(directory: Path) -> Path:
    (table,) = directory.glob("*.sst")
    return table


def flip_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_what_was_written_is_there_after_a_restart(written: Path) -> None:
    engine = RocksEngine(written)
    assert dict(engine.snapshot().scan(START, END)) == RECORDS
    engine.close()


def test_a_power_cut_does_not_take_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    for _ in range(2):
        RocksEngine(tmp_path / "some" / "state").close()
    assert synced == [path.stat().st_ino for path in (tmp_path, tmp_path / "some")]


def test_the_journal_is_the_only_log(directory: Path) -> None:
    engine = RocksEngine(directory)
    engine.write(RECORDS)
    logs = list(directory.glob("*.log"))
    assert [log.stat().st_size for log in logs] == [0] * len(logs)
    assert list(directory.glob("*.sst")) == []
    engine.flush()
    assert table_of(directory).stat().st_size > 0
    engine.close()


def test_a_flush_empties_the_write_buffers(directory: Path) -> None:
    engine = RocksEngine(directory)
    engine.write(RECORDS)
    before = engine.sizes()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(engine.flush).result()
    after = engine.sizes()
    assert before["unflushed_bytes"] > 300_000 > after["unflushed_bytes"]
    assert before["file_bytes"] == 0 < after["file_bytes"]
    engine.close()


def test_what_rocksdb_keeps_of_itself_does_not_grow_with_the_number_of_flushes(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 16 * 1024
    monkeypatch.setattr(rocks, "_LOG_BYTES_MAX", bound)
    monkeypatch.setattr(rocks, "_MANIFEST_BYTES_MAX", bound)
    engine = RocksEngine(directory)
    for number in range(300):
        engine.write({b"key": b"%d" % number})
        engine.flush()
    engine.close()
    # A file ends with what made it too long, and an old log is kept beside the new one.
    for what, most in (("LOG", 3 * bound), ("MANIFEST", 2 * bound)):
        assert 0 < sum(file.stat().st_size for file in directory.glob(f"{what}*")) < most
    engine = RocksEngine(directory)
    assert engine.get(b"key") == b"299"
    engine.close()


def test_reads_and_writes_go_on_while_threads_flush(directory: Path) -> None:
    engine = RocksEngine(directory, memory_bytes=MEMORY_BYTES_MIN)
    snapshot = engine.snapshot()
    with ThreadPoolExecutor(2) as threads:
        flushes = []
        for number in range(200):
            engine.write({b"%06d" % number: b"x" * 1000})
            assert engine.get(b"%06d" % number) is not None
            if number % 10 == 0:
                flushes.append(threads.submit(engine.flush))
        for flush in flushes:
            flush.result()
    assert list(snapshot.scan(START, END)) == []
    assert len(list(engine.snapshot().scan(START, END))) == 200
    engine.close()


def test_only_one_thread_writes(directory: Path) -> None:
    engine = RocksEngine(directory)
    engine.write({b"a": b"1"})
    with ThreadPoolExecutor(1) as threads, pytest.raises(AssertionError, match="one thread"):
        threads.submit(engine.write, {b"a": b"2"}).result()
    assert engine.get(b"a") == b"1"
    engine.close()


def test_the_directory_is_free_after_close_whatever_was_open(written: Path) -> None:
    engine = RocksEngine(written)
    snapshot = engine.snapshot()
    scan = snapshot.scan(START, END)
    next(scan)
    engine.close()

    again = RocksEngine(written)
    assert again.get(MIDDLE) == RECORDS[MIDDLE]
    again.close()
    with pytest.raises(StateClosed):
        list(scan)


def test_a_second_engine_in_this_process_is_told_who_has_the_directory(written: Path) -> None:
    engine = RocksEngine(written)
    with pytest.raises(StartError, match="in use already"):
        RocksEngine(written)
    engine.close()


def test_another_process_is_told_who_has_the_directory(written: Path) -> None:
    def open_elsewhere() -> str:
        arguments = [sys.executable, "-c", OPEN, str(written)]
        root = Path(__file__).parents[2]
        return subprocess.run(  # noqa: S603  # our own interpreter
            arguments, cwd=root, capture_output=True, text=True, check=True
        ).stdout

    engine = RocksEngine(written)
    assert "in use already" in open_elsewhere()
    assert str(written) in open_elsewhere()
    engine.close()
    assert open_elsewhere() == ""


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"")
    with pytest.raises(StartError, match=str(path)):
        RocksEngine(path)


def test_a_scan_says_that_a_block_is_bad(written: Path) -> None:
    table = table_of(written)
    flip_byte(table, table.stat().st_size // 3)
    engine = RocksEngine(written)
    seen: list[bytes] = []
    with pytest.raises(StateDamaged, match=str(written)):
        seen.extend(key for key, _ in engine.snapshot().scan(START, END))
    assert 0 < len(seen) < len(RECORDS)
    engine.close()


def test_whoever_keeps_such_an_error_does_not_keep_the_engine_from_being_opened_again(
    written: Path,
) -> None:
    table = table_of(written)
    flip_byte(table, table.stat().st_size // 3)
    engine = RocksEngine(written)
    snapshot = engine.snapshot()
    kept = []
    with pytest.raises(StateDamaged) as caught:
        list(snapshot.scan(START, END))
    kept.append(caught)
    with pytest.raises(StateDamaged) as caught:
        list(map(snapshot.get, RECORDS))
    kept.append(caught)
    engine.close()
    RocksEngine(written).close()
    assert len(kept) == 2


def test_a_read_says_that_a_block_is_bad(written: Path) -> None:
    table = table_of(written)
    flip_byte(table, table.stat().st_size // 3)
    engine = RocksEngine(written)
    snapshot = engine.snapshot()

    def damaged(get: Callable[[bytes], bytes | None]) -> set[bytes]:
        bad = set()
        for key, record in RECORDS.items():
            try:
                assert get(key) == record
            except StateDamaged:
                bad.add(key)
        return bad

    assert 0 < len(damaged(engine.get)) < len(RECORDS)
    assert damaged(snapshot.get) == damaged(engine.get)
    engine.close()


@pytest.mark.parametrize("victim", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_a_missing_file_is_damage_and_nothing_is_begun_anew(written: Path, victim: str) -> None:
    (path,) = written.glob(victim)
    lost = path.rename(written.parent / path.name)
    for _ in range(2):
        with pytest.raises(StateDamaged, match=str(written)):
            RocksEngine(written)
    lost.rename(path)
    engine = RocksEngine(written)
    assert engine.get(MIDDLE) == RECORDS[MIDDLE]
    engine.close()


def test_a_table_that_was_cut_is_damage(written: Path) -> None:
    table = table_of(written)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(StateDamaged, match=str(written)):
        RocksEngine(written)


def test_a_manifest_that_was_cut_shows_an_earlier_state_and_no_mixture(directory: Path) -> None:
    engine = RocksEngine(directory)
    engine.write({b"one": b"1", b"other": b"1"})
    engine.flush()
    engine.write({b"one": b"2", b"other": b"2"})
    engine.close()
    (manifest,) = directory.glob("MANIFEST-*")
    manifest.write_bytes(manifest.read_bytes()[:-20])
    engine = RocksEngine(directory)
    assert dict(engine.snapshot().scan(START, END)) == {b"one": b"1", b"other": b"1"}
    engine.close()


class RefusesOnce:
    """Stands for a database whose first flush, or first write, fails and whose next would not."""

    def __init__(self) -> None:
        self.calls = 0

    def write(self, batch: WriteBatch) -> None:
        self._refuse()

    def flush(self, *, wait: bool) -> None:
        self._refuse()

    def close(self) -> None:
        self._refuse()

    def _refuse(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise Exception("IO error: While fdatasync: x.sst: Input/output error")  # noqa: TRY002


@pytest.mark.parametrize("first", ["write", "flush"])
def test_what_failed_once_is_never_tried_again(directory: Path, first: str) -> None:
    engine = RocksEngine(directory)
    engine._rdict.close()
    fake = RefusesOnce()
    engine._rdict = cast(Rdict, fake)
    calls: dict[str, Callable[[], None]] = {
        "write": partial(engine.write, {b"a": b"1"}),
        "flush": engine.flush,
    }
    for call in (calls[first], calls["write"], calls["flush"]):
        with pytest.raises(DiskError, match=f"^{directory} cannot be written: .*output error.$"):
            call()
    assert fake.calls == 1
    engine.close()


def test_a_directory_that_vanishes_stops_the_engine(directory: Path) -> None:
    engine = RocksEngine(directory)
    engine.write(RECORDS)
    shutil.rmtree(directory)
    with pytest.raises(DiskError, match=str(directory)):
        engine.flush()
    with pytest.raises(DiskError, match=str(directory)):
        engine.write({b"a": b"1"})
    engine.close()  # what it would raise has been told already


def test_a_full_disk_is_one_sentence_and_the_flushed_state_survives(directory: Path) -> None:
    engine = RocksEngine(directory)
    engine.write({b"before": b"1"})
    engine.flush()
    engine.write(RECORDS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this: to RocksDB it looks like any other refusal to append.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(DiskError, match="File too large") as raised:
            engine.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(raised.value).count(". ") == 0
    engine.close()

    again = RocksEngine(directory)
    assert again.get(b"before") == b"1"
    again.close()


def test_closing_says_that_the_last_writes_are_lost(directory: Path) -> None:
    engine = RocksEngine(directory)
    engine.write(RECORDS)
    shutil.rmtree(directory)
    with pytest.raises(DiskError, match=str(directory)):
        engine.close()
    engine.close()


def test_its_memory_is_bounded_also_after_a_restart(written: Path) -> None:
    engine = RocksEngine(written, memory_bytes=2 * MEMORY_BYTES_MIN)
    capacity = engine._rdict.property_int_value("rocksdb.block-cache-capacity")
    assert capacity == MEMORY_BYTES_MIN
    for number in range(100):
        engine.write({b"%d" % number: bytes(50_000)})
        assert engine.sizes()["unflushed_bytes"] <= 2 * MEMORY_BYTES_MIN
    engine.close()

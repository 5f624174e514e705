"""The journal of a node that keeps nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.errors import StartError
from kvpaxos.journal.files import OS_FILES, Files
from kvpaxos.journal.log import Journal
from kvpaxos.journal.memory import PAGE_BYTES, MemoryFiles
from kvpaxos.journal.spares import SPARES_MAX
from kvpaxos.paxos.ballot import Slot
from test.journal.values import decided, vote, write_batches

DIRECTORY = Path("/nowhere/journal")
SEGMENT_BYTES = 1024 * 1024

writes = st.lists(
    st.tuples(
        st.integers(0, 3 * PAGE_BYTES),
        st.one_of(
            st.binary(max_size=64), st.integers(0, 3 * PAGE_BYTES).map(bytes), st.just(b"x" * 5000)
        ),
    ),
    max_size=12,
)


@pytest.fixture(params=["memory", "disk"])
def files(request: pytest.FixtureRequest) -> Files:
    return MemoryFiles() if request.param == "memory" else OS_FILES


def test_names_come_and_go(files: Files, tmp_path: Path) -> None:
    handle = files.create(tmp_path / "a")
    files.write(handle, b"one", 0)
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "a")
    files.rename(tmp_path / "a", tmp_path / "b")
    assert files.names(tmp_path) == ["b"]
    files.remove(tmp_path / "b")
    assert files.names(tmp_path) == []
    assert files.read(handle, 10, 0) == b"one", "an open handle goes on working"
    files.close(handle)
    for missing in (files.open, files.remove):
        with pytest.raises(FileNotFoundError):
            missing(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        files.rename(tmp_path / "b", tmp_path / "c")


def test_a_lock_is_held_until_its_handle_is_closed(files: Files, tmp_path: Path) -> None:
    handle = files.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        files.lock(tmp_path / "lock")
    files.close(handle)
    files.close(files.lock(tmp_path / "lock"))


@given(writes, st.integers(0, 4 * PAGE_BYTES), st.integers(0, 4 * PAGE_BYTES))
def test_a_file_holds_what_was_written_and_zeros_elsewhere(
    done: list[tuple[int, bytes]], offset: int, count: int
) -> None:
    files = MemoryFiles()
    handle = files.create(Path("/f"))
    expected = bytearray()
    for place, data in done:
        assert files.write(handle, data, place) == len(data)
        if data:
            expected.extend(bytes(max(0, place + len(data) - len(expected))))
            expected[place : place + len(data)] = data
    assert files.size(handle) == len(expected)
    assert files.read(handle, count, offset) == bytes(expected[offset : offset + count])


def test_a_segment_takes_no_memory_for_its_zeros() -> None:
    files = MemoryFiles()
    journal = Journal.open(DIRECTORY, segment_bytes=SEGMENT_BYTES, files=files)
    journal.prepare_spare()
    write_batches(journal, [[vote(1)]])
    assert journal.bytes == SEGMENT_BYTES
    assert files.memory_bytes <= 8 * PAGE_BYTES
    journal.close()


def test_what_is_forgotten_takes_no_memory_but_for_what_is_used_again() -> None:
    files = MemoryFiles()
    journal = Journal.open(DIRECTORY, segment_bytes=SEGMENT_BYTES, files=files)
    write_batches(journal, [[vote(slot, size=50_000), decided(slot)] for slot in range(1, 100)])
    assert files.memory_bytes > 99 * 50_000
    before = journal.segments
    assert journal.forget(0, Slot(99)) == before - journal.segments > 0
    assert files.memory_bytes < (1 + SPARES_MAX) * SEGMENT_BYTES + 8 * PAGE_BYTES
    while not journal.has_spare:
        assert journal.prepare_spare()
    assert files.memory_bytes < SPARES_MAX * SEGMENT_BYTES + 8 * PAGE_BYTES
    journal.close()


def test_a_journal_is_read_back_while_it_is_written() -> None:
    journal = Journal.open(DIRECTORY, segment_bytes=SEGMENT_BYTES, files=MemoryFiles())

    def read(through: int) -> int:
        reader = journal.reader()
        try:
            return len(reader.decided(0, Slot(1), Slot(through), 10**9))
        finally:
            reader.close()

    with ThreadPoolExecutor(1) as threads:
        for slot in range(1, 60):
            write_batches(journal, [[vote(slot, size=50_000), decided(slot)]])
            assert threads.submit(read, slot).result() == slot
    journal.close()


def test_it_can_be_opened_again_and_by_one_at_a_time() -> None:
    files = MemoryFiles()
    journal = Journal.open(DIRECTORY, segment_bytes=SEGMENT_BYTES, files=files)
    with pytest.raises(StartError, match="another process is using this journal"):
        Journal.open(DIRECTORY, segment_bytes=SEGMENT_BYTES, files=files)
    write_batches(journal, [[vote(1), decided(1)]])
    journal.close()
    again = Journal.open(DIRECTORY, segment_bytes=SEGMENT_BYTES, files=files)
    assert again.recovered.groups[0].decided_through == 1
    again.close()


def test_two_of_them_share_nothing() -> None:
    first, second = MemoryFiles(), MemoryFiles()
    first.close(first.create(DIRECTORY / "a"))
    assert second.names(DIRECTORY) == []

"""A look at a journal: it says what a start would say, and touches nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from kvpaxos.errors import DiskError
from kvpaxos.journal.damage import Damage, DamagedRecords
from kvpaxos.journal.files import OS_FILES
from kvpaxos.journal.format import DATA_START, HEADER_BYTES
from kvpaxos.journal.inspection import Inspection, ReadOnlyFiles, owner
from kvpaxos.journal.log import Journal
from kvpaxos.paxos.records import Record
from test.journal.disks import DIRECTORY, MemoryDisk
from test.journal.values import (
    HIGH,
    decided,
    learned,
    open_journal,
    segment_path,
    vote,
    write_batches,
)

BATCHES: Final[list[list[Record]]] = [
    [vote(1), vote(2)],
    [decided(2), vote(3, size=700)],
    [learned(3), vote(4)],
    [vote(5, HIGH)],
    [decided(4)],
]
"""Slots 1 to 4 are decided, one of them learned; 5 is not."""

LONG: Final[list[list[Record]]] = [
    *BATCHES,
    [vote(6, HIGH, size=9000), vote(7, HIGH, size=9000), decided(6, HIGH)],
    [vote(8, HIGH, size=9000), vote(9, HIGH, size=9000), decided(8, HIGH)],
    [vote(10, HIGH, size=9000), vote(11, HIGH, size=9000), decided(11, HIGH)],
]
"""Several segments; slots 1 to 11 are decided."""


def written(batches: list[list[Record]], *, close: bool = True) -> MemoryDisk:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, batches)
    if close:
        journal.close()
    return disk


def look(disk: MemoryDisk, group: int = 0) -> tuple[list[int], Inspection]:
    """Return the decided slots and the inspection, after seeing that nothing has changed."""
    before = image(disk)
    calls = len(disk.trace)
    inspection = Inspection(DIRECTORY, disk)
    slots = [int(decision.slot) for decision in inspection.decided(group)]
    assert image(disk) == before
    assert disk.trace[calls:] == []
    return slots, inspection


def image(disk: MemoryDisk) -> dict[Path, bytes]:
    return {path: bytes(inode.data) for path, inode in disk.files.items()}


def damage_named_at_a_start(disk: MemoryDisk) -> tuple[Damage, ...]:
    with pytest.raises(DamagedRecords) as refused:
        open_journal(disk)
    return refused.value.damage


def test_a_sound_journal_shows_what_is_decided() -> None:
    disk = written(BATCHES)
    slots, inspection = look(disk)
    assert slots == [1, 2, 3, 4]
    assert (inspection.damage, inspection.mends, inspection.empty) == ([], [], False)
    decisions = list(Inspection(DIRECTORY, disk).decided(0))
    journal = open_journal(disk)
    assert decisions == journal.reader().decided(0, vote(1).slot, vote(4).slot, 10**6)
    journal.close()


def test_several_segments_are_one_log_and_groups_are_kept_apart() -> None:
    disk = written(LONG)
    assert segment_path(3) in disk.files
    assert look(disk)[0] == list(range(1, 12))
    assert look(disk, group=1)[0] == []


def test_it_begins_where_the_journal_does() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, LONG)
    assert journal.forget(0, vote(11).slot) > 0
    kept_from = journal.kept_from(0)
    journal.close()
    assert kept_from > 1
    assert look(disk)[0] == list(range(kept_from, 12))


def test_where_there_is_no_journal_it_is_empty() -> None:
    disk = MemoryDisk()
    disk.make_directory(DIRECTORY)
    slots, inspection = look(disk)
    assert (slots, inspection.empty, inspection.damage) == ([], True, [])


def test_what_a_start_would_mend_is_told_and_not_mended() -> None:
    disk = written(BATCHES, close=False)
    journal_file = disk.files[segment_path()]
    # The end mark of the last batch was never synced, and one copy of the header is bad.
    torn = bytearray(journal_file.data)
    torn[HEADER_BYTES + 20] ^= 1
    end = len(bytes(torn).rstrip(b"\0"))
    assert end == len(torn)
    journal_file.data[:] = torn
    slots, inspection = look(disk)
    assert slots == [1, 2, 3, 4]
    assert inspection.damage == []
    assert inspection.mends[0].endswith(": one copy of the header is not like the other")


def test_a_torn_tail_is_told() -> None:
    disk = written(BATCHES)
    data = disk.files[segment_path()].data
    end = len(bytes(data[: len(data) // 2]).rstrip(b"\0"))
    data[end + 8 : end + 40] = b"x" * 32
    slots, inspection = look(disk)
    assert slots == [1, 2, 3, 4]
    assert inspection.damage == []
    assert any("was not whole" in mend for mend in inspection.mends)


def test_damage_is_named_as_at_a_start_and_the_slots_before_it_are_shown() -> None:
    disk = written(BATCHES)
    data = disk.files[segment_path()].data
    at = bytes(data).index(b"3:xxxx")
    data[at] ^= 1
    slots, inspection = look(disk)
    assert inspection.damage == list(damage_named_at_a_start(disk))
    assert inspection.damage[0].what == "Vote in slot 3, ballot 1.n01"
    # Slot 3 was learned as well, so nothing is missing.
    assert slots == [1, 2, 3, 4]
    data[bytes(data).index(b"2:xxxx")] ^= 1
    slots, inspection = look(disk)
    assert len(inspection.damage) == 2
    assert slots == [1]


@pytest.mark.parametrize("lost", ["header", "file", "end", "last file"])
def test_a_segment_that_is_lost_is_named_as_at_a_start(lost: str) -> None:
    disk = written(LONG)
    last = max(path.name for path in disk.files if path.name.startswith("journal-"))
    path = DIRECTORY / last if lost == "last file" else segment_path(2)
    if lost == "header":
        disk.files[path].data[:DATA_START] = b"x" * DATA_START
    elif lost == "end":
        del disk.files[path].data[-100:]
    else:
        del disk.files[path]
    slots, inspection = look(disk)
    assert inspection.damage == list(damage_named_at_a_start(disk))
    assert slots == list(range(1, len(slots) + 1))
    assert 0 < len(slots) < 11


# On the file system of this machine.


def test_it_reads_what_this_user_may_not_write(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    write_batches(journal, BATCHES)
    journal.close()
    for path in (*tmp_path.iterdir(), tmp_path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        handle = ReadOnlyFiles().open(tmp_path / segment_path().name)
        with pytest.raises(OSError, match="Bad file descriptor"):
            OS_FILES.write(handle, b"x", 0)
        OS_FILES.close(handle)
        assert [decision.slot for decision in Inspection(tmp_path).decided(0)] == [1, 2, 3, 4]
    finally:
        tmp_path.chmod(0o755)


def test_a_directory_that_is_not_there_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No such file or directory"):
        Inspection(tmp_path / "no")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks of Linux")
@pytest.mark.timeout(60)
def test_the_process_that_has_a_journal_open_is_known_and_not_kept_out(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kvpaxos.journal.log import Journal;"
        f" journal = Journal.open(Path({str(tmp_path)!r})); print('open', flush=True);"
        " sys.stdin.read(); journal.close()"
    )
    assert owner(tmp_path) is None
    with subprocess.Popen(  # noqa: S603 -- our own program
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert owner(tmp_path) == process.pid
        assert list(Inspection(tmp_path).decided(0)) == []
        process.communicate()
    assert process.returncode == 0
    assert owner(tmp_path) is None

"""The next segment's file is made little by little, and out of one that is needed no more."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from kvpaxos.journal.files import Directory
from kvpaxos.journal.log import Journal
from kvpaxos.journal.reader import READ_BYTES
from kvpaxos.journal.spares import (
    FILLED_WITHIN,
    MADE_FROM,
    MADE_WITHIN,
    READY_AT,
    SPARES_MAX,
    Spares,
)
from kvpaxos.paxos.ballot import Slot
from test.journal.disks import DIRECTORY, MemoryDisk
from test.journal.values import (
    SEGMENT_BYTES,
    decided,
    open_journal,
    segment_path,
    vote,
    write_batches,
)

LARGE: Final = 4 * 1024 * 1024
"""A segment whose zeros take many pieces."""

PIECES: Final = 16


def write(journal: Journal, first: int, count: int, size: int = 1000) -> None:
    """Vote in so many slots, each of which is decided when the next one is voted in."""
    for slot in range(first, first + count):
        write_batches(journal, [[vote(slot, size=size), decided(slot - 1)]])


def write_on(journal: Journal, first: int, segments: int) -> int:
    """Write until there are more segments by so many, with a spare as soon as it is due."""
    slot, until = first, journal.segments + segments
    while journal.segments < until:
        write(journal, slot, 1, size=SEGMENT_BYTES // 8)
        slot += 1
        while journal.wants_spare:
            assert journal.prepare_spare()
    return slot


def test_where_segments_are_forgotten_no_file_is_made_or_deleted_any_more() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    slot = write_on(journal, 1, 2)
    for turn in range(20):
        if turn == 2:
            disk.trace.clear()
        assert journal.forget(0, Slot(slot - 2)) == (1 if turn else 2)
        slot = write_on(journal, slot, 1)
    assert (disk.count("create"), disk.count("remove")) == (0, 0)
    assert len(disk.files) <= 2 + SPARES_MAX + len({"lock"})
    again = open_journal(disk.after_kill())
    assert again.recovered.record_count == journal.records
    assert (again.recovered.torn, again.recovered.mended) == (None, ())


def test_no_more_files_are_kept_than_are_of_use() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    slot = write_on(journal, 1, 7)
    assert journal.forget(0, Slot(slot - 2)) == 7
    spares = [path.name for path in disk.files if path.name.startswith("spare")]
    assert len(spares) == SPARES_MAX


def test_a_file_of_another_size_is_deleted() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write(journal, 1, 1, size=2 * SEGMENT_BYTES)
    write(journal, 2, 20)
    assert journal.forget(0, Slot(20)) == 2
    gone = [made for made in disk.trace if made[0] in {"rename", "remove"}][-2:]
    assert gone == [("rename", "journal-0000000001.log"), ("remove", "journal-0000000002.log")]


@dataclass(frozen=True)
class Pace:
    """From where on zeros are written, as a share of the current segment, and for how long.

    :ivar forgets: another one is forgotten then.
    """

    name: str
    since: float
    within: float
    forgets: bool


PACES: Final = [
    Pace("from the start, to a file that was forgotten", 0.0, FILLED_WITHIN, forgets=True),
    Pace("to one that was forgotten later", 0.3, FILLED_WITHIN, forgets=True),
    Pace("faster, to one that was forgotten late", 0.6, READY_AT - 0.6, forgets=True),
    Pace("later and faster, to one that is made", MADE_FROM, MADE_WITHIN, forgets=False),
]


def used(journal: Journal) -> float:
    return 1 - journal._segment.free_bytes / LARGE


@pytest.mark.parametrize("pace", PACES, ids=[pace.name for pace in PACES])
def test_zeros_are_written_little_by_little_as_the_segment_is_used(pace: Pace) -> None:
    journal = open_journal(MemoryDisk(), LARGE)
    slot = 1
    while journal.segments < 2 or (pace.forgets and used(journal) < pace.since):
        write(journal, slot, 1, size=LARGE // 160)
        slot += 1
        if journal.segments == 1 and journal.wants_spare:
            journal.prepare_spare()
    since = pace.since
    if pace.forgets:
        since = used(journal)
        assert journal.forget(0, Slot(slot - 2)) == 1
    done = 0
    while not journal.has_spare:
        assert used(journal) < since + pace.within
        write(journal, slot, 1, size=LARGE // 160)
        slot += 1
        if journal.wants_spare:
            assert journal.prepare_spare()
            done += 1
        due = (used(journal) - since) / pace.within
        assert abs(done - (0 if due < 0 else min(PIECES, 1 + int(due * PIECES)))) <= pace.forgets


def test_a_file_that_is_forgotten_when_the_next_one_is_needed_soon_is_filled_at_once() -> None:
    journal = open_journal(MemoryDisk(), LARGE)
    slot = 1
    while journal.segments < 2 or used(journal) < READY_AT:
        write(journal, slot, 1, size=LARGE // 160)
        slot += 1
    assert journal.forget(0, Slot(slot - 2)) == 1
    pieces = 0
    while journal.wants_spare:
        assert journal.prepare_spare()
        pieces += 1
    assert (pieces, journal.has_spare) == (PIECES, True)


@pytest.mark.parametrize("share", [0.3, 0.95, 1.05, 1.3])
def test_however_often_segments_are_forgotten_there_are_three_files_at_the_most(
    share: float,
) -> None:
    """The states of nodes are flushed after some bytes, too, which are not those of a segment.

    :param share: how much of a segment is written from one time to the next.
    """
    disk = MemoryDisk()
    journal = open_journal(disk, LARGE)
    written, files = 0, set()
    for slot in range(1, 1000):
        write(journal, slot, 1, size=LARGE // 20)
        while journal.wants_spare:
            assert journal.prepare_spare()
        files.add(len(disk.files) - len({"lock"}))
        written += LARGE // 20
        if written >= share * LARGE:
            written -= int(share * LARGE)
            journal.forget(0, Slot(slot - 1))
    assert max(files) == (3 if share > 1 else 2)


def test_a_segment_that_is_full_too_soon_has_the_rest_of_the_zeros_written_at_once() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, LARGE)
    for _ in range(PIECES // 2):
        journal.prepare_spare()
    assert not journal.has_spare
    disk.trace.clear()
    slot = 1
    while journal.segments == 1:
        write(journal, slot, 1, size=LARGE // 8)
        slot += 1
    syncs = disk.trace.count(("sync", "spare-2"))
    assert syncs == PIECES // 2 + len({"its header", "its first record"})
    assert disk.count("create") == 0


@pytest.fixture
def spares() -> tuple[Spares, MemoryDisk]:
    disk = MemoryDisk()
    return Spares(Directory(disk, DIRECTORY), LARGE), disk


def test_what_was_in_a_file_is_gone_before_it_is_used_again(
    spares: tuple[Spares, MemoryDisk],
) -> None:
    taken, disk = spares
    for name in ("old-1", "old-2"):
        handle = disk.create(DIRECTORY / name)
        disk.write(handle, b"x" * LARGE, 0)
        disk.close(handle)
        taken.recycle(name, LARGE)
    for number in (1, 2):
        assert not taken.is_ready
        name, file = taken.take(LARGE)
        assert name == f"spare-{number}"
        assert file.read(LARGE + 1, 0) == bytes(LARGE)
        file.close()
        assert disk.after_power_cut(names_kept=True).files[DIRECTORY / name].data == bytes(LARGE)


class Guard:
    """A lock that can be asked whether it is held."""

    held = False

    def __enter__(self) -> None:
        assert not self.held
        self.held = True

    def __exit__(self, *_: object) -> None:
        self.held = False


def test_no_file_is_touched_but_under_the_lock_that_the_two_threads_share() -> None:
    disk, guard, touched = MemoryDisk(), Guard(), list[str]()
    spares = Spares(Directory(disk, DIRECTORY), SEGMENT_BYTES, lock=lambda: guard, piece_bytes=4096)
    for name in ("old-1", "old-2", "old-3"):
        disk.close(disk.create(DIRECTORY / name))

    def watch(call: str) -> None:
        assert guard.held, f"{call} without the lock"
        touched.append(call)

    disk.fault = watch
    spares.prepare()
    for number in (1, 2, 3):
        spares.recycle(f"old-{number}", SEGMENT_BYTES)
    for size in (SEGMENT_BYTES, 2 * SEGMENT_BYTES):
        _, file = spares.take(size)
        file.close()
    assert set(touched) == {"create", "write", "sync", "rename", "remove"}


def test_readers_know_that_a_segment_is_forgotten_before_its_file_has_another_name() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    slot = write_on(journal, 1, 3)
    kept = []

    def watch(call: str) -> None:
        if call in {"rename", "remove"}:
            kept.append((journal.segments, journal.kept_from(0) > 1))

    disk.fault = watch
    assert journal.forget(0, Slot(slot - 2)) == 3
    assert kept == [(1, True)] * 3


class Meddled(MemoryDisk):
    """Does something when it is read from some way into a file."""

    def __init__(self) -> None:
        super().__init__()
        self.meddle: Callable[[], None] | None = None
        self.was_meddled = False

    @override
    def read(self, handle: int, count: int, offset: int) -> bytes:
        if self.meddle is not None and offset > READ_BYTES:
            meddle, self.meddle = self.meddle, None
            meddle()
            self.was_meddled = True
        return super().read(handle, count, offset)


def reused(journal: Journal, through: int) -> None:
    """Forget, and write over what was forgotten."""
    assert journal.forget(0, Slot(through)) == 2
    while not journal.has_spare:
        journal.prepare_spare()


def long_journal() -> tuple[Journal, Meddled, int]:
    """Return a journal with three segments, its disk, and how many slots are decided in it."""
    disk = Meddled()
    journal = open_journal(disk, LARGE)
    slot = 1
    while journal.segments < 3:
        write(journal, slot, 1, size=LARGE // 50)
        slot += 1
    return journal, disk, slot - 2


def test_a_journal_that_is_closed_holds_no_file() -> None:
    journal, disk, through = long_journal()
    assert journal.forget(0, Slot(through)) == 2
    journal.prepare_spare()
    assert not journal.has_spare
    journal.close()
    assert disk.handles == {}


def test_a_reader_whose_file_is_used_again_meanwhile_finds_nothing_more_and_no_damage() -> None:
    journal, disk, through = long_journal()
    reader = journal.reader()
    disk.meddle = lambda: reused(journal, through)
    found = reader.decided(0, Slot(1), Slot(through), 10**9)
    assert [decision.slot for decision in found] == list(range(1, len(found) + 1))
    assert 0 < len(found) < 50
    assert disk.was_meddled
    # What is left can be read as before.
    first = journal.kept_from(0)
    found = reader.decided(0, first, Slot(through), 10**9)
    assert [decision.slot for decision in found] == list(range(first, through + 1))


def test_a_reader_that_the_disk_refuses_a_forgotten_file_finds_nothing_more_and_no_damage() -> None:
    journal, disk, through = long_journal()
    refused = list[str]()

    def refuse() -> None:
        reused(journal, through)
        refused.append("it was forgotten just before")
        raise OSError(errno.EIO, "Input/output error")

    reader = journal.reader()
    disk.meddle = refuse
    found = reader.decided(0, Slot(1), Slot(through), 10**9)
    assert len(refused) == 1
    assert len(found) < through


def test_a_header_that_is_told_to_be_the_first_is_no_damage_to_an_audit() -> None:
    journal, disk, _ = long_journal()
    second, notes, writes = segment_path(2).name, list[str](), list[str]()

    def look(call: str) -> None:
        if disk.trace[-1] == ("write", second):
            writes.append(call)
            if len(writes) == 2:
                # One copy of it is written, and the other is not.
                assert sum(journal.audit(notes.append)) > 0

    disk.fault = look
    assert journal.forget(0, journal._extents[1].voted_through(0)) == 1
    assert len(writes) == 2
    assert notes == []


def test_an_audit_whose_file_is_used_again_meanwhile_goes_on_and_finds_no_damage() -> None:
    journal, disk, through = long_journal()
    disk.meddle = lambda: reused(journal, through)
    notes: list[str] = []
    assert sum(journal.audit(notes.append)) > 0
    assert disk.was_meddled
    assert notes == []


def test_a_header_that_is_overwritten_while_it_is_audited_is_not_noted() -> None:
    journal, disk, through = long_journal()
    notes: list[str] = []
    audit = journal.audit(notes.append)
    right = disk.read

    def read(handle: int, count: int, offset: int) -> bytes:
        reused(journal, through)
        disk.read = right  # type: ignore[method-assign]
        whole = right(handle, count, offset)
        # As if the first half had been read before.
        return sound[: count // 2] + whole[count // 2 :]

    sound = bytes(disk.files[Path(DIRECTORY / "journal-0000000001.log")].data[:8192])
    disk.read = read  # type: ignore[method-assign]
    assert sum(audit) > 0
    assert notes == []

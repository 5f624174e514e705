"""Finished segments are read again, and every byte of a record or a header counts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from kvpaxos.journal.audit import PIECE_BYTES
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import DATA_START, HEADER_BYTES
from kvpaxos.journal.log import Journal
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.records import Record
from test.journal.disks import SECTOR, MemoryDisk
from test.journal.values import FORMING, decided, open_journal, segment_path, vote, write_batches

SLOTS: Final = 30

VOTES: Final[list[list[Record]]] = [
    [vote(slot, size=3000), decided(slot - 1)] for slot in range(1, SLOTS)
]


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


@pytest.fixture
def journal(disk: MemoryDisk) -> Journal:
    """Return a journal that goes on to be written, with four segments that are finished."""
    journal = open_journal(disk)
    write_batches(journal, [[FORMING], *VOTES])
    assert journal.segments == 5
    return journal


def audited(journal: Journal) -> tuple[int, list[str]]:
    """Return how many bytes an audit reads, and what it notes."""
    notes: list[str] = []
    return sum(journal.audit(notes.append)), notes


def test_all_of_a_sound_journal_is_read_but_for_the_segment_that_is_written(
    journal: Journal,
) -> None:
    finished = [extent.end for extent in journal._extents[:-1]]
    assert audited(journal) == (sum(finished), [])
    assert len(finished) == 4


def test_a_journal_of_one_segment_has_nothing_that_is_finished(disk: MemoryDisk) -> None:
    journal = open_journal(disk)
    write_batches(journal, [[FORMING]])
    assert audited(journal) == (0, [])


@pytest.mark.parametrize("number", [1, 2, 4])
def test_each_sector_with_a_record_in_it_is_missed_if_it_is_zeroed_or_flipped(
    number: int, journal: Journal, disk: MemoryDisk
) -> None:
    end = journal._extents[number - 1].end
    path = segment_path(number)
    for start in range(DATA_START, end, SECTOR):
        sound = bytes(disk.files[path].data[start : start + SECTOR])
        # The last sector has some free space behind the last record.
        last = min(SECTOR, end - start) - 1
        for bad in (bytes(SECTOR), flipped(sound, 0), flipped(sound, last)):
            disk.files[path].data[start : start + SECTOR] = bad
            with pytest.raises(DamagedRecords) as caught:
                audited(journal)
            assert caught.value.path == str(path)
            assert caught.value.offset <= start + SECTOR
        disk.files[path].data[start : start + SECTOR] = sound
    assert audited(journal)[1] == []


def flipped(sound: bytes, offset: int) -> bytes:
    return sound[:offset] + bytes([sound[offset] ^ 1]) + sound[offset + 1 :]


@pytest.mark.parametrize("copies", [(0,), (HEADER_BYTES,), (0, HEADER_BYTES)])
def test_one_bad_copy_of_a_header_is_noted_and_two_are_damage(
    copies: tuple[int, ...], journal: Journal, disk: MemoryDisk
) -> None:
    for copy in copies:
        disk.flip(segment_path(2), copy + 100)
    if len(copies) == 2:
        with pytest.raises(DamagedRecords, match="the header, in both copies"):
            audited(journal)
        return
    ((note,), (_, notes)) = (audited(journal)[1], audited(journal))
    assert notes == [note]
    assert note.startswith(f"{segment_path(2)}: one copy of the header is damaged")


def test_a_segment_of_another_history_is_damage(journal: Journal, disk: MemoryDisk) -> None:
    other = MemoryDisk()
    twin = open_journal(other)
    write_batches(twin, [[FORMING, decided(0)], *VOTES])
    disk.files[segment_path(1)].data[:] = other.files[segment_path(1)].data
    with pytest.raises(DamagedRecords):
        audited(journal)


def test_a_segment_that_is_missing_is_damage_and_one_that_was_forgotten_is_none(
    journal: Journal, disk: MemoryDisk
) -> None:
    audit = journal.audit(lambda _: None)
    next(audit)
    assert journal.forget(0, Slot(SLOTS - 2)) > 0
    # The one that is being read has a handle; the others are not looked for any more.
    assert sum(audit) > 0

    disk.remove(Path(segment_path(journal._extents[0].header.number)))
    write_batches(journal, [[vote(slot, size=3000)] for slot in range(SLOTS, SLOTS + 12)])
    with pytest.raises(DamagedRecords, match="missing here"):
        audited(journal)


def test_records_longer_than_a_piece_are_read_whole(disk: MemoryDisk) -> None:
    journal = open_journal(disk, segment_bytes=16 * PIECE_BYTES)
    for slot in range(1, 12):
        write_batches(journal, [[vote(slot, size=3 * PIECE_BYTES)]])
    assert journal.segments > 1
    finished = [extent.end for extent in journal._extents[:-1]]
    assert audited(journal) == (sum(finished), [])
    disk.flip(segment_path(1), DATA_START + 4 * PIECE_BYTES)
    with pytest.raises(DamagedRecords):
        audited(journal)


def test_an_audit_that_is_broken_off_leaves_no_file_open(
    journal: Journal, disk: MemoryDisk
) -> None:
    before = len(disk.handles)
    audit: Generator[int, None, None] = journal.audit(lambda _: None)
    next(audit)
    assert len(disk.handles) == before + 1
    audit.close()
    assert len(disk.handles) == before

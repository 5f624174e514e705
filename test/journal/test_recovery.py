"""What is found after a crash: what is kept, cut, mended or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from google_crc32c import value as crc32c

from kvpaxos.errors import DiskError, StartError
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import DATA_START, HEADER_BYTES, VERSION, frame
from kvpaxos.journal.header import encode_header, read_header
from kvpaxos.journal.log import Journal
from kvpaxos.journal.state import JournalState
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.records import Record
from test.journal.disks import SECTOR, MemoryDisk, failing_call
from test.journal.values import (
    HIGH,
    SALT,
    SEGMENT_BYTES,
    decided,
    open_journal,
    promised,
    segment_path,
    vote,
    write_batches,
)

LONG: list[Record] = [vote(slot, HIGH, size=700) for slot in range(3, 11)]
"""A batch that spreads over a dozen sectors."""

SYNCED: list[list[Record]] = [[promised()], [vote(1), vote(2)], [decided(2)]]


def in_the_middle_of_a_batch() -> MemoryDisk:
    """Return a disk to which `LONG` has been handed, and has not been synced."""
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, SYNCED)
    journal.append(0, LONG)
    journal.write()
    return disk


def state_of(records: list[Record]) -> JournalState:
    state = JournalState()
    for record in records:
        state.apply(0, record)
    return state


def assert_holds_a_prefix(journal: Journal, records: list[Record], at_least: int) -> None:
    """Check that it holds some of the first ``records``, and ``at_least`` so many."""
    recovered = journal.recovered
    assert at_least <= recovered.record_count <= len(records)
    expected = state_of(records[: recovered.record_count]).groups[0]
    found = recovered.groups[0]
    assert (found.promised, found.votes, found.decided_through) == (
        expected.promised,
        expected.votes,
        expected.decided_through,
    )


def all_records() -> list[Record]:
    return [record for batch in SYNCED for record in batch] + LONG


def unsynced_data(disk: MemoryDisk) -> list[int]:
    """Return the sectors of the last batch, without that of the last end mark."""
    dirty = disk.files[segment_path()].dirty
    return sorted(sector for sector in dirty if sector < SEGMENT_BYTES // 2 // SECTOR)


def kept(disk: MemoryDisk, sectors: set[int]) -> MemoryDisk:
    def keep(path: Path, dirty: set[int]) -> set[int]:
        return sectors & dirty if path == segment_path() else set()

    return disk.after_power_cut(keep)


def mark_sectors(disk: MemoryDisk) -> set[int]:
    return set(disk.files[segment_path()].dirty) - set(unsynced_data(disk))


@pytest.mark.parametrize("mark_kept", [False, True])
def test_a_batch_torn_at_any_sector_loses_only_what_was_not_synced(mark_kept: bool) -> None:  # noqa: FBT001
    disk = in_the_middle_of_a_batch()
    sectors = unsynced_data(disk)
    assert len(sectors) > 10
    marks = mark_sectors(disk) if mark_kept else set()
    assert mark_sectors(disk)
    torn = 0
    for first in range(len(sectors) + 1):
        left = kept(disk, set(sectors[:first]) | marks)
        journal = open_journal(left)
        assert_holds_a_prefix(journal, all_records(), len(all_records()) - len(LONG))
        torn += journal.recovered.torn is not None
        assert_writable(left, journal)
    # The first cut loses all of it, the last none, and then nothing is torn.
    assert torn == len(sectors) - 1


def test_a_batch_with_a_hole_in_it_is_cut_at_the_hole() -> None:
    disk = in_the_middle_of_a_batch()
    sectors = unsynced_data(disk)
    for lost in sectors:
        left = kept(disk, set(sectors) - {lost})
        journal = open_journal(left)
        assert_holds_a_prefix(journal, all_records(), len(all_records()) - len(LONG))
        assert journal.recovered.record_count < len(all_records())
        assert journal.recovered.torn is not None
        assert_writable(left, journal)


def test_sectors_that_got_through_at_random_bring_nothing_back() -> None:
    disk = in_the_middle_of_a_batch()
    random = Random(5)
    dirty = set(unsynced_data(disk)) | mark_sectors(disk)
    for _ in range(100):
        left = kept(disk, {sector for sector in dirty if random.random() < 0.7})
        journal = open_journal(left)
        assert_holds_a_prefix(journal, all_records(), len(all_records()) - len(LONG))
        assert_writable(left, journal)


def assert_writable(disk: MemoryDisk, journal: Journal) -> None:
    """Check that what was recovered is durable, that more can be added, and is kept too."""
    recovered = journal.recovered
    again = open_journal(disk.after_power_cut()).recovered
    assert again == replace(recovered, torn=None, mended=())
    write_batches(journal, [[vote(50, HIGH)], [vote(51, HIGH)]])
    further = open_journal(disk.after_power_cut()).recovered
    assert further.record_count == recovered.record_count + 2
    assert {Slot(50), Slot(51)} <= set(further.groups[0].votes)
    assert (further.torn, further.mended) == (None, ())


def test_a_batch_that_was_cut_never_comes_back() -> None:
    disk = in_the_middle_of_a_batch()
    sectors = unsynced_data(disk)
    left = kept(disk, set(sectors[1:]))
    journal = open_journal(left)
    count = journal.recovered.record_count
    # The same records again, up to the hole: what lies behind it would fit on to them.
    write_batches(journal, [LONG[:1]])
    assert open_journal(left.after_kill()).recovered.record_count == count + 1


def test_nothing_is_written_into_a_journal_that_is_as_it_should_be() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [*SYNCED, LONG])
    left = disk.after_kill()
    open_journal(left)
    assert [call for call, _ in left.trace] == ["make_directory", "sync_directory"]


def test_what_a_killed_process_had_written_is_synced_before_it_is_believed() -> None:
    left = in_the_middle_of_a_batch().after_kill()
    journal = open_journal(left)
    assert journal.recovered.record_count == len(all_records())
    assert journal.recovered.torn is None
    assert open_journal(left.after_power_cut()).recovered == journal.recovered


def test_what_a_failed_sync_left_in_memory_is_written_again() -> None:
    # Linux counts the pages of a failed sync as clean: a later sync would not write them.
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, SYNCED)
    disk.fault = failing_call(0, 5, frozenset({"sync"}))
    journal.append(0, LONG)
    with pytest.raises(DiskError):
        journal.sync()
    left = disk.after_kill()
    recovered = open_journal(left).recovered
    assert recovered.record_count == len(all_records())
    assert open_journal(left.after_power_cut()).recovered.record_count == recovered.record_count


def test_a_batch_that_is_bad_where_its_mark_was_begun_is_damage() -> None:
    # Its mark takes several sectors, and only the last of them got through.
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[promised()], [vote(slot) for slot in range(1, 60)]])
    top = max(mark_sectors(disk))
    assert len(mark_sectors(disk)) > 3
    left = kept(disk, {top})
    assert open_journal(kept(disk, {top})).recovered.record_count == 60
    left.flip(segment_path(), DATA_START + 50)
    with pytest.raises(DamagedRecords, match="a synced batch whose end mark is damaged too"):
        open_journal(left)


def test_the_loss_of_the_last_segment_is_damage_once_a_record_in_it_was_acknowledged() -> None:
    disk, slot = MemoryDisk(), 1
    journal = open_journal(disk)
    while journal.segments < 2:
        write_batches(journal, [[vote(slot, size=1000)]])
        slot += 1
    left = disk.after_power_cut()
    del left.files[segment_path(2)]
    with pytest.raises(DamagedRecords, match=r"journal-0000000002\.log.*missing"):
        open_journal(left)


def test_a_header_is_mended_from_its_copy() -> None:
    for place in (0, HEADER_BYTES):
        disk = MemoryDisk()
        open_journal(disk).close()
        sound = bytes(disk.files[segment_path()].data)
        disk.flip(segment_path(), place + 20)
        disk.trace.clear()
        recovered = open_journal(disk).recovered
        mending = [call for call, name in disk.trace if name == segment_path().name]
        assert mending[:3] == ["sync", "write", "sync"]
        assert "one copy of the header" in recovered.mended[0]
        assert disk.files[segment_path()].durable == sound


def test_a_header_with_both_copies_bad_is_damage() -> None:
    disk = MemoryDisk()
    open_journal(disk).close()
    for place in (0, HEADER_BYTES):
        disk.flip(segment_path(), place + 20)
    with pytest.raises(DamagedRecords, match="the header, in both copies,"):
        open_journal(disk)


def test_a_journal_of_another_version_is_refused_and_left_alone() -> None:
    disk = MemoryDisk()
    open_journal(disk).close()
    data = disk.files[segment_path()].data
    for place in (0, HEADER_BYTES):
        data[place + 17] = VERSION + 1
        checksum = crc32c(bytes(data[place + 12 : place + HEADER_BYTES]))
        data[place + 8 : place + 12] = checksum.to_bytes(4, "little")
    before = bytes(data)
    with pytest.raises(StartError, match=r"version 3 where 2 was expected.*start the version"):
        open_journal(disk)
    assert disk.files[segment_path()].data == before


def test_a_record_of_an_unknown_kind_is_refused_and_not_cut() -> None:
    disk = MemoryDisk()
    open_journal(disk).close()
    data = disk.files[segment_path()].data
    record = frame(SALT, b"\x92\x00\x7f")
    data[DATA_START : DATA_START + len(record)] = record
    before = bytes(data)
    with pytest.raises(StartError, match=r"at byte 8192 is whole.*start the version"):
        open_journal(disk)
    assert disk.files[segment_path()].data == before


def long_journal(disk: MemoryDisk) -> Journal:
    """Return a journal of several segments, all of it decided."""
    journal = open_journal(disk)
    write_batches(journal, [[vote(slot, size=1500), decided(slot)] for slot in range(1, 60)])
    assert journal.segments > 3
    return journal


def test_a_deletion_cut_short_at_any_call_is_completed_or_has_not_begun() -> None:
    calls = frozenset({"write", "sync", "remove", "sync_directory"})
    outcomes = set()
    for number in range(20):
        disk = MemoryDisk()
        journal = long_journal(disk)
        segments, forgettable = journal.segments, Slot(40)
        disk.fault = failing_call(number, 5, calls)
        try:
            journal.forget(0, forgettable)
        except DiskError:
            pass
        else:
            break
        for left in (disk.after_power_cut(), disk.after_power_cut(names_kept=True)):
            again = open_journal(left)
            group = again.recovered.groups[0]
            assert group.decided_through == 59
            assert group.kept_from <= forgettable + 1
            decisions = again.reader().decided(0, group.kept_from, Slot(59), 10**9)
            assert [decision.slot for decision in decisions] == list(range(group.kept_from, 60))
            outcomes.add(again.segments == segments)
            names = [path.name for path in left.files if path.suffix == ".log"]
            assert len(names) == again.segments
    else:
        pytest.fail("it never came to an end")
    assert outcomes == {True, False}


def test_a_lost_first_segment_is_damage_and_a_forgotten_one_is_not() -> None:
    disk = MemoryDisk()
    journal = long_journal(disk)
    assert journal.forget(0, Slot(40)) >= 1
    first = min(path for path in disk.files if path.suffix == ".log")
    assert open_journal(disk.after_power_cut()).recovered.groups[0].decided_through == 59
    left = disk.after_power_cut()
    del left.files[first]
    with pytest.raises(DamagedRecords, match="missing"):
        open_journal(left)


def test_the_header_read_back_is_the_one_written() -> None:
    disk = MemoryDisk()
    long_journal(disk)
    data = bytes(disk.files[segment_path(3)].data[:DATA_START])
    found = read_header(data, "")
    assert found is not None
    header, copy = found
    assert (header.number, header.first, header.size) == (3, 1, SEGMENT_BYTES)
    assert encode_header(header) == copy == data[:HEADER_BYTES]

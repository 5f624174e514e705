"""Catch-up reads from the files, while the writer goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread

import pytest

from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.extents import CHECKPOINT_BYTES
from kvpaxos.journal.format import DATA_START
from kvpaxos.journal.log import Journal
from kvpaxos.journal.reader import CURSORS_MAX, READ_BYTES, JournalReader
from kvpaxos.paxos.ballot import ZERO_BALLOT, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import Installed
from test.journal.disks import MemoryDisk
from test.journal.values import (
    HIGH,
    LOW,
    SEGMENT_BYTES,
    batch,
    decided,
    learned,
    open_journal,
    promised,
    segment_path,
    vote,
    write_batches,
)

PLENTY = 10**9
FAR = Slot(10**6)


def slots(decisions: Sequence[Decision]) -> list[int]:
    return [decision.slot for decision in decisions]


def read(reader: JournalReader, first: int, through: int = FAR, size: int = PLENTY) -> list[int]:
    return slots(reader.decided(0, Slot(first), Slot(through), size))


def long_journal(disk: MemoryDisk, count: int, size: int = 1000) -> Journal:
    """Return a journal in which ``count`` slots are decided, each in the batch after its own."""
    journal = open_journal(disk)
    for slot in range(1, count + 1):
        journal.append(0, [vote(slot, size=size), decided(slot - 1)])
    journal.append(0, [decided(count)])
    journal.sync()
    return journal


def test_decided_slots_come_back_as_they_were_written() -> None:
    journal = open_journal(MemoryDisk())
    write_batches(journal, [[vote(1), vote(2, HIGH), decided(1)], [learned(2), vote(3)]])
    assert journal.reader().decided(0, Slot(1), FAR, PLENTY) == [
        Decision(Slot(1), LOW, batch(1)),
        Decision(Slot(2), ZERO_BALLOT, batch(2)),
    ]


def test_a_vote_is_not_handed_out_before_a_watermark_of_its_own_ballot() -> None:
    journal = open_journal(MemoryDisk())
    reader = journal.reader()
    write_batches(journal, [[vote(1), vote(2)]])
    assert read(reader, 1) == []
    write_batches(journal, [[decided(2, HIGH)]])
    assert read(reader, 1) == []
    write_batches(journal, [[decided(1)]])
    assert read(reader, 1) == [1]
    write_batches(journal, [[vote(2, HIGH), decided(2)]])
    assert read(reader, 2) == []
    write_batches(journal, [[decided(2, HIGH)]])
    assert read(reader, 2) == [2]


def test_what_is_written_and_not_synced_can_be_read() -> None:
    journal = open_journal(MemoryDisk())
    reader = journal.reader()
    journal.append(0, [vote(1), decided(1)])
    assert read(reader, 1) == []
    journal.write()
    assert read(reader, 1) == [1]


def test_a_range_ends_where_it_is_told_to_and_the_next_begins_there() -> None:
    journal = long_journal(MemoryDisk(), 20)
    reader = journal.reader()
    assert read(reader, 3, 7) == [3, 4, 5, 6, 7]
    assert read(reader, 8, 8) == [8]
    assert read(reader, 9, 8) == []
    assert read(reader, 9) == list(range(9, 21))
    assert read(reader, 21) == []


def test_a_range_is_cut_by_bytes_but_never_to_nothing() -> None:
    journal = long_journal(MemoryDisk(), 20)
    reader = journal.reader()
    assert read(reader, 1, size=3500) == [1, 2, 3]
    assert read(reader, 4, size=1) == [4]
    assert read(reader, 5, size=0) == [5]
    assert read(reader, 6, size=2100) == [6, 7]


def test_a_range_is_cut_by_commands_but_never_to_nothing() -> None:
    journal = open_journal(MemoryDisk())
    batches = [batch(1) * 3, batch(2), batch(3) * 2, batch(4) * 9]
    votes = [Vote(Slot(slot), LOW, one) for slot, one in enumerate(batches, 1)]
    write_batches(journal, [[*votes, decided(4)]])
    reader = journal.reader()

    def read_some(first: int, commands: int) -> list[int]:
        return slots(reader.decided(0, Slot(first), FAR, PLENTY, commands))

    assert read_some(1, 5) == [1, 2]
    assert read_some(3, 2) == [3]
    assert read_some(4, 2) == [4]
    assert read_some(1, 15) == [1, 2, 3, 4]


def test_ranges_can_be_read_in_any_order_and_again() -> None:
    journal = long_journal(MemoryDisk(), 120)
    reader = journal.reader()
    assert journal.segments > 4
    for first in (100, 1, 50, 50, 7, 120, 119, 1):
        assert read(reader, first, first + 2) == list(range(first, min(first + 3, 121)))


def test_each_group_has_its_own_slots() -> None:
    journal = open_journal(MemoryDisk())
    write_batches(journal, [[vote(1), decided(1)]], group=1)
    write_batches(journal, [[vote(1), vote(2), decided(2)]], group=2)
    reader = journal.reader()
    assert slots(reader.decided(1, Slot(1), FAR, PLENTY)) == [1]
    assert slots(reader.decided(2, Slot(1), FAR, PLENTY)) == [1, 2]
    assert slots(reader.decided(3, Slot(1), FAR, PLENTY)) == []


def test_to_go_on_reads_no_byte_twice() -> None:
    disk = MemoryDisk()
    journal = long_journal(disk, 400)
    reader = journal.reader()
    disk.reads = 0
    found: list[int] = []
    while part := read(reader, len(found) + 1, size=5000):
        found += part
    assert found == list(range(1, 401))
    assert disk.reads <= journal.segments + journal.bytes // READ_BYTES


def test_several_readers_in_turn_do_not_cost_each_other_their_places() -> None:
    disk = MemoryDisk()
    journal = long_journal(disk, 400)
    reader = journal.reader()
    disk.reads = 0
    found: list[list[int]] = [[] for _ in range(CURSORS_MAX)]
    for _ in range(100):
        for number, part in enumerate(found):
            part.extend(read(reader, 50 * number + len(part) + 1, size=2000))
    for number, part in enumerate(found):
        assert part == list(range(50 * number + 1, 50 * number + 1 + len(part)))
        assert len(part) == 100
    assert disk.reads <= CURSORS_MAX * (journal.segments + journal.bytes // READ_BYTES)


def test_a_place_far_into_a_segment_is_found_without_reading_all_before_it() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, 4 * 1024 * 1024)
    for slot in range(1, 1500):
        journal.append(0, [vote(slot, size=2000), decided(slot)])
    journal.sync()
    assert journal.segments == 1
    again = open_journal(disk.after_kill(), 4 * 1024 * 1024)
    for one in (journal, again):
        reader = one.reader()
        disk.reads = 0
        assert read(reader, 1400, 1402) == [1400, 1401, 1402]
        assert disk.reads <= 1 + CHECKPOINT_BYTES // READ_BYTES


def test_a_reader_holds_few_files_open_and_gives_them_back() -> None:
    disk = MemoryDisk()
    journal = long_journal(disk, 400)
    before = len(disk.handles)
    reader = journal.reader()
    for first in range(1, 400, 20):
        read(reader, first, first)
    assert len(disk.handles) - before == CURSORS_MAX
    reader.close()
    assert len(disk.handles) == before


def test_a_record_longer_than_one_read_is_read() -> None:
    journal = open_journal(MemoryDisk())
    large = vote(2, size=5 * READ_BYTES + 3)
    write_batches(journal, [[vote(1), large, vote(3), decided(3)]])
    decisions = journal.reader().decided(0, Slot(1), FAR, PLENTY)
    assert [decision.batch for decision in decisions] == [batch(1), large.batch, batch(3)]


def test_what_is_forgotten_is_not_handed_out_and_what_is_kept_is() -> None:
    journal = long_journal(MemoryDisk(), 100)
    reader = journal.reader()
    assert read(reader, 1, 5) == [1, 2, 3, 4, 5]
    journal.forget(0, Slot(60))
    kept_from = journal.kept_from(0)
    assert 10 < kept_from <= 61
    assert read(reader, kept_from - 1) == []
    assert read(reader, kept_from) == list(range(kept_from, 101))


def test_it_ends_where_a_state_from_elsewhere_has_brought_slots() -> None:
    journal = open_journal(MemoryDisk())
    reader = journal.reader()
    write_batches(journal, [[learned(1), learned(2), Installed(Slot(5)), learned(6), learned(7)]])
    assert read(reader, 1) == [1, 2]
    assert read(reader, 3) == []
    assert read(reader, 6) == [6, 7]


def test_a_reader_at_the_end_of_a_deleted_segment_finds_its_way_on() -> None:
    journal = open_journal(MemoryDisk())
    reader = journal.reader()
    write_batches(journal, [[vote(1), decided(1)]])
    assert read(reader, 1) == [1]
    # It waits for slot 2 in the first segment; but that comes only in the fourth.
    while journal.segments < 4:
        write_batches(journal, [[promised()] * 50])
    write_batches(journal, [[vote(2), decided(2)]])
    assert journal.forget(0, Slot(1)) == 3
    assert journal.kept_from(0) == 2
    assert read(reader, 2) == [2]


def test_a_record_that_went_bad_is_named_and_not_handed_out() -> None:
    disk = MemoryDisk()
    journal = long_journal(disk, 10)
    reader = journal.reader()
    disk.flip(segment_path(), DATA_START + 20)
    with pytest.raises(DamagedRecords) as caught:
        read(reader, 1)
    assert caught.value.offset == DATA_START
    assert caught.value.path == str(segment_path())


def test_reading_goes_on_while_the_writer_writes_rotates_and_forgets(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, segment_bytes=SEGMENT_BYTES)
    reader = journal.reader()
    count, window = 600, 100
    done = Event()
    failures: list[BaseException] = []
    found: list[Decision] = []

    def follow() -> None:
        try:
            while len(found) < count:
                last = done.is_set()
                part = reader.decided(0, Slot(len(found) + 1), FAR, 10_000)
                found.extend(part)
                assert part or not last, f"nothing after slot {len(found)}"
        except BaseException as error:  # noqa: BLE001  (it is looked at below)
            failures.append(error)

    follower = Thread(target=follow)
    follower.start()
    for slot in range(1, count + 1):
        journal.append(0, [vote(slot, size=slot % 700)])
        journal.append(0, [decided(slot)])
        journal.write()
        journal.forget(0, Slot(min(len(found), slot - window)))
    done.set()
    follower.join()
    reader.close()
    journal.close()
    assert failures == []
    assert found == [
        Decision(Slot(slot), LOW, batch(slot, slot % 700)) for slot in range(1, count + 1)
    ]

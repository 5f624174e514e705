"""What the journal does with records, segments and its directory."""

from __future__ import annotations

import errno

import pytest

from kvpaxos.errors import DiskError, StartError
from kvpaxos.journal.format import ALIGN_BYTES, APART_BYTES
from kvpaxos.journal.header import read_header
from kvpaxos.journal.log import GroupRecovered, Journal
from kvpaxos.journal.marks import Mark, find_marks
from kvpaxos.journal.spares import SPARES_MAX
from kvpaxos.journal.state import needs_sync
from kvpaxos.paxos.ballot import NO_SLOT, Ballot, Slot
from kvpaxos.paxos.records import Record, Started
from test.journal.disks import DIRECTORY, MemoryDisk, failing_call
from test.journal.values import (
    FORMED,
    FORMING,
    HIGH,
    LOW,
    ONE,
    SALT,
    SEGMENT_BYTES,
    decided,
    learned,
    open_journal,
    promised,
    segment_path,
    vote,
    write_batches,
)


def fill(journal: Journal, first: int, count: int, *, open_slots: int = 2, group: int = 0) -> None:
    """Vote in ``count`` slots from ``first`` on, decided ``open_slots`` behind."""
    for slot in range(first, first + count):
        records: list[Record] = [vote(slot, size=1000)]
        if slot > open_slots:
            records.append(decided(slot - open_slots))
        journal.append(group, records)
        journal.sync()


def reopened(disk: MemoryDisk) -> Journal:
    """Return the journal as it is after a power cut."""
    return open_journal(disk.after_power_cut())


@pytest.mark.parametrize(
    ("record", "needed"),
    [
        (promised(), True),
        (vote(1), True),
        (FORMING, True),
        (FORMED, True),
        (Started(1), True),
        (decided(1), False),
        (learned(1), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_was_promised_to_others_needs_a_sync(record: Record, needed: bool) -> None:  # noqa: FBT001
    assert needs_sync(record) is needed


def test_a_new_journal_knows_nothing() -> None:
    recovered = open_journal(MemoryDisk()).recovered
    assert (recovered.forming, recovered.formed, recovered.boot) == (None, None, 0)
    assert recovered.groups == {}
    assert (recovered.record_count, recovered.head_hash) == (0, SALT)
    assert (recovered.torn, recovered.mended) == (None, ())


def test_new_journals_start_from_different_digests() -> None:
    one, two = (
        Journal.open(DIRECTORY, segment_bytes=SEGMENT_BYTES, files=MemoryDisk()) for _ in range(2)
    )
    assert one.head_hash != two.head_hash


def test_a_journal_remembers_what_was_synced() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[FORMING, FORMED, Started(3)], [promised(HIGH)]])
    write_batches(journal, [[vote(1), vote(2), decided(1)], [vote(3, HIGH)]], group=7)
    recovered = reopened(disk).recovered
    assert recovered.forming == FORMING
    assert recovered.formed == FORMED
    assert recovered.boot == 3
    assert recovered.groups == {
        0: GroupRecovered(HIGH, {}, NO_SLOT, Slot(1)),
        7: GroupRecovered(HIGH, {Slot(2): vote(2), Slot(3): vote(3, HIGH)}, Slot(1), Slot(1)),
    }
    assert (recovered.record_count, recovered.head_hash) == (8, journal.head_hash)


def test_a_vote_is_a_promise_too() -> None:
    disk = MemoryDisk()
    write_batches(open_journal(disk), [[promised(LOW), vote(1, HIGH), promised(LOW)]])
    assert reopened(disk).recovered.groups[0].promised == HIGH


@pytest.mark.parametrize(
    ("records", "through"),
    [
        ([vote(1), vote(2), vote(3), decided(2)], 2),
        ([vote(1), vote(2, HIGH), vote(3), decided(3)], 1),
        ([vote(1), vote(2, HIGH), vote(3), decided(3), learned(2)], 2),
        ([vote(1), vote(2, HIGH), vote(3), learned(2), decided(3)], 3),
        ([vote(1), vote(1, HIGH), decided(1)], 0),
        ([vote(1), vote(1, HIGH), decided(1, HIGH)], 1),
        ([learned(1), learned(2)], 2),
        ([learned(2), learned(3)], 0),
        ([learned(2), learned(3), learned(1)], 3),
        ([vote(2), decided(2)], 0),
        ([vote(1), decided(100)], 1),
        ([vote(1), vote(2), decided(2), decided(1), vote(1, HIGH)], 2),
    ],
)
def test_a_watermark_covers_votes_of_its_ballot_and_what_was_learned(
    records: list[Record], through: int
) -> None:
    disk = MemoryDisk()
    write_batches(open_journal(disk), [records])
    group = reopened(disk).recovered.groups[0]
    assert group.decided_through == through
    assert all(slot > through for slot in group.votes)


def test_a_batch_costs_one_write_one_sync_and_one_mark() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[promised()]])
    disk.trace.clear()
    journal.append(0, [vote(1), vote(2)])
    journal.append(0, [vote(3)])
    assert disk.trace == []
    journal.sync()
    assert [call for call, _ in disk.trace] == ["write", "sync", "write"]
    assert (journal.syncs, journal.records) == (2, 4)


def test_without_anything_new_there_is_nothing_to_sync() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[promised()]])
    disk.trace.clear()
    journal.sync()
    journal.write()
    assert disk.trace == []


def test_what_is_written_survives_the_process_and_what_is_synced_the_power_cut() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[vote(1)]])
    journal.append(0, [decided(1)])
    assert open_journal(disk.after_kill()).recovered.groups[0].decided_through == 0
    journal.write()
    assert journal.durable_records == 1
    assert open_journal(disk.after_kill()).recovered.groups[0].decided_through == 1
    assert reopened(disk).recovered.groups[0].decided_through == 0
    assert journal.durable_head != (2, journal.head_hash)
    journal.sync()
    assert journal.durable_records == 2
    assert journal.durable_head == (2, journal.head_hash)
    assert reopened(disk).durable_head == journal.durable_head
    assert reopened(disk).recovered.groups[0].decided_through == 1


def test_much_at_once_does_not_wait_in_memory() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk, 8 * 1024 * 1024)
    disk.trace.clear()
    journal.append(0, [vote(slot, size=100_000) for slot in range(1, 25)])
    assert [call for call, _ in disk.trace] == ["write", "write"]


def test_marks_keep_their_distance_from_their_batches() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    fill(journal, 1, 60)
    journal.close()
    assert journal.segments > 2
    for number in range(1, journal.segments + 1):
        data = bytes(disk.files[segment_path(number)].data)
        found = read_header(data, "")
        assert found is not None
        marks = find_marks(data, found[0].digest)
        for mark in marks:
            assert isinstance(mark, Mark)
            assert mark.offset - mark.end >= APART_BYTES
        if number < journal.segments:
            last = marks[-1]
            assert isinstance(last, Mark)
            assert last.seals
            # It was full: the next record would have come too near.
            assert last.offset - last.end < APART_BYTES + 1400


def test_a_clean_close_leaves_every_batch_marked_durably() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[vote(1)]])
    journal.append(0, [decided(1)])
    journal.close()
    left = disk.after_power_cut()
    data = bytes(left.files[segment_path()].data)
    marks = find_marks(data, SALT)
    assert [mark.records for mark in marks if isinstance(mark, Mark)] == [1, 1]
    recovered = open_journal(left).recovered
    assert (recovered.torn, recovered.mended) == (None, ())
    assert [call for call, _ in left.trace] == ["make_directory", "sync_directory"]


def test_to_close_twice_does_nothing_more() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    journal.close()
    disk.trace.clear()
    journal.close()
    assert disk.trace == []
    assert disk.handles == {}


@pytest.mark.parametrize("number", [0, 1], ids=["of the records", "of their end mark"])
def test_it_says_so_if_its_last_sync_failed(number: int) -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    journal.append(0, [vote(1)])
    assert journal.refusal is None
    disk.fault = failing_call(number, errno.EIO, frozenset({"sync"}))
    with pytest.raises(DiskError, match="cannot sync"):
        journal.close()
    assert "cannot sync" in str(journal.refusal)


def test_a_second_process_is_kept_out_until_the_first_is_gone() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    with pytest.raises(StartError, match="another process is using this journal"):
        open_journal(disk)
    journal.close()
    open_journal(disk)


def test_a_promise_outlives_the_segment_it_was_made_in() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    highest = Ballot(9, ONE)
    write_batches(journal, [[FORMING, FORMED, Started(2)], [promised(highest)]])
    write_batches(journal, [[promised(HIGH)]], group=4)
    fill(journal, 1, 100)
    assert journal.forget(0, Slot(90)) >= 3
    recovered = reopened(disk).recovered
    assert recovered.groups[0].promised == highest
    assert recovered.groups[4].promised == HIGH
    assert (recovered.forming, recovered.formed, recovered.boot) == (FORMING, FORMED, 2)


def test_forgetting_keeps_every_undecided_vote() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    fill(journal, 1, 30, open_slots=30)
    segments = journal.segments
    assert segments > 1
    assert journal.forget(0, Slot(30)) == 0
    votes = reopened(disk).recovered.groups[0].votes
    assert sorted(votes) == list(range(1, 31))
    # From here on slot 1 is decided, and 2 is not.
    write_batches(journal, [[decided(1)]])
    assert journal.forget(0, Slot(30)) == 0
    assert sorted(reopened(disk).recovered.groups[0].votes) == list(range(2, 31))


def test_forgetting_works_although_slots_are_always_open() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    for first in range(1, 400, 20):
        fill(journal, first, 20, open_slots=5)
        journal.forget(0, Slot(first + 14))
        recovered = reopened(disk).recovered.groups[0]
        assert recovered.decided_through == first + 14
        assert sorted(recovered.votes) == list(range(first + 15, first + 20))
        assert recovered.kept_from == journal.kept_from(0) <= first + 15
    assert journal.segments <= 3


def test_forgetting_stops_at_what_is_asked_for() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    fill(journal, 1, 60)
    assert journal.forget(0, Slot(3)) == 0
    kept_from = journal.kept_from(0)
    assert kept_from == 1
    disk.trace.clear()
    count = journal.forget(0, Slot(58))
    assert count > SPARES_MAX
    calls = [call for call, _ in disk.trace]
    gone = ["rename"] * SPARES_MAX + ["remove"] * (count - SPARES_MAX)
    assert calls == ["write", "sync", "write", "sync", *gone, "sync_directory"]
    assert 1 < journal.kept_from(0) <= 59
    assert reopened(disk).recovered.groups[0].kept_from == journal.kept_from(0)


def test_forgetting_waits_for_every_group() -> None:
    journal = open_journal(MemoryDisk())
    write_batches(journal, [[vote(1), decided(1)]], group=5)
    fill(journal, 1, 60)
    assert journal.forget(0, Slot(58)) == 0
    assert journal.forget(5, Slot(1)) > 0


def test_the_current_segment_is_never_deleted() -> None:
    journal = open_journal(MemoryDisk())
    fill(journal, 1, 60, open_slots=0)
    journal.forget(0, Slot(60))
    assert journal.segments == 1
    assert journal.bytes == SEGMENT_BYTES
    fill(journal, 61, 5)


def test_a_forgotten_watermark_does_not_hold_up_the_next() -> None:
    # The votes of the open slots were in a deleted segment, their watermark is not.
    disk = MemoryDisk()
    journal = open_journal(disk)
    fill(journal, 1, 60, open_slots=4)
    assert journal.forget(0, Slot(56)) > 0
    write_batches(journal, [[decided(60)]])
    assert reopened(disk).recovered.groups[0].decided_through == 60


def test_a_record_too_large_for_a_segment_gets_a_larger_one() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    large = vote(2, size=3 * SEGMENT_BYTES)
    write_batches(journal, [[vote(1)], [large], [vote(3, size=ALIGN_BYTES)]])
    sizes = [len(disk.files[segment_path(number)].data) for number in range(1, 4)]
    assert sizes[1] > 3 * SEGMENT_BYTES
    assert sizes[1] % ALIGN_BYTES == 0
    assert (sizes[0], sizes[2]) == (SEGMENT_BYTES, SEGMENT_BYTES)
    assert journal.bytes == sum(sizes)
    assert reopened(disk).recovered.groups[0].votes[Slot(2)] == large


def test_a_spare_spares_the_writer_the_zeros() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    wanted = []
    for first in (1, 6):
        fill(journal, first, 5)
        wanted.append(journal.wants_spare)
    assert journal.prepare_spare()
    wanted.append(journal.wants_spare)
    assert wanted == [False, True, False]
    assert disk.count("create") == 2
    fill(journal, 11, 20)
    assert journal.segments == 2
    assert disk.count("create") == 2
    assert reopened(disk).recovered.record_count == journal.records


def test_a_spare_is_prepared_once() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    assert journal.prepare_spare()
    disk.trace.clear()
    assert journal.prepare_spare()
    assert disk.trace == []


def test_what_was_not_made_part_of_the_journal_is_cleared_away() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[vote(1)]])
    journal.prepare_spare()
    journal.close()
    assert len(disk.files) == 3
    open_journal(disk).close()
    assert sorted(path.name for path in disk.files) == ["journal-0000000001.log", "lock"]


def test_segments_of_another_size_can_follow() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    fill(journal, 1, 30)
    journal.close()
    journal = open_journal(disk, 2 * SEGMENT_BYTES)
    fill(journal, 31, 30)
    assert {len(disk.files[segment_path(n + 1)].data) for n in range(journal.segments)} == {
        SEGMENT_BYTES,
        2 * SEGMENT_BYTES,
    }
    assert reopened(disk).recovered.groups[0].decided_through == 58


def test_the_digest_goes_on_across_segments_and_restarts() -> None:
    one, two = MemoryDisk(), MemoryDisk()
    fill(open_journal(one), 1, 60)
    for slot in range(1, 61):
        journal = open_journal(two)
        fill(journal, slot, 1)
        journal.close()
    assert reopened(one).head_hash == reopened(two).head_hash


def test_too_many_groups_for_a_header_are_refused_with_a_sentence() -> None:
    journal = open_journal(MemoryDisk())
    for group in range(400):
        journal.append(group, [promised()])
    with pytest.raises(DiskError, match="run fewer groups on this node"):
        fill(journal, 1, 60)


def test_forgetting_begins_anew_after_a_restart() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    fill(journal, 1, 60)
    assert journal.forget(0, Slot(40)) > 0
    journal.close()
    journal = open_journal(disk)
    kept_from = journal.kept_from(0)
    assert journal.forget(0, Slot(1)) == 0
    assert journal.kept_from(0) == kept_from
    fill(journal, 61, 60)
    assert journal.forget(0, Slot(100)) > 0

"""What a journal says of disks that were lost, and of states that came from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvpaxos.journal.format import DATA_START
from kvpaxos.journal.header import encode_header, next_header, read_header
from kvpaxos.journal.log import Journal
from kvpaxos.journal.state import GroupState, JournalState, needs_sync
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.records import Installed, Record, Rejoined, Renewed, ReplicaRecord, Seen
from test.journal.disks import MemoryDisk
from test.journal.values import (
    FORMED,
    FORMING,
    HIGH,
    ONE,
    SALT,
    TWO,
    decided,
    learned,
    open_journal,
    promised,
    segment_path,
    vote,
    write_batches,
)

FAR = Slot(10**6)
PLENTY = 10**9


def installed(slot: int) -> Installed:
    return Installed(Slot(slot))


def group_of(*records: ReplicaRecord) -> tuple[GroupState, list[int]]:
    """Return what ``records`` come to, and which slots they show to be decided."""
    group = GroupState()
    slots: list[int] = []
    for record in records:
        slots += [decision.slot for decision in group.apply(record)]
    return group, slots


def read(journal: Journal, first: int) -> list[int]:
    decisions = journal.reader().decided(0, Slot(first), FAR, PLENTY)
    return [decision.slot for decision in decisions]


class TestInstalled:
    def test_what_a_state_has_executed_is_skipped(self) -> None:
        group, slots = group_of(vote(1), decided(1), vote(2), vote(3), learned(4), installed(5))
        assert slots == [1]
        assert (group.decided_through, group.voted_through, group.installed) == (5, 5, 5)
        assert (group.votes, group.learned) == ({}, {})

    def test_what_is_known_beyond_it_follows(self) -> None:
        group, slots = group_of(vote(7), learned(6), learned(8), installed(5))
        assert slots == [6]
        assert (group.decided_through, list(group.votes), list(group.learned)) == (6, [7], [8])
        assert [decision.slot for decision in group.apply(decided(7))] == [7, 8]

    def test_an_older_one_takes_nothing_back(self) -> None:
        group, slots = group_of(learned(1), learned(2), installed(1))
        assert slots == [1, 2]
        assert (group.decided_through, group.installed) == (2, 1)

    def test_a_vote_in_a_slot_of_the_state_is_not_kept(self) -> None:
        group, _ = group_of(installed(5), vote(4), vote(6))
        assert list(group.votes) == [6]
        assert group.decided_through == 5


def test_the_newest_disks_and_the_last_leave_to_vote_are_known() -> None:
    group, _ = group_of(Renewed(TWO, 2), Renewed(ONE, 5), Renewed(TWO, 3), Rejoined(2), Rejoined(4))
    assert (group.incarnations, group.rejoined) == ({TWO: 3, ONE: 5}, 4)


def seen(node: NodeId, records: int) -> Seen:
    return Seen(node, 1, 3, "7b1e", records, "f0")


def test_what_was_seen_last_of_each_member_is_known() -> None:
    state = JournalState()
    for record in (seen(TWO, 5), seen(ONE, 9), seen(TWO, 7)):
        state.apply(0, record)
    assert state.seen == {TWO: seen(TWO, 7), ONE: seen(ONE, 9)}


@pytest.mark.parametrize(
    ("record", "waits"),
    [
        (Renewed(TWO, 2), True),
        (Rejoined(2), True),
        (seen(TWO, 9), False),
        (installed(2), False),
        (decided(2), False),
        (vote(2), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_others_rest_on_must_be_synced(record: Record, waits: bool) -> None:  # noqa: FBT001
    assert needs_sync(record) is waits


def with_dropped_segments(disk: MemoryDisk) -> Journal:
    """Return a journal whose first segments, with all records on disks in them, are gone."""
    journal = open_journal(disk)
    first: list[Record] = [
        FORMING,
        FORMED,
        seen(TWO, 5),
        seen(ONE, 9),
        seen(TWO, 7),
        Renewed(TWO, 3),
        Rejoined(2),
        promised(HIGH),
        installed(50),
    ]
    write_batches(journal, [first])
    slot = 50
    while journal.segments < 4:
        slot += 1
        write_batches(journal, [[vote(slot, HIGH, size=1000), decided(slot, HIGH)]])
    assert journal.forget(0, Slot(slot)) == 3
    return journal


def test_disks_and_leave_to_vote_outlive_the_segments_that_told_of_them() -> None:
    disk = MemoryDisk()
    with_dropped_segments(disk)
    recovered = open_journal(disk.after_power_cut()).recovered
    group = recovered.groups[0]
    assert (recovered.forming, recovered.formed) == (FORMING, FORMED)
    assert (group.incarnations, group.rejoined, group.promised) == ({TWO: 3}, 2, HIGH)
    assert recovered.seen == (seen(TWO, 7), seen(ONE, 9))


def test_of_a_hundred_members_a_header_tells_as_many_as_it_has_room_for() -> None:
    state = JournalState()
    for number in range(100):
        node = NodeId(f"n{number:02}")
        state.apply(0, Seen(node, 1, 3, "7b1e" * 4, number, "f0" * 16))
    header = next_header(2, 2**15, first=1, records=9, digest=SALT, state=state)
    found = read_header(encode_header(header) * 2, "there")
    assert found is not None
    told = found[0].seen
    assert told == header.seen[: len(told)]
    assert 40 < len(told) < 100
    assert replace(found[0], seen=()) == replace(header, seen=())


def test_what_follows_an_installed_state_is_read_after_segments_were_dropped() -> None:
    disk = MemoryDisk()
    journal = with_dropped_segments(disk)
    kept_from = journal.kept_from(0)
    assert kept_from > 51
    assert read(journal, kept_from - 1) == []
    last = read(journal, kept_from)[-1]
    again = open_journal(disk.after_power_cut())
    assert again.kept_from(0) == again.recovered.groups[0].kept_from == kept_from
    assert again.recovered.groups[0].decided_through == last
    assert read(again, kept_from) == list(range(kept_from, last + 1))


def test_a_header_says_what_was_installed_renewed_and_rejoined() -> None:
    disk = MemoryDisk()
    with_dropped_segments(disk)
    found = read_header(bytes(disk.files[segment_path(4)].data[:DATA_START]), "")
    assert found is not None
    group = found[0].groups[0]
    assert (group.installed, group.incarnations, group.rejoined) == (50, ((TWO, 3),), 2)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_slots_of_an_installed_state_are_not_handed_out(restarted: bool) -> None:  # noqa: FBT001
    disk = MemoryDisk()
    journal = open_journal(disk)
    records: list[Record] = [
        vote(1),
        decided(1),
        vote(2),
        installed(5),
        vote(6),
        decided(6),
        learned(7),
    ]
    write_batches(journal, [[record] for record in records])
    if restarted:
        journal = open_journal(disk.after_power_cut())
    assert journal.kept_from(0) == 6
    assert read(journal, 6) == [6, 7]


def test_a_state_installed_twice_leaves_what_follows_the_second() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    records: list[Record] = [installed(5), learned(6), installed(9), learned(10)]
    write_batches(journal, [[record] for record in records])
    assert journal.kept_from(0) == 10
    assert read(journal, 10) == [10]


def test_the_segments_before_an_installed_state_can_be_deleted() -> None:
    journal = open_journal(MemoryDisk())
    slot = 0
    while journal.segments < 3:
        slot += 1
        # Never decided, as far as this journal knows.
        write_batches(journal, [[vote(slot, size=1000)]])
    assert journal.forget(0, FAR) == 0
    write_batches(journal, [[installed(slot)]])
    assert journal.forget(0, Slot(slot)) == 2
    assert journal.kept_from(0) == slot + 1

"""A disk that refuses at any call, or loses its power there, costs nothing acknowledged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest
from typing_extensions import override

from kvpaxos.errors import DiskError
from kvpaxos.journal.log import Journal
from kvpaxos.journal.state import JournalState
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.records import Record, Started
from test.journal.disks import DIRECTORY, MemoryDisk, failing_call
from test.journal.values import (
    FORMED,
    FORMING,
    HIGH,
    SALT,
    SEGMENT_BYTES,
    decided,
    learned,
    open_journal,
    promised,
    vote,
)

CHANGES: Final = frozenset({"create", "write", "sync", "rename", "remove", "sync_directory"})
"""The calls that a disk may refuse."""


FORGETTING: Final = (18, 24)
"""At the first time there are more segments to let go of than are used again."""


class PowerCut(Exception):
    """Ends a run where the power fails."""


@dataclass
class Run:
    """A small life of a journal: it forms, votes in two groups, rotates and forgets.

    :ivar records: all that were appended.
    :ivar acknowledged: how many of them were synced.
    :ivar make_room: what frees some room, if there is none.
    """

    disk: MemoryDisk
    make_room: Callable[[], bool] = lambda: False
    records: list[tuple[int, Record]] = field(default_factory=list)
    acknowledged: int = 0

    def carry_out(self) -> None:
        journal = Journal.open(
            DIRECTORY,
            segment_bytes=SEGMENT_BYTES,
            files=self.disk,
            salt=SALT,
            make_room=self.make_room,
        )
        self.add(journal, 0, [FORMING])
        self.add(journal, 0, [FORMED, Started(1)])
        self.add(journal, 0, [promised()])
        for slot in range(1, 26):
            self.add(journal, 0, [vote(slot, size=4000)], sync=False)
            self.add(journal, 1, [vote(slot, HIGH), learned(slot)])
            if slot == 3:
                journal.prepare_spare()
            if slot % 3 == 0:
                self.add(journal, 0, [decided(slot - 1)], sync=False)
            if slot in FORGETTING:
                journal.forget(0, Slot(slot - 2))
                journal.forget(1, Slot(slot))
        journal.close()
        self.acknowledged = len(self.records)

    def add(
        self, journal: Journal, group: int, records: list[Record], *, sync: bool = True
    ) -> None:
        self.records += [(group, record) for record in records]
        journal.append(group, records)
        if sync:
            journal.sync()
            self.acknowledged = len(self.records)

    def check(self, disk: MemoryDisk) -> None:
        """Check that ``disk`` holds what was acknowledged, and a part of the rest in order."""
        journal = open_journal(disk)
        recovered = journal.recovered
        count = recovered.record_count
        assert self.acknowledged <= count <= len(self.records)
        expected = state_of(self.records[:count])
        everything = state_of(self.records)
        assert (recovered.forming, recovered.formed) == (expected.forming, expected.formed)
        assert recovered.boot == expected.boot
        assert set(recovered.groups) == set(expected.groups)
        for number, group in recovered.groups.items():
            known = expected.groups[number]
            assert group.promised == known.promised
            # A header may know more of what is decided than the records that are left.
            through = group.decided_through
            assert known.decided_through <= through <= everything.groups[number].decided_through
            assert group.votes == {s: v for s, v in known.votes.items() if s > through}
            if through:
                found = journal.reader().decided(number, group.kept_from, through, 10**9)
                slots = list(range(group.kept_from, through + 1))
                assert [decision.slot for decision in found] == slots
        assert open_journal(disk.after_power_cut()).recovered.record_count == count
        journal.append(0, [promised()])
        journal.sync()
        assert open_journal(disk.after_power_cut()).recovered.record_count == count + 1
        journal.close()


def state_of(records: list[tuple[int, Record]]) -> JournalState:
    state = JournalState()
    for group, record in records:
        state.apply(group, record)
    return state


def undisturbed() -> Run:
    run = Run(MemoryDisk())
    run.carry_out()
    return run


TRACE: Final = [made for made in undisturbed().disk.trace if made[0] in CHANGES]
"""Every call of an undisturbed run that changes the disk, and for which file."""

CALLS: Final = [call for call, _ in TRACE]

RECYCLED: Final = [name for call, name in TRACE if call == "rename" and name.startswith("journal")]
"""The segments whose files are used again. The first two of them are."""


def test_the_run_does_all_that_a_journal_does() -> None:
    run = undisturbed()
    assert set(CALLS) == CHANGES
    assert CALLS.count("rename") == 7 + len(RECYCLED)
    assert len(RECYCLED) == 3
    assert CALLS.count("remove") == 2
    run.check(run.disk.after_power_cut())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_a_refusal_stops_the_journal_and_costs_nothing_acknowledged(code: int) -> None:
    stopped = 0
    for number in range(len(CALLS)):
        run = Run(MemoryDisk(failing_call(number, code, CHANGES)))
        try:
            run.carry_out()
        except DiskError:
            stopped += 1
        run.disk.fault = None
        run.check(run.disk.after_kill())
        run.check(run.disk.after_power_cut())
    # A spare can be done without, for want of room: that takes three calls. And a file need not
    # be used again.
    assert len(CALLS) - stopped == (3 + len(RECYCLED) if code == errno.ENOSPC else 0)


def test_with_a_reserve_no_new_segment_stops_the_journal_for_want_of_room() -> None:
    made = CALLS.count("create")
    assert made + 2 == CALLS.count("rename") - len(RECYCLED)
    released: list[int] = []
    stopped = 0
    for number in range(len(CALLS)):

        def release(number: int = number) -> bool:
            released.append(number)
            return True

        run = Run(MemoryDisk(failing_call(number, errno.ENOSPC, CHANGES)), make_room=release)
        try:
            run.carry_out()
        except DiskError:
            stopped += 1
        run.disk.fault = None
        run.check(run.disk.after_kill())
        run.check(run.disk.after_power_cut())
    # Each of them is made, filled and synced; or filled and synced, if its file is there.
    assert len(released) == 3 * made + 2 * 2
    assert stopped == len(CALLS) - len(released) - len(RECYCLED)


@pytest.mark.parametrize("name", ["write", "sync"])
def test_after_a_refusal_the_journal_is_dead_and_says_why(name: str) -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    disk.fault = failing_call(0, errno.EIO, frozenset({name}))
    journal.append(0, [vote(1)])
    with pytest.raises(DiskError, match=r"Input/output error.*before you start the node again"):
        journal.sync()
    disk.fault = None
    disk.trace.clear()
    uses: list[Callable[[], object]] = [
        lambda: journal.append(0, [vote(2)]),
        journal.write,
        journal.sync,
        lambda: journal.forget(0, Slot(1)),
        journal.prepare_spare,
    ]
    for use in uses:
        with pytest.raises(DiskError, match=r"stopped at an earlier error.*Input/output error"):
            use()
    journal.close()
    assert disk.trace == []
    assert disk.handles == {}


class ShortDisk(MemoryDisk):
    """Takes only the first few bytes of what it is asked to write."""

    takes: int | None = None

    @override
    def write(self, handle: int, data: bytes, offset: int) -> int:
        return super().write(handle, data[: self.takes], offset)


def test_a_write_that_is_cut_short_goes_on_where_it_was_cut() -> None:
    disk = ShortDisk()
    journal = open_journal(disk)
    disk.takes = 10
    journal.append(0, [vote(1)])
    journal.sync()
    journal.close()
    assert open_journal(disk.after_kill()).recovered.record_count == 1


def test_a_disk_that_takes_nothing_refuses() -> None:
    disk = ShortDisk()
    journal = open_journal(disk)
    disk.takes = 0
    journal.append(0, [vote(1)])
    with pytest.raises(DiskError, match="takes no more bytes"):
        journal.sync()
    journal.close()
    assert open_journal(disk.after_kill()).recovered.record_count == 0


def test_without_room_for_a_spare_the_journal_goes_on() -> None:
    disk = MemoryDisk(failing_call(1, errno.ENOSPC, frozenset({"create"})))
    journal = open_journal(disk)
    assert not journal.prepare_spare()
    journal.append(0, [vote(1)])
    journal.sync()
    assert not [path for path in disk.files if path.name.startswith("spare")]
    assert journal.prepare_spare()


def test_a_full_disk_does_not_keep_a_journal_from_being_opened() -> None:
    run = undisturbed()
    left = run.disk.after_kill()
    left.fault = failing_call(0, errno.ENOSPC, frozenset({"create"}))
    journal = open_journal(left)
    journal.append(0, [Started(2)])
    journal.sync()
    assert open_journal(left.after_power_cut()).recovered.boot == 2


def test_a_journal_whose_first_segment_had_no_room_starts_anew() -> None:
    disk = MemoryDisk(failing_call(0, errno.ENOSPC, frozenset({"write"})))
    with pytest.raises(DiskError, match=r"No space left on device.*free some space there"):
        open_journal(disk)
    disk.fault = None
    assert open_journal(disk).recovered.record_count == 0


class SmallDisk(MemoryDisk):
    """Has room for so many bytes, and something else on it that can be taken away.

    :ivar capacity: how many bytes fit.
    :ivar reserve: by how much that grows, once.
    """

    def __init__(self, capacity: int, reserve: int = 0) -> None:
        super().__init__()
        self.capacity = capacity
        self.reserve = reserve

    def release(self) -> bool:
        released, self.reserve = self.reserve, 0
        self.capacity += released
        return released > 0

    @override
    def write(self, handle: int, data: bytes, offset: int) -> int:
        grows = max(0, offset + len(data) - self.size(handle))
        taken = sum(len(inode.data) for inode in self.files.values())
        if taken + grows > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(handle, data, offset)


def test_a_new_segment_that_finds_no_room_is_tried_once_more_in_that_of_the_reserve() -> None:
    disk = SmallDisk(SEGMENT_BYTES, reserve=SEGMENT_BYTES)
    journal = Journal.open(
        DIRECTORY, segment_bytes=SEGMENT_BYTES, files=disk, make_room=disk.release
    )
    assert journal.prepare_spare()
    assert disk.reserve == 0
    # What failed is not what was tried again, and nothing of it is left.
    creations = [path for call, path in disk.trace if call == "create"]
    assert len(creations) == len(set(creations)) == 3
    assert len(disk.files) == 3  # segment, spare, lock


def test_without_room_in_the_reserve_either_the_journal_stops_with_what_to_do() -> None:
    disk = SmallDisk(SEGMENT_BYTES)
    journal = Journal.open(
        DIRECTORY, segment_bytes=SEGMENT_BYTES, files=disk, make_room=disk.release
    )
    assert not journal.prepare_spare()
    with pytest.raises(DiskError, match=r"No space left on device.*free some space there"):
        journal.append(0, [vote(slot, size=1000) for slot in range(1, 100)])


def test_on_a_disk_of_any_size_the_journal_goes_on_or_stops_and_loses_nothing_synced() -> None:
    needed = undisturbed().disk
    most = sum(len(inode.data) for inode in needed.files.values()) + 3 * SEGMENT_BYTES
    stopped = set()
    for reserve in (0, SEGMENT_BYTES):
        for capacity in range(0, most, SEGMENT_BYTES // 2):
            disk = SmallDisk(capacity, reserve)
            run = Run(disk, make_room=disk.release)
            try:
                run.carry_out()
            except DiskError as error:
                assert "free some space there" in str(error)  # noqa: PT017
                stopped.add((capacity, reserve))
            run.check(disk.after_kill())
            run.check(disk.after_power_cut())
    fits = [
        min(c for c in range(0, most, SEGMENT_BYTES // 2) if (c, r) not in stopped)
        for r in (0, SEGMENT_BYTES)
    ]
    assert fits[0] - fits[1] == SEGMENT_BYTES


def power_cut_at(number: int) -> Run:
    """Return a run that ends just before its call ``number``."""
    seen = 0

    def fault(name: str) -> None:
        nonlocal seen
        if name in CHANGES:
            seen += 1
            if seen > number:
                raise PowerCut

    run = Run(MemoryDisk(fault))
    with pytest.raises(PowerCut):
        run.carry_out()
    run.disk.fault = None
    return run


def test_a_power_cut_at_any_call_costs_nothing_acknowledged() -> None:
    for number in range(len(CALLS)):
        run = power_cut_at(number)
        random = Random(number)

        def some(_path: Path, dirty: set[int]) -> set[int]:
            return {sector for sector in dirty if random.random() < 0.7}  # noqa: B023

        run.check(run.disk.after_power_cut())
        run.check(run.disk.after_power_cut(some, names_kept=True))
        run.check(run.disk.after_power_cut(some))
        run.check(run.disk.after_power_cut(lambda _path, dirty: dirty, names_kept=True))

"""What is damaged is made again exactly, by whoever knows it, or not at all."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import pytest

from kvpaxos.errors import DiskError
from kvpaxos.journal import mending as mending_module
from kvpaxos.journal.damage import Damage, DamagedRecords
from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import DATA_START, HEADER_BYTES, segment_number
from kvpaxos.journal.log import Journal
from kvpaxos.journal.mending import Mending
from kvpaxos.journal.reading import PAGE_BYTES
from kvpaxos.journal.recollection import recollect
from kvpaxos.journal.recovery import Segment, recover, scan_segment
from kvpaxos.journal.scan import Findings, Visit
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.messages import NOOP, Batch, Vote
from kvpaxos.paxos.recall import Wanted
from kvpaxos.paxos.records import Installed, Learned, Record, Rejoined, Renewed, Seen, Started
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.files import CHANGES, Operation, Rot, VirtualFiles, refused
from kvpaxos.wire.codec import encode_record
from test.journal.values import (
    FORMED,
    FORMING,
    HIGH,
    SALT,
    SEGMENT_BYTES,
    batch,
    decided,
    promised,
    vote,
    write_batches,
)

PLACE: Final = Path("/journal")

RECORDS: Final[list[list[Record]]] = [
    [FORMING],
    [FORMED, Started(7), Seen(NodeId("n02"), 1, 4, "7b1e", 90, "f0")],
    [promised()],
    [vote(1), vote(2, size=900)],
    [decided(2), Learned(Slot(3), batch(3)), Vote(Slot(4), HIGH, NOOP)],
    [Installed(Slot(5)), Renewed(NodeId("n03"), 3), Rejoined(2), Learned(Slot(6), NOOP)],
]

VOTES: Final[list[list[Record]]] = [[vote(slot, size=3000)] for slot in range(7, 27)]
"""Enough for some more segments."""

BATCHES: Final[list[tuple[int, Batch]]] = [
    (1, batch(1)),
    (2, batch(2, 900)),
    (3, batch(3)),
    *((slot, batch(slot, 3000)) for slot in range(7, 27)),
]
"""What is in the slots of both."""


@cache
def written(*, long: bool) -> VirtualFiles:
    disk = VirtualFiles()
    disk.make_directory(PLACE)
    journal = Journal.open(PLACE, segment_bytes=SEGMENT_BYTES, files=disk, salt=SALT)
    write_batches(journal, RECORDS + VOTES if long else RECORDS)
    journal.close()
    for file in disk.files().values():
        file.sync()
    return disk


def journal_disk(*, long: bool = False) -> VirtualFiles:
    return written(long=long).copy()


def first(disk: VirtualFiles) -> Path:
    return min(path for path in disk.files() if segment_number(path.name) is not None)


def images(disk: VirtualFiles) -> dict[Path, bytes]:
    return {
        path: bytes(file.seen)
        for path, file in disk.files().items()
        if segment_number(path.name) is not None
    }


def judged(disk: VirtualFiles) -> DamagedRecords | None:
    try:
        recover(Directory(disk, PLACE))
    except DamagedRecords as found:
        return found
    return None


def damaged(disk: VirtualFiles) -> DamagedRecords:
    found = judged(disk)
    assert found is not None, "nothing is damaged"
    return found


def mending_of(disk: VirtualFiles) -> Mending:
    mending = Mending.of(damaged(disk))
    assert mending is not None, "it cannot be mended"
    return mending


def offsets() -> list[tuple[int, Record]]:
    """Return where each of `RECORDS` begins in the first segment."""
    found, offset = [], DATA_START
    for record in (record for records in RECORDS for record in records):
        found.append((offset, record))
        offset += 8 + len(encode_record(0, record))
    return found


def flip(disk: VirtualFiles, offset: int) -> None:
    file = disk.files()[first(disk)]
    for image in (file.seen, file.durable):
        image[offset] ^= 1


def learn(mending: Mending, batches: Iterable[tuple[int, Batch]]) -> None:
    for slot, known in batches:
        mending.take(Wanted(0, Slot(slot)), known)


@pytest.mark.parametrize("number", range(len(offsets())))
def test_each_kind_is_made_again_of_what_its_kind_needs(number: int) -> None:
    disk, whole = journal_disk(), images(journal_disk())
    offset, record = offsets()[number]
    flip(disk, offset + 9)
    mending = mending_of(disk)
    if isinstance(record, Vote | Learned) and record.batch != NOOP:
        assert list(mending.wanted) == [Wanted(0, record.slot)]
        mending.take(Wanted(0, record.slot), record.batch)
    assert not mending.wanted
    mending.write(Directory(disk, PLACE))
    assert images(disk) == whole


def test_a_wrong_batch_is_refused_and_the_right_one_is_waited_for() -> None:
    disk = journal_disk()
    flip(disk, next(offset for offset, record in offsets() if record == vote(1)) + 9)
    mending = mending_of(disk)
    wrong = (batch(1)[0]._replace(body=b"1:" + b"y" * 18),)
    assert len(encode_record(0, Vote(Slot(1), vote(1).ballot, wrong))) == len(
        encode_record(0, vote(1))
    )
    learn(mending, [(1, wrong), (1, batch(2)), (1, NOOP), (2, batch(1))])
    assert list(mending.wanted) == [Wanted(0, Slot(1))]
    learn(mending, [(1, batch(1)), (1, wrong)])
    assert not mending.wanted
    mending.write(Directory(disk, PLACE))
    assert judged(disk) is None


@pytest.mark.parametrize("rot", ["zeroed", "flipped", "older", "other", "unreadable"])
def test_every_sector_that_can_be_mended_is_byte_for_byte_and_the_rest_is_refused(
    rot: Rot,
) -> None:
    disk, outcomes = journal_disk(long=True), Counter[str]()
    whole = images(disk)
    # In the first and the last segment.
    for path in {min(whole), max(whole)}:
        for sector in range(DATA_START // SECTOR, len(whole[path]) // SECTOR):
            for other, data in whole.items():
                file = disk.files()[other]
                file.seen[:] = file.durable[:] = data
                file.unreadable.clear()
            if not disk.strike(path, sector, rot, Random(sector)):
                continue
            found = judged(disk)
            if found is None:
                continue
            mending = Mending.of(found)
            if mending is None:
                outcomes["refused"] += 1
                continue
            learn(mending, BATCHES)
            mending.write(Directory(disk, PLACE))
            assert images(disk) == whole
            assert not disk.files()[path].unreadable
            outcomes["mended"] += 1
    assert outcomes["mended"] > 30
    # The last records, together with what may have followed them.
    assert outcomes["refused"] <= (2 * PAGE_BYTES // SECTOR if rot == "unreadable" else 4)


def test_several_records_in_a_row_are_mended_also_over_the_bounds_of_batches() -> None:
    disk, whole = journal_disk(long=True), images(journal_disk(long=True))
    path = first(disk)
    for sector in range(DATA_START // SECTOR, (DATA_START + 3 * PAGE_BYTES) // SECTOR):
        disk.strike(path, sector, "zeroed", Random(0))
    found = damaged(disk)
    assert len(found.damage) > 10
    mending = Mending.of(found)
    assert mending is not None
    assert mending.records == len(found.damage)
    learn(mending, BATCHES)
    mending.write(Directory(disk, PLACE))
    assert images(disk) == whole


def dying(disk: VirtualFiles, changes: int) -> None:
    """Let ``disk`` refuse every change after so many."""

    def refuse(operation: Operation) -> None:
        nonlocal changes
        changes -= operation.deed in CHANGES
        if changes < 0 and operation.deed in CHANGES:
            raise refused(errno.EIO)

    disk.before = refuse


def left_of(disk: VirtualFiles) -> Iterator[VirtualFiles]:
    """Yield what is there after a power cut: nothing of what was not synced, or all of it."""
    for synced in (False, True):
        left = disk.copy()
        for file in left.files().values():
            if synced:
                file.sync()
            else:
                file.seen[:] = file.durable
        yield left


@pytest.mark.parametrize("rot", ["zeroed", "unreadable"])
def test_a_crash_or_a_refusal_amid_mending_leaves_what_can_be_mended_again(rot: Rot) -> None:
    struck = journal_disk(long=True)
    whole = images(struck)
    for path in sorted(whole)[:2]:
        for page in (1, 2):
            assert struck.strike(path, (DATA_START + page * PAGE_BYTES) // SECTOR, rot, Random(0))
    seen: Counter[str] = Counter()
    disk = struck
    for changes in count():
        disk = struck.copy()
        mending = mending_of(disk)
        learn(mending, BATCHES)
        dying(disk, changes)
        try:
            mending.write(Directory(disk, PLACE))
        except DiskError:
            for left in left_of(disk):
                found = judged(left)
                seen["damaged" if found else "mended"] += 1
                if found is not None:
                    # To judge it has made what could be read durable, and that may mend it.
                    rest = Mending.of(found)
                    assert rest is not None, "it cannot be mended"
                    learn(rest, BATCHES)
                    rest.write(Directory(left, PLACE))
                assert images(left) == whole
        else:
            break
    assert images(disk) == whole
    assert seen["damaged"] > 2


def test_what_has_no_mark_or_no_header_or_is_too_much_is_beyond_mending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = journal_disk()
    for sector in (0, HEADER_BYTES // SECTOR):
        assert disk.strike(first(disk), sector, "zeroed", Random(0))
    assert Mending.of(damaged(disk)) is None
    assert Mending.of(DamagedRecords(Damage(PLACE, 0, 0, "what may be a synced batch"))) is None
    disk = journal_disk()
    flip(disk, next(offset for offset, record in offsets() if record == vote(1)) + 9)
    assert Mending.of(damaged(disk)) is not None
    monkeypatch.setattr(mending_module, "MENDED_BYTES_MAX", 10)
    assert Mending.of(damaged(disk)) is None


def test_what_is_damaged_besides_is_named_and_is_no_part_of_what_was_mended() -> None:
    disk = journal_disk()
    flip(disk, next(offset for offset, record in offsets() if record == promised()) + 9)
    mending = mending_of(disk)
    flip(disk, next(offset for offset, record in offsets() if record == vote(1)) + 9)
    with pytest.raises(DamagedRecords, match="Vote in slot 1"):
        mending.write(Directory(disk, PLACE))
    assert list(mending_of(disk).wanted) == [Wanted(0, Slot(1))]


def test_a_journal_tells_every_batch_of_a_slot_once_whether_voted_or_learned() -> None:
    disk = VirtualFiles()
    disk.make_directory(PLACE)
    journal = Journal.open(PLACE, segment_bytes=SEGMENT_BYTES, files=disk, salt=SALT)
    write_batches(
        journal,
        [
            [vote(1), vote(1, HIGH), Vote(Slot(1), HIGH, batch(9)), vote(2)],
            [Learned(Slot(1), NOOP)],
            *([vote(slot, size=3000)] for slot in range(3, 20)),
        ],
    )
    journal.append(0, [vote(20)])
    journal.write()
    place = Directory(disk, PLACE)
    # While it is being written, too.
    assert recollect(place, 0, [Slot(1)]) == {1: (batch(1), batch(9), NOOP)}
    assert recollect(place, 0, [Slot(2), Slot(12), Slot(20), Slot(21)]) == {
        2: (batch(2),),
        12: (batch(12, 3000),),
        20: (batch(20),),
        21: (),
    }
    assert recollect(place, 1, [Slot(1)]) == {1: ()}
    assert recollect(Directory(disk, Path("/nothing")), 0, [Slot(1)]) == {1: ()}
    journal.close()


def test_a_damaged_journal_tells_what_is_sound_in_it() -> None:
    disk = journal_disk(long=True)
    for path in sorted(images(disk))[:2]:
        assert disk.strike(path, DATA_START // SECTOR + 12, "zeroed", Random(0))
    slots = [Slot(slot) for slot in range(7, 27)]
    told = recollect(Directory(disk, PLACE), 0, slots)
    missing = {wanted.slot for wanted in mending_of(disk).wanted}
    assert len(missing) >= 2
    assert told == {slot: () if slot in missing else (batch(slot, 3000),) for slot in slots}


def test_only_segments_that_may_hold_a_slot_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = VirtualFiles()
    disk.make_directory(PLACE)
    journal = Journal.open(PLACE, segment_bytes=SEGMENT_BYTES, files=disk, salt=SALT)
    write_batches(journal, ([vote(slot, size=3000), decided(slot)] for slot in range(1, 40)))
    assert journal.segments > 4
    journal.close()
    read: list[str] = []

    def counted(
        directory: Directory, segment: Segment, following: Segment | None, visit: Visit
    ) -> Findings:
        read.append(segment.name)
        return scan_segment(directory, segment, following, visit)

    monkeypatch.setattr("kvpaxos.journal.recollection.scan_segment", counted)
    assert recollect(Directory(disk, PLACE), 0, [Slot(10)])[Slot(10)] == (batch(10, 3000),)
    assert len(read) == 1

"""A sector that cannot be read is damage like any other, and never the end of a start."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from kvpaxos.errors import DiskError
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import DATA_START, HEADER_BYTES, segment_number
from kvpaxos.journal.inspection import Inspection
from kvpaxos.journal.log import Journal
from kvpaxos.journal.reading import PAGE_BYTES, REFUSALS_MAX, read_around
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Vote
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.files import Operation, VirtualFiles, refused
from kvpaxos.simulator.lives import DIRECTORY, Life, batch, check_use, started

ONE = DIRECTORY / "journal-0000000001.log"
BALLOT = Ballot(1, NodeId("n01"))
LAST_SECTOR_OF_HEADER = HEADER_BYTES // SECTOR - 1


def segments(disk: VirtualFiles) -> list[Path]:
    return [path for path in sorted(disk.files()) if segment_number(path.name) is not None]


def strike(disk: VirtualFiles, path: Path, *sectors: int) -> None:
    for sector in sectors:
        assert disk.strike(path, sector, "unreadable", Random(0))


def unreadable(disk: VirtualFiles) -> int:
    return sum(len(file.unreadable) for file in disk.files().values())


def member() -> tuple[VirtualFiles, Life]:
    disk = VirtualFiles()
    disk.make_directory(DIRECTORY)
    life = Life(disk)
    life.as_member()
    return disk, life


def voted(*votes: int) -> tuple[VirtualFiles, Journal]:
    """Return a disk, and the open journal on it with some votes."""
    disk = VirtualFiles()
    disk.make_directory(DIRECTORY)
    journal = started(disk)
    for slot in votes:
        journal.append(0, [Vote(Slot(slot), BALLOT, batch(slot, 700))])
        journal.sync()
    return disk, journal


def journal_of(*votes: int) -> VirtualFiles:
    """Return the disk of a journal with some votes, closed in good order."""
    disk, journal = voted(*votes)
    journal.close()
    return disk


def slots(journal: Journal) -> list[int]:
    return sorted(journal.recovered.groups[0].votes)


def test_whichever_page_cannot_be_read_all_is_found_and_written_again_or_damage_is_named() -> None:
    whole, life = member()
    outcomes: Counter[str] = Counter()
    for path in segments(whole):
        for sector in range(0, len(whole.files()[path].durable) // SECTOR, PAGE_BYTES // SECTOR):
            disk = whole.copy()
            strike(disk, path, sector)
            before = {path: bytes(file.seen) for path, file in disk.files().items()}
            try:
                journal = started(disk)
            except DamagedRecords:
                after = {path: bytes(file.seen) for path, file in disk.files().items()}
                assert after == before, "a damaged journal was changed"
                outcomes["damage named"] += 1
            else:
                life.claims.check(journal.recovered)
                check_use(journal, disk, life.decided)
                assert not unreadable(disk)
                assert any("did not give back" in told for told in journal.recovered.mended) or (
                    sector * SECTOR < DATA_START
                )
                outcomes["mended"] += 1
    assert min(outcomes.values()) >= 10
    assert len(outcomes) == 2


def test_one_copy_of_the_header_is_enough() -> None:
    disk = journal_of(1)
    strike(disk, ONE, 0)
    assert slots(started(disk)) == [1]
    assert not unreadable(disk)


def test_a_header_lost_in_both_copies_is_damage() -> None:
    disk = journal_of(1)
    strike(disk, ONE, LAST_SECTOR_OF_HEADER, LAST_SECTOR_OF_HEADER + 1)
    with pytest.raises(DamagedRecords, match="the header, in both copies"):
        started(disk)


def test_a_vote_under_a_mark_is_named_with_its_slot() -> None:
    disk = journal_of(*range(1, 11))
    strike(disk, ONE, (DATA_START + PAGE_BYTES) // SECTOR)
    with pytest.raises(DamagedRecords, match="Vote in slot 6") as raised:
        started(disk)
    assert {one.entry.slot for one in raised.value.damage if one.entry} == {6, 7, 8, 9, 10}


def test_a_batch_without_its_mark_may_have_been_synced_and_is_not_cut() -> None:
    disk = journal_of(1)
    journal = started(disk)
    for slot in range(2, 9):
        journal.append(0, [Vote(Slot(slot), BALLOT, batch(slot, 700))])
    journal.write()
    disk.kill()
    # It would read as torn, and be cut, if it were anything that can be read.
    strike(disk, ONE, (DATA_START + PAGE_BYTES) // SECTOR)
    with pytest.raises(DamagedRecords, match="may be a synced batch"):
        started(disk)


def test_a_reader_names_what_the_disk_does_not_give_back() -> None:
    disk = journal_of(1)
    journal = started(disk)
    strike(disk, ONE, DATA_START // SECTOR)
    with pytest.raises(DamagedRecords, match="what the disk does not give back"):
        journal.reader().decided(0, Slot(1), Slot(1), 1 << 20)


@pytest.mark.parametrize("sector", [DATA_START // SECTOR, (DATA_START + PAGE_BYTES) // SECTOR])
def test_a_scan_names_what_the_disk_does_not_give_back(sector: int) -> None:
    disk = journal_of(*range(1, 40))
    assert len(segments(disk)) > 1
    journal = started(disk)
    strike(disk, ONE, sector)
    with pytest.raises(DamagedRecords, match="what the disk does not give back"):
        list(journal.audit(lambda _: None))


def test_a_scan_tells_of_a_header_that_is_left_in_one_copy() -> None:
    disk = journal_of(*range(1, 80))
    assert len(segments(disk)) > 2
    journal = started(disk)
    strike(disk, segments(disk)[1], 0)
    told: list[str] = []
    list(journal.audit(told.append))
    assert [text for text in told if "one copy of the header is damaged" in text] == told != []


def test_who_looks_only_is_told_and_changes_nothing() -> None:
    disk = journal_of(*range(1, 11))
    strike(disk, ONE, DATA_START // SECTOR)
    inspection = Inspection(DIRECTORY, disk)
    assert list(inspection.decided(0)) == []
    assert [one.entry.slot for one in inspection.damage if one.entry][:2] == [1, 2]
    assert unreadable(disk) == 1


def test_a_disk_that_gives_nothing_back_at_all_is_not_taken_for_a_damaged_journal() -> None:
    disk = journal_of(1)

    def refuse(operation: Operation) -> None:
        if operation.deed == "read":
            raise refused(errno.EIO)

    disk.before = refuse
    with pytest.raises(DiskError, match="see that this disk is sound"):
        started(disk)


def test_a_file_that_is_given_up_is_not_read_for_hours() -> None:
    path = DIRECTORY / "long"
    disk = VirtualFiles.of({path: bytes(4 * REFUSALS_MAX * PAGE_BYTES)})
    strike(disk, path, *range(0, 4 * REFUSALS_MAX * PAGE_BYTES // SECTOR, PAGE_BYTES // SECTOR))
    disk.trace = []
    file = Directory(disk, DIRECTORY).open("long")
    assert file is not None
    reading = read_around(file, 4 * REFUSALS_MAX * PAGE_BYTES)
    assert len(reading.data) == 4 * REFUSALS_MAX * PAGE_BYTES
    assert reading.refusal is not None
    assert sum(one.deed == "read" for one in disk.trace) == REFUSALS_MAX

"""A journal that is damaged, and whose power is cut before anybody has mended it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import DATA_START
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Vote
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.files import VirtualFiles
from kvpaxos.simulator.lives import DIRECTORY, batch, started

ONE = DIRECTORY / "journal-0000000001.log"
BALLOT = Ballot(1, NodeId("n01"))


def killed_after(*votes: int) -> VirtualFiles:
    """Return the disk of a process that was killed: it had not synced its last end mark."""
    disk = VirtualFiles()
    disk.make_directory(DIRECTORY)
    journal = started(disk)
    for slot in votes:
        journal.append(0, [Vote(Slot(slot), BALLOT, batch(slot, 700))])
        journal.sync()
    journal.write()
    disk.kill()
    return disk


def damage_of(disk: VirtualFiles) -> list[tuple[Path, int]]:
    with pytest.raises(DamagedRecords) as found:
        started(disk)
    disk.kill()
    return [(damage.path, damage.offset) for damage in found.value.damage]


def test_what_is_damage_at_one_start_is_none_the_less_damage_after_a_power_cut() -> None:
    disk = killed_after(1, 2, 3)
    assert disk.files()[ONE].unsynced, "the last end mark is to be lost in a power cut"
    last = DATA_START + 2 * 750
    disk.files()[ONE].change(last // SECTOR, b"\xff" * SECTOR)
    found = damage_of(disk)
    assert found
    disk.crash(Random(0), "lost")
    assert damage_of(disk) == found

"""A journal that is damaged, and whose power is cut before anybody has mended it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import DATA_START
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.files import VirtualFiles
from kvpaxos.simulator.lives import started
from test.disks.test_unreadable import ONE, voted


def killed_after(*votes: int) -> VirtualFiles:
    """Return the disk of a process that was killed: it had not synced its last end mark."""
    disk, journal = voted(*votes)
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

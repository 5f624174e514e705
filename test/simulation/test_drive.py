"""A disk takes its time, and no longer once it is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.drive import Drive
from kvpaxos.simulator.process import Process

SYNC_S = 0.5


class Bench:
    """One process that syncs a file again and again, and when each sync was over."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.process = Process(self.agenda, "n01")
        self.drive = Drive(self.agenda, Random(1), (SYNC_S, SYNC_S))
        self.drive.attach(self.process)
        self.over: list[float] = []
        self.process.run(self._work)

    def _work(self) -> None:
        files = self.drive.files
        files.make_directory(Path("/disk"))
        handle = files.create(Path("/disk/file"))
        for _ in range(9):
            files.sync(handle)
            self.over.append(self.agenda.now)

    def pass_time(self, until: float) -> None:
        while self.agenda.step(until):
            pass


def _slow(drive: Drive) -> None:
    drive.slowness = 100.0


def _stuck(drive: Drive) -> None:
    drive.stuck_until = 100.0


@pytest.mark.parametrize("break_it", [_slow, _stuck])
def test_a_sync_under_way_ends_soon_once_the_disk_is_sound_again(
    break_it: Callable[[Drive], None],
) -> None:
    bench = Bench()
    bench.pass_time(1.1)
    break_it(bench.drive)
    bench.pass_time(4.0)
    bench.drive.heal()
    bench.pass_time(4.6)
    assert bench.over == [0.5, 1.0, 1.5, 4.0, 4.5]

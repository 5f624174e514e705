"""A slice of what ``make rot`` does: sectors rot, and no write is lost and no vote denied."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvpaxos.journal.format import DATA_START
from test.processes.cluster import cluster
from test.rot.sweep import SECTOR, STORAGE, Rot, Sweep, rots

pytestmark = pytest.mark.timeout(400)

FIRST = Path("journal-0000000001.log")


def test_a_rotten_sector_is_repaired_or_mended_and_nothing_is_lost(tmp_path: Path) -> None:
    with cluster(tmp_path, storage=STORAGE) as made:
        sweep = Sweep(made)
        assert len(sweep.rots()) >= 4 * STORAGE["segment_bytes"] // SECTOR
        mark = STORAGE["segment_bytes"] - SECTOR
        outcomes = [
            sweep.strike(Rot(FIRST, 0, "flipped")),
            sweep.strike(Rot(FIRST, DATA_START, "zeroed")),
            sweep.strike(Rot(FIRST, DATA_START + 10 * SECTOR, "flipped")),
            sweep.strike(Rot(FIRST, mark, "zeroed")),
        ]
    assert outcomes == [
        "mended or kept",
        "mended by others",
        "mended by others",
        "mended or kept",
    ]


def test_each_sector_that_is_taken_is_zeroed_and_flipped(tmp_path: Path) -> None:
    tmp_path.joinpath(FIRST).write_bytes(bytes(5 * SECTOR))
    taken = [(rot.offset // SECTOR, rot.kind) for rot in rots(tmp_path, 2)]
    assert taken == [(sector, kind) for sector in (0, 2, 4) for kind in ("zeroed", "flipped")]

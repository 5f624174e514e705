"""A slice of what ``make rot`` does: sectors rot, and no write is lost and no vote denied."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvpaxos.journal.format import DATA_START
from test.processes.cluster import cluster
from test.rot.sweep import SECTOR, STORAGE, Rot, Sweep

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
    assert outcomes == ["mended or kept", "repaired", "repaired", "mended or kept"]

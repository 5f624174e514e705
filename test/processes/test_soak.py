"""Nodes that overwrite a few keys for long take no more and more room: the short form of a soak.

``make soak`` does it for long, with settings as they are by default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.big.load import Load
from test.big.soak import CONNECTIONS, KEYS, Seen
from test.processes.cluster import START_S, Cluster, cluster
from test.processes.disks import use_of

pytestmark = pytest.mark.timeout(120)

MIB = 1024 * 1024
VALUE = "x" * (256 * 1024)
ROUND = 144
"""Writes that more than fill what a node keeps in memory of decided batches: 36 MiB of 32."""

GROWTH_MAX = ROUND * len(VALUE) * 2 // 3
"""A node that kept all that is written would take half more than this in the next round."""

STORAGE = {
    "memory_bytes": 4 * MIB,
    "segment_bytes": 2 * MIB,
    "journal_bytes_max": 8 * MIB,
    "snapshot_slots": 50,
}

NODE_BYTES = KEYS * len(VALUE) + STORAGE["segment_bytes"] + MIB
"""What a node has to hold: values, a segment of the journal, and what RocksDB tells of itself."""


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, storage=STORAGE) as made:
        made.start()
        yield made


def test_neither_disks_nor_memory_fill_however_often_a_key_is_written(three: Cluster) -> None:
    seen = Seen(three)
    for _ in range(2):
        asyncio.run(Load(ROUND, KEYS, VALUE).run(three.nodes, CONNECTIONS))
        seen.look()
    for node, resident in zip(three.nodes, zip(*seen.resident, strict=True), strict=True):
        assert resident[-1] - resident[0] <= GROWTH_MAX, (node.name, resident)

    # What nobody needs any more is deleted soon after.
    deadline = time.monotonic() + START_S
    for node in three.nodes:
        while (use := use_of([three.directory / node.name])).all + use.logs > 3 * NODE_BYTES:
            assert time.monotonic() < deadline, use
            assert node.ask("POST", "/kv/set", key="key0", value=VALUE).done

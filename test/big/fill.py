"""Fills one node, and shows how much memory it takes: ``python -m test.big.fill GIGABYTES``.

Status 1 means that it took more than `RESIDENT_BYTES_MAX` at some time. It needs that much disk and
half as much again, in the directory for temporary files, and deletes it all.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from test.big.load import resident_bytes
from test.processes.cluster import Cluster, Node, cluster

MEMORY_BYTES: Final = 256 * 1024 * 1024
"""What RocksDB may take."""

RESIDENT_BYTES_MAX: Final = 600 * 1024 * 1024
"""What the whole process may take, with a journal that waits for nobody."""

VALUE_BYTES: Final = 64 * 1024
WRITERS: Final = 8
READS: Final = 2000
ROUND: Final = 1000


def write(node: Node, numbers: range) -> None:
    """Store values that cannot be compressed, under keys in no order."""
    for number in numbers:
        dice = random.Random(number)
        key, value = f"{dice.getrandbits(64):016x}", dice.randbytes(VALUE_BYTES // 2).hex()
        reply = node.ask("POST", "/kv/set", key=key, value=value, timeout="30", timeout_s=60.0)
        assert reply.done, reply


def read(node: Node, count: int) -> None:
    """Read some of the first ``count`` keys."""
    for number in random.Random(0).choices(range(count), k=READS):
        key = f"{random.Random(number).getrandbits(64):016x}"
        reply = node.ask("GET", "/kv/get", key=key)
        assert reply.done, reply


def fill(group: Cluster, gigabytes: float) -> Iterator[str]:
    """Fill the only node, and say now and then how it does."""
    (node,) = group.nodes
    group.start()
    count, began = round(gigabytes * 1e9 / VALUE_BYTES), time.monotonic()
    with ThreadPoolExecutor(WRITERS) as writers:
        for start in range(0, count, ROUND):
            end = min(start + ROUND, count)
            parts = [range(start + place, end, WRITERS) for place in range(WRITERS)]
            list(writers.map(write, [node] * WRITERS, parts))
            yield f"{end * VALUE_BYTES / 1e9:6.2f} GB in {time.monotonic() - began:.0f} s"
    read(node, count)
    yield f"{READS} reads"
    group.signal(node, signal.SIGTERM)
    began = time.monotonic()
    group.start()
    yield f"started again in {time.monotonic() - began:.1f} s"


def main(gigabytes: float) -> int:
    """Return the exit status."""
    peak = 0
    with (
        tempfile.TemporaryDirectory(prefix="kvpaxos-big-") as directory,
        cluster(Path(directory), nodes=1) as group,
    ):
        settings = json.loads(group.settings.read_text())
        settings["storage"] = {"memory_bytes": MEMORY_BYTES}
        group.settings.write_text(json.dumps(settings))
        for said in fill(group, gigabytes):
            peak = max(peak, resident_bytes(group.nodes[0], "VmHWM"))
            sys.stdout.write(f"{said}; {peak >> 20} MiB resident at most\n")
            sys.stdout.flush()
    return int(peak > RESIDENT_BYTES_MAX)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))

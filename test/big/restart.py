"""Starts a node with many keys again: ``python -m test.big.restart``.

The number of keys may follow. The leader of three nodes is stopped in order and started; then it is
killed while clients write, and started once more. Status 1 means that it served later than
`STOPPED_S_MAX` or `KILLED_S_MAX` after that.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from test.big.load import ENDLESS, Load, Say, say
from test.processes.cluster import TWISTD, Cluster, Node, Unreachable, cluster
from test.processes.states import wait_for

KEYS: Final = 1_000_000
VALUE: Final = "x" * 256
CONNECTIONS: Final = 200

WRITES_S: Final = 5.0
"""So long clients write before the node is killed."""

STOPPED_S_MAX: Final = 3.0
KILLED_S_MAX: Final = 10.0


async def restart(group: Cluster, keys: int, tell: Say) -> tuple[float, float]:
    """Return how long a node took until it served, after a stop and after it was killed."""
    node = group.leader()
    others = [other for other in group.nodes if other is not node]
    began = time.monotonic()
    await Load(keys, keys, VALUE).run(group.nodes, CONNECTIONS)
    tell(f"{keys} keys are there after {time.monotonic() - began:.0f} s")
    group.signal(node, signal.SIGTERM)
    stopped_s = start(group, node)
    tell(f"{node.name} served {stopped_s:.2f} s after it was started, after a stop")
    load = Load(ENDLESS, keys, VALUE)
    running = asyncio.ensure_future(load.run(others, CONNECTIONS))
    await asyncio.wait([running], timeout=WRITES_S)
    group.kill(node)
    load.left = 0
    await running
    tell(f"{len(load.waits)} writes came before it was killed")
    killed_s = start(group, node)
    tell(f"{node.name} served {killed_s:.2f} s after it was started, after it was killed")
    return stopped_s, killed_s


def start(group: Cluster, node: Node) -> float:
    """Start ``node``, and return how many seconds it took until it was ready."""
    began = time.monotonic()
    group.launch(node)
    wait_for(partial(is_ready, node))
    return time.monotonic() - began


def is_ready(node: Node) -> bool:
    """Whether ``node`` answers that it is."""
    try:
        return node.ask("GET", "/readyz").status == 200
    except Unreachable:
        return False


def main(arguments: Sequence[str]) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m test.big.restart")
    parser.add_argument("keys", type=int, nargs="?", default=KEYS)
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="kvpaxos-restart-") as directory,
        cluster(Path(directory)) as group,
    ):
        # As users start them: none of the code is there yet.
        group.twistd = (TWISTD,)
        group.start()
        stopped_s, killed_s = asyncio.run(restart(group, options.keys, say))
    return int(stopped_s > STOPPED_S_MAX or killed_s > KILLED_S_MAX)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Overwrites four keys for long: ``python -m test.big.soak``.

The number of writes may follow. They come at half the rate that three nodes can do. A machine
that is shared does not always do as much, so that is tried again and again, and the least counts
that was done in any second of it: at no time shall clients ask for more than half. Or else
``--rate 200`` says how many a second. Or it is ``--minutes 60``, at `RATE` writes a second if
nothing is said. It says how much the nodes take of disks and of memory, and how long clients
waited. Status 1 means that the disks held more than they should at some time, or that the nodes
took more and more memory.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from statistics import median
from typing import Final

from test.big.bystanders import bystanders
from test.big.load import (
    ENDLESS,
    TRIAL_S,
    VALUE,
    Load,
    Say,
    least_in_a_second,
    resident_bytes,
    say,
    tell_shares,
)
from test.processes.cluster import Cluster, cluster
from test.processes.disks import use_of

WRITES: Final = 1_000_000
RATE: Final = 100.0
KEYS: Final = 4
CONNECTIONS: Final = 24

SPREAD: Final = 4
"""Half of the load comes over so many times as many connections.

Otherwise what waits longest, where nodes are slow for a second, are writes that wait for the
connection that they are to be sent over.
"""

TRIALS: Final = 6
"""So many times it is tried in the beginning how many writes a second nodes can do."""

TRIAL_WRITES: Final = 50_000
"""And once more after so many of them."""

LOOK_S: Final = 10.0

NODE_BYTES: Final = KEYS * len(VALUE) + (16 + 3) * 1024 * 1024
"""What a node has to hold: values, a segment of the journal, and what RocksDB tells of itself."""

NODE_BYTES_MAX: Final = 3 * NODE_BYTES
"""And what it may, besides its reserve."""

GROWTH_MAX: Final = 1.05
"""So much more memory than in the second quarter of the time a node may take in the last."""

LOOKS_MIN: Final = 8
"""With fewer looks at the nodes nothing is said of how their memory grows."""


@dataclass
class Seen:
    """What was seen of the nodes of a cluster.

    :ivar held: the most bytes that a node's directory has held.
    :ivar resident: how many bytes of memory each node took, look after look.
    """

    group: Cluster
    held: int = 0
    resident: list[tuple[int, ...]] = field(default_factory=list)

    def look(self) -> str:
        """Look at disks and memory, and return in words what is there."""
        nodes = self.group.nodes
        uses = [use_of([self.group.directory / node.name]) for node in nodes]
        self.held = max(self.held, *(use.all + use.logs for use in uses))
        self.resident.append(tuple(map(resident_bytes, nodes)))
        disks = " ".join(
            f"{use.journals >> 20}+{(use.state + use.logs) / 2**20:.2f}" for use in uses
        )
        memory = " ".join(f"{taken / 2**20:.1f}" for taken in self.resident[-1])
        return f"{disks} MiB on disks, {memory} MiB in memory"

    def growths(self) -> tuple[float, ...]:
        """Return how the memory of each node grew; see `growth`."""
        return tuple(map(growth, zip(*self.resident, strict=True)))


def growth(resident: Sequence[int]) -> float:
    """Return how many times as much the last quarter is as the second one.

    In the first one caches fill.
    """
    assert len(resident) >= LOOKS_MIN, "too few looks"
    quarter = len(resident) // 4
    return median(resident[-quarter:]) / median(resident[quarter : 2 * quarter])


async def soak(
    seen: Seen,
    load: Load,
    connections: int,
    tell: Say,
    *,
    seconds: float = inf,
    look_s: float = LOOK_S,
) -> None:
    """Put ``load`` upon the nodes until nothing is left of it, or the time is over.

    Unless it says how much it is, it is half of what they can take from so many connections that
    always wait for an answer, at the least. What is written to try that comes on top.
    """
    deadline = time.monotonic() + seconds
    if load.period_s:
        await _watch(seen, load, connections, tell, deadline=deadline, look_s=look_s)
        return
    trials = [await _try(seen, load, connections) for _ in range(1, TRIALS)]
    while load.left > 0:
        trials.append(await _try(seen, load, connections))
        lately = ", ".join(map(str, trials[-TRIALS:]))
        tell(f"{lately} writes in the least second of full load; half of {min(trials)} from now on")
        part = replace(load, left=min(load.left, TRIAL_WRITES))
        part.period_s = 2 * SPREAD * connections / min(trials)
        await _watch(seen, part, SPREAD * connections, tell, deadline=deadline, look_s=look_s)
        load.left -= TRIAL_WRITES


async def _try(seen: Seen, load: Load, connections: int) -> int:
    """Return how many writes nodes can take in a second, even in a bad one."""
    trial = Load(ENDLESS, load.keys, load.value)
    await trial.run_for(TRIAL_S, seen.group.nodes, connections)
    least = least_in_a_second(trial.waits)
    assert least, "no write ended for a second"
    return least


async def _watch(
    seen: Seen, load: Load, connections: int, tell: Say, *, deadline: float, look_s: float
) -> None:
    """Put ``load`` upon the nodes, and tell how they do, until nothing is left or time is over."""
    running = asyncio.ensure_future(load.run(seen.group.nodes, connections))
    while not running.done():
        if time.monotonic() >= deadline:
            load.left = 0
        before = len(load.waits)
        await asyncio.wait([running], timeout=look_s)
        longest = max((wait for _, wait in load.waits[before:]), default=0.0)
        rate = (len(load.waits) - before) / look_s
        rest = f"{load.left} left, " if load.left < ENDLESS // 2 else ""
        looked = await asyncio.to_thread(seen.look)
        tell(f"{rest}{rate:.0f} a second, {longest * 1000:.0f} ms at most, {looked}")
    await running


def judge(seen: Seen, tell: Say) -> int:
    """Say whether the nodes took no more than they should, and return the exit status."""
    tell(f"{seen.held / 2**20:.1f} MiB a node at most; {NODE_BYTES_MAX / 2**20:.1f} are allowed")
    if len(seen.resident) < LOOKS_MIN:
        tell("that was too short to see whether memory grows")
        return int(seen.held > NODE_BYTES_MAX)
    growths = seen.growths()
    flat = max(growths) <= GROWTH_MAX
    told = ", ".join(f"{(times - 1):+.1%}" for times in growths)
    tell(f"memory is {'flat' if flat else 'NOT flat'}: {told} from the second quarter to the last")
    return int(seen.held > NODE_BYTES_MAX or not flat)


def main(arguments: Sequence[str]) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m test.big.soak")
    parser.add_argument("writes", type=int, nargs="?", default=WRITES)
    parser.add_argument("--minutes", type=float, help="go on for so long")
    parser.add_argument("--rate", type=float, help="writes a second")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    options = parser.parse_args(arguments)
    load, seconds = Load(options.writes, KEYS), inf
    if options.minutes:
        load, seconds = Load(ENDLESS, KEYS), options.minutes * 60
    if options.minutes or options.rate:
        load.period_s = options.connections / (options.rate or RATE)
    with (
        tempfile.TemporaryDirectory(prefix="kvpaxos-soak-") as directory,
        cluster(Path(directory)) as group,
    ):
        group.start()
        seen = Seen(group)
        # The clients would be held up for as long as it takes to look through a million waits.
        gc.disable()
        with bystanders(Path(directory), lambda: load.waits, say):
            asyncio.run(soak(seen, load, options.connections, say, seconds=seconds))
            if load.waits:
                tell_shares(load.waits, say)
        return judge(seen, say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

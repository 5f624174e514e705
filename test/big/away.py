"""Lets a node miss many writes, and come back under load: ``python -m test.big.away``.

The number of writes may follow. It says how long the node takes until it is back in step, and how
long clients of the others wait meanwhile, which have half of what they can take to do all the
time. Status 1 means that it took longer than `BACK_S_MAX`, or that one client in a hundred waited
more than `SLOWER_MAX` times as long as usual.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from test.big.bystanders import bystanders
from test.big.load import (
    ENDLESS,
    TRIAL_S,
    Load,
    Say,
    Waits,
    say,
    shares,
    tell_shares,
)
from test.processes.cluster import Cluster, Node, Unreachable, cluster

WRITES: Final = 1_000_000
KEYS: Final = 100_000
VALUE_BYTES: Final = 1000

CONNECTIONS: Final = 12
MISSED_CONNECTIONS: Final = 200
"""What the node misses is written as fast as may be."""

USUAL_S: Final = 30.0
"""So long it is looked how they do with that half."""

LOOK_S: Final = 0.2

BACK_S_MAX: Final = 60.0
SLOWER_MAX: Final = 3.0


class Away:
    """Three nodes, one of which is going to be away.

    :ivar back_s: how long it took until that one was back in step.
    :ivar slower: how many times as long as usual one client in a hundred waited meanwhile.
    :ivar waits: how long each of them waited meanwhile.
    """

    def __init__(self, group: Cluster, keys: int, value_bytes: int, tell: Say) -> None:
        self.back_s = self.slower = 0.0
        self.waits: Waits = []
        self._group = group
        self._keys = keys
        self._value = "x" * value_bytes
        self._tell = tell
        self._leader = group.leader()
        followers = [node for node in group.nodes if node is not self._leader]
        self._other, self._gone = followers
        self._period_s = 0.0

    async def run(self, writes: int) -> None:
        """Have one node miss ``writes`` writes.

        All keys are there before it is looked how long writes usually take: an empty cluster is
        quicker than one with as much in it as this one has when the node comes back.
        """
        await Load(self._keys, self._keys, self._value).run(
            [self._leader, self._other], MISSED_CONNECTIONS
        )
        trial = await self._load_for(TRIAL_S)
        self._period_s = 2 * CONNECTIONS * TRIAL_S / len(trial)
        self._tell(f"{len(trial) / TRIAL_S:.0f} writes a second at most; now half of that")
        usual = await self._load_for(USUAL_S)
        tell_shares(usual, self._tell)

        self._group.kill(self._gone)
        began = time.monotonic()
        missed = Load(writes, self._keys, self._value)
        await missed.run([self._leader, self._other], MISSED_CONNECTIONS)
        rate = writes / (time.monotonic() - began)
        self._tell(f"{self._gone.name} has missed {writes} writes, {rate:.0f} a second")
        self._tell("half of the load, with two nodes:")
        tell_shares(await self._load_for(USUAL_S), self._tell)
        await self._come_back(shares(usual)[0.99])

    async def _come_back(self, usual_s: float) -> None:
        load = Load(ENDLESS, self._keys, self._value, self._period_s)
        running = asyncio.ensure_future(load.run([self._leader, self._other], CONNECTIONS))
        began = time.monotonic()
        self._group.launch(self._gone)
        while not await asyncio.to_thread(self._is_in_step):
            assert not running.done(), running.result()
            await asyncio.sleep(LOOK_S)
        self.back_s = time.monotonic() - began
        load.left = 0
        await running
        self._tell(f"back in step within {self.back_s:.1f} s; meanwhile")
        tell_shares(load.waits, self._tell)
        self.waits = load.waits
        for line in self._gone.lines:
            if "slot" in line:
                self._tell(line)
        for node in self._group.nodes:
            self._tell(f"{node.name} stood still for {_status(node)['longest_pause_ms']:.0f} ms")
        self.slower = shares(load.waits)[0.99] / usual_s
        self._tell(f"one write in a hundred took {self.slower:.1f} times as long as usual")

    async def _load_for(self, seconds: float) -> Waits:
        """Return the waits of clients of the nodes that stay, in so many seconds."""
        load = Load(ENDLESS, self._keys, self._value, self._period_s)
        await load.run_for(seconds, [self._leader, self._other], CONNECTIONS)
        return load.waits

    def _is_in_step(self) -> bool:
        """Whether the node that was away serves, and knows what the leader knew before."""
        decided = _status(self._leader)["decided"]
        try:
            serves = self._gone.ask("GET", "/readyz").status == 200
            return serves and _status(self._gone)["decided"] >= decided
        except Unreachable:
            return False


def _status(node: Node) -> Any:
    return node.ask("GET", "/kvman/status").body


def main(arguments: Sequence[str]) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m test.big.away")
    parser.add_argument("writes", type=int, nargs="?", default=WRITES)
    parser.add_argument("--keys", type=int, default=KEYS, help="how many keys are written")
    parser.add_argument("--value-bytes", type=int, default=VALUE_BYTES)
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="kvpaxos-away-") as directory,
        cluster(Path(directory)) as group,
    ):
        group.start()
        away = Away(group, options.keys, options.value_bytes, say)
        with bystanders(Path(directory), lambda: away.waits, say):
            asyncio.run(away.run(options.writes))
    return int(away.back_s > BACK_S_MAX or away.slower > SLOWER_MAX)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

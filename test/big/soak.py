"""Overwrites four keys for long, at half of what three nodes can do: ``python -m test.big.soak``.

The number of writes may follow. It says how much the disks hold, and how long clients waited.
Status 1 means that the disks held more than they should, at some time.

A machine that has other things to do lets clients wait, too. So there is a bystander, a process
that only sleeps, and says how late it was woken up. A pause that it had as well is not the nodes'.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import Event, Pipe, Process
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as EventType
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlencode

from test.processes.cluster import Cluster, cluster
from test.processes.disks import use_of

WRITES: Final = 1_000_000
KEYS: Final = 4
VALUE: Final = "x" * 1000
CONNECTIONS: Final = 12

TRIAL_S: Final = 10.0
"""So long the nodes are given all that they can take, to know what half of it is."""

LOOK_S: Final = 10.0
PAUSE_S: Final = 0.05
"""Waits that are longer are counted, and the longest `LISTED` of them listed."""

LISTED: Final = 10

NODE_BYTES: Final = KEYS * len(VALUE) + (16 + 3) * 1024 * 1024
"""What a node has to hold: values, a segment of the journal, and what RocksDB tells of itself."""

NODE_BYTES_MAX: Final = 3 * NODE_BYTES
"""And what it may, besides its reserve."""


Waits: TypeAlias = list[tuple[float, float]]
"""When each of them began, and how long it was, in seconds."""


@dataclass
class Load:
    """What all connections do together.

    :ivar period_s: each begins a write so long after it began the one before, or later.
    """

    left: int
    period_s: float = 0.0
    waits: Waits = field(default_factory=list)

    async def connect(self, port: int, number: int) -> None:
        """Write over one connection until nothing is left."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = urlencode({"key": f"key{number % KEYS}", "value": VALUE})
        head = f"POST /kv/set HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n\r\n"
        request = (head + body).encode()
        while self.left > 0:
            self.left -= 1
            began = time.monotonic()
            writer.write(request)
            await _read_reply(reader)
            ended = time.monotonic()
            self.waits.append((began, ended - began))
            await asyncio.sleep(max(0.0, began + self.period_s - ended))
        writer.close()
        await writer.wait_closed()


async def _read_reply(reader: asyncio.StreamReader) -> None:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    assert status == b"http/1.1 200 ok", status
    (length,) = (line.split()[1] for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(int(length))


async def soak(group: Cluster, writes: int, say: Callable[[str], None]) -> int:
    """Return the most that a node's directory has held."""
    load = Load(writes)
    connections = [
        asyncio.ensure_future(load.connect(group.nodes[number % 3].port, number))
        for number in range(CONNECTIONS)
    ]
    await asyncio.wait(connections, timeout=TRIAL_S)
    at_most = len(load.waits) / TRIAL_S
    say(f"{at_most:.0f} writes a second at most")
    load.waits.clear()
    load.period_s = 2 * CONNECTIONS / at_most
    held = 0
    while not all(connection.done() for connection in connections):
        before = len(load.waits)
        await asyncio.wait(connections, timeout=LOOK_S)
        uses = [use_of([group.directory / node.name]) for node in group.nodes]
        held = max(held, *(use.all + use.logs for use in uses))
        longest = max((wait for _, wait in load.waits[before:]), default=0.0)
        rate = (len(load.waits) - before) / LOOK_S
        sizes = " ".join(
            f"{use.journals >> 20}+{(use.state + use.logs) / 2**20:.2f}" for use in uses
        )
        say(f"{load.left} left, {rate:.0f} a second, {longest * 1000:.0f} ms at most, {sizes} MiB")
    for connection in connections:
        connection.result()
    ordered = sorted(wait for _, wait in load.waits)
    for share in (0.5, 0.99, 0.999) if ordered else ():
        say(f"{share:.1%} within {ordered[int(len(ordered) * share)] * 1000:.1f} ms")
    _tell("a write took", load.waits, say)
    return held


def _tell(what: str, pauses: Waits, say: Callable[[str], None]) -> None:
    long = [(wait, began) for began, wait in pauses if wait > PAUSE_S]
    say(f"{what} more than {PAUSE_S * 1000:.0f} ms {len(long)} times")
    for wait, began in sorted(long, reverse=True)[:LISTED]:
        say(f"at {began:.2f} {what} {wait * 1000:.0f} ms")


def stand_by(ended: EventType, pauses: Connection) -> None:
    """Sleep, and send when that took too long."""
    found: Waits = []
    before = time.monotonic()
    while not ended.wait(0.005):
        now = time.monotonic()
        if now - before > PAUSE_S:
            found.append((before, now - before))
        before = now
    pauses.send(found)


def main(writes: int) -> int:
    """Return the exit status."""

    def say(what: str) -> None:
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()

    ended, (receiver, sender) = Event(), Pipe(duplex=False)
    bystander = Process(target=stand_by, args=(ended, sender), daemon=True)
    with (
        tempfile.TemporaryDirectory(prefix="kvpaxos-soak-") as directory,
        cluster(Path(directory)) as group,
    ):
        group.start()
        bystander.start()
        held = asyncio.run(soak(group, writes, say))
        ended.set()
        _tell("the bystander slept", receiver.recv(), say)
    say(f"{held / 2**20:.1f} MiB a node at most; {NODE_BYTES_MAX / 2**20:.1f} are allowed")
    return int(held > NODE_BYTES_MAX)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else WRITES))

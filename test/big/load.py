"""Clients that write without end, and how long each of their writes took."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlencode

from test.processes.cluster import Node

VALUE: Final = "x" * 1000

PAUSE_S: Final = 0.05
"""Waits that are longer are counted, and the longest `LISTED` of them listed."""

LISTED: Final = 10

TRIAL_S: Final = 10.0
"""So long nodes are given all that they can take, to know what half of it is.

In less, no state might be flushed and no segment forgotten: that were more than they can go on
with.
"""

ENDLESS: Final = 2**62
"""More writes than are ever made."""

Say: TypeAlias = Callable[[str], None]

Waits: TypeAlias = list[tuple[float, float]]
"""When each of them began, and how long it was, in seconds."""


@dataclass
class Load:
    """What some connections write together.

    :ivar left: how many writes are to begin yet.
    :ivar keys: how many keys they write, each as often as the others.
    :ivar value: what they write.
    :ivar period_s: each connection is to begin a write this often, none at the time of another.
        If it is 0, each begins its next one at once.
    :ivar waits: those of the writes that have ended, from when they were to begin.
    """

    left: int
    keys: int
    value: str = VALUE
    period_s: float = 0.0
    waits: Waits = field(default_factory=list)

    async def run(self, nodes: Sequence[Node], connections: int) -> None:
        """Write over so many connections, shared out among ``nodes``, until nothing is left."""
        ports = [nodes[number % len(nodes)].port for number in range(connections)]
        places = [(number + 0.5) / connections for number in range(connections)]
        await asyncio.gather(*map(self._connect, ports, places))

    async def run_for(self, seconds: float, nodes: Sequence[Node], connections: int) -> None:
        """Write likewise, and begin nothing more after so long."""
        running = asyncio.ensure_future(self.run(nodes, connections))
        await asyncio.wait([running], timeout=seconds)
        self.left = 0
        await running

    async def _connect(self, port: int, place: float) -> None:
        """Write over one connection.

        :param place: which share of each period passes before it begins a write.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            now = time.monotonic()
            # To connect is work, and not what is measured.
            due = self._next_due(now, now, place)
            await asyncio.sleep(due - now)
            while self.left > 0:
                self.left -= 1
                writer.write(self._request(self.left % self.keys))
                await _read_reply(reader)
                ended = time.monotonic()
                self.waits.append((due, ended - due))
                due = self._next_due(due, ended, place)
                await asyncio.sleep(due - ended)
        finally:
            writer.close()
            await writer.wait_closed()

    def _next_due(self, due: float, ended: float, place: float) -> float:
        # Connections that only waited for a period after each answer would all get in step in the
        # first pause, and from then on come in one crowd. So each keeps its place, even when late.
        if not self.period_s:
            return ended
        return (due // self.period_s + 1 + place) * self.period_s

    def _request(self, number: int) -> bytes:
        # Whoever waits for long is counted, and does not give up.
        body = urlencode({"key": f"key{number}", "value": self.value, "timeout": "60"})
        head = f"POST /kv/set HTTP/1.1\r\nHost: load\r\nContent-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()


async def _read_reply(reader: asyncio.StreamReader) -> None:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    assert status == b"http/1.1 200 ok", status
    (length,) = (line.split()[1] for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(int(length))


def say(what: str) -> None:
    """Tell whoever runs this program."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def least_in_a_second(waits: Waits) -> int:
    """Return how many writes ended in the second in which the fewest did, of more than two.

    The first and the last one do not count: connections begin and end in them.
    """
    ends = [began + wait for began, wait in waits]
    first = min(ends)
    counts = Counter(int(end - first) for end in ends)
    return min(counts[second] for second in range(1, max(counts)))


def shares(waits: Waits) -> dict[float, float]:
    """Return how many seconds the fastest half, 99 % and 99.9 % took at most."""
    ordered = sorted(wait for _, wait in waits)
    return {share: ordered[int(len(ordered) * share)] for share in (0.5, 0.99, 0.999)}


def tell_shares(waits: Waits, tell: Say) -> None:
    """Say what `shares` returns, and the longest wait."""
    told = [f"{share:.1%} within {wait * 1000:.1f} ms" for share, wait in shares(waits).items()]
    tell(", ".join([*told, f"all within {max(wait for _, wait in waits) * 1000:.0f} ms"]))


def tell_pauses(what: str, pauses: Iterable[tuple[float, float]], tell: Say) -> None:
    """Say which of ``pauses`` are longer than `PAUSE_S`."""
    long = [(wait, began) for began, wait in pauses if wait > PAUSE_S]
    tell(f"{what} more than {PAUSE_S * 1000:.0f} ms {len(long)} times")
    for wait, began in sorted(long, reverse=True)[:LISTED]:
        tell(f"at {began:.2f} {what} {wait * 1000:.0f} ms")


def resident_bytes(node: Node, what: str = "VmRSS") -> int:
    """Return how much memory the process of ``node`` takes now; the most ever with ``VmHWM``."""
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    (taken,) = (line.split()[1] for line in status.splitlines() if line.startswith(f"{what}:"))
    return int(taken) * 1024

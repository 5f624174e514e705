"""Clients that write without end, and how long each of their writes took.

A machine that has other things to do lets clients wait, too. So there are two bystanders: a process
that only sleeps, and one that only syncs a few bytes to the disk that the nodes have. They say when
they were held up for long. A pause that one of them had as well is not the nodes' own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Event, Pipe, Process
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as EventType
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlencode

from test.processes.cluster import Node

VALUE: Final = "x" * 1000

PAUSE_S: Final = 0.05
"""Waits that are longer are counted, and the longest `LISTED` of them listed."""

LISTED: Final = 10

LOOK_S: Final = 0.005
"""What a bystander sleeps between its looks. Between its syncs the disk is the nodes' alone."""

HELD_UP_S: Final = 0.02
"""A bystander that took longer for something was held up."""

CATCHES_UP: Final = 2.0
"""At half of what nodes can do, what has come in a pause is done with after as long again."""

TRIAL_S: Final = 30.0
"""So long nodes are given all that they can take, to know what half of it is.

In the first seconds no state is flushed and no segment forgotten: that is more than they can go on
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
            due = time.monotonic()
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


class Bystanders:
    """What held up others than the nodes and their clients; see this module.

    :ivar pauses: what they had, and in which words to tell of it: all of it once they are gone.
    """

    def __init__(self, directory: Path) -> None:
        """Begin. They need ``directory`` for a file on the disk of the nodes."""
        self.pauses: dict[str, Waits] = {}
        self._ended = Event()
        self._began = [
            self._begin("the bystander slept", partial(self._ended.wait, LOOK_S)),
            self._begin("the bystander's sync took", partial(_sync, directory / "bystander")),
        ]

    def end(self) -> None:
        """Have them end."""
        self._ended.set()
        for what, receiver in self._began:
            self.pauses[what] = receiver.recv()

    def explain(self, began: float, wait: float) -> bool:
        """Whether a wait would not have been long without the time in which one was held up."""
        pauses = [pause for some in self.pauses.values() for pause in some]
        return own_share(began, wait, with_backlog(pauses)) <= PAUSE_S

    def tell(self, tell: Say) -> None:
        """Say when they were held up."""
        for what, pauses in self.pauses.items():
            tell_pauses(what, pauses, tell)

    def _begin(self, what: str, work: Callable[[], object]) -> tuple[str, Connection]:
        receiver, sender = Pipe(duplex=False)
        Process(target=_stand_by, args=(self._ended, sender, work), daemon=True).start()
        return what, receiver


def with_backlog(pauses: Waits) -> Waits:
    """Return until when each of ``pauses`` was felt: what has come in it waits for its turn."""
    return [(began, held * CATCHES_UP) for began, held in pauses]


def own_share(began: float, wait: float, pauses: Waits) -> float:
    """Return how much of a wait there was, in seconds, in which there was none of ``pauses``.

    A write needs several syncs, one after the other: a disk that is slow for a while holds it up
    more than once.
    """
    told_through, ended = began, began + wait
    for at, held in sorted(pauses):
        since, until = max(at, told_through), min(at + held, ended)
        if since < until:
            wait -= until - since
            told_through = until
    return wait


@contextmanager
def bystanders(directory: Path, waits: Callable[[], Waits], tell: Say) -> Iterator[None]:
    """Have bystanders meanwhile, and tell in the end of long waits, and which of them they explain.

    :param directory: is on the disk of the nodes.
    :param waits: returns those of clients.
    """
    seen = Bystanders(directory)
    try:
        yield
    finally:
        seen.end()
    seen.tell(tell)
    tell_pauses("a write took", waits(), tell)
    own = [wait for wait in waits() if wait[1] > PAUSE_S and not seen.explain(*wait)]
    tell_pauses("while no bystander was held up a write took", own, tell)


def _stand_by(ended: EventType, pauses: Connection, work: Callable[[], object]) -> None:
    found: Waits = []
    before = time.monotonic()
    while not ended.is_set():
        work()
        now = time.monotonic()
        if now - before > HELD_UP_S:
            found.append((before, now - before))
        ended.wait(LOOK_S)
        before = time.monotonic()
    pauses.send(found)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(handle, os.urandom(512), 0)
        os.fdatasync(handle)
    finally:
        os.close(handle)

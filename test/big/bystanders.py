"""Who else was held up while clients waited for nodes.

A machine that has other things to do lets clients wait, too. So there are bystanders: a process on
each processor that only sleeps, one that only syncs a few bytes to the disk that the nodes have,
and one that does the same little piece of work again and again. They say when they were held up for
long. A pause that one of them had as well is not the nodes' own.

Those that sleep and sync take precedence over all else on the machine, if that is allowed (root
may): then no node that needs a processor holds them up, and little is enough to be held up by.

What takes more of a processor's time than usual, the same work, takes it because the processor is
one of two, and somebody else is busy on the other: two processors that share a core do hardly more
than one. A guest is not told on which cores it runs, nor is that counted as stolen time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from multiprocessing import Event, Pipe, Process
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as EventType
from pathlib import Path
from typing import Final

from test.big.load import PAUSE_S, Say, Waits, tell_pauses

LOOK_S: Final = 0.01
"""What a bystander sleeps between its looks. Between its syncs the disk is the nodes' alone."""

HELD_UP_S: Final = 0.02
"""A bystander that took so much longer for something was held up."""

HELD_UP_FIRST_S: Final = 0.002
"""The same of one that takes precedence: a sync takes it a third of a millisecond.

A host has been seen to need 0.5 to 20 ms, for some 40 ms, for each word that its guest says to a
disk. It needs 0.02 ms as a rule, and three nodes say 2,000 words a second.
"""

CATCHES_UP: Final = 2.0
"""At half of what nodes can do, what has come in a pause is done with after as long again."""

WORK: Final = 2000
"""How much the third bystander does at once: less than a millisecond of it."""

WORK_LOOK_S: Final = 0.05
"""And what it sleeps before it does so again."""

SLOWER: Final = 1.3
"""A piece of work that took so many times as long as usual was slowed down."""


class Bystanders:
    """What held up others than the nodes and their clients; see this module.

    :ivar pauses: what they had, and in which words to tell of it: all of it once they are gone.
    :ivar slowed: when processors did less than usual, and how much time that cost: likewise.
    """

    def __init__(self, directory: Path) -> None:
        """Begin. They need ``directory`` for a file on the disk of the nodes."""
        self.pauses: dict[str, Waits] = {}
        self.slowed: Waits = []
        self._slow_share = 0.0
        self._ended = Event()
        sleep, sync = partial(self._ended.wait, LOOK_S), partial(_sync, directory / "bystander")
        everywhere = os.sched_getaffinity(0)
        self._began = [
            self._begin(
                f"the bystander on processor {number} slept late by", sleep, LOOK_S, {number}
            )
            for number in sorted(everywhere)
        ]
        self._began.append(self._begin("the bystander's sync took", sync, 0.0, everywhere))
        self._worker = _start(_work_on, self._ended)

    def end(self) -> None:
        """Have them end."""
        self._ended.set()
        for what, receiver in self._began:
            self.pauses[what] = receiver.recv()
        samples = self._worker.recv()
        self.slowed = slowed(samples)
        self._slow_share = len(self.slowed) / max(1, len(samples))

    def explain(self, began: float, wait: float) -> bool:
        """Whether a wait would not have been long without the time in which one was held up."""
        pauses = [pause for some in self.pauses.values() for pause in some]
        return own_share(began, wait, [*with_backlog(pauses), *self.slowed]) <= PAUSE_S

    def tell(self, tell: Say) -> None:
        """Say when they were held up."""
        for what, pauses in self.pauses.items():
            tell(f"this bystander was held up {len(pauses)} times:")
            tell_pauses(what, pauses, tell)
        tell(f"processors were slowed down in {self._slow_share:.0%} of the time")

    def _begin(
        self, what: str, work: Callable[[], object], takes_s: float, processors: set[int]
    ) -> tuple[str, Connection]:
        return what, _start(_stand_by, self._ended, work, takes_s, processors)


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


def slowed(samples: Waits) -> Waits:
    """Return when processors did less than usual, and how much time that cost.

    :param samples: when the same piece of work was begun, and how much of a processor's time it
        took. Usual is what nine out of ten took at least.
    """
    if not samples:
        return []
    usual_s = sorted(took for _, took in samples)[len(samples) // 10]
    return [
        (began, (following - began) * (1 - usual_s / took))
        for (began, took), (following, _) in pairwise(samples)
        if took > SLOWER * usual_s
    ]


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


def _start(run: Callable[..., None], *arguments: object) -> Connection:
    """Return where the process that runs ``run`` is going to say what it has seen."""
    receiver, sender = Pipe(duplex=False)
    Process(target=run, args=(sender, *arguments), daemon=True).start()
    return receiver


def _stand_by(
    pauses: Connection,
    ended: EventType,
    work: Callable[[], object],
    takes_s: float,
    processors: set[int],
) -> None:
    os.sched_setaffinity(0, processors)
    held_up_s = HELD_UP_FIRST_S if _takes_precedence() else HELD_UP_S
    found: Waits = []
    while not ended.is_set():
        due = time.monotonic() + takes_s
        work()
        late_s = time.monotonic() - due
        if late_s > held_up_s:
            found.append((due, late_s))
        ended.wait(LOOK_S)
    pauses.send(found)


def _takes_precedence() -> bool:
    """Go before all others on this machine from now on, and return whether that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


def _work_on(samples: Connection, ended: EventType) -> None:
    found: Waits = []
    while not ended.wait(WORK_LOOK_S):
        # Other things come in between now and then.
        found.append((time.monotonic(), min(_work_s() for _ in range(3))))
    samples.send(found)


def _work_s() -> float:
    began = time.thread_time()
    sum(number * number for number in range(WORK))
    return time.thread_time() - began


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(handle, os.urandom(512), 0)
        os.fdatasync(handle)
    finally:
        os.close(handle)

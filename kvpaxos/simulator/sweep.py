"""Many runs, on all cores, until one of them breaks a rule."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from threading import Event
from types import FrameType

from twisted.logger import globalLogBeginner

from kvpaxos.simulator.run import Report, simulate


def sweep(
    seeds: Iterator[int],
    *,
    nodes: int | None,
    faults: Collection[str] | None,
    ended: Callable[[Report], bool],
) -> bool:
    """Run the worlds of ``seeds``, as many at a time as there are cores.

    No run begins after Ctrl-C; those under way come to their end. It must be called on the main
    thread, which hears of Ctrl-C.

    :param ended: is told of each run, and returns whether to go on.
    :returns: whether nobody has interrupted it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    run = partial(simulate, nodes=nodes, faults=faults)
    # Spawned: what this process has open, and its signals, are none of their business.
    pool = ProcessPoolExecutor(cores, get_context("spawn"), initializer=_begin)
    with _interrupted() as interrupted, pool:
        running: set[Future[Report]] = {pool.submit(run, seed) for seed in islice(seeds, cores)}
        going = True
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for report in sorted((one.result() for one in done), key=lambda one: one.seed):
                going = ended(report) and going
            if going and not interrupted.is_set():
                running |= {pool.submit(run, seed) for seed in islice(seeds, len(done))}
    return not interrupted.is_set()


def be_quiet() -> None:
    """Keep what simulated nodes log from being printed."""
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


@contextmanager
def _interrupted() -> Iterator[Event]:
    """Yield what the first Ctrl-C sets; the second one does what it always does."""
    asked = Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _begin() -> None:
    be_quiet()
    # Ctrl-C goes to all processes; the one that is asked decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

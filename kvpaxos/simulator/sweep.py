"""Many runs, on all cores, until one of them breaks a rule."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from statistics import median

from twisted.logger import globalLogBeginner

from kvpaxos.simulator.run import Report, simulate


@dataclass(slots=True)
class Totals:
    """What all runs together have come to.

    :ivar seconds: how long they took, on the clocks of their worlds.
    :ivar broken: the run that broke a rule, or None.
    """

    runs: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    slots: list[int] = field(default_factory=list)
    leaders: list[int] = field(default_factory=list)
    broken: Report | None = None

    def add(self, report: Report) -> None:
        """Take a run into account."""
        self.runs += 1
        self.seconds += report.seconds
        self.faults.update(report.faults)
        self.counts.update(report.counts)
        self.slots.append(report.counts["slots"])
        self.leaders.append(report.counts["leaders"])
        if report.wrong is not None and self.broken is None:
            self.broken = report

    def describe(self) -> list[str]:
        """Say in some lines what happened."""
        if not self.runs:
            return ["no run has ended"]
        hours = self.seconds / 3600
        lines = [
            f"{self.runs} runs, {hours:.2f} simulated hours",
            f"slots decided in a run: {_spread(self.slots)}",
            f"leaders in a run: {_spread(self.leaders)}",
        ]
        lines += ["faults:", *_table(self.faults), "what else happened:", *_table(self.counts)]
        return lines


def sweep(
    seeds: Iterator[int],
    *,
    nodes: int | None,
    faults: Collection[str] | None,
    ended: Callable[[Report], bool],
) -> Totals:
    """Run the worlds of ``seeds``, as many at a time as there are cores.

    :param ended: is told of each run, and returns whether to go on.
    """
    totals = Totals()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    run = partial(simulate, nodes=nodes, faults=faults)
    # Spawned: what this process has open, and its signals, are none of their business.
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=be_quiet) as pool:
        running: set[Future[Report]] = {pool.submit(run, seed) for seed in islice(seeds, cores)}
        going = True
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for report in sorted((one.result() for one in done), key=lambda one: one.seed):
                totals.add(report)
                going = ended(report) and report.wrong is None and going
            if going:
                running |= {pool.submit(run, seed) for seed in islice(seeds, len(done))}
    return totals


def be_quiet() -> None:
    """Keep what simulated nodes log from being printed."""
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


def _spread(numbers: Collection[int]) -> str:
    return f"{min(numbers)} to {max(numbers)}, {median(numbers):g} in the middle"


def _table(counts: Counter[str]) -> list[str]:
    return [f"  {count:9} {name}" for name, count in sorted(counts.items())]

"""Hunts for every bug with the simulator that ships, and writes down how long that takes.

Run as ``python -m test.zoo.run`` it takes some minutes on all cores; ``make zoo`` does that. Each
bug is hunted from several first seeds, so that the figures say something. Ctrl-C ends it: what was
found by then is kept.
"""

# ruff: noqa: T201  (a script, which is there to print)

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from typing import Final

from kvpaxos.simulator.sweep import be_quiet
from test.zoo import table
from test.zoo.bug import Bug
from test.zoo.catalogue import BUGS
from test.zoo.hunting import Catch, hunt

APART: Final = 1_000_000
"""How far first seeds are from each other."""

SEEDS_MAX: Final = 400
"""A bug that so many worlds do not show is one that the simulator is blind to."""

PASSED: Final = 0
FAILED: Final = 1
"""With what pytest ends if tests have run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt, and return the exit status: 1 if some hunt was in vain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bugs", nargs="*", help="only these, by their names; all by default")
    parser.add_argument("--new", action="store_true", help="only those that are not in the table")
    parser.add_argument("--starts", type=int, default=3, help="how many first seeds to try")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="the most seeds of one hunt")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.bugs) - set(BUGS))
    if unknown:
        parser.error(f"there is no bug {unknown[0]!r}; there are\n  " + "\n  ".join(BUGS))
    rows = table.read() if table.TABLE.exists() else {}
    names = [name for name in asked.bugs or BUGS if not (asked.new and name in rows)]
    blind = []
    with ProcessPoolExecutor(asked.cores, get_context("spawn"), initializer=be_quiet) as pool:
        hunts = {
            pool.submit(hunt_from, name, APART * start, asked.seeds): name
            for name in names
            for start in range(asked.starts)
        }
        found: dict[str, list[Catch | None]] = {}
        try:
            for done in as_completed(hunts):
                name = hunts[done]
                catches = found.setdefault(name, [])
                catches.append(done.result())
                if len(catches) == asked.starts:
                    blind += _conclude(name, catches, rows, asked.seeds)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    shown = sum(row.found > 0 for row in rows.values())
    print(f"{shown} of {len(BUGS)} bugs are found")
    for name in blind:
        print(f"not always found: {name}", file=sys.stderr)
    return bool(blind)


def hunt_from(name: str, first: int, seeds_max: int) -> Catch | None:
    """Hunt for one bug. This is called in a process of its own."""
    return hunt(BUGS[name], range(first, first + seeds_max))


def _conclude(
    name: str, hunts: list[Catch | None], rows: dict[str, table.Row], seeds_max: int
) -> list[str]:
    """Write down what was found, and return the name if some hunt was in vain."""
    row, bug = table.Row.of(hunts, seeds_max), BUGS[name]
    if row.found:
        print(f"{name}: {row.rule}, {row.seeds_shown} seeds, {row.seconds:g} s", flush=True)
    else:
        row = replace(row, test=bug.test if bug.test and notices(bug) else "")
        print(f"{name}: not found in {row.seeds:g} worlds; {row.test or 'no test'}", flush=True)
    rows[name] = row
    table.write(rows, BUGS)
    return [name] if row.found < row.starts and not row.test else []


def notices(bug: Bug) -> bool:
    """Whether the test that is named for ``bug`` passes, and fails once it is planted."""
    return _status_of(bug.test) == PASSED and _status_of(bug.test, "--plant", bug.name) == FAILED


def _status_of(test: str, *more: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "test.zoo.plugin"]
    run = subprocess.run([*command, *more, test], cwd=table.ROOT, capture_output=True, check=False)  # noqa: S603 -- our own command
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())

"""Tries many things from one and the same moment: each in a copy of this process.

A world that is copied by the system takes its threads and its chance with it, at the cost of the
pages that change. So what took long to prepare is there at once for each trial.
"""

# ruff: noqa: T201  (scripts use it, which are there to print)

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kvpaxos.simulator.tallies import write_between_markers

Item = TypeVar("Item")
Result = TypeVar("Result")


class TrialDied(Exception):
    """A trial ended without a result. The message says how."""


class _Trial(NamedTuple):
    pid: int
    number: int


def cores() -> int:
    """Return how many processes can run at a time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each_from_here(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each of ``items`` with what ``work`` returns for it, called in a copy of this process.

    They come in the order in which they end. No other thread may run here.

    :raises TrialDied: ``work`` has raised something, or its process was killed.
    """
    # What is there already is not looked at, nor copied, by the collectors of the copies.
    gc.freeze()
    running: dict[Connection, _Trial] = {}
    given: list[Item] = []
    todo = iter(items)
    try:
        while True:
            for item in islice(todo, workers - len(running)):
                given.append(item)
                running.update([_fork(partial(work, item), len(given) - 1)])
            if not running:
                return
            for end in wait(list(running)):
                assert isinstance(end, Connection)
                trial = running.pop(end)
                result: Result = _result(end, trial)
                yield given[trial.number], result
    finally:
        for end, trial in running.items():
            os.kill(trial.pid, signal.SIGKILL)
            os.waitpid(trial.pid, 0)
            end.close()
        gc.unfreeze()


def _fork(work: Callable[[], object], number: int) -> tuple[Connection, _Trial]:
    ours, theirs = Pipe(duplex=False)
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, _Trial(pid, number)
    # Nothing that this process has begun, to write for example, may end a second time.
    try:
        try:
            answer = pickle.dumps((True, work()))
        except BaseException:  # noqa: BLE001  (whoever waits for it is told)
            answer = pickle.dumps((False, traceback.format_exc()))
        theirs.send_bytes(answer)
    finally:
        os._exit(0)


def _result(end: Connection, trial: _Trial) -> Any:  # noqa: ANN401  (what `work` returned)
    try:
        worked, result = pickle.loads(end.recv_bytes())  # noqa: S301  (our own words)
    except EOFError:
        worked, result = False, "it was killed"
    finally:
        end.close()
        os.waitpid(trial.pid, 0)
    if not worked:
        raise TrialDied(result)
    return result


def show(
    trials: Iterable[str], describe: Callable[[], Sequence[str]], name: str, page: Path | None
) -> int:
    """Carry out ``trials``, tell how far they come, and show what came of them.

    :param describe: returns that, in lines.
    :param name: whose counts they are, on ``page``; they are printed only if there is no page.
    :returns: the exit status of a script that does nothing else.
    """
    try:
        for line in trials:
            print(line, file=sys.stderr)
    except TrialDied as error:
        print(f"not repaired: {error}")
        return 1
    lines = describe()
    print("\n".join(lines))
    if page is not None:
        write_between_markers(page, name, lines)
    return 0

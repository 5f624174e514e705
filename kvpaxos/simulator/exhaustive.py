"""Cuts the power after every operation of a journal's life, and starts from all that can be left.

Run as ``python -m kvpaxos.simulator.exhaustive`` it does that for all lives, on all cores;
``make exhaustive`` does so. It ends at the first state that does not recover, and names it.
"""

# ruff: noqa: T201  (a script, which is there to print)

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

from typing_extensions import override

from kvpaxos.simulator.crashes import leavings
from kvpaxos.simulator.files import CHANGES, Operation, VirtualFiles
from kvpaxos.simulator.lives import DIRECTORY, Life
from kvpaxos.simulator.recoveries import Recoveries, Unrecovered, on_changes
from kvpaxos.simulator.tallies import write_between_markers

CHUNK: Final = 4
"""So many operations one process takes at a time."""

LIVES: Final[Mapping[str, Callable[[Life], None]]] = {
    "a member": Life.as_member,
    "a member with a new disk": Life.as_member_with_new_disk,
    "a member that forgets": Life.as_member_that_forgets,
}
"""Whose journals are swept."""


class Chunk(NamedTuple):
    """Some operations of one life, by their numbers."""

    life: str
    operations: range


@dataclass(slots=True)
class Count:
    """What was tried.

    :ivar operations: after so many of them the power was cut.
    :ivar met: so many states it left, equal ones each time they were.
    :ivar states: the different ones, by their digests; ``torn`` and ``during`` are some of them.
    :ivar torn: those where a file is torn in the middle of a write.
    :ivar during: those that came of a power cut while the journal was being opened.
    """

    operations: int = 0
    met: int = 0
    states: set[bytes] = field(default_factory=set)
    torn: set[bytes] = field(default_factory=set)
    during: set[bytes] = field(default_factory=set)

    def add(self, other: Count) -> None:
        """Count what was tried elsewhere as well."""
        self.operations += other.operations
        self.met += other.met
        self.states |= other.states
        self.torn |= other.torn
        self.during |= other.during

    @override
    def __str__(self) -> str:
        count = len(self.states)
        return (
            f"{count:,} of {count:,} crash states recovered: the power was cut at"
            f" {self.operations} operations, and during the starts that followed;"
            f" {len(self.torn)} have a torn write, {len(self.during)} are of cuts during a start;"
            f" {self.met} were met, counting equal ones"
        )


def sweep(chunk: Chunk) -> Count:
    """Cut the power before each of the operations of ``chunk``.

    :raises Unrecovered: a state that it left does not recover as it must.
    """
    disk = _empty_disk()
    life = Life(disk)
    recoveries = Recoveries(life.decided)
    number = -1

    def cut(where: str) -> None:
        claims = life.claims
        try:
            for left in leavings(disk.directories()[DIRECTORY]):
                recoveries.meet(left, claims)
        except Unrecovered as error:
            raise Unrecovered(f"{chunk.life}: power cut {where}: {error}") from error

    def before(operation: Operation) -> None:
        nonlocal number
        number += 1
        if number == chunk.operations.stop:
            raise _Enough
        if number in chunk.operations:
            cut(f"before operation {number} ({operation.deed} {operation.path.name})")

    disk.before = on_changes(before)
    try:
        LIVES[chunk.life](life)
        cut("at the end")
    except _Enough:
        pass
    done = len(chunk.operations)
    outcomes = set(recoveries.outcomes)
    return Count(done, recoveries.met, outcomes, recoveries.torn, recoveries.during)


class _Enough(Exception):
    """Ends a life where the chunk ends."""


def chunks(step: int = CHUNK) -> list[Chunk]:
    """Return all there is to do."""
    return [
        Chunk(name, range(first, min(first + step, total)))
        for name in LIVES
        for total in [_count_of_operations(name)]
        for first in range(0, total, step)
    ]


def _count_of_operations(name: str) -> int:
    disk = _empty_disk()
    trace = disk.trace = []
    LIVES[name](Life(disk))
    return sum(operation.deed in CHANGES for operation in trace)


def _empty_disk() -> VirtualFiles:
    disk = VirtualFiles()
    disk.make_directory(DIRECTORY)
    return disk


def main(arguments: Sequence[str]) -> int:
    """Sweep all lives, and say how many states there were. Return an exit status."""
    parser = ArgumentParser(prog="exhaustive", description=__doc__)
    parser.add_argument("--write", type=Path, help="the page that shows the counts")
    options = parser.parse_args(arguments)
    total, todo = Count(), chunks()
    # Not forked: what has threads cannot be forked safely.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        try:
            for done, count in enumerate(pool.map(sweep, todo), start=1):
                total.add(count)
                print(f"{done}/{len(todo)}: {len(total.states)} states", file=sys.stderr)
        except Unrecovered as error:
            print(f"not recovered: {error}")
            pool.shutdown(cancel_futures=True)
            return 1
    print(total)
    if options.write is not None:
        write_between_markers(options.write, "power cuts", [f"{total}."])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

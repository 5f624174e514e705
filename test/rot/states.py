"""Damages every block of every file of a state on RocksDB, and opens and reads it.

Run as ``python -m test.rot.states`` it does that on all cores; ``make exhaustive`` does so. It ends
at the first damage that is believed, or that ends a node, and names it.
"""

# ruff: noqa: T201  (a script, which is there to print)

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from kvpaxos.engine.rocks import MEMORY_BYTES_MIN
from kvpaxos.engine.shelf import STATE, RocksShelf
from kvpaxos.errors import StateDamaged
from kvpaxos.node.repairs import Repairs
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.messages import Command
from kvpaxos.simulator.forks import TrialDied, cores, each_from_here
from kvpaxos.simulator.sweep import be_quiet
from kvpaxos.simulator.tallies import table, write_between_markers
from kvpaxos.store.commands import Delete, Set
from kvpaxos.store.requests import Numbered, encode_request

Way: TypeAlias = Literal["zeroed", "flipped", "cut off"]
"""What becomes of a block: zeros; one bit changed; or the file ends before it."""

Outcome: TypeAlias = Literal[
    "no difference", "earlier state", "found at the start", "found by scan"
]
"""What came of it: the state is whole; it is what it was after an earlier slot, so the journal or
the others have the rest; or it is known to be damaged, at the start or once it was read."""

WAYS: Final[tuple[Way, ...]] = get_args(Way)

BLOCK: Final = 4096

SMALL_BLOCK: Final = 16
"""Of files that are not longer than `SMALL_FILE`: their every line matters."""

SMALL_FILE: Final = 2048

SLOTS: Final = 360

FLUSHES: Final = 6

VALUE_BYTES_MAX: Final = 1024 * 1024


class Wound(NamedTuple):
    """What happens to one block of a file."""

    name: str
    offset: int
    length: int
    way: Way

    def strike(self, directory: Path) -> bool:
        """Damage the file, and say whether that changed anything."""
        path = directory / self.name
        before = path.read_bytes()
        data, end = bytearray(before), self.offset + self.length
        match self.way:
            case "zeroed":
                data[self.offset : end] = bytes(len(data[self.offset : end]))
            case "flipped":
                bit = Random(f"{self.name} {self.offset}").randrange(
                    8 * len(data[self.offset : end])
                )
                data[self.offset + bit // 8] ^= 1 << bit % 8
            case "cut off":
                del data[self.offset :]
        path.write_bytes(data)
        return data != before

    @property
    def kind(self) -> str:
        """Which kind of file it is."""
        return self.name.split("-")[0] if "." not in self.name else f"*{Path(self.name).suffix}"


def build(data: Path) -> list[int]:
    """Make a state of several tables, and return its digest after each slot, 0 included."""
    shelf = RocksShelf(data, memory_bytes=MEMORY_BYTES_MIN)
    state = State(shelf.open(), 0, value_bytes_max=VALUE_BYTES_MAX)
    random, digests = Random(1), [state.machine.digest]
    for slot in range(1, SLOTS + 1):
        key = b"k%d" % random.randrange(200)
        value = random.randbytes(random.choice((10, 300, 2000)))
        operation = Delete(key) if slot % 11 == 0 else Set(key, value)
        body = encode_request(operation, Numbered(b"client", slot))
        state.apply(Command(NodeId("n01"), 1, slot, 0, body))
        state.commit(Slot(slot))
        digests.append(state.machine.digest)
        if slot % (SLOTS // FLUSHES) == 0:
            state.engine.flush()
    shelf.close()
    return digests


def wounds(directory: Path) -> Iterator[Wound]:
    """Yield everything that is done to the files of a state."""
    for path in sorted(directory.iterdir()):
        size = path.stat().st_size
        block = SMALL_BLOCK if size <= SMALL_FILE else BLOCK
        for offset in range(0, size, block):
            for way in WAYS:
                yield Wound(path.name, offset, block, way)


def try_one(data: Path, digests: Sequence[int], wound: Wound) -> Outcome | None:
    """Damage a copy of the state, and see what a node makes of it; None if nothing changed.

    :raises AssertionError: it was believed, or there is no way on from there.
    """
    with TemporaryDirectory(dir=data.parent) as place:
        twin = Path(place) / "n01"
        shutil.copytree(data, twin)
        if not wound.strike(twin / STATE):
            return None
        try:
            return _opened(twin, digests)
        except Exception as error:
            raise AssertionError(f"{wound}: {type(error).__name__}: {error}") from error


def _opened(data: Path, digests: Sequence[int]) -> Outcome:
    """Open and read a state as a node does, and set it aside if it is damaged."""
    shelf = RocksShelf(data, memory_bytes=MEMORY_BYTES_MIN)
    repairs, step = Repairs(data), "found at the start"
    outcome: Outcome
    try:
        state = State(shelf.open(), 0, value_bytes_max=VALUE_BYTES_MAX)
        step = "found by scan"
        view = state.machine.view(once=True)
        try:
            for _ in view.audit():
                pass
        finally:
            view.close()
    except StateDamaged as error:
        repairs.put_state_aside(shelf, error)
        # What a node begins with that fetches another one's.
        state = State(shelf.open(), 0, value_bytes_max=VALUE_BYTES_MAX)
        assert state.applied == NO_SLOT, "the damaged state was opened once more"
        assert len(repairs.set_aside) == 1, "it was not kept"
        outcome = "found at the start" if step == "found at the start" else "found by scan"
    else:
        assert state.machine.digest == digests[state.applied], "another state was believed"
        outcome = "no difference" if state.applied == SLOTS else "earlier state"
    shelf.close()
    return outcome


def sweep(place: Path, *, every: int = 1) -> Counter[tuple[str, str]]:
    """Return how often there was each outcome, by kind of file and way.

    :param place: an empty directory.
    :param every: only each so-many-th damage is done.
    :raises TrialDied: one was believed, or has ended the process.
    """
    data = place / "n01"
    # RocksDB has threads, which no copy of this process would have.
    ((_, digests),) = each_from_here(build, [data], 1)
    todo = list(wounds(data / STATE))[::every]
    counts: Counter[tuple[str, str]] = Counter()
    for wound, outcome in each_from_here(partial(try_one, data, digests), todo, cores()):
        counts[f"{wound.kind}: {wound.way}", outcome or "no difference"] += 1
    return counts


def describe(counts: Counter[tuple[str, str]]) -> list[str]:
    """Return the counts, as documentation shows them."""
    total = counts.total()
    rows = sorted({row for row, _ in counts})
    first = f"{total:,} of {total:,} damaged blocks were found, or took nothing away."
    return [first, "", *table(counts, "file, block", rows)]


def main(arguments: Sequence[str]) -> int:
    """Damage every block in every way, and say what came of it. Return an exit status."""
    parser = ArgumentParser(prog="states", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="do each so-many-th damage only")
    parser.add_argument("--write", type=Path, help="the page that shows the counts")
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        with TemporaryDirectory() as place:
            lines = describe(sweep(Path(place), every=options.every))
    except TrialDied as error:
        print(f"believed, or not survived: {error}")
        return 1
    print("\n".join(lines))
    if options.write is not None:
        write_between_markers(options.write, "states", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Damages the journals of all nodes at once, each in another slot, and sees them mend each other.

Run as ``python -m kvpaxos.simulator.helical`` it takes one sector of the first node's journal after
the other; ``make exhaustive`` does so. Of each other node it strikes a sector some way further on,
the next one that holds nothing of a slot which was struck before: so every slot is left somewhere.
All nodes are down meanwhile, and are then started with nobody's help.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import Sound, segment_number, segment_numbers
from kvpaxos.journal.reading import PAGE_BYTES
from kvpaxos.journal.recovery import find_segments, scan_segment
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import Learned, Record
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.corruption import NO_DIFFERENCE, ROTS, Outcome, Strike, outcome_at
from kvpaxos.simulator.files import Rot, VirtualFiles
from kvpaxos.simulator.forks import cores, each_from_here, show
from kvpaxos.simulator.prepared import PreparedCluster
from kvpaxos.simulator.sweep import be_quiet
from kvpaxos.simulator.tallies import table

SEGMENT_BYTES: Final = 32 * 1024

_STEP: Final = 100

WORST: Final[tuple[Outcome, ...]] = (
    "learnt from the others",
    "mended in place",
    "written again in place",
)
"""Of several outcomes, the first of these stands for all."""


class Place(NamedTuple):
    """A sector of a file."""

    path: Path
    sector: int


class Ground(NamedTuple):
    """One journal: all its sectors, and what slots its records are of, by where they are."""

    node: str
    places: list[Place]
    records: list[tuple[Path, int, int, Slot]]

    def slots(self, place: Place, rot: Rot) -> set[Slot]:
        """Return the slots that a strike at ``place`` takes something of."""
        size = PAGE_BYTES if rot == "unreadable" else SECTOR
        start = place.sector * SECTOR // size * size
        return {
            slot
            for path, begin, end, slot in self.records
            if path == place.path and begin < start + size and end > start
        }


class Helix:
    """A cluster, and all that is tried with it.

    :param every: only each sector whose number is a multiple of this is where one begins.
    :ivar counts: how often there was each outcome, by how the damage came.
    """

    def __init__(self, segment_bytes: int = SEGMENT_BYTES, *, every: int = 1) -> None:
        self.segment_bytes = segment_bytes
        self.counts: Counter[tuple[str, str]] = Counter()
        self._every = every

    def try_all(self) -> Iterator[str]:
        """Damage all journals from every sector on, in every way; say how far it has come.

        :raises TrialDied: something was lost, or did not come back.
        """
        cluster = PreparedCluster(self.segment_bytes, scans=False)
        try:
            for server in cluster.world.servers:
                server.kill()
            cluster.settle()
            grounds = [_ground(cluster, node) for node in cluster.world.names]
            first = range(0, len(grounds[0].places), self._every)
            cases = [_strikes(grounds, number, rot) for rot in ROTS for number in first]
            yield f"{len(cases)} cases"
            for strikes, outcome in each_from_here(partial(_outcome, cluster), cases, cores()):
                self.counts[strikes[0].rot, outcome] += 1
                if self.counts.total() % _STEP == 0:
                    yield f"{self.counts.total()} of {len(cases)} are survived"
        finally:
            cluster.world.end()


def _ground(cluster: PreparedCluster, node: str) -> Ground:
    files = cluster.journal_files(node)
    sizes = {path: len(file.durable) for path, file in files.items()}
    segments = [path for path in sorted(sizes) if segment_number(path.name) is not None]
    places = [Place(path, one) for path in segments for one in range(sizes[path] // SECTOR)]
    disk = cluster.world.server(node).drive.files.copy()
    return Ground(node, places, list(_records(disk, segments)))


def _records(disk: VirtualFiles, paths: Sequence[Path]) -> Iterator[tuple[Path, int, int, Slot]]:
    """Yield where the votes, and what was learned, are in a sound journal."""
    directory = Directory(disk, paths[0].parent)
    segments, _ = find_segments(directory, segment_numbers(path.name for path in paths))
    for segment, following in zip_longest(segments, segments[1:]):
        found: list[tuple[int, int, Slot]] = []

        def visit(sound: Sound, _group: int, record: Record) -> None:
            if isinstance(record, Vote | Learned):
                found.append((sound.offset, sound.end, record.slot))  # noqa: B023

        scan_segment(directory, segment, following, visit)
        yield from ((directory.path / segment.name, *one) for one in found)


def _strikes(grounds: Sequence[Ground], first: int, rot: Rot) -> tuple[Strike, ...]:
    """Return what is struck: each node in other slots than those before it."""
    strikes: list[Strike] = []
    lost: set[Slot] = set()
    for turn, ground in enumerate(grounds):
        count = len(ground.places)
        begin = first + turn * count // len(grounds)
        turned = (ground.places[(begin + more) % count] for more in range(count))
        place = next(one for one in turned if lost.isdisjoint(ground.slots(one, rot)))
        lost |= ground.slots(place, rot)
        strikes.append(Strike(ground.node, *place, rot))
    return tuple(strikes)


def _outcome(cluster: PreparedCluster, strikes: tuple[Strike, ...]) -> Outcome:
    """Damage the cluster, and see it repair itself.

    :raises AssertionError: it has not.
    """
    world = cluster.world
    struck = [
        server
        for strike in strikes
        if strike.carry_out((server := world.server(strike.node)).drive.files)
    ]
    try:
        cluster.start_all()
        cluster.become_whole()
        outcomes = {outcome_at(server) for server in struck}
        cluster.check(strikes[0].node)
    except AssertionError as error:
        raise AssertionError(f"{strikes}: {error}") from error
    return next((one for one in WORST if one in outcomes), NO_DIFFERENCE)


def main(arguments: Sequence[str]) -> int:
    """Strike from every sector on, in every way, and say what came of it. Return an exit status."""
    parser = ArgumentParser(prog="helical", description=__doc__)
    parser.add_argument("--segment-bytes", type=int, default=SEGMENT_BYTES)
    parser.add_argument("--every", type=int, default=1, help="begin at each so-many-th sector only")
    parser.add_argument("--write", type=Path, help="the page that shows the counts")
    options = parser.parse_args(arguments)
    be_quiet()
    helix = Helix(options.segment_bytes, every=options.every)
    return show(helix.try_all(), partial(describe, helix), "helical", options.write)


def describe(helix: Helix) -> list[str]:
    """Return the counts, as documentation shows them."""
    total = helix.counts.total()
    first = (
        f"{total:,} of {total:,} times, all three journals were struck at once and the cluster came"
        f" back whole, in segments of {helix.segment_bytes // 1024} KiB."
    )
    return [first, "", *table(helix.counts, "sectors", list(ROTS))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

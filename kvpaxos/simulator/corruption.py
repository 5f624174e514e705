"""Damages every sector of every journal of a cluster, in every way, and sees it repaired.

Run as ``python -m kvpaxos.simulator.corruption`` it does that on all cores; ``make exhaustive``
does so. It ends at the first damage after which something acknowledged is missing, or after which
a node does not come back by itself, and names it.

What a start makes of the damaged file is judged each time. What is set right to the same bytes
shares a run of the cluster; so does what is named as the same damage.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from kvpaxos.engine.shelf import DAMAGED_JOURNAL
from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import DATA_START, segment_number, segment_numbers
from kvpaxos.journal.reading import PAGE_BYTES
from kvpaxos.journal.recovery import Segment, find_segments, read_segment
from kvpaxos.journal.scan import scan
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.files import Rot, VirtualFiles
from kvpaxos.simulator.forks import cores, each_from_here, show
from kvpaxos.simulator.prepared import PreparedCluster
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.sweep import be_quiet
from kvpaxos.simulator.tallies import table

Moment: TypeAlias = Literal["down", "running"]
"""When the damage comes: while that node is down, and for each second page all of them; or while
all of them run."""

Outcome: TypeAlias = Literal[
    "no difference", "written again in place", "mended in place", "learnt from the others"
]
"""What came of it: the bytes were what they had been; or it was made good from the rest of that
journal; or damaged records were made again, if need be of what others told; or the journal was set
aside and the node came back as with a new disk."""

NO_DIFFERENCE: Final[Outcome] = "no difference"

ROTS: Final[tuple[Rot, ...]] = get_args(Rot)
MOMENTS: Final[tuple[Moment, ...]] = get_args(Moment)

SEGMENT_BYTES: Final = 256 * 1024

FOUND_S_MAX: Final = 3.0
"""A scan that finds something has done so within this time."""


class Strike(NamedTuple):
    """What happens to one sector."""

    node: str
    path: Path
    sector: int
    rot: Rot

    def carry_out(self, disk: VirtualFiles) -> bool:
        """Damage ``disk``, and say whether that changed anything."""
        random = Random(f"{self.path} {self.sector} {self.rot}")
        return disk.strike(self.path, self.sector, self.rot, random)


class Stretch(NamedTuple):
    """One file, all of whose sectors are struck."""

    node: str
    path: Path


class Corruption:
    """A cluster, and all that is tried with it.

    :param every: only each sector whose number is a multiple of this is damaged.
    :param nodes: whose journals are damaged; None for all.
    :ivar segment_bytes: the size of the segments.
    :ivar counts: how often there was each outcome, by when and how the damage came.
    :ivar runs: so many times the cluster was run; equal cases share one.
    """

    def __init__(
        self,
        segment_bytes: int = SEGMENT_BYTES,
        *,
        every: int = 1,
        nodes: Collection[str] | None = None,
    ) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.runs = 0
        self.segment_bytes = segment_bytes
        self._every = every
        self._nodes = nodes

    def try_all(self, moments: Sequence[Moment] = MOMENTS) -> Iterator[str]:
        """Damage every sector in every way at each of ``moments``; say how far it has come.

        :raises TrialDied: something was lost, or did not come back.
        """
        cluster = PreparedCluster(self.segment_bytes, scans=True)
        try:
            cases, same = self._cases(cluster)
            yield f"{len(cases)} different cases"
            for moment in moments:
                for rot, count in same.items():
                    self.counts[_row(moment, rot), NO_DIFFERENCE] += count
                work = partial(_outcome, moment, cluster)
                for strike, outcome in each_from_here(work, cases, cores()):
                    self.runs += 1
                    for equal in cases[strike]:
                        self.counts[_row(moment, equal.rot), outcome] += 1
                yield f"{moment}: {self.counts.total()} sectors struck, {self.runs} runs"
        finally:
            cluster.world.end()

    def _cases(self, cluster: PreparedCluster) -> tuple[dict[Strike, list[Strike]], Counter[Rot]]:
        """Return one strike of each kind, with all of that kind; and how many change nothing."""
        cases: dict[tuple[str, bytes], list[Strike]] = {}
        same: Counter[Rot] = Counter()
        stretches = [
            Stretch(node, path)
            for node in self._nodes or cluster.world.names
            for path in cluster.journal_files(node)
        ]
        for stretch, found in each_from_here(partial(self._look, cluster), stretches, cores()):
            for strike, verdict in found:
                if verdict is None:
                    same[strike.rot] += 1
                else:
                    cases.setdefault((stretch.node, verdict), []).append(strike)
        return {strikes[0]: strikes for strikes in cases.values()}, same

    def _look(
        self, cluster: PreparedCluster, stretch: Stretch
    ) -> list[tuple[Strike, bytes | None]]:
        """Return every strike at a file with what stands for all that follows from it.

        That is what a start makes of it: see `verdict`. A node that runs looks at headers, too, and
        says so if one copy is bad. None: the bytes are what they were.
        """
        disk = cluster.world.server(stretch.node).drive.files.copy()
        file = disk.files()[stretch.path]
        whole, found = bytes(file.durable), list[tuple[Strike, bytes | None]]()
        for sector in range(0, len(whole) // SECTOR, self._every):
            header = sector * SECTOR < DATA_START and sector
            for rot in ROTS:
                strike, after = Strike(*stretch, sector, rot), None
                if strike.carry_out(disk):
                    what = f"{header} {verdict(disk, stretch.path)}"
                    after = _digest(what.encode())
                found.append((strike, after))
                file.durable[:] = file.seen[:] = whole
                file.unreadable.clear()
        return found


def verdict(disk: VirtualFiles, path: Path) -> object:
    """Return what a start makes of the file at ``path``, damaged or not.

    It is what follows from: of damage where it is, and whether it can be read; and otherwise the
    file as it is after it was set right.
    """
    lost = sorted(disk.files()[path].unreadable)
    directory = Directory(disk, path.parent)
    number = segment_number(path.name)
    if number is None:
        return "no part of the journal yet"
    segments, damage = find_segments(directory, segment_numbers(directory.names()))
    judged: dict[int, Segment] = {segment.header.number: segment for segment in segments}
    if damage:
        return "damage", path, lost, damage
    segment, following = judged[number], judged.get(number + 1)
    reading = read_segment(directory, segment)
    after = following.header if following else None
    found = scan(path, reading, segment.header, after, lambda *_: None)
    if found.damage:
        return "damage", path, lost, [(one.offset, one.length) for one in found.damage]
    image = bytearray(reading.data)
    image[:DATA_START] = 2 * segment.copy
    for offset, data in (*found.data, *found.marks):
        image[offset : offset + len(data)] = data
    return path, _digest(image)


def _outcome(moment: Moment, cluster: PreparedCluster, strike: Strike) -> Outcome:
    """Damage the cluster, and see it repaired. It is of no use for anything else then.

    :raises AssertionError: it was not.
    """
    world = cluster.world
    server, begun = world.server(strike.node), world.begun[strike.node]
    if moment == "down":
        together = strike.sector * SECTOR // PAGE_BYTES % 2
        for one in world.servers if together else [server]:
            one.kill()
    cluster.settle()
    assert strike.carry_out(server.drive.files), f"{strike}: nothing has changed"
    try:
        if moment == "running" and not world.run(
            FOUND_S_MAX, lambda: world.begun[strike.node] > begun or _was_set_aside(server)
        ):
            # Nobody reads it before the next start.
            server.kill()
        cluster.start_all()
        cluster.become_whole(strike.node, begun)
        cluster.check(strike.node)
    except AssertionError as error:
        raise AssertionError(f"{moment}, {strike}: {error}") from error
    return outcome_at(server)


def outcome_at(server: Server) -> Outcome:
    """Return how a node that runs again was repaired, which was damaged."""
    if _was_set_aside(server):
        return "learnt from the others"
    assert server.member is not None, f"{server.node} is down"
    return "mended in place" if server.member.repairs.mended else "written again in place"


def _was_set_aside(server: Server) -> bool:
    directories = server.drive.files.directories()
    return any(path.name.startswith(DAMAGED_JOURNAL) for path in directories)


def _row(moment: Moment, rot: Rot) -> str:
    return f"{moment}: {rot}"


def _digest(data: bytes | bytearray) -> bytes:
    return blake2b(data, digest_size=16).digest()


def main(arguments: Sequence[str]) -> int:
    """Strike every sector in every way, and say what came of it. Return an exit status."""
    parser = ArgumentParser(prog="corruption", description=__doc__)
    parser.add_argument("--segment-bytes", type=int, default=SEGMENT_BYTES)
    parser.add_argument("--every", type=int, default=1, help="damage each so-many-th sector only")
    parser.add_argument("--node", action="append", help="damage the journal of this one only")
    parser.add_argument("--write", type=Path, help="the page that shows the counts")
    options = parser.parse_args(arguments)
    be_quiet()
    corruption = Corruption(options.segment_bytes, every=options.every, nodes=options.node)
    describing = partial(describe, corruption)
    return show(corruption.try_all(), describing, "corruption", options.write)


def describe(corruption: Corruption) -> list[str]:
    """Return the counts, as documentation shows them."""
    total = corruption.counts.total()
    rows = [_row(moment, rot) for moment in MOMENTS for rot in ROTS]
    kib = corruption.segment_bytes // 1024
    first = (
        f"{total:,} of {total:,} sectors, struck one at a time, were survived, in segments of {kib}"
        f" KiB; {corruption.runs:,} runs of the cluster showed it."
    )
    return [
        first,
        "",
        *table(corruption.counts, "node, sector", rows),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

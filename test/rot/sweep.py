"""Damages one sector of one node's journal after the other, and sees what becomes of the node.

Run as ``python -m test.rot.sweep`` it takes every sector that holds anything, twice, which takes
some minutes; ``make rot`` does that.
"""

# ruff: noqa: T201  (a script, which is there to print)

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.log import Journal, Recovered
from kvpaxos.journal.mending import Mending
from test.processes.cluster import Cluster, cluster
from test.processes.states import disk, expect, wait_for_equal_states, wait_for_vote, write

SECTOR: Final = 512

STORAGE: Final = {"segment_bytes": 32768, "journal_bytes_max": 131072, "scan_bytes_per_s": 0}

KEYS: Final = 12
"""So many writes of 4 KiB fill one segment, and begin another one."""

Outcome = Literal["repaired", "mended by others", "torn tail cut", "mended or kept"]


@dataclass(frozen=True)
class Rot:
    """What happens to one sector.

    :ivar path: the segment, below the journal's directory.
    """

    path: Path
    offset: int
    kind: Literal["zeroed", "flipped"]

    def strike(self, directory: Path) -> bool:
        """Damage the journal in ``directory``; return whether that changed anything."""
        path = directory / self.path
        data = bytearray(path.read_bytes())
        before = bytes(data)
        if self.kind == "zeroed":
            data[self.offset : self.offset + SECTOR] = bytes(SECTOR)
        else:
            data[self.offset + self.offset // SECTOR % SECTOR] ^= 1
        path.write_bytes(data)
        return data != before


def rots(journal: Path, step: int = 1) -> Iterator[Rot]:
    """Yield what can happen to every ``step``-th sector of the segments in ``journal``."""
    for path in sorted(journal.glob("*.log")):
        for offset in range(0, path.stat().st_size, step * SECTOR):
            yield Rot(Path(path.name), offset, "zeroed")
            yield Rot(Path(path.name), offset, "flipped")


class Sweep:
    """A cluster whose third node is struck again and again, always from the same disk.

    :ivar counts: how often there was each outcome.
    """

    def __init__(self, made: Cluster) -> None:
        self.counts: Counter[Outcome] = Counter()
        self._cluster = made
        self._struck = made.nodes[2]
        self._home = made.directory / self._struck.name
        self._peers = [made.directory / node.name for node in made.nodes[:2]]
        self._sound = made.directory / "sound"
        self._known = self._prepare()

    def _prepare(self) -> Recovered:
        """Have the cluster write, and keep what is on the disks then."""
        self._cluster.start()
        write(self._cluster.nodes[0], "key", KEYS)
        wait_for_equal_states(self._cluster.nodes)
        # Killed, and not stopped: the last marks need not be on the disk.
        self._cluster.kill(*self._cluster.nodes)
        for home in (self._home, *self._peers):
            shutil.copytree(home, self._sound / home.name)
        return self._judge(self._home / "journal")

    def rots(self, step: int = 1) -> list[Rot]:
        """Return everything that can happen to every ``step``-th sector of the third's journal."""
        return list(rots(self._sound / self._home.name / "journal", step))

    def strike(self, rot: Rot) -> Outcome | None:
        """Damage the third node's journal and start all; return what became of it.

        :returns: None if it changes nothing, since there are only zeros.
        """
        for home in (self._home, *self._peers):
            shutil.rmtree(home)
            shutil.copytree(self._sound / home.name, home)
        if not rot.strike(self._home / "journal"):
            return None
        outcome = self._foretold()
        self._cluster.start()
        try:
            self._check(outcome)
        finally:
            self._cluster.kill(*self._cluster.nodes)
        self.counts[outcome] += 1
        return outcome

    def _foretold(self) -> Outcome:
        """Say what must become of it, by a look at a copy: no vote and no promise may be lost."""
        copy = self._home.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._home / "journal", copy)
        try:
            judged = self._judge(copy)
        except DamagedRecords as found:
            return "repaired" if Mending.of(found) is None else "mended by others"
        assert (judged.forming, judged.formed, judged.boot) == (
            self._known.forming,
            self._known.formed,
            self._known.boot,
        )
        for group, known in self._known.groups.items():
            assert judged.groups[group].promised == known.promised
            # What is decided can be learned again; a vote that is open must still be there.
            if judged.groups[group].decided_through == known.decided_through:
                assert judged.groups[group].votes == known.votes
            else:
                assert judged.torn is not None
        return "mended or kept" if judged.torn is None else "torn tail cut"

    def _check(self, outcome: Outcome) -> None:
        nodes = self._cluster.nodes
        wait_for_vote(self._struck)
        wait_for_equal_states(nodes)
        assert disk(self._struck) == (2 if outcome == "repaired" else 1)
        expect(self._struck, "key", KEYS)
        assert self._home.joinpath("journal.damaged-1").is_dir() == (outcome == "repaired")

    def _judge(self, directory: Path) -> Recovered:
        journal = Journal.open(directory, segment_bytes=STORAGE["segment_bytes"])
        journal.close()
        return journal.recovered


def run(rots: Sequence[Rot], sweep: Sweep) -> None:
    """Strike once after the other, and say how that goes."""
    for number, rot in enumerate(rots, start=1):
        outcome = sweep.strike(rot)
        if outcome is not None:
            print(f"{number}/{len(rots)} {rot.path} {rot.offset} {rot.kind}: {outcome}", flush=True)
    print(", ".join(f"{outcome}: {count}" for outcome, count in sorted(sweep.counts.items())))


def main(arguments: Sequence[str]) -> None:
    """Strike every sector, or every n-th one."""
    step = int(arguments[0]) if arguments else 1
    with (
        tempfile.TemporaryDirectory() as directory,
        cluster(Path(directory), storage=STORAGE) as on,
    ):
        sweep = Sweep(on)
        run(sweep.rots(step), sweep)


if __name__ == "__main__":
    main(sys.argv[1:])

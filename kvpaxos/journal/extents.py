"""Where in the files the slots are: what the writer tells the reader.

The writer alone changes an `Extent`, each time in one step: the reader, on its own
thread, sees it before or after, and both are true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kvpaxos.journal.format import DATA_START, Digest
from kvpaxos.journal.header import Header
from kvpaxos.journal.state import JournalState
from kvpaxos.paxos.ballot import NO_SLOT, Slot

CHECKPOINT_BYTES: Final = 256 * 1024
"""How far apart the places are, about, from which a reader can begin."""


class Checkpoint(NamedTuple):
    """A place between two records from which a segment can be read.

    :ivar digest: the chain's digest there.
    :ivar voted: for each group the highest slot that was voted in or learned before it.
    """

    offset: int
    digest: Digest
    voted: Mapping[int, Slot]


@dataclass(slots=True, eq=False)
class Extent:
    """One segment.

    :ivar end: its records are written up to here.
    """

    header: Header
    end: int = DATA_START
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def __post_init__(self) -> None:
        voted = {group: known.voted_through for group, known in self.header.groups.items()}
        self.checkpoints.append(Checkpoint(DATA_START, self.header.digest, voted))

    def note(self, offset: int, digest: Digest, state: JournalState) -> None:
        """Say what the journal comes to at ``offset``, in case readers should begin there."""
        if offset - self.checkpoints[-1].offset >= CHECKPOINT_BYTES:
            self.checkpoints.append(Checkpoint(offset, digest, state.voted_through()))

    def voted_through(self, group: int) -> Slot:
        """Return the highest slot of ``group`` that was voted in or learned before it."""
        return self.checkpoints[0].voted.get(group, NO_SLOT)


def place_of(extents: Sequence[Extent], group: int, slot: Slot) -> tuple[Extent, Checkpoint] | None:
    """Return the last place that no vote in ``slot`` of ``group`` comes before.

    :returns: None if there is none, since what came before is forgotten.
    """
    for extent in reversed(extents):
        if extent.voted_through(group) < slot:
            fitting = [place for place in extent.checkpoints if place.voted.get(group, 0) < slot]
            return extent, fitting[-1]
    return None

"""What the journal of a node shows to be decided, from the records that it is given to write.

This is said here once more, in other words than in `kvpaxos.journal.state`: a mistake there would
otherwise be made here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Effects
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import DecidedThrough, Installed, Learned, ReplicaRecord
from kvpaxos.paxos.replica import Replica


class Written:
    """Holds nodes to write down what they take for decided.

    This is the rule:

    * *Shown.* What a node takes for decided, its journal shows: by a vote and a watermark of one
      ballot, as learned, or as part of a state.

    :param fail: is told when it is broken, in a sentence.
    """

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail = fail
        self._pages: dict[NodeId, _Pages] = {}

    def began(self, node: NodeId, memory: Memory) -> None:
        """Take note of a life that begins, with what an earlier one has written."""
        self._pages[node] = _Pages(memory)

    def stepped(self, replica: Replica, effects: Effects) -> None:
        """Take note of what a node has written."""
        pages, known = self._pages[replica.node], replica.learner.decided_through
        pages.write(effects.records)
        if pages.decided_through < known:
            self._fail(
                f"{replica.node} takes slot {known} for decided, and its journal shows that of no"
                f" slot after {pages.decided_through}"
            )


class _Pages:
    """What was written in one life, and before."""

    def __init__(self, memory: Memory) -> None:
        self.decided_through = memory.decided_through
        self._votes = {slot: vote.ballot for slot, vote in memory.votes.items()}
        self._learned: set[Slot] = set()

    def write(self, records: Iterable[ReplicaRecord]) -> None:
        """Add ``records``."""
        for record in records:
            match record:
                case Vote(slot, ballot, _):
                    self._votes[slot] = ballot
                case Learned(slot, _):
                    self._learned.add(slot)
                    self._move_on(self.decided_through, ZERO_BALLOT)
                case DecidedThrough(slot, ballot):
                    self._move_on(slot, ballot)
                case Installed(slot):
                    self.decided_through = max(self.decided_through, slot)
                    self._move_on(slot, ZERO_BALLOT)
                case _:
                    pass

    def _move_on(self, through: Slot, ballot: Ballot) -> None:
        while True:
            slot = Slot(self.decided_through + 1)
            covered = slot <= through and self._votes.get(slot) == ballot
            if slot not in self._learned and not covered:
                return
            self._votes.pop(slot, None)
            self._learned.discard(slot)
            self.decided_through = slot

"""The learner: what is decided, as far as this node knows, and what it has missed.

Lamport, "Paxos Made Simple" (2001), section 2.3; the watermark is that of section 3's
distinguished learner, who is the leader here.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvpaxos.paxos.acceptor import size_of
from kvpaxos.paxos.ballot import FIRST_SLOT, NO_SLOT, ZERO_BALLOT, Ballot, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import Batch, Vote
from kvpaxos.paxos.records import DecidedThrough, Installed, Learned


class Learner:
    """Knows decided slots, and hands them on in order, without gaps, exactly once.

    :ivar decided_through: every slot through this one is decided and was handed on.
    :ivar kept_from: the slots from here on can still be handed to peers.
    :ivar target: somebody has said that the slots through this one are decided.
    :ivar announced: the newest leader's watermark, as (ballot, slot).
    """

    def __init__(self, decided_through: Slot, kept_from: Slot, limits: Limits) -> None:
        self.decided_through = decided_through
        self.kept_from = kept_from
        self.target = self.once_known_through
        self.announced: tuple[Ballot, Slot] = (ZERO_BALLOT, NO_SLOT)
        self._known: dict[Slot, Decision] = {}
        # All from the oldest one on. Where a dict begins is not asked of it: it would look at the
        # place of each slot that it held once.
        self._recent: dict[Slot, Batch] = {}
        self._oldest = FIRST_SLOT
        self._recent_bytes = 0
        self._recent_commands = 0
        self._limits = limits

    @property
    def has_hole(self) -> bool:
        """Whether a slot that is decided somewhere is not known here."""
        return self.target > self.decided_through

    @property
    def first_hole(self) -> Slot:
        """The first slot that is not known here."""
        return Slot(self.decided_through + 1)

    @property
    def once_known_through(self) -> Slot:
        """Every slot through this one was known here to be decided, and no vote in it is kept.

        That may be more than is known now: the state that they had made may be lost.
        """
        return max(self.decided_through, Slot(self.kept_from - 1))

    def hole_through(self) -> Slot:
        """Return the last slot of the hole that begins at `first_hole`."""
        known = min(self._known, default=None)
        return self.target if known is None else Slot(min(self.target, known - 1))

    def expect(self, through: Slot) -> None:
        """Note that somebody knows all slots through ``through`` to be decided."""
        self.target = max(self.target, through)

    def knows(self, slot: Slot) -> bool:
        """Whether this node knows what is decided in ``slot``."""
        return slot <= self.decided_through or slot in self._known

    def decide(self, slot: Slot, ballot: Ballot, batch: Batch) -> None:
        """Note that a quorum voted for ``batch`` in ``slot``, in ``ballot``."""
        self._know(Decision(slot, ballot, batch))

    def learn(self, slot: Slot, batch: Batch) -> tuple[Learned, ...]:
        """Note what another node says is decided in ``slot``; return what to write down."""
        if self.knows(slot):
            return ()
        self._know(Decision(slot, ZERO_BALLOT, batch))
        return (Learned(slot, batch),)

    def hear(self, ballot: Ballot, through: Slot, votes: Mapping[Slot, Vote]) -> None:
        """Take a leader's watermark.

        It covers exactly those of our ``votes`` that were cast in its ballot: in another
        ballot another batch may have been offered, and only one of the two was chosen.
        """
        self.expect(through)
        if (ballot, through) <= self.announced:
            return
        before = self.announced
        self.announced = (ballot, through)
        first = before[1] + 1 if before[0] == ballot else self.decided_through + 1
        # Whichever is shorter: what is newly covered, or what there is to cover.
        if through - first < len(votes):
            cast = [votes[Slot(slot)] for slot in range(first, through + 1) if slot in votes]
        else:
            cast = list(votes.values())
        for vote in cast:
            self.cover(vote)

    def cover(self, vote: Vote) -> None:
        """Decide ``vote`` if the newest watermark covers it."""
        ballot, through = self.announced
        if vote.ballot == ballot and self.decided_through < vote.slot <= through:
            self._know(Decision(vote.slot, ballot, vote.batch))

    def advance(self) -> tuple[tuple[Decision, ...], tuple[DecidedThrough, ...]]:
        """Hand on what is decided without a gap, and what to write down about it."""
        decisions: list[Decision] = []
        while (decision := self._known.pop(self.first_hole, None)) is not None:
            self.decided_through = decision.slot
            self._remember(decision.slot, decision.batch)
            decisions.append(decision)
        self.expect(self.decided_through)
        return tuple(decisions), _watermarks(decisions)

    def recall(
        self, first: Slot, through: Slot, bytes_max: int, commands_max: int
    ) -> tuple[Batch, ...] | None:
        """Return batches from ``first`` on, from memory; None if they are there no more."""
        through = min(through, self.decided_through)
        if first <= through and first not in self._recent:
            return None
        batches: list[Batch] = []
        size = commands = 0
        for slot in range(first, through + 1):
            batch = self._recent[Slot(slot)]
            size += size_of(batch)
            commands += len(batch)
            if batches and (size > bytes_max or commands > commands_max):
                break
            batches.append(batch)
        return tuple(batches)

    def forget(self, through: Slot) -> None:
        """Let go of the slots through ``through``: nobody will ask for them any more."""
        self.kept_from = max(self.kept_from, Slot(through + 1))
        while self._recent and self._oldest <= through:
            self._drop_oldest()

    def install(self, through: Slot) -> tuple[Installed, ...]:
        """Skip the slots through ``through``, which a state from elsewhere has executed."""
        if through <= self.decided_through:
            return ()
        self.decided_through = through
        self.expect(through)
        self._known = {slot: one for slot, one in self._known.items() if slot > through}
        self._recent.clear()
        self._recent_bytes = self._recent_commands = 0
        self.kept_from = max(self.kept_from, Slot(through + 1))
        return (Installed(through),)

    def _know(self, decision: Decision) -> None:
        slot = decision.slot
        if slot <= self.decided_through:
            decided = self._recent.get(slot, decision.batch)
        else:
            decided = self._known.setdefault(slot, decision).batch
        assert decided == decision.batch, f"slot {slot} decided twice"
        self.expect(slot)

    def _remember(self, slot: Slot, batch: Batch) -> None:
        if not self._recent:
            self._oldest = slot
        self._recent[slot] = batch
        self._recent_bytes += size_of(batch)
        self._recent_commands += _count(batch)
        while len(self._recent) > 1 and (
            self._recent_bytes > self._limits.recent_bytes_max
            or self._recent_commands > self._limits.recent_commands_max
        ):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        batch = self._recent.pop(self._oldest)
        self._recent_bytes -= size_of(batch)
        self._recent_commands -= _count(batch)
        self._oldest = Slot(self._oldest + 1)


def _count(batch: Batch) -> int:
    """Return how many commands there are; to remember that there are none costs as much as one."""
    return len(batch) or 1


def _watermarks(decisions: list[Decision]) -> tuple[DecidedThrough, ...]:
    """Return records that cover ``decisions``, one for each ballot in which votes were cast.

    Recovery lets a record cover learned slots and votes of its own ballot only.
    """
    records: list[DecidedThrough] = []
    for decision in decisions:
        same = records and ZERO_BALLOT in (decision.ballot, records[-1].ballot)
        if same or (records and records[-1].ballot == decision.ballot):
            ballot = max(records.pop().ballot, decision.ballot)
        else:
            ballot = decision.ballot
        records.append(DecidedThrough(decision.slot, ballot))
    return tuple(records)

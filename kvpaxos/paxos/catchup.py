"""Catching up: asking peers for decided slots that were missed, and handing them out.

What nobody keeps any more cannot be asked for: then the state that came of it is fetched.
"""

from __future__ import annotations

from typing import Final

from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Effects, Fetch, Lookup
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.messages import CatchUp, Decided, Envelope
from kvpaxos.paxos.peers import LONG_AGO, Peers

ASKED_MAX: Final = 10
"""So often whoever keeps a slot is asked for it before another one's state is fetched instead."""


class CatchUps:
    """Fills the learner's holes from any peer that still keeps what is missing, or its state."""

    def __init__(self, learner: Learner, peers: Peers, limits: Limits, timing: Timing) -> None:
        self._learner = learner
        self._peers = peers
        self._limits = limits
        self._timing = timing
        self._asked_at = LONG_AGO
        self._turn = 0
        self._asked_for = NO_SLOT
        self._asked_times = 0
        self._hole_since: float | None = None

    def ask(self, now: float, *, urgent: bool) -> Effects:
        """Ask a peer for the first hole, unless it was asked for and may still be answered.

        :param urgent: the hole will not close by itself, by messages that are on their way.
        """
        if not self._learner.has_hole:
            self._hole_since = None
            return NOTHING
        if self._hole_since is None:
            self._hole_since = now
        # What is missing may be the longest command that there is, and on its way.
        transfer_s = self._timing.transfer_s(self._limits.command_bytes_max)
        young = now - self._hole_since < self._timing.hole_s + transfer_s
        if (young and not urgent) or now - self._asked_at < self._peers.retry_s + transfer_s:
            return NOTHING
        first = self._learner.first_hole
        teachers, donors = self._peers.teachers(first, now), self._peers.donors(first, now)
        if teachers and self._in_vain(first, len(teachers)):
            # They keep it on a disk that cannot be read now, say. Others may have executed it.
            others = [node for node in donors if node not in teachers]
            teachers, donors = ([], others) if others else (teachers, donors)
        asked = teachers or donors
        at_home = self._look_at_home(first)
        if not asked and at_home is NOTHING:
            return NOTHING
        self._asked_at = now
        if not asked:
            return at_home
        # Another one each time: one that does not answer must not be the only one.
        chosen = asked[self._turn % len(asked)]
        self._turn += 1
        if not teachers:
            return at_home + Effects(fetch=Fetch(chosen, first))
        return at_home + _send(chosen, CatchUp(first, self._learner.hole_through()))

    def _in_vain(self, first: Slot, teachers: int) -> bool:
        """Count a question for ``first``, and say whether all its teachers let many go by."""
        self._asked_times = self._asked_times + 1 if first == self._asked_for else 1
        self._asked_for = first
        return self._asked_times > ASKED_MAX * teachers

    def _look_at_home(self, first: Slot) -> Effects:
        """Have our own journal looked up, if it may hold ``first``, which was decided once.

        That is so where only the state was lost. Once an older one has taken its place, perhaps
        nobody else knows what was decided next.
        """
        through = self._learner.once_known_through
        if first > through:
            return NOTHING
        return Effects(lookups=(Lookup(self._peers.node, first, through),))

    def teach(self, pupil: NodeId, question: CatchUp) -> Effects:
        """Hand out decided slots from memory, or have them looked up in the journal."""
        first = question.from_slot
        most = Slot(first + self._limits.catch_up_slots_max - 1)
        through = min(question.through, self._learner.decided_through, most)
        if not self._learner.kept_from <= first <= through:
            return NOTHING
        batches = self._learner.recall(
            first, through, self._limits.message_bytes_max, self._limits.catch_up_commands_max
        )
        if batches is None:
            return Effects(lookups=(Lookup(pupil, first, through),))
        return _send(pupil, Decided(first, batches))

    def taught(self, lesson: Decided) -> Effects:
        """Learn what a peer handed out."""
        records = [
            record
            for slot, batch in enumerate(lesson.batches, lesson.from_slot)
            for record in self._learner.learn(Slot(slot), batch)
        ]
        if records:
            self._asked_at = LONG_AGO
            self._turn -= 1  # Whoever teaches is asked again.
        return Effects(records=tuple(records))


def _send(to: NodeId, message: CatchUp | Decided) -> Effects:
    return Effects(sends=(Envelope(to, message),))

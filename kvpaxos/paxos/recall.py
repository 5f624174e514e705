"""Asking the others for what was in slots of which a node has lost its own record.

A node whose journal is damaged takes part in nothing until it is mended, and then goes on as the
node that it was: it denies nothing, since nothing is missing. What it lacks for that is what was in
its votes; which batch is the right one, the journal can prove (`kvpaxos.journal.mending`).

R1. It asks everybody that it has a connection with, whatever the standing: `Recall`. Whoever is
    asked tells every batch that it has a record of in those slots, `Told`, and then that this was
    all, `Recalled`.
R2. It gives up, and comes back as with a new disk, if for some slot all others have said so; or if
    so many *formed* members have that it can come back with their help (see `kvpaxos.paxos.rejoin`,
    J3).
R3. Otherwise it waits for those who have not answered.

What a formed member has said is final. One that is not may be mending its own journal: it is asked
again after a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.formation import Standing
from kvpaxos.paxos.messages import Batch
from kvpaxos.paxos.quorum import Quorum

RECALL_SLOTS_MAX: Final = 64
"""The most slots in one question."""

RECALL_BYTES_MAX: Final = 2 * 1024 * 1024
"""Nor more than records of so many bytes, though one slot always fits."""

RECALL_RETRY_S: Final = 2.0
"""A question without an answer is asked again after so long; so are nodes that are not formed."""


class Wanted(NamedTuple):
    """A slot whose batch is to be told."""

    group: int
    slot: Slot


@dataclass(frozen=True, slots=True)
class Recall:
    """A node asks what was in ``slots``, whoever voted for it and whatever came of it."""

    group: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """There is a record of ``batch`` in ``slot``: a vote, or something learned."""

    group: int
    slot: Slot
    batch: Batch


@dataclass(frozen=True, slots=True)
class Recalled:
    """All that there was to tell of ``slots`` has been told: so many batches."""

    group: int
    slots: tuple[Slot, ...]
    batches: int


RecallMessage: TypeAlias = Recall | Told | Recalled

Standings: TypeAlias = Mapping[NodeId, Standing | None]
"""Where the others stand; None for those that are not here."""


class Inquiry:
    """What one node asks, and who has answered what.

    :ivar wanted: what is still to be told, and how many bytes its records take.
    """

    def __init__(self, node: NodeId, quorum: Quorum, wanted: Mapping[Wanted, int]) -> None:
        self.wanted = dict(wanted)
        self._node = node
        self._quorum = quorum
        self._others = quorum.members - {node}
        self._asked_at: dict[NodeId, float] = {}
        self._answered: dict[NodeId, dict[Wanted, bool]] = {other: {} for other in self._others}

    @property
    def hopeless(self) -> Wanted | None:
        """A slot of which nobody will tell what is needed, or None: see R2."""
        for wanted in self.wanted:
            formed = [node for node, said in self._answered.items() if said.get(wanted)]
            everybody = all(wanted in said for said in self._answered.values())
            if everybody or self._quorum.meets(self._node, formed):
                return wanted
        return None

    @property
    def awaited(self) -> tuple[NodeId, ...]:
        """Who has not answered all of it."""
        return tuple(
            node
            for node in sorted(self._others)
            if not self.wanted.keys() <= self._answered[node].keys()
        )

    def settle(self, still: Mapping[Wanted, int]) -> None:
        """Take note that only these are wanted any more."""
        self.wanted = {wanted: size for wanted, size in self.wanted.items() if wanted in still}

    def heard(self, sender: NodeId, recalled: Recalled, *, formed: bool) -> None:
        """Take note that ``sender``, formed or not, has told all that it can."""
        for slot in recalled.slots:
            self._answered[sender][Wanted(recalled.group, slot)] = formed
        # The next question may follow at once, unless it is the same again.
        if self._open(sender):
            self._asked_at.pop(sender, None)

    def ask(self, standings: Standings, now: float) -> list[tuple[NodeId, Recall]]:
        """Return what to ask whom now."""
        questions = []
        for node in sorted(self._others):
            standing = standings.get(node)
            if standing is None:
                # Whatever it was asked may have got lost.
                self._asked_at.pop(node, None)
                continue
            asked_at = self._asked_at.get(node)
            if asked_at is not None and now - asked_at < RECALL_RETRY_S:
                continue
            if question := self._question(node):
                self._asked_at[node] = now
                questions.append((node, question))
        return questions

    def _open(self, node: NodeId) -> list[Wanted]:
        """Return what ``node`` has not answered yet."""
        return [wanted for wanted in self.wanted if wanted not in self._answered[node]]

    def _question(self, node: NodeId) -> Recall | None:
        again = [wanted for wanted, formed in self._answered[node].items() if not formed]
        open_ones = self._open(node) or [one for one in again if one in self.wanted]
        if not open_ones:
            return None
        group, slots, size = open_ones[0].group, list[Slot](), 0
        for wanted in open_ones:
            if wanted.group != group:
                continue
            size += self.wanted[wanted]
            if slots and (size > RECALL_BYTES_MAX or len(slots) == RECALL_SLOTS_MAX):
                break
            slots.append(wanted.slot)
        return Recall(group, tuple(slots))

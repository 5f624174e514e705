"""A disk that loses what was not synced, and syncs one thing at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from kvpaxos.journal.state import GroupState, needs_sync
from kvpaxos.paxos.ballot import FIRST_SLOT, Slot
from kvpaxos.paxos.messages import Batch, Vote
from kvpaxos.paxos.records import Promised, ReplicaRecord
from test.simulator.agenda import Agenda


class Disk:
    """One node's journal, with the rules of the real one, and what of it is durable.

    :ivar records: all that was ever written, in order.
    :ivar durable: how many of them would survive a power cut for certain.
    :ivar content: what all the records come to.
    :ivar survived: what those that are durable come to.
    :ivar kept_from: the slots before this one have been dropped.
    :ivar syncs: how many syncs have ended.
    :ivar sync_s: says how long the next one takes.
    """

    def __init__(
        self,
        agenda: Agenda,
        sync_s: Callable[[], float],
        survives: Callable[[ReplicaRecord], None],
    ) -> None:
        self.records: list[ReplicaRecord] = []
        self.durable = 0
        self.content = GroupState()
        self.survived = GroupState()
        self.kept_from = FIRST_SLOT
        self.syncs = 0
        self._agenda = agenda
        self.sync_s = sync_s
        self._survives = survives
        self._decided: dict[Slot, Batch] = {}
        self._due: deque[tuple[int, float]] = deque()
        self._held: deque[tuple[int, Callable[[], None]]] = deque()
        self._syncing = False
        self._stuck_until = 0.0
        self._life = 0

    def append(self, records: Sequence[ReplicaRecord]) -> None:
        """Write ``records``; a sync begins if one of them needs it and none is under way."""
        for record in records:
            if isinstance(record, Promised | Vote):
                # Both of an acceptor's rules, as they look from here.
                assert record.ballot >= self.content.promised, (
                    f"{record} is written after a promise of {self.content.promised}"
                )
            self.records.append(record)
            self._take(record)
            if needs_sync(record):
                self._due.append((len(self.records), self._agenda.now))
        if self._due:
            self._sync()

    def when_durable(self, happen: Callable[[], None]) -> None:
        """Call ``happen`` once every record that needs a sync, of those so far, has had it."""
        if not self._due:
            happen()
        else:
            self._held.append((self._due[-1][0], happen))

    def sync_all(self, happen: Callable[[], None]) -> None:
        """Sync what needs no sync as well, and call ``happen`` when that is done."""
        if self.durable == len(self.records):
            happen()
            return
        self._due.append((len(self.records), self._agenda.now))
        self._held.append((len(self.records), happen))
        self._sync()

    def waiting_s(self) -> float:
        """How long the oldest record that needs a sync has been waiting for it."""
        return self._agenda.now - self._due[0][1] if self._due else 0.0

    def stick(self, seconds: float) -> None:
        """Let no sync end for a while."""
        self._stuck_until = self._agenda.now + seconds

    def heal(self) -> None:
        """Let syncs end again."""
        self._stuck_until = 0.0

    def decided(self, first: Slot, through: Slot, batches_max: int) -> tuple[Batch, ...]:
        """Return the decided batches from ``first`` on that are here, a few at a time."""
        batches: list[Batch] = []
        slot = max(first, self.kept_from) if first >= self.kept_from else through + 1
        while slot <= through and Slot(slot) in self._decided and len(batches) < batches_max:
            batches.append(self._decided[Slot(slot)])
            slot += 1
        return tuple(batches)

    def forget(self, through: Slot) -> None:
        """Drop the slots through ``through``."""
        self.kept_from = max(self.kept_from, Slot(through + 1))

    def crash(self, random: Random) -> int:
        """Lose some of what was not synced, from the end; return how many records were lost."""
        self._life += 1
        self._syncing = False
        self._held.clear()
        self._due.clear()
        kept = random.choice(
            (self.durable, len(self.records), random.randint(self.durable, len(self.records)))
        )
        lost = len(self.records) - kept
        del self.records[kept:]
        self._settle(kept)
        self.content = GroupState()
        self._decided = {}
        for record in self.records:
            self._take(record)
        return lost

    def _take(self, record: ReplicaRecord) -> None:
        for decision in self.content.apply(record):
            self._decided[decision.slot] = decision.batch

    def _sync(self) -> None:
        if self._syncing:
            return
        self._syncing = True
        life, through = self._life, len(self.records)

        def end() -> None:
            if life != self._life:
                return
            if self._agenda.now < self._stuck_until:
                self._agenda.after(self._stuck_until - self._agenda.now, end)
                return
            self._ended(through)

        self._agenda.after(self.sync_s(), end)

    def _ended(self, through: int) -> None:
        life = self._life
        self.syncs += 1
        self._syncing = False
        self._settle(through)
        while self._due and self._due[0][0] <= through:
            self._due.popleft()
        if self._due:
            self._sync()
        while self._held and self._held[0][0] <= through:
            self._held.popleft()[1]()
            if life != self._life:
                return

    def _settle(self, through: int) -> None:
        for record in self.records[self.durable : through]:
            self.survived.apply(record)
            self._survives(record)
        self.durable = through

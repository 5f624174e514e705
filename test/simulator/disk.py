"""A disk that loses what was not synced, and syncs one thing at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from kvpaxos.errors import DiskError
from kvpaxos.journal.log import GroupRecovered, Recovered
from kvpaxos.journal.state import GroupState, needs_sync
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.messages import Batch, Vote
from kvpaxos.paxos.records import Formed, Forming, Installed, Promised, ReplicaRecord
from test.simulator.agenda import Agenda


class Disk:
    """One node's journal, with the rules of the real one, and what of it is durable.

    :ivar records: all that was ever written, in order.
    :ivar durable: how many of them would survive a power cut for certain.
    :ivar content: what all the records come to.
    :ivar survived: what those that are durable come to.
    :ivar forming: the last such record that is durable; ``formed`` likewise.
    :ivar boot: how many processes have begun on it.
    :ivar syncs: how many syncs have ended.
    :ivar sync_s: says how long the next one takes.
    :ivar disturb: called before a write; raises `DiskError` if it is refused.
    :ivar failed: called when a sync is refused.
    """

    def __init__(
        self,
        agenda: Agenda,
        sync_s: Callable[[], float],
        survives: Callable[[ReplicaRecord, GroupState], None],
    ) -> None:
        self.records: list[ReplicaRecord] = []
        self.durable = 0
        self.content = GroupState()
        self.survived = GroupState()
        self.forming: Forming | None = None
        self.formed: Formed | None = None
        self.boot = 0
        self.syncs = 0
        self.disturb: Callable[[], None] = lambda: None
        self.failed: Callable[[], None] = lambda: None
        self._forgotten = NO_SLOT
        self._agenda = agenda
        self.sync_s = sync_s
        self._survives = survives
        self._decided: dict[Slot, Batch] = {}
        self._due: deque[tuple[int, float]] = deque()
        self._held: deque[tuple[int, Callable[[], None]]] = deque()
        self._syncing = False
        self._stuck_until = 0.0
        self._life = 0

    @property
    def kept_from(self) -> Slot:
        """The slots from here on have not been dropped, and did not come as a state."""
        return Slot(max(self._forgotten, self.content.installed) + 1)

    @property
    def slots(self) -> int:
        """How many slots it holds records of."""
        return self.content.voted_through - self._forgotten

    def append(self, records: Sequence[ReplicaRecord]) -> None:
        """Write ``records``; a sync begins if one of them needs it and none is under way.

        :raises DiskError: the disk refuses one of them.
        """
        for record in records:
            self.disturb()
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

    def introduce(self, record: Forming | Formed, happen: Callable[[], None]) -> None:
        """Write what the node itself has to say, and call ``happen`` once it is durable."""
        life = self._life

        def durable() -> None:
            if life == self._life:
                self._note(record)
                happen()

        self._agenda.after(self.sync_s(), durable)

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
        """Drop the slots through ``through``, but for those not known to be decided.

        :raises DiskError: the disk refuses.
        """
        self.disturb()
        self._forgotten = max(self._forgotten, min(through, self.content.decided_through))

    def recovered(self) -> Recovered:
        """Return what the journal says to a process that begins."""
        content = self.content
        group = GroupRecovered(
            content.promised,
            dict(content.votes),
            content.decided_through,
            self.kept_from,
            dict(content.incarnations),
            content.rejoined,
        )
        known = len(self.records)
        return Recovered(self.forming, self.formed, self.boot, (), {0: group}, known, b"", None, ())

    def lose(self) -> None:
        """Forget everything: another disk takes the place of this one, and nothing is on it."""
        self._stop()
        self.records.clear()
        self.durable = 0
        self.content, self.survived = GroupState(), GroupState()
        self.forming = self.formed = None
        self.boot = 0
        self._forgotten = NO_SLOT
        self._decided = {}

    def crash(self, random: Random) -> int:
        """Lose some of what was not synced, from the end; return how many records were lost."""
        self._stop()
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
        if self.content.decided_through < self._forgotten:
            # Those slots were decided, or they were not dropped: a segment's header says so.
            self.content.apply(Installed(self._forgotten))
        return lost

    def _stop(self) -> None:
        self._life += 1
        self._syncing = False
        self._held.clear()
        self._due.clear()

    def _note(self, record: Forming | Formed) -> None:
        if isinstance(record, Forming):
            self.forming = record
        else:
            self.formed = record

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
        try:
            self.disturb()
        except DiskError:
            self.failed()
            return
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
            self._survives(record, self.survived)
        self.durable = through


class Readable:
    """As much of a journal as a process that begins looks at."""

    def __init__(self, disk: Disk) -> None:
        self.recovered = disk.recovered()
        self._disk = disk

    def reader(self) -> Readable:
        """Return what reads slots back."""
        return self

    def decided(self, group: int, first: Slot, through: Slot, bytes_max: int) -> list[Decision]:
        """Return what was decided from ``first`` on."""
        batches = self._disk.decided(first, through, bytes_max)
        return [Decision(Slot(first + n), ZERO_BALLOT, one) for n, one in enumerate(batches)]

    def close(self) -> None:
        """Do nothing."""

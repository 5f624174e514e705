"""Hands out decided slots from the files, for those who missed them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from kvpaxos.journal.damage import Damage, DamagedRecords
from kvpaxos.journal.extents import Checkpoint, Extent, place_of
from kvpaxos.journal.files import Directory, File
from kvpaxos.journal.format import RECORD_HEADER, Sound, segment_name, sound_record
from kvpaxos.journal.reading import read_record_bytes
from kvpaxos.journal.state import GroupState
from kvpaxos.paxos.ballot import NO_SLOT, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import Learned, NodeRecord
from kvpaxos.wire.codec import decode_record

CURSORS_MAX: Final = 4
"""How many ranges may be read in turn without searching for one's place again."""

READ_BYTES: Final = 128 * 1024
"""How much is read at once, unless one record is longer."""


class JournalReader:
    """Reads what the writer has written, synced or not, with file handles of its own.

    It may be used on another thread than the journal, but on one only.
    """

    def __init__(self, directory: Directory, extents: Callable[[], Sequence[Extent]]) -> None:
        self._directory = directory
        self._extents = extents
        self._cursors: deque[_Cursor] = deque()

    def decided(
        self,
        group: int,
        from_slot: Slot,
        through: Slot,
        bytes_max: int,
        commands_max: int | None = None,
    ) -> list[Decision]:
        """Return the decided slots from ``from_slot`` on, in order and without a gap.

        It ends at ``through``, or at what is not known to be decided, or before the records
        would exceed ``bytes_max`` or hold more than ``commands_max`` commands; but the first is
        returned whatever its size. Nothing is returned if ``from_slot`` is forgotten.

        A call that goes on where another ended does not search.

        :raises DamagedRecords: if a record on the way is not whole.
        :raises DiskError: if the disk refuses.
        """
        cursor = self._cursor(group, from_slot)
        if cursor is None:
            return []
        try:
            decisions = cursor.read(through, bytes_max, commands_max)
        except BaseException:
            cursor.close()
            raise
        self._cursors.append(cursor)
        while len(self._cursors) > CURSORS_MAX:
            self._cursors.popleft().close()
        return decisions

    def close(self) -> None:
        """Give all handles back."""
        while self._cursors:
            self._cursors.pop().close()

    def _cursor(self, group: int, slot: Slot) -> _Cursor | None:
        """Return a cursor that stands before ``slot``. Nobody else holds it."""
        extents = self._extents()
        for cursor in self._cursors:
            if (cursor.group, cursor.next_slot) == (group, slot):
                self._cursors.remove(cursor)
                if cursor.segment >= extents[0].header.number:
                    return cursor
                # It would look in vain for what comes after a segment that is gone.
                cursor.close()
                break
        place = place_of(extents, group, slot)
        if place is None:
            return None
        return _Cursor(self._directory, self._extents, group, slot, place)


class _Cursor:
    """Walks over the records in order, and keeps those of one group that it may yet need."""

    def __init__(
        self,
        directory: Directory,
        extents: Callable[[], Sequence[Extent]],
        group: int,
        slot: Slot,
        place: tuple[Extent, Checkpoint],
    ) -> None:
        self.group = group
        self.next_slot = slot
        # Whatever comes before the slot asked for counts as decided, and does not matter.
        self._state = GroupState(decided_through=Slot(slot - 1))
        self._ready: deque[tuple[Decision, int]] = deque()
        self._sizes: dict[Slot, int] = {}
        self._directory = directory
        self._extents = extents
        self._extent, (self._offset, self._digest, _) = place
        self._file: File | None = None

    @property
    def segment(self) -> int:
        """The number of the segment it stands in."""
        return self._extent.header.number

    def read(self, through: Slot, bytes_max: int, commands_max: int | None) -> list[Decision]:
        """Return the next decisions, and stand behind them. See `JournalReader.decided`."""
        found: list[Decision] = []
        size = commands = 0
        while self.next_slot <= through and (self._ready or self._advance()):
            decision, cost = self._ready[0]
            if decision.slot != self.next_slot:
                break  # A state from elsewhere has brought what is between.
            size += cost
            commands += len(decision.batch)
            many = commands_max is not None and commands > commands_max
            if found and (size > bytes_max or many):
                break
            self._ready.popleft()
            found.append(decision)
            self.next_slot = Slot(decision.slot + 1)
        return found

    def close(self) -> None:
        """Give the handle back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _advance(self) -> bool:
        """Read on until something is decided, or to the end of all. Say which."""
        while not self._ready:
            # In this order: an extent that has a successor grows no more.
            successor = self._successor()
            if self._offset < self._extent.end:
                if not self._read_piece():
                    return False
            elif successor is not None:
                self.close()
                self._extent = successor
                self._offset = successor.checkpoints[0].offset
            else:
                return False
        return True

    def _successor(self) -> Extent | None:
        number = self._extent.header.number + 1
        return next((e for e in self._extents() if e.header.number == number), None)

    def _read_piece(self) -> bool:
        """Read some records. Return False if they were forgotten in the meantime."""
        try:
            return self._read_records()
        except DamagedRecords:
            if self._extent in self._extents():
                raise
            return False  # Its file may be in use for something else.

    def _read_records(self) -> bool:
        """Read some records. Return False if their file is gone."""
        name = segment_name(self._extent.header.number)
        if self._file is None:
            self._file = self._directory.open(name)
        if self._file is None:
            return False
        wanted = READ_BYTES
        end = self._extent.end
        while True:
            data = read_record_bytes(self._file, min(wanted, end - self._offset), self._offset)
            if self._take_all(data):
                return True
            if len(data) < min(wanted, end - self._offset) or self._offset + wanted >= end:
                path = self._directory.path / name
                raise DamagedRecords(Damage(path, self._offset, len(data), "a record"))
            length, _ = RECORD_HEADER.unpack_from(data)
            wanted = max(2 * wanted, RECORD_HEADER.size + length)

    def _take_all(self, data: bytes) -> bool:
        """Take all whole records of ``data``. Return False if there is none."""
        offset = 0
        while (record := sound_record(data, offset, len(data), self._digest)) is not None:
            self._take(record)
            offset, self._digest = record.end, record.digest
        self._offset += offset
        return offset > 0

    def _take(self, record: Sound) -> None:
        group, meaning = decode_record(record.payload)
        if group != self.group or isinstance(meaning, NodeRecord):
            return
        if isinstance(meaning, Vote | Learned) and meaning.slot > self._state.decided_through:
            self._sizes[meaning.slot] = len(record.payload)
        for decision in self._state.apply(meaning):
            self._ready.append((decision, self._sizes.pop(decision.slot, NO_SLOT)))

"""The journal: what a node must not forget, in files.

Read in this order: format, state, header, marks, damage, scan; then files, extents,
recovery, spares, segment, reader, audit, and this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from threading import Lock
from types import TracebackType

from kvpaxos.errors import DiskError, JournalDamaged
from kvpaxos.journal.audit import audit
from kvpaxos.journal.extents import Extent
from kvpaxos.journal.files import OS_FILES, Directory, File, Files
from kvpaxos.journal.format import (
    ALIGN_BYTES,
    DIGEST_BYTES,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    Digest,
    chained,
    frame,
    segment_name,
)
from kvpaxos.journal.header import next_header
from kvpaxos.journal.marks import packed_entry
from kvpaxos.journal.reader import JournalReader
from kvpaxos.journal.recovery import Replay, opened, recover, write_header
from kvpaxos.journal.segment import SegmentWriter, create_segment, size_for
from kvpaxos.journal.spares import PIECE_BYTES, Spares
from kvpaxos.journal.state import GroupState, JournalState
from kvpaxos.paxos.ballot import NO_SLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import Formed, Forming, Record, Seen
from kvpaxos.wire.codec import encode_record


@dataclass(frozen=True, slots=True)
class GroupRecovered:
    """What the journal knows of one group.

    :ivar promised: the highest ballot promised or voted in.
    :ivar votes: the last vote in each undecided slot, all above ``decided_through``.
    :ivar kept_from: the decided slots from here on can be read back.
    :ivar incarnations: which disks of other nodes are known, but for first ones.
    :ivar rejoined: the last incarnation of this node, but for the first, that may vote.
    """

    promised: Ballot
    votes: Mapping[Slot, Vote]
    decided_through: Slot
    kept_from: Slot
    incarnations: Mapping[NodeId, int] = field(default_factory=dict)
    rejoined: int = 0


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the journal knew when it was opened.

    :ivar boot: the last `Started`, 0 if there was none.
    :ivar seen: the last `Seen` of each other member.
    :ivar record_count: how many records there ever were.
    :ivar head_hash: the chain's digest after the last one.
    :ivar torn: what had to be cut from the tail, in words; None if nothing had.
    :ivar mended: what else was set right, in words.
    """

    forming: Forming | None
    formed: Formed | None
    boot: int
    seen: tuple[Seen, ...]
    groups: Mapping[int, GroupRecovered]
    record_count: int
    head_hash: Digest
    torn: str | None
    mended: tuple[str, ...]


class Journal:
    """The log of all records of a node, in order.

    It belongs to one thread at a time, but for `prepare_spare`, which may run on any, and
    for the readers, which may each have a thread of their own.

    After any exception it is dead: only `close` may still be called, and writes nothing.
    Above all a failed sync is never tried again, for the system may hold for clean what
    never reached the disk. To open the directory anew is safe.

    :ivar records: how many records there ever were, synced or not.
    :ivar durable_head: how many would survive a power cut, and the chain's digest after the
        last of those: always of the same moment, whichever thread looks. What is shown to
        others of a journal should be this, for nothing takes it back.
    :ivar recovered: what it knew when it was opened.
    :ivar syncs: how often records were synced, and then marked.
    """

    def __init__(
        self,
        directory: Directory,
        lock: File,
        segment_bytes: int,
        salt: Digest | None,
        spares: Spares,
    ) -> None:
        self.path = directory.path
        self._directory = directory
        self._lock = lock
        self._segment_bytes = segment_bytes
        self._fuse = _Fuse(directory.path)
        self._spares = spares
        self._forgettable: dict[int, Slot] = {}
        replay = recover(directory) or self._begin(salt)
        self._state = replay.state
        self._digest = replay.digest
        self._extents = tuple(replay.extents)
        last = replay.extents[-1]
        file = opened(directory, segment_name(last.header.number))
        self._segment = SegmentWriter(file, last, replay.low)
        self.records = replay.records
        self.durable_head = replay.records, replay.digest
        self.syncs = 0
        self.recovered = self._recovered(replay)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        files: Files = OS_FILES,
        salt: Digest | None = None,
        make_room: Callable[[], bool] = lambda: False,
        new_lock: Callable[[], AbstractContextManager[object]] = Lock,
        piece_bytes: int = PIECE_BYTES,
    ) -> Journal:
        """Return the journal in ``directory``, which is made if need be.

        :param segment_bytes: the size of new segments, a multiple of 4096.
        :param salt: what the chain of a new journal starts from, 16 bytes; random if None.
        :param make_room: called, on any thread, if there is no room for a new segment; returns
            whether it freed any.
        :param new_lock: makes the lock that keeps the thread which writes out of a file that
            another one still prepares.
        :param piece_bytes: as much of a new segment's file is filled and synced at once.
        :raises StartError: if another process has it open, or another version wrote it.
        :raises DamagedRecords: if something that was synced is not whole.
        :raises DiskError: if the disk refuses.
        """
        assert SEGMENT_BYTES_MIN <= segment_bytes <= SEGMENT_BYTES_MAX, segment_bytes
        assert segment_bytes % ALIGN_BYTES == 0, segment_bytes
        place = Directory(files, directory)
        place.make()
        lock = place.lock()
        try:
            spares = Spares(place, segment_bytes, make_room, new_lock, piece_bytes=piece_bytes)
            return cls(place, lock, segment_bytes, salt, spares)
        except BaseException:
            lock.close()
            raise

    def append(self, group: int, records: Iterable[Record]) -> None:
        """Add ``records``. They reach the disk with the next `sync`."""
        with self._fuse:
            for record in records:
                self._append(group, record)

    def write(self) -> None:
        """Hand all records to the operating system: the death of this process loses none."""
        with self._fuse:
            self._segment.write()

    def sync(self) -> None:
        """Return once all records would survive a power cut. It costs one sync, or none."""
        with self._fuse:
            self._sync()

    def forget(self, group: int, through: Slot) -> int:
        """Let go of the segments that hold nothing above ``through``, nor anything undecided.

        Every group has its say: what is forgotten of one may still be needed of another. Their
        files are deleted, or used again.

        :returns: how many there were.
        """
        with self._fuse:
            self._forgettable[group] = max(through, self._forgettable.get(group, NO_SLOT))
            count = sum(1 for _ in takewhile(self._may_begin, self._extents[1:]))
            if count:
                self._drop(count)
            return count

    def prepare_spare(self) -> bool:
        """Make a piece of the next segment's file in advance; any thread may call it.

        :returns: False if there is no room for it on the disk.
        :raises DiskError: if the disk refuses for another reason.
        """
        with self._fuse:
            return self._spares.prepare()

    @property
    def wants_spare(self) -> bool:
        """Whether it is time to call `prepare_spare`, or to call it again. Any thread may ask."""
        return self._spares.is_due(self._used)

    @property
    def has_spare(self) -> bool:
        """Whether the next segment's file is ready."""
        return self._spares.is_ready

    @property
    def bytes(self) -> int:
        """How many bytes the segments take on the disk."""
        return sum(extent.header.size for extent in self._extents)

    @property
    def segments(self) -> int:
        """How many segments there are."""
        return len(self._extents)

    @property
    def head_hash(self) -> Digest:
        """The chain's digest after the last record, synced or not."""
        return self._digest

    @property
    def durable_records(self) -> int:
        """How many records would survive a power cut."""
        return self.durable_head[0]

    def kept_from(self, group: int) -> Slot:
        """Return from which slot on the decided ones can be read back. Any thread may ask."""
        known = self._state.groups.get(group)
        installed = NO_SLOT if known is None else known.installed
        return Slot(max(self._extents[0].voted_through(group), installed) + 1)

    def reader(self) -> JournalReader:
        """Return a new reader, for a thread of its own."""
        return JournalReader(self._directory, lambda: self._extents)

    def audit(self, note: Callable[[str], None]) -> Generator[int, None, None]:
        """Read the finished segments once more. See `kvpaxos.journal.audit.audit`."""
        return audit(self._directory, lambda: self._extents, note)

    @property
    def refusal(self) -> DiskError | None:
        """Why the disk may lack what it was given, if so, whatever can be read of it for now.

        No process that was told so may open the journal again.
        """
        blown = self._fuse.blown
        if blown is None or isinstance(blown, DiskError):
            return blown
        return None if isinstance(blown, JournalDamaged) else self._fuse.stopped

    def close(self) -> None:
        """Sync and mark everything, and let the directory go. To call it again does nothing."""
        if self._fuse.closed:
            return
        try:
            if not self._fuse.blown:
                with self._fuse:
                    self._sync()
                    self._segment.settle()
        finally:
            self._fuse.closed = True
            with ExitStack() as last:
                for part in (self._lock, self._spares, self._segment):
                    last.callback(part.close)

    @property
    def _used(self) -> float:
        """How much of the last segment is used, as a share of 1."""
        return 1 - self._segment.free_bytes / self._segment.extent.header.size

    def _begin(self, salt: Digest | None) -> Replay:
        salt = os.urandom(DIGEST_BYTES) if salt is None else salt
        assert len(salt) == DIGEST_BYTES, salt
        state = JournalState()
        header = next_header(1, self._segment_bytes, first=1, records=0, digest=salt, state=state)
        create_segment(self._directory, self._spares, header).close()
        return Replay(state, [Extent(header)], digest=salt, low=header.size)

    def _recovered(self, replay: Replay) -> Recovered:
        def group(number: int, known: GroupState) -> GroupRecovered:
            return GroupRecovered(
                known.promised,
                dict(known.votes),
                known.decided_through,
                self.kept_from(number),
                dict(known.incarnations),
                known.rejoined,
            )

        state = replay.state
        return Recovered(
            state.forming,
            state.formed,
            state.boot,
            tuple(state.seen.values()),
            {number: group(number, known) for number, known in state.groups.items()},
            replay.records,
            replay.digest,
            replay.torn,
            tuple(replay.mended),
        )

    def _append(self, group: int, record: Record) -> None:
        payload = encode_record(group, record)
        framed = frame(self._digest, payload)
        digest = chained(self._digest, payload)
        entry = packed_entry(group, record, digest, payload)
        if not self._segment.has_room(len(framed), len(entry)):
            self._rotate(size_for(len(framed), len(entry), self._segment_bytes))
        end = self._segment.add(framed, entry)
        self._digest = digest
        self.records += 1
        self._state.apply(group, record)
        self._segment.extent.note(end, digest, self._state)

    def _sync(self) -> None:
        if self._segment.unsynced:
            self._segment.sync()
            self.syncs += 1
            self.durable_head = self.records, self._digest

    def _rotate(self, size: int) -> None:
        """Go on in a new segment. All before it is synced first: so only the last can be torn."""
        self._sync()
        first, last = self._extents[0].header.first, self._extents[-1].header.number
        header = next_header(
            last + 1,
            size,
            first=first,
            records=self.records,
            digest=self._digest,
            state=self._state,
        )
        file = create_segment(self._directory, self._spares, header)
        full, extent = self._segment, Extent(header)
        self._segment = SegmentWriter(file, extent, header.size)
        self._extents = (*self._extents, extent)
        # From now on the loss of the new file would be noticed.
        full.seal()

    def _may_begin(self, extent: Extent) -> bool:
        """Whether nothing in the segments before ``extent`` is needed."""
        return all(
            known.voted_through
            <= min(self._forgettable.get(group, NO_SLOT), self._state.group(group).decided_through)
            for group, known in extent.header.groups.items()
        )

    def _drop(self, count: int) -> None:
        """Let go of the first ``count`` segments."""
        # Before all else: whoever reads the others from here on takes nothing for damage.
        dropped, self._extents = self._extents[:count], self._extents[count:]
        extent = self._extents[0]
        header = extent.header = replace(extent.header, first=extent.header.number)
        # The new first segment says so itself, durably, before any file goes: otherwise
        # a deletion could not be told from a loss.
        file = opened(self._directory, segment_name(header.number))
        try:
            write_header(file, header)
        finally:
            file.close()
        for old in dropped:
            self._spares.recycle(segment_name(old.header.number), old.header.size, self._used)
        self._directory.sync()


class _Fuse:
    """Lets nothing through after the first exception."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.blown: BaseException | None = None
        self.closed = False

    def __enter__(self) -> None:
        if self.blown is not None:
            raise self.stopped from self.blown
        assert not self.closed, "the journal is closed"

    @property
    def stopped(self) -> DiskError:
        """What is said of everything after the first exception."""
        return DiskError(f"{self._path}: the journal stopped at an earlier error: {self.blown}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.blown = error

"""Bugs of the journal: of what is synced when, and of what is made of what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from kvpaxos.errors import DiskError
from kvpaxos.journal import header, log, scan, segment
from kvpaxos.journal.extents import Extent
from kvpaxos.journal.files import Directory, File
from kvpaxos.journal.format import (
    RECORD_HEADER,
    Digest,
    Sound,
    chained,
    segment_name,
    sound_record,
)
from kvpaxos.journal.header import Header, encode_header
from kvpaxos.journal.log import Journal
from kvpaxos.journal.marks import Mark
from kvpaxos.journal.scan import _Scan
from kvpaxos.journal.segment import SegmentWriter
from kvpaxos.journal.spares import Spares
from kvpaxos.node.driver import Driver
from kvpaxos.node.node import Node
from kvpaxos.paxos.ballot import ZERO_BALLOT
from kvpaxos.paxos.effects import Effects
from kvpaxos.paxos.records import Record, Started
from test.zoo.bug import Patch, bug


@bug("§1: replies wait for the disk")
def replies_do_not_wait_for_the_disk(patch: Patch) -> None:
    """The driver sends replies while the records that they rest on are still queued."""
    right = Driver._do

    def do(self: Driver, effects: Effects) -> None:
        right(self, effects)
        while self._held:
            self._deliver(self._held.popleft()[1])

    patch.setattr(Driver, "_do", do)


@bug("the class of lost syncs; etcd #14140")
def what_is_written_counts_as_durable(patch: Patch) -> None:
    """The journal hands its records to the system, and says that they are on the disk."""

    def sync(self: SegmentWriter) -> None:
        self.write()
        self._mark(seals=False)
        self._start = self._end
        self._entries.clear()
        self._entries_bytes = 0

    patch.setattr(SegmentWriter, "sync", sync)


@bug("fsync-gate (ATC'20); §3")
def a_failed_sync_is_tried_again(patch: Patch) -> None:
    """A sync that was refused is tried once more, and that one is believed."""
    right = File.sync

    def sync(self: File) -> None:
        try:
            right(self)
        except DiskError:
            right(self)

    patch.setattr(File, "sync", sync)


@bug("fsync-gate (ATC'20); §3")
def a_failed_sync_is_overlooked(patch: Patch) -> None:
    """A sync that was refused is taken for one that was not."""
    right = File.sync

    def sync(self: File) -> None:
        try:
            right(self)
        except DiskError:
            return

    patch.setattr(File, "sync", sync)


@bug("renames without a sync of the directory (LazyFS)")
def a_new_segment_gets_a_name_that_is_not_durable(patch: Patch) -> None:
    """The directory is not synced after a segment was renamed."""

    def create(directory: Directory, spares: Spares, header: Header) -> File:
        name, file = spares.take(header.size)
        file.write(encode_header(header) * 2, 0)
        file.sync()
        directory.rename(name, segment_name(header.number))
        file.path = directory.path / segment_name(header.number)
        return file

    for module in (log, segment):
        patch.setattr(module, "create_segment", create)


@bug("renames without a sync of the directory (LazyFS)")
def directories_are_not_synced(patch: Patch) -> None:
    """No change of a name is ever made durable by itself."""
    patch.setattr(Directory, "sync", lambda _: None)


@bug(
    "§3: promises in the header of every segment",
    rare="a promise must be forgotten with its segment before another vote",
    test="test/journal/test_log.py::test_a_promise_outlives_the_segment_it_was_made_in",
)
def a_new_segment_forgets_what_was_promised(patch: Patch) -> None:
    """The header of a segment says nothing of the promise."""
    right = header.next_header

    def changed(*arguments: Any, **options: Any) -> Header:
        made = right(*arguments, **options)
        groups = {
            group: known._replace(promised=ZERO_BALLOT) for group, known in made.groups.items()
        }
        return replace(made, groups=groups)

    patch.setattr(log, "next_header", changed)


@bug(
    "§3: what is undecided is kept",
    rare="votes must stay undecided until their segment goes",
)
def the_journal_forgets_votes_that_are_undecided(patch: Patch) -> None:
    """Old segments are deleted whatever was voted on in them."""

    def may_begin(self: Journal, extent: Extent) -> bool:
        return all(
            known.decided_through <= self._forgettable.get(group, 0)
            for group, known in extent.header.groups.items()
        )

    patch.setattr(Journal, "_may_begin", may_begin)


@bug("torn batches that are accepted")
def a_record_is_believed_without_its_checksum(patch: Patch) -> None:
    """A record is whole if there are as many bytes as its header says."""

    def records(data: bytes, offset: int, end: int, digest: Digest) -> Iterator[Sound]:
        while (start := offset + RECORD_HEADER.size) <= end:
            length, _ = RECORD_HEADER.unpack_from(data, offset)
            if not length or start + length > end:
                return
            payload = data[start : start + length]
            digest = chained(digest, payload)
            yield Sound(offset, start + length, payload, digest)
            offset = start + length

    patch.setattr(scan, "sound_records", records)


@bug(
    "PAR: truncation at a damaged record",
    rare="what is cut off must be what nobody else has",
    test="test/journal/test_verdicts.py::test_a_flipped_byte_is_mended_or_named_and_nothing_is_lost",
)
def the_journal_is_cut_where_it_is_damaged(patch: Patch) -> None:
    """Damage in the middle is taken for the torn end of what was written last."""

    def step_over(self: _Scan, mark: Mark) -> None:
        offset = mark.start
        for entry in mark.entries():
            end = offset + RECORD_HEADER.size + entry.length
            record = sound_record(self._data, offset, end, self.found.digest)
            if record is None:
                self.found.torn = "what is not whole"
                return
            self._visit(record, *self._decode(record))
            offset, self.found.digest = end, entry.digest

    def damage(*_: object) -> None:
        pass

    patch.setattr(_Scan, "_step_over", step_over)
    patch.setattr(_Scan, "_damage", damage)


@bug(
    "torn or rotten? §3",
    rare="the end of a batch must be lost, and its mark not",
    test="test/journal/test_verdicts.py::test_a_flipped_byte_in_a_last_batch_without_a_mark_cuts_it_there_and_says_so",
)
def a_mark_is_written_with_its_batch(patch: Patch) -> None:
    """The end mark, which says that a batch was synced, is written before that."""

    def sync(self: SegmentWriter) -> None:
        self.write()
        self._mark(seals=False)
        self._file.sync()
        self._start = self._end
        self._entries.clear()
        self._entries_bytes = 0

    patch.setattr(SegmentWriter, "sync", sync)


@bug("§6: every start journals a number")
def a_start_is_counted_in_memory(patch: Patch) -> None:
    """A node does not write down that it was started."""
    right = Node._persist

    def persist(self: Node, records: Sequence[Record]) -> Deferred[None]:
        return right(self, [one for one in records if not isinstance(one, Started)])

    patch.setattr(Node, "_persist", persist)

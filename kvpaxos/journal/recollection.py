"""What a journal, damaged or not, still tells of some slots: for nodes that have lost it.

It is not about what is decided. Whoever asks has lost one record of a slot, and can prove which
batch was in it: so all that are there in votes or lessons are told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest

from kvpaxos.errors import KvPaxosError
from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import Sound, segment_numbers
from kvpaxos.journal.recovery import Segment, find_segments, scan_segment
from kvpaxos.paxos.ballot import NO_SLOT, Slot
from kvpaxos.paxos.messages import Batch, Vote
from kvpaxos.paxos.records import Learned, Record


def recollect(
    directory: Directory, group: int, slots: Collection[Slot]
) -> dict[Slot, tuple[Batch, ...]]:
    """Return the batches that the records of each of ``slots`` hold, each of them once.

    It blocks, changes nothing, and may read a journal that is being written: what has not reached
    its files yet is not told. Nor is what cannot be read, whatever the reason.
    """
    told: dict[Slot, list[Batch]] = {slot: [] for slot in slots}

    def visit(_sound: Sound, owner: int, record: Record) -> None:
        if owner == group and isinstance(record, Vote | Learned) and record.slot in told:
            batches = told[record.slot]
            if record.batch not in batches:
                batches.append(record.batch)

    # A segment may have been forgotten just now, or be beyond reading; others may tell enough.
    with suppress(KvPaxosError):
        numbers = segment_numbers(directory.names_if_any())
        segments, _ = find_segments(directory, numbers) if numbers else ([], [])
        for segment, following in _relevant(segments, group, slots):
            with suppress(KvPaxosError):
                scan_segment(directory, segment, following, visit)
    return {slot: tuple(batches) for slot, batches in told.items()}


def _relevant(
    segments: Sequence[Segment], group: int, slots: Collection[Slot]
) -> Iterator[tuple[Segment, Segment | None]]:
    """Yield the segments that may hold records of ``slots``, each with the next one."""
    for segment, following in zip_longest(segments, segments[1:]):
        header = segment.header
        known = header.groups.get(group)
        decided_through = NO_SLOT if known is None else known.decided_through
        last = max(slots, default=NO_SLOT)
        if following is not None:
            later = following.header.groups.get(group)
            last = NO_SLOT if later is None else later.voted_through
        if any(decided_through < slot <= last for slot in slots):
            # Only the very next one can tell where this one ends.
            adjoins = following is not None and following.header.number == header.number + 1
            yield segment, following if adjoins else None

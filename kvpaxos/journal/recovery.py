"""Reads a journal's files from the front, judges them, and sets right what may be set right.

Nothing is written before all of it has been judged: a damaged journal stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from kvpaxos.errors import DiskError
from kvpaxos.journal.damage import Damage, DamagedRecords
from kvpaxos.journal.extents import Extent
from kvpaxos.journal.files import Directory, File
from kvpaxos.journal.format import (
    DATA_START,
    HEADER_BYTES,
    Digest,
    Sound,
    segment_name,
    segment_numbers,
)
from kvpaxos.journal.header import Header, encode_header, header_copies, read_header
from kvpaxos.journal.reading import Reading, read_around
from kvpaxos.journal.scan import Findings, Visit, scan
from kvpaxos.journal.state import JournalState
from kvpaxos.paxos.records import Forming, Record

SPARE: Final = "spare-"
"""How the names of files begin that are not part of the journal yet."""

MISSING: Final = "the whole segment, missing here,"


@dataclass(slots=True)
class Replay:
    """What the files hold.

    :ivar records: how many records there ever were.
    :ivar digest: the chain's digest after the last one.
    :ivar low: where the lowest end mark of the last segment begins.
    :ivar torn: what was cut from the tail, in words.
    :ivar mended: everything else that was set right, in words.
    """

    state: JournalState
    extents: list[Extent]
    records: int = 0
    digest: Digest = b""
    low: int = 0
    torn: str | None = None
    mended: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Segment:
    """One file, as its header describes it.

    :ivar copy: the header as it is in the file, sound.
    :ivar patchy: whether the two copies differ.
    """

    name: str
    header: Header
    copy: bytes
    patchy: bool


def recover(directory: Directory) -> Replay | None:
    """Return what the journal in ``directory`` says, or None if there is none yet.

    :raises DamagedRecords: if something that was synced is not whole.
    :raises StartError: if another version wrote it, in a way that this one cannot read.
    """
    # The last process may have died, or been refused, between giving a segment its name and making
    # that durable. Nothing that is mended, or sealed, may say of a segment that there is a next one
    # before that is sure to be found.
    directory.sync()
    names = directory.names()
    numbers = segment_numbers(names)
    useless = [name for name in names if name.startswith(SPARE)]
    replay = None
    if numbers:
        try:
            replay = _judged(directory, numbers)
        except DamagedRecords:
            _keep(directory, numbers)
            raise
        # A deletion that was cut short is completed.
        first = replay.extents[0].header.number
        useless += [segment_name(number) for number in numbers if number < first]
    for name in useless:
        directory.remove(name)
    if useless:
        directory.sync()
    return replay


def _judged(directory: Directory, numbers: Sequence[int]) -> Replay:
    """Return what the segments of these numbers say, once they are set right."""
    segments, damage = find_segments(directory, numbers)
    if damage:
        raise DamagedRecords(*damage, forming=_forming(segments))
    return _replay(directory, segments)


def _keep(directory: Directory, numbers: Sequence[int]) -> None:
    """Have a power cut leave what was found damaged as it was found.

    The last process may have been killed. An end mark that it had not synced tells a damaged batch
    from one that never arrived whole: without it, the next start would cut that one off.
    """
    for number in numbers:
        file = opened(directory, segment_name(number))
        try:
            file.sync()
        finally:
            file.close()


def read_segment(directory: Directory, segment: Segment) -> Reading:
    """Return what can be read of ``segment``.

    :raises DiskError: nothing of it can.
    """
    file = opened(directory, segment.name)
    try:
        return read_around(file, segment.header.size)
    finally:
        file.close()


def scan_segment(
    directory: Directory, segment: Segment, following: Segment | None, visit: Visit
) -> Findings:
    """Show ``visit`` the sound records of ``segment``, and return what else is to be said of it.

    :param following: the next one, if there is one that can tell where this one ends.
    :raises DiskError: nothing of it can be read.
    """
    reading = read_segment(directory, segment)
    after = following.header if following else None
    return scan(directory.path / segment.name, reading, segment.header, after, visit)


def write_header(file: File, header: Header) -> None:
    """Write ``header`` in both places, so that at any moment one of them is sound."""
    copy = encode_header(header)
    for place in (0, HEADER_BYTES):
        file.write(copy, place)
        file.sync()


def opened(directory: Directory, name: str) -> File:
    """Return an open file that must be there.

    :raises DamagedRecords: if it is not.
    """
    file = directory.open(name)
    if file is None:
        raise DamagedRecords(Damage(directory.path / name, 0, 0, MISSING))
    return file


def find_segments(
    directory: Directory, numbers: Sequence[int]
) -> tuple[list[Segment], list[Damage]]:
    """Return the segments that are needed, in order, and what is wrong with those left out.

    :raises DiskError: nothing at all can be read of any of them, or the disk refuses otherwise.
    """
    segments: dict[int, Segment] = {}
    damage: dict[int, Damage] = {}
    refusals: list[DiskError] = []
    for number in numbers:
        found = _open_segment(directory, number, refusals)
        if isinstance(found, Damage):
            damage[number] = found
        else:
            segments[number] = found
    if len(refusals) == len(numbers):
        # This is no damage to a journal. The disk may be one that was unplugged.
        raise refusals[0]
    first = max((segment.header.first for segment in segments.values()), default=min(numbers))
    for number in range(first, max(numbers)):
        if number not in numbers:
            damage[number] = Damage(directory.path / segment_name(number), 0, 0, MISSING)
    return (
        [segments[number] for number in sorted(segments) if number >= first],
        [damage[number] for number in sorted(damage) if number >= first],
    )


def _open_segment(directory: Directory, number: int, refusals: list[DiskError]) -> Segment | Damage:
    """Read the header; take note of the refusal if nothing of the whole file can be read."""
    name = segment_name(number)
    file = opened(directory, name)
    try:
        size, (data, _, refusal) = file.size(), read_around(file, DATA_START)
        if refusal is not None and (refusal := read_around(file, size).refusal) is not None:
            refusals.append(refusal)
    finally:
        file.close()
    found = read_header(data, str(file.path))
    if found is None:
        return Damage(file.path, 0, DATA_START, "the header, in both copies,")
    header, copy = found
    if header.number != number:
        return Damage(file.path, 0, DATA_START, f"the header, which is of segment {header.number},")
    if size < header.size:
        return Damage(file.path, size, header.size - size, "the end of the file, cut off")
    return Segment(name, header, copy, any(place != copy for place in header_copies(data)))


def _replay(directory: Directory, segments: Sequence[Segment]) -> Replay:
    """Read all records, and set right what needs it once all have been judged."""
    replay = Replay(segments[0].header.state(), [])
    findings = []
    damage: list[Damage] = []
    for segment, following in zip_longest(segments, segments[1:]):
        extent = Extent(segment.header)
        replay.extents.append(extent)
        found = _scan(directory, segment, following, replay.state, extent)
        extent.end = found.end
        findings.append(found)
        damage += found.damage
    last, found = segments[-1].header, findings[-1]
    if found.sealed and not found.damage:
        missing = directory.path / segment_name(last.number + 1)
        damage.append(Damage(missing, 0, 0, MISSING))
    if damage:
        raise DamagedRecords(*damage, forming=replay.state.forming or _forming(segments))
    for segment, found in zip(segments, findings, strict=True):
        _mend(directory, segment, found)
        replay.mended += found.mended
    replay.records = last.records + found.records
    replay.digest, replay.low, replay.torn = found.digest, found.low, found.torn
    return replay


def _forming(segments: Sequence[Segment]) -> Forming | None:
    """Return whose journal it is, as far as a header says so."""
    known = (segment.header.forming for segment in segments)
    return next(filter(None, known), None)


def _scan(
    directory: Directory,
    segment: Segment,
    following: Segment | None,
    state: JournalState,
    extent: Extent,
) -> Findings:
    def visit(record: Sound, group: int, meaning: Record) -> None:
        state.apply(group, meaning)
        extent.note(record.end, record.digest, state)

    return scan_segment(directory, segment, following, visit)


def _mend(directory: Directory, segment: Segment, found: Findings) -> None:
    """Write what makes the segment whole again, durably."""
    if not (segment.patchy or found.data or found.marks):
        return
    file = opened(directory, segment.name)
    try:
        if segment.patchy:
            _mend_header(file, segment.copy)
            found.mended.append(f"{file.path}: one copy of the header was not like the other")
        # A mark says that its batch was synced: so that has to come first.
        for patches in (found.data, found.marks):
            for offset, data in patches:
                file.write(data, offset)
            if patches:
                file.sync()
    finally:
        file.close()


def _mend_header(file: File, sound: bytes) -> None:
    copies = header_copies(read_around(file, DATA_START).data)
    # A process that was killed may not have synced the sound one. Never are both in doubt.
    file.sync()
    for place, copy in zip((0, HEADER_BYTES), copies, strict=True):
        if copy != sound:
            file.write(sound, place)
            file.sync()

"""Reads a journal without touching it: nothing is locked, mended or removed.

It judges as recovery does, but it does not stop at damage: it names it, and shows what is decided
as far as that can be known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final

from typing_extensions import override

from kvpaxos.journal.damage import Damage
from kvpaxos.journal.files import LOCK_NAME, Directory, Files, OsFiles
from kvpaxos.journal.format import Sound, segment_name, segment_numbers
from kvpaxos.journal.reading import read_around
from kvpaxos.journal.recovery import MISSING, Segment, find_segments, opened
from kvpaxos.journal.scan import Findings, scan
from kvpaxos.journal.state import JournalState
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.records import NodeRecord, Record

_LOCKS: Final = Path("/proc/locks")
"""Where Linux lists the locks that are held."""


class ReadOnlyFiles(OsFiles):
    """The file system of this machine, for those who may not write there."""

    @override
    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class Inspection:
    """One look at the journal in a directory. What is found is complete once `decided` has ended.

    While a node is writing there, its last records may look as if they were torn or damaged.

    :ivar empty: there is no journal.
    :ivar known: what its records come to.
    :ivar damage: what was once written whole and is whole no longer.
    :ivar mends: what a node would set right at its next start, in words.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        self._directory = Directory(files or ReadOnlyFiles(), directory)
        self.damage: list[Damage] = []
        self.mends: list[str] = []
        self.known = JournalState()
        self._numbers = segment_numbers(self._directory.names())

    @property
    def empty(self) -> bool:
        """Whether there is no journal."""
        return not self._numbers

    def decided(self, group: int) -> Iterator[Decision]:
        """Yield what is decided of ``group``, in the order of slots.

        It ends where a slot is not known to be decided. One segment is held at a time.

        :raises StartError: another version wrote it, in a way that this one cannot read.
        :raises DiskError: the disk refuses.
        """
        if self.empty:
            return
        segments, self.damage = find_segments(self._directory, self._numbers)
        if not segments:
            return
        self.known = segments[0].header.state()
        for segment, following in zip_longest(segments, segments[1:]):
            yield from self._read(segment, following, group)

    def _read(self, segment: Segment, following: Segment | None, group: int) -> list[Decision]:
        decisions: list[Decision] = []

        def visit(_record: Sound, owner: int, meaning: Record) -> None:
            if owner == group and not isinstance(meaning, NodeRecord):
                decisions.extend(self.known.group(group).apply(meaning))
            else:
                self.known.apply(owner, meaning)

        file = opened(self._directory, segment.name)
        try:
            reading = read_around(file, segment.header.size)
        finally:
            file.close()
        # By a segment that is not the next one it cannot be judged.
        next_header = following.header if following else None
        if next_header is not None and next_header.number != segment.header.number + 1:
            next_header = None
        found = scan(file.path, reading, segment.header, next_header, visit)
        self._note(segment, found, is_last=following is None)
        return decisions

    def _note(self, segment: Segment, found: Findings, *, is_last: bool) -> None:
        self.damage += found.damage
        if segment.patchy:
            self.mends.append(f"{segment.name}: one copy of the header is not like the other")
        if found.torn is not None:
            self.mends.append(found.torn)
        self.mends += found.mended
        if is_last and found.sealed and not self.damage:
            missing = self._directory.path / segment_name(segment.header.number + 1)
            self.damage.append(Damage(missing, 0, 0, MISSING))


def owner(directory: Path) -> int | None:
    """Return the process that has the journal in ``directory`` open, as far as one can tell.

    It is not told on systems other than Linux, nor of a process in another container.
    """
    try:
        status = (directory / LOCK_NAME).stat()
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    for line in lines:
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5] == f"{device}:{status.st_ino}":
            return int(fields[4])
    return None

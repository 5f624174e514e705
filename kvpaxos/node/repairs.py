"""What was found damaged in a node's directory: mended, or moved out of the way, kept, and told of.

A damaged journal is mended in place, where that can be done (see `kvpaxos.journal.mending`).
Otherwise it may lack votes, and the state that came of it is worth nothing without it. So both are
moved, and the node comes back as with a new disk (see `kvpaxos.paxos.rejoin`). The state goes
first, and the journal's own directory in one step: until that has happened the journal is there, is
found damaged again by whoever comes next, and this begins anew. From then on its new name says that
this node belongs to a cluster which is formed, and may be part of no other.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from kvpaxos.engine.shelf import DAMAGED_JOURNAL, DAMAGED_STATE, STATE, Shelf
from kvpaxos.errors import JournalDamaged
from kvpaxos.journal.files import OS_FILES, Directory, Files
from kvpaxos.journal.mending import Mending
from kvpaxos.journal.recovery import recover

JOURNAL: Final = "journal"
"""The directory of the journal, in the data directory of a node."""

REPAIRS_MAX: Final = 3
"""A node that has to be repaired more often than this in `REPAIRS_S` stops instead; likewise one
whose journal has to be mended with the help of others."""

REPAIRS_S: Final = 600.0
"""See `REPAIRS_MAX`."""

FINDINGS_MAX: Final = 10
"""More than these are not remembered; the log has them all."""

_log = Logger()


class Repairs:
    """What became of the damage to one node's disk, over all its runs in this process.

    :param data: the directory of the node, which need not exist.
    :param files: the file system that it is in.
    :ivar count: how often the node was started again because of damage.
    :ivar findings: what was found lately, the newest last: a sentence each.
    :ivar set_aside: what was moved out of the way and is still there, since whenever.
    :ivar mended: how many records of the journal were made again in place.
    :ivar mending: what others are to be asked for, while the journal is being mended; else None.
    :ivar given_up: the journal is damaged, and was found to be beyond mending.
    """

    def __init__(self, data: Path, files: Files = OS_FILES) -> None:
        self.count = 0
        self.mended = 0
        self.mending: Mending | None = None
        self.given_up = False
        self.findings: deque[str] = deque(maxlen=FINDINGS_MAX)
        self._data = data
        self._files = files
        self._times: deque[float] = deque(maxlen=REPAIRS_MAX)
        self._mends: deque[float] = deque(maxlen=REPAIRS_MAX)
        self.set_aside: list[Path] = []
        self.look()

    @property
    def journals_aside(self) -> list[Path]:
        """Which journals were set aside, and are still there."""
        return [path for path in self.set_aside if path.name.startswith(DAMAGED_JOURNAL)]

    @property
    def without_journal(self) -> bool:
        """Whether a journal was set aside: an empty one is that of a lost disk then."""
        return bool(self.journals_aside)

    @property
    def kept(self) -> str:
        """Where everything is that was set aside, in words."""
        places = " and ".join(map(str, self.set_aside))
        return f"kept as {places}" if places else "nothing of it is kept"

    def look(self) -> None:
        """See what is there."""
        names = Directory(self._files, self._data).names_if_any()
        kinds = (DAMAGED_JOURNAL, DAMAGED_STATE)
        found = [name for kind in kinds for _, name in sorted(_numbered(names, kind))]
        self.set_aside = [self._data / name for name in found]

    def note(self, finding: str) -> None:
        """Remember what was found."""
        if finding not in self.findings:
            self.findings.append(finding)

    def may_start_again(self, now: float) -> bool:
        """Whether the node has not been repaired too often lately. If so, count one more time."""
        if len(self._times) == REPAIRS_MAX and now - self._times[0] < REPAIRS_S:
            return False
        self._times.append(now)
        self.count += 1
        return True

    def may_go_on(self, now: float) -> bool:
        """Whether runs that mend have not ended too often lately: a disk may lose it each time."""
        if len(self._mends) == REPAIRS_MAX and now - self._mends[0] < REPAIRS_S:
            return False
        self._mends.append(now)
        return True

    def mend_journal(self, mending: Mending) -> None:
        """Write what was made again into the damaged journal, whose lock somebody has.

        :raises DamagedRecords: something is damaged still, or something else.
        :raises DiskError: the disk refuses. To try again is safe.
        """
        mending.write(Directory(self._files, self._data / JOURNAL))
        self.mended += mending.records
        _log.warn(
            "the journal was mended in place; damaged records made again: {count}",
            count=mending.records,
        )

    def put_journal_aside(self, shelf: Shelf) -> None:
        """Move the damaged journal out of the way, durably, with the state that came of it.

        It is read once more under its lock before that. If it is found sound then, nothing happens.

        :param shelf: where the state is; not open.
        :raises StartError: another process has it by now.
        :raises DiskError: the disk refuses. To try again is safe.
        """
        journal = Directory(self._files, self._data / JOURNAL)
        data = Directory(self._files, self._data)
        lock = journal.lock()
        try:
            recover(journal)
        except JournalDamaged as error:
            self.note(str(error))
            shelf.set_aside()
            name = f"{DAMAGED_JOURNAL}-{_number_for_journal(data.names())}"
            data.rename(JOURNAL, name)
            data.sync()
            self.given_up = False
            self.look()
            _log.warn(
                "the journal is damaged, and was moved with the state that came of it to {places};"
                " this node comes back as with a new disk: {error}",
                places=" and ".join(map(str, self._moved_with(name))),
                error=error,
            )
        finally:
            lock.close()

    def put_state_aside(self, shelf: Shelf, error: Exception) -> None:
        """Move a damaged state out of the way, so that another member's can take its place.

        :raises DiskError: the disk refuses.
        """
        self.note(str(error))
        place = shelf.set_aside()
        self.look()
        _log.warn(
            "the state is damaged and was moved to {place}: {error}",
            place=place or "nowhere, since nothing is left of it",
            error=error,
        )

    def describe(self) -> dict[str, object]:
        """Return what there is to tell."""
        return {
            "count": self.count,
            "mended": self.mended,
            "findings": list(self.findings),
            "set_aside": list(map(str, self.set_aside)),
        }

    def _moved_with(self, journal: str) -> list[Path]:
        number = journal.removeprefix(DAMAGED_JOURNAL)
        return [path for path in self.set_aside if path.name.endswith(f".damaged{number}")]


def _number_for_journal(names: list[str]) -> int:
    """Return the number that a journal gets: that of its state, if one has just been moved."""
    journals = [number for number, _ in _numbered(names, DAMAGED_JOURNAL)]
    states = [number for number, _ in _numbered(names, DAMAGED_STATE)]
    last_state, last = max(states, default=0), max([*journals, *states], default=0)
    if STATE not in names and last_state > max(journals, default=0):
        return last_state
    return last + 1


def _numbered(names: list[str], kind: str) -> list[tuple[int, str]]:
    """Return those of ``names`` that are of this kind, with their numbers."""
    pattern = re.compile(rf"{re.escape(kind)}-([0-9]+)")
    return [(int(found[1]), found[0]) for found in map(pattern.fullmatch, names) if found]

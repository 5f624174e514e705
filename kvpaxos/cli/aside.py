"""Moves what is in a data directory out of the way. Nothing is ever deleted.

The journal goes first, durably: as long as the rest is there, no node starts on a state without
the journal that belongs to it. What an earlier move has left is taken up where it broke off.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from kvpaxos.cli.decided import JOURNAL_NAME
from kvpaxos.cli.remains import stopped
from kvpaxos.errors import DiskError
from kvpaxos.journal.files import OS_FILES

_ASIDE: Final = re.compile(r"aside-([1-9][0-9]*)")


def in_the_way(directory: Path) -> set[str]:
    """Return the names of what is in ``directory``, but for what was set aside."""
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return {name for name in names if not _ASIDE.fullmatch(name)}


def set_aside(directory: Path) -> Path | None:
    """Move everything in the data directory of a stopped node into one called ``aside-<n>`` there.

    :returns: where it is now; None if there was nothing.
    :raises ConfigError: the node runs.
    :raises DiskError: the disk refuses. To try again goes on where it broke off.
    """
    names = in_the_way(directory)
    if not names:
        return None
    with ExitStack() as held:
        if JOURNAL_NAME in names:
            held.enter_context(stopped(directory))
        try:
            place = _place(directory, names)
            place.mkdir(exist_ok=True)
            OS_FILES.sync_directory(directory)
            for name in sorted(names, key=lambda name: (name != JOURNAL_NAME, name)):
                (directory / name).rename(place / name)
                OS_FILES.sync_directory(directory)
            OS_FILES.sync_directory(place)
        except OSError as error:
            raise DiskError(
                f"{directory}: what is there cannot be moved aside ({error.strerror or error}); see"
                " that this disk is sound and may be written, and do it again"
            ) from error
    return place


def _place(directory: Path, names: set[str]) -> Path:
    """Return the last one of its kind, if nothing of these names is in it, or else a new one."""
    numbers = [
        int(found[1]) for path in directory.iterdir() if (found := _ASIDE.fullmatch(path.name))
    ]
    last = max(numbers, default=0)
    place = directory / f"aside-{last}"
    if last and not any((place / name).exists() for name in names):
        return place
    return directory / f"aside-{last + 1}"

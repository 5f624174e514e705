"""The mark in an empty data directory that lets its node come back into the cluster that formed.

It does what ``--rejoin`` does, for as long as the node has not come back, and it is lost with the
disk that it lies on: so a disk that is lost later is not taken for the one that was marked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kvpaxos.journal.files import OS_FILES, Directory, Files, refusal

MARK: Final = "rejoin"
"""What the mark is called."""

_MEANING: Final = b"This directory may become the new disk of its node: see docs/operating.md.\n"


def is_marked(directory: Path) -> bool:
    """Whether the node may come back with this directory."""
    return (directory / MARK).exists()


def mark(directory: Path) -> None:
    """Mark ``directory``, which is made if need be, durably. To do it twice is harmless.

    :raises DiskError: the disk refuses.
    """
    path = directory / MARK
    try:
        OS_FILES.make_directory(directory)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, _MEANING)
            os.fsync(handle)
        finally:
            os.close(handle)
        OS_FILES.sync_directory(directory)
    except OSError as error:
        raise refusal(path, "make", error) from error


def clear(directory: Path, files: Files = OS_FILES) -> None:
    """Take the mark away, if there is one: the node has come back.

    :raises DiskError: the disk refuses.
    """
    place = Directory(files, directory)
    if MARK in place.names_if_any():
        place.remove(MARK)
        place.sync()

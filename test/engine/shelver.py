"""A process that dies amid its work: ``python -m test.engine.shelver DIRECTORY WORK DEEDS``.

It does ``WORK`` on the shelf in ``DIRECTORY`` and dies after so many deeds that change names or
files there; with status 9 if it came to that, and 0 if all was done before. RocksDB's own deeds
are not counted.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kvpaxos.engine.shelf import RocksShelf

DIED: Final = 9

OLD: Final = {b"%04d" % number: b"old" * 50 for number in range(100)}
NEW: Final = {b"%04d" % number: b"new" * 50 for number in range(50, 200)}

_DEEDS: Final = ("rename", "mkdir", "fsync", "unlink", "rmdir")


def adopt(shelf: RocksShelf) -> None:
    """Build a new state, and have it take the place of the old one."""
    shelf.open()
    fresh = shelf.fresh()
    fresh.write(NEW)
    fresh.flush()
    shelf.adopt()
    sys.stdout.write("adopted\n")
    sys.stdout.flush()
    shelf.clear()


def discard(shelf: RocksShelf) -> None:
    """Build new states, and give them up."""
    shelf.open()
    for _ in range(2):
        fresh = shelf.fresh()
        fresh.write(NEW)
        fresh.flush()
    shelf.discard()
    shelf.clear()


def set_aside(shelf: RocksShelf) -> None:
    """Give the state up, and begin a new one."""
    shelf.set_aside()
    shelf.open()
    shelf.clear()


def die_after(deeds: int) -> None:
    """See to it that the process dies after so many deeds."""

    def counted(deed: Callable[..., None]) -> Callable[..., None]:
        def do(*arguments: object, **keywords: object) -> None:
            nonlocal deeds
            if not deeds:
                os._exit(DIED)
            deeds -= 1
            deed(*arguments, **keywords)

        return do

    for name in _DEEDS:
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    # It looks at the functions of `os` while it is imported.
    assert shutil.rmtree.avoids_symlink_attacks
    directory, work, deeds = sys.argv[1:]
    die_after(int(deeds))
    {"adopt": adopt, "discard": discard, "set_aside": set_aside}[work](RocksShelf(Path(directory)))

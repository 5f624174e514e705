"""A file that only takes room: given up when there is no other, so that a node can go on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from kvpaxos.journal.files import refusal

NAME: Final = "reserve"
"""The file, in the directory of the node."""

_PIECE: Final = 512 * 1024
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class Reserve:
    """The reserve in ``directory``. It remembers nothing: the file is all there is.

    `release` may be called on any thread, also while another one is in `make`. All methods
    raise `DiskError` if the disk refuses.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self.path = directory / NAME
        self._size = size

    @property
    def held(self) -> bool:
        """Whether it is there, in full."""
        try:
            return self.path.stat().st_size >= self._size
        except FileNotFoundError:
            return False
        except OSError as error:
            raise refusal(self.path, "read", error) from error

    def make(self) -> None:
        """Take the room, really: not a file with holes. It may take long."""
        try:
            _allocate(self.path, self._size)
        except OSError as error:
            self.release()
            raise refusal(self.path, "make", error) from error

    def release(self) -> bool:
        """Give the room up. Return whether there was any to give."""
        return release(self.path.parent)


def release(directory: Path) -> bool:
    """Give up the reserve in ``directory``, whatever its size. See `Reserve.release`."""
    path = directory / NAME
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refusal(path, "delete", error) from error
    return True


def _allocate(path: Path, size: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _reserved(handle, size):
            _write(handle, size)
    finally:
        os.close(handle)


def _reserved(handle: int, size: int) -> bool:
    """Have the system set ``size`` bytes aside, and return whether it knows how to."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _write(handle: int, size: int) -> None:
    # Chance cannot be compressed: these bytes take the room that they seem to.
    piece = memoryview(os.urandom(_PIECE))
    done = 0
    while done < size:
        done += os.pwrite(handle, piece[: size - done], done)
    os.fsync(handle)

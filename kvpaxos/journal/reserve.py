"""A file that only takes room: given up when there is no other, so that a node can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kvpaxos.journal.files import OS_FILES, Disk, refusal

NAME: Final = "reserve"
"""The file, in the directory of the node."""


class Reserve:
    """The reserve in ``directory``. It remembers nothing: the file is all there is.

    `release` may be called on any thread, also while another one is in `make`. All methods
    raise `DiskError` if the disk refuses.
    """

    def __init__(self, directory: Path, size: int, disk: Disk = OS_FILES) -> None:
        self.path = directory / NAME
        self._size = size
        self._disk = disk

    @property
    def held(self) -> bool:
        """Whether it is there, in full."""
        try:
            handle = self._disk.open(self.path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise refusal(self.path, "read", error) from error
        try:
            return self._disk.size(handle) >= self._size
        except OSError as error:
            raise refusal(self.path, "read", error) from error
        finally:
            self._disk.close(handle)

    def make(self) -> None:
        """Take the room, really: not a file with holes. It may take long."""
        try:
            handle = self._opened()
            try:
                self._disk.allocate(handle, self._size)
            finally:
                self._disk.close(handle)
        except OSError as error:
            self.release()
            raise refusal(self.path, "make", error) from error

    def release(self) -> bool:
        """Give the room up. Return whether there was any to give."""
        return release(self.path.parent, self._disk)

    def _opened(self) -> int:
        try:
            return self._disk.create(self.path)
        except FileExistsError:
            return self._disk.open(self.path)


def release(directory: Path, disk: Disk = OS_FILES) -> bool:
    """Give up the reserve in ``directory``, whatever its size. See `Reserve.release`."""
    path = directory / NAME
    try:
        disk.remove(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refusal(path, "delete", error) from error
    return True

"""A disk made of memory, that loses what was not synced, and refuses when told to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from typing_extensions import override

from kvpaxos.journal.files import Files

SECTOR: Final = 512
"""What a disk writes whole or not at all."""

DIRECTORY: Final = Path("/disk/journal")
"""Where the journals of these tests are."""

Fault = Callable[[str], None]
"""Told the name of each call that changes the disk, before it does; may raise `OSError`."""


@dataclass(eq=False)
class Inode:
    """A file: what programs see, what would survive a power cut, and what differs."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)

    def sectors(self, sectors: set[int]) -> None:
        """Let ``sectors`` reach the disk."""
        for sector in sectors:
            start, end = sector * SECTOR, min((sector + 1) * SECTOR, len(self.data))
            if len(self.durable) < end:
                self.durable.extend(bytes(end - len(self.durable)))
            self.durable[start:end] = self.data[start:end]
        self.dirty -= sectors


class MemoryDisk(Files):
    """Files in memory.

    :ivar trace: the calls that change the disk, in order, with the names of the files.
    :ivar reads: how often a file was read from.
    """

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.trace: list[tuple[str, str]] = []
        self.reads = 0
        self.files: dict[Path, Inode] = {}
        self.durable_files: dict[Path, Inode] = {}
        self.handles: dict[int, tuple[Path, Inode]] = {}
        self.locked: dict[int, Path] = {}
        self._handle = 0

    def count(self, name: str) -> int:
        """Return how often ``name`` was called."""
        return sum(name == called for called, _ in self.trace)

    def after_power_cut(
        self,
        keep: Callable[[Path, set[int]], set[int]] = lambda _path, _dirty: set(),
        *,
        names_kept: bool = False,
    ) -> MemoryDisk:
        """Return what a power cut leaves.

        :param keep: chooses those of a file's unsynced sectors that got through.
        :param names_kept: whether unsynced creations, renames and deletions got through.
        """
        twin = MemoryDisk()
        for path, inode in (self.files if names_kept else self.durable_files).items():
            left = Inode(inode.data, bytearray(inode.durable), set(inode.dirty))
            left.sectors(keep(path, set(inode.dirty)))
            twin.files[path] = Inode(bytearray(left.durable), bytearray(left.durable))
        twin.durable_files = dict(twin.files)
        return twin

    def after_kill(self) -> MemoryDisk:
        """Return what the next process finds if this one is killed: everything written."""
        twin = MemoryDisk()
        for path, inode in self.files.items():
            twin.files[path] = Inode(
                bytearray(inode.data), bytearray(inode.durable), set(inode.dirty)
            )
        twin.durable_files = {
            path: twin.files.get(path, inode) for path, inode in self.durable_files.items()
        }
        return twin

    def flip(self, path: Path, offset: int, bits: int = 0xFF) -> None:
        """Change one byte, for good."""
        inode = self.files[path]
        inode.data[offset] ^= bits
        inode.durable[offset] ^= bits

    def cut(self, path: Path, size: int) -> None:
        """Make a file shorter, for good."""
        inode = self.files[path]
        del inode.data[size:]
        del inode.durable[size:]

    @override
    def make_directory(self, path: Path) -> None:
        self._call("make_directory", path)

    @override
    def names(self, directory: Path) -> list[str]:
        return [path.name for path in self.files if path.parent == directory]

    @override
    def create(self, path: Path) -> int:
        self._call("create", path)
        if path in self.files:
            raise _refusal(errno.EEXIST)
        self.files[path] = Inode()
        return self.open(path)

    @override
    def open(self, path: Path) -> int:
        if path not in self.files:
            raise _refusal(errno.ENOENT)
        self._handle += 1
        self.handles[self._handle] = path, self.files[path]
        return self._handle

    @override
    def size(self, handle: int) -> int:
        return len(self.handles[handle][1].data)

    @override
    def read(self, handle: int, count: int, offset: int) -> bytes:
        self.reads += 1
        return bytes(memoryview(self.handles[handle][1].data)[offset : offset + count])

    @override
    def uncache(self, handle: int) -> None:
        pass

    @override
    def write(self, handle: int, data: bytes, offset: int) -> int:
        path, inode = self.handles[handle]
        self._call("write", path)
        end = offset + len(data)
        if len(inode.data) < end:
            inode.data.extend(bytes(end - len(inode.data)))
        inode.data[offset:end] = data
        inode.dirty.update(range(offset // SECTOR, -(-end // SECTOR)))
        return len(data)

    @override
    def sync(self, handle: int) -> None:
        path, inode = self.handles[handle]
        try:
            self._call("sync", path)
        except OSError:
            # As Linux does: the pages count as clean from now on, and are not on the disk.
            inode.dirty.clear()
            raise
        inode.sectors(set(inode.dirty))

    @override
    def sync_directory(self, directory: Path) -> None:
        self._call("sync_directory", directory)
        self.durable_files = dict(self.files)

    @override
    def rename(self, old: Path, new: Path) -> None:
        self._call("rename", old)
        self.files[new] = self.files.pop(old)

    @override
    def remove(self, path: Path) -> None:
        self._call("remove", path)
        del self.files[path]

    @override
    def lock(self, path: Path) -> int:
        if path in self.locked.values():
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        self.files.setdefault(path, Inode())
        handle = self.open(path)
        self.locked[handle] = path
        return handle

    @override
    def close(self, handle: int) -> None:
        del self.handles[handle]
        self.locked.pop(handle, None)

    def _call(self, name: str, path: Path) -> None:
        self.trace.append((name, path.name))
        if self.fault is not None:
            self.fault(name)


def _refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def failing_call(number: int, code: int, names: frozenset[str]) -> Fault:
    """Return a fault that refuses the ``number``-th of the calls called ``names``, from 0."""
    seen = 0

    def fault(name: str) -> None:
        nonlocal seen
        if name in names:
            seen += 1
            if seen == number + 1:
                raise _refusal(code)

    return fault

"""A disk made of memory, which loses what was not synced, refuses, and rots, as it is told to."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Final, Literal, NamedTuple, TypeAlias

from typing_extensions import override

from kvpaxos.journal.files import Disk
from kvpaxos.simulator.contents import SECTOR, Contents, Entry, Left, Manner, Names, sectors_of

Deed: TypeAlias = Literal[
    "make_directory",
    "names",
    "create",
    "open",
    "read",
    "write",
    "allocate",
    "sync",
    "sync_directory",
    "rename",
    "remove",
    "lock",
]
"""What a program can do to a disk. See `kvpaxos.journal.files.Files`."""

CHANGES: Final[frozenset[Deed]] = frozenset(
    {"make_directory", "create", "write", "allocate", "sync", "sync_directory", "rename", "remove"}
)
"""The deeds that change what is on the disk, or what is certain of it."""

Rot: TypeAlias = Literal["zeroed", "flipped", "older", "other", "unreadable"]
"""What can become of a sector: zeros; one bit changed; what it held before it was last changed;
what another sector of that file holds; or an error for whoever reads it."""

_ROOT: Final = Path("/")


class Operation(NamedTuple):
    """One call to the disk.

    :ivar path: the file or directory; of a file that is open, its last name.
    :ivar length: how many bytes are to be read, written or allocated.
    """

    deed: Deed
    path: Path
    offset: int = 0
    length: int = 0


Before = Callable[[Operation], None]
"""Told of each call before it is carried out. It may raise `OSError`, and so refuse; or anything
else, and so end the run at this moment; or wait, and let time pass."""


class VirtualFiles(Disk):
    """One disk with all files of a node. It is not for several threads at once.

    A sync that is refused loses what it was for: the system holds it for clean from then on.

    :ivar before: see `Before`. None if nobody is told.
    :ivar trace: gets each call that was carried out. None if nobody asks.
    :ivar capacity: how many bytes fit. None if there is no end to that.
    """

    def __init__(
        self, before: Before | None = None, *, capacity: int | None = None, traced: bool = False
    ) -> None:
        self.before = before
        self.capacity = capacity
        self.trace: list[Operation] | None = [] if traced else None
        self._root = Names()
        self._handles: dict[int, tuple[Path, Contents]] = {}
        self._handle = 0

    @classmethod
    def of(cls, files: Mapping[Path, bytes]) -> VirtualFiles:
        """Return a disk that holds ``files``, durably."""
        disk = cls()
        for path, data in files.items():
            disk.make_directory(path.parent)
            disk._parent(path).change({path.name: Contents.of(data)})
            disk._parent(path).sync()
        return disk

    @property
    def handles(self) -> int:
        """How many handles have not been given back."""
        return len(self._handles)

    @property
    def used(self) -> int:
        """How many bytes the files take, also those without a name that are still open."""
        files = {id(file): file for _, file in (*_files(_ROOT, self._root), *self._open())}
        return sum(len(file.seen) for file in files.values())

    def files(self) -> dict[Path, Contents]:
        """Return every file that has a name."""
        return dict(_files(_ROOT, self._root))

    def directories(self) -> dict[Path, Names]:
        """Return every directory."""
        return dict(_directories(_ROOT, self._root))

    def copy(self) -> VirtualFiles:
        """Return another disk with the same on it, durable or not, which nobody has open."""
        twin = VirtualFiles(capacity=self.capacity)
        twin._root = deepcopy(self._root)
        twin.kill()
        return twin

    def kill(self) -> None:
        """Be as if the process had died: all handles and locks are gone, all writes are there."""
        self._handles.clear()
        for file in self.files().values():
            file.holder = None

    def crash(self, random: Random, manner: Manner = "any") -> Counter[Left]:
        """Be as after a power cut: of what was not synced, chance decides what is left.

        Return what that is, over all files and names.
        """
        self._handles.clear()
        return self._root.cut_power(random, manner)

    def strike(self, path: Path, sector: int, rot: Rot, random: Random) -> bool:
        """Damage one sector of a file on the disk, and say whether that changed anything."""
        file = self._file(path)
        start = sector * SECTOR
        assert 0 <= start < len(file.durable), f"{path} has no sector {sector}"
        data = bytearray(file.durable[start : start + SECTOR])
        match rot:
            case "unreadable":
                file.unreadable.add(sector)
                return True
            case "zeroed":
                data = bytearray(len(data))
            case "flipped":
                bit = random.randrange(8 * len(data))
                data[bit // 8] ^= 1 << bit % 8
            case "older":
                data = bytearray(file.older.get(sector, bytes(len(data))))
            case "other":
                others = len(file.durable) // SECTOR - 1
                start = (sector + 1 + random.randrange(max(1, others))) % (others + 1) * SECTOR
                data = file.durable[start : start + SECTOR]
        return file.change(sector, bytes(data))

    @override
    def make_directory(self, path: Path) -> None:
        self._begin("make_directory", path)
        names = self._root
        for name in path.parts[1:]:
            if name not in names.seen:
                names.change({name: Names()})
                names.sync()
            names = _directory(names.seen[name])

    @override
    def names(self, directory: Path) -> list[str]:
        self._begin("names", directory)
        return list(_directory(self._find(directory)).seen)

    @override
    def create(self, path: Path) -> int:
        self._begin("create", path)
        names = self._parent(path)
        if path.name in names.seen:
            raise refused(errno.EEXIST)
        file = Contents()
        names.change({path.name: file})
        return self._opened(path, file)

    @override
    def open(self, path: Path) -> int:
        self._begin("open", path)
        return self._opened(path, self._file(path))

    @override
    def size(self, handle: int) -> int:
        return len(self._of(handle)[1].seen)

    @override
    def read(self, handle: int, count: int, offset: int) -> bytes:
        path, file = self._of(handle)
        self._begin("read", path, offset, count)
        data = bytes(memoryview(file.seen)[offset : offset + count])
        if file.unreadable and not file.unreadable.isdisjoint(sectors_of(offset, len(data))):
            raise refused(errno.EIO)
        return data

    @override
    def uncache(self, handle: int) -> None:
        self._of(handle)[1].uncache()

    @override
    def write(self, handle: int, data: bytes, offset: int) -> int:
        path, file = self._of(handle)
        self._begin("write", path, offset, len(data))
        end = offset + len(data)
        if end > len(file.seen):
            end = self._grown(file, end)
        file.write(offset, data[: max(0, end - offset)])
        return end - offset

    @override
    def allocate(self, handle: int, size: int) -> None:
        path, file = self._of(handle)
        self._begin("allocate", path, 0, size)
        if size > len(file.seen):
            if self._grown(file, size) < size:
                raise refused(errno.ENOSPC)
            file.write(len(file.seen), bytes(size - len(file.seen)))

    @override
    def free_bytes(self, directory: Path) -> int:
        _directory(self._find(directory))
        return UNBOUNDED if self.capacity is None else max(0, self.capacity - self.used)

    @override
    def sync(self, handle: int) -> None:
        path, file = self._of(handle)
        try:
            self._begin("sync", path)
        except OSError:
            file.fail_to_sync()
            raise
        file.sync()

    @override
    def sync_directory(self, directory: Path) -> None:
        self._begin("sync_directory", directory)
        _directory(self._find(directory)).sync()

    @override
    def rename(self, old: Path, new: Path) -> None:
        self._begin("rename", old)
        entry, names = self._find(old), self._parent(old)
        assert old.parent == new.parent, f"{old} to {new}: two directories"
        names.change({old.name: None, new.name: entry})
        for handle, (path, file) in self._handles.items():
            if file is entry:
                self._handles[handle] = new, file
            elif old in path.parents:
                self._handles[handle] = new / path.relative_to(old), file

    @override
    def remove(self, path: Path) -> None:
        self._begin("remove", path)
        self._file(path)
        self._parent(path).change({path.name: None})

    @override
    def lock(self, path: Path) -> int:
        self._begin("lock", path)
        names = self._parent(path)
        if path.name not in names.seen:
            names.change({path.name: Contents()})
        file = self._file(path)
        if file.holder is not None:
            raise refused(errno.EWOULDBLOCK)
        file.holder = self._opened(path, file)
        return file.holder

    @override
    def close(self, handle: int) -> None:
        _, file = self._of(handle)
        del self._handles[handle]
        if file.holder == handle:
            file.holder = None

    def _begin(self, deed: Deed, path: Path, offset: int = 0, length: int = 0) -> None:
        if self.before is not None or self.trace is not None:
            operation = Operation(deed, path, offset, length)
            if self.before is not None:
                self.before(operation)
            if self.trace is not None:
                self.trace.append(operation)

    def _grown(self, file: Contents, end: int) -> int:
        """Return how far ``file`` may reach, if it shall reach to ``end``."""
        if self.capacity is not None:
            end = min(end, len(file.seen) + max(0, self.capacity - self.used))
            if end <= len(file.seen):
                raise refused(errno.ENOSPC)
        return end

    def _opened(self, path: Path, file: Contents) -> int:
        self._handle += 1
        self._handles[self._handle] = path, file
        return self._handle

    def _open(self) -> list[tuple[Path, Contents]]:
        return list(self._handles.values())

    def _of(self, handle: int) -> tuple[Path, Contents]:
        if handle not in self._handles:
            raise refused(errno.EBADF)
        return self._handles[handle]

    def _find(self, path: Path) -> Entry:
        entry: Entry = self._root
        for name in path.parts[1:]:
            names = _directory(entry).seen
            if name not in names:
                raise refused(errno.ENOENT)
            entry = names[name]
        return entry

    def _file(self, path: Path) -> Contents:
        entry = self._find(path)
        if isinstance(entry, Names):
            raise refused(errno.EISDIR)
        return entry

    def _parent(self, path: Path) -> Names:
        return _directory(self._find(path.parent))


UNBOUNDED: Final = 1 << 60
"""What is free on a disk without a capacity."""


def refused(number: int) -> OSError:
    """Return what a system says with the error ``number``."""
    return OSError(number, os.strerror(number))


def _directory(entry: Entry) -> Names:
    if not isinstance(entry, Names):
        raise refused(errno.ENOTDIR)
    return entry


def _files(path: Path, names: Names) -> Iterator[tuple[Path, Contents]]:
    for name, entry in names.seen.items():
        if isinstance(entry, Names):
            yield from _files(path / name, entry)
        else:
            yield path / name, entry


def _directories(path: Path, names: Names) -> Iterator[tuple[Path, Names]]:
    yield path, names
    for name, entry in names.seen.items():
        if isinstance(entry, Names):
            yield from _directories(path / name, entry)

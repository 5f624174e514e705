"""Files in memory, for the journal of a node that keeps nothing.

Such a node casts no vote that it could forget: once its process is gone it comes back as another
one, with an empty disk. Until then the journal serves it as any other: peers that lag read it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final

from typing_extensions import override

from kvpaxos.journal.files import Files

PAGE_BYTES: Final = 4096
"""Memory is taken in pieces of this size, and only for those with something else than zeros."""

_ZEROS: Final = bytes(PAGE_BYTES)


class MemoryFiles(Files):
    """A file system that is gone with its process. To sync it makes nothing durable.

    Every directory is there. A file takes as much memory as was written to it, but for pages of
    zeros, written at once, and zeros in places where nothing else ever was: segments are full of
    those.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[Path, _Pages] = {}
        self._handles: dict[int, _Pages] = {}
        self._locked: dict[int, Path] = {}
        self._handle = 0

    @property
    def memory_bytes(self) -> int:
        """How much memory the files take, also those without a name that are still open."""
        with self._lock:
            files = {id(file): file for file in (*self._files.values(), *self._handles.values())}
            return sum(file.memory_bytes for file in files.values())

    @override
    def make_directory(self, path: Path) -> None:
        pass

    @override
    def names(self, directory: Path) -> list[str]:
        with self._lock:
            return [path.name for path in self._files if path.parent == directory]

    @override
    def create(self, path: Path) -> int:
        with self._lock:
            if path in self._files:
                raise _refusal(errno.EEXIST)
            return self._opened(self._files.setdefault(path, _Pages()))

    @override
    def open(self, path: Path) -> int:
        with self._lock:
            return self._opened(self._named(path))

    @override
    def size(self, handle: int) -> int:
        with self._lock:
            return self._handles[handle].size

    @override
    def read(self, handle: int, count: int, offset: int) -> bytes:
        with self._lock:
            return self._handles[handle].read(count, offset)

    @override
    def uncache(self, handle: int) -> None:
        pass

    @override
    def write(self, handle: int, data: bytes, offset: int) -> int:
        with self._lock:
            self._handles[handle].write(data, offset)
            return len(data)

    @override
    def sync(self, handle: int) -> None:
        pass

    @override
    def sync_directory(self, directory: Path) -> None:
        pass

    @override
    def rename(self, old: Path, new: Path) -> None:
        with self._lock:
            self._named(old)
            self._files[new] = self._files.pop(old)

    @override
    def remove(self, path: Path) -> None:
        with self._lock:
            self._named(path)
            del self._files[path]

    @override
    def lock(self, path: Path) -> int:
        with self._lock:
            if path in self._locked.values():
                raise _refusal(errno.EWOULDBLOCK)
            handle = self._opened(self._files.setdefault(path, _Pages()))
            self._locked[handle] = path
            return handle

    @override
    def close(self, handle: int) -> None:
        with self._lock:
            del self._handles[handle]
            self._locked.pop(handle, None)

    def _named(self, path: Path) -> _Pages:
        if path not in self._files:
            raise _refusal(errno.ENOENT)
        return self._files[path]

    def _opened(self, file: _Pages) -> int:
        self._handle += 1
        self._handles[self._handle] = file
        return self._handle


class StandInFiles(MemoryFiles):
    """Files in memory, for a journal in the place of one on a disk: it holds the lock of that one.

    :param files: where that one is. Nothing of it is read or changed.
    """

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._real = files
        self._real_locks: dict[int, int] = {}

    @override
    def lock(self, path: Path) -> int:
        real = self._real.lock(path)
        handle = super().lock(path)
        self._real_locks[handle] = real
        return handle

    @override
    def close(self, handle: int) -> None:
        super().close(handle)
        real = self._real_locks.pop(handle, None)
        if real is not None:
            self._real.close(real)


class _Pages:
    """The bytes of one file: pages by their numbers, and zeros where there is no page."""

    __slots__ = ("_pages", "size")

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self.size = 0

    @property
    def memory_bytes(self) -> int:
        return len(self._pages) * PAGE_BYTES

    def read(self, count: int, offset: int) -> bytes:
        end = min(offset + count, self.size)
        return b"".join(
            memoryview(self._pages.get(number, _ZEROS))[start:stop]
            for number, start, stop in _spans(offset, end)
        )

    def write(self, data: bytes, offset: int) -> None:
        rest = memoryview(data)
        for number, start, stop in _spans(offset, offset + len(data)):
            piece, rest = rest[: stop - start], rest[stop - start :]
            page = self._pages.get(number)
            if piece == _ZEROS:
                self._pages.pop(number, None)
            elif page is not None:
                page[start:stop] = piece
            elif piece != _ZEROS[: stop - start]:
                page = self._pages[number] = bytearray(PAGE_BYTES)
                page[start:stop] = piece
            self.size = max(self.size, number * PAGE_BYTES + stop)


def _spans(offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the pages between two places of a file: each number, and from where to where."""
    while offset < end:
        number, start = divmod(offset, PAGE_BYTES)
        stop = min(PAGE_BYTES, start + end - offset)
        yield number, start, stop
        offset += stop - start


def _refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))

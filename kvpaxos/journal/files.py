"""The few things the journal asks of a file system, and one sentence for each refusal.

Everything above speaks to `Files` through `Directory` and `File`, so that a disk made of
memory, with faults of its own, can be put underneath.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path
from typing import Final, Protocol

from typing_extensions import override

from kvpaxos.errors import DiskError, StartError

LOCK_NAME: Final = "lock"
"""The file whose lock keeps a second process out of a directory."""

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a system says when there is no room: nothing is broken."""

UNREADABLE: Final = frozenset(
    {
        errno.EIO,
        errno.ENODATA,
        errno.EBADMSG,
        errno.EILSEQ,
        getattr(errno, "EUCLEAN", errno.EIO),
    }
)
"""What a system says when a disk does not give back what was written, or gives something else."""

_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_PIECE: Final = 512 * 1024


class Files(Protocol):
    """A file system, as far as the journal needs one. Refusals are `OSError`.

    Handles are whole numbers, as `os.open` gives them. All of it may be called on any
    thread; no handle is ever used by two threads at once.
    """

    def make_directory(self, path: Path) -> None:
        """Make ``path`` and what is missing above it, durably. It may exist already."""

    def names(self, directory: Path) -> list[str]:
        """Return the names in ``directory``, in any order."""

    def create(self, path: Path) -> int:
        """Make an empty file and return a handle to read and write it. It must not exist."""

    def open(self, path: Path) -> int:
        """Return a handle to read and write a file that exists."""

    def size(self, handle: int) -> int:
        """Return how many bytes long the file is."""

    def read(self, handle: int, count: int, offset: int) -> bytes:
        """Return ``count`` bytes from ``offset`` on, or fewer where the file ends."""

    def uncache(self, handle: int) -> None:
        """Have what is read next come from the disk itself, where the system can do that."""

    def write(self, handle: int, data: bytes, offset: int) -> int:
        """Write ``data`` at ``offset`` and return how many bytes were taken."""

    def sync(self, handle: int) -> None:
        """Return once all that was written, and the file's size, survive a power cut."""

    def sync_directory(self, directory: Path) -> None:
        """Return once the names in ``directory`` survive a power cut."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in the same directory."""

    def remove(self, path: Path) -> None:
        """Take away the name of a file. Open handles go on working."""

    def lock(self, path: Path) -> int:
        """Take the one lock on ``path``, which need not exist, until the handle is closed.

        :raises BlockingIOError: if another process has it.
        """

    def close(self, handle: int) -> None:
        """Give the handle back, and its lock if it has one."""


class Disk(Files, Protocol):
    """A file system on a disk, which may be full."""

    def allocate(self, handle: int, size: int) -> None:
        """Have the file take ``size`` bytes, really: not one with holes. It may take long."""

    def free_bytes(self, directory: Path) -> int:
        """Return how many bytes this user may still write to the disk of ``directory``."""


class OsFiles(Disk):
    """The file system of this machine."""

    @override
    def make_directory(self, path: Path) -> None:
        missing = [place for place in (path, *path.parents) if not place.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for place in missing:
            self.sync_directory(place.parent)

    @override
    def names(self, directory: Path) -> list[str]:
        return os.listdir(directory)  # noqa: PTH208 - the names are wanted, not paths

    @override
    def create(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    @override
    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    @override
    def size(self, handle: int) -> int:
        return os.fstat(handle).st_size

    @override
    def read(self, handle: int, count: int, offset: int) -> bytes:
        data = os.pread(handle, count, offset)
        # One call hands out 2 GiB at most, and less if a signal comes in between.
        while len(data) < count and (
            more := os.pread(handle, count - len(data), offset + len(data))
        ):
            data += more
        return data

    @override
    def uncache(self, handle: int) -> None:
        if sys.platform != "darwin":
            # What is not on the disk yet stays in memory.
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)

    @override
    def write(self, handle: int, data: bytes, offset: int) -> int:
        return os.pwrite(handle, data, offset)

    @override
    def sync(self, handle: int) -> None:
        if sys.platform == "darwin":
            # fsync leaves the bytes in the drive's own cache there.
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(handle)

    @override
    def sync_directory(self, directory: Path) -> None:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @override
    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    @override
    def remove(self, path: Path) -> None:
        path.unlink()

    @override
    def lock(self, path: Path) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(handle)
            raise
        return handle

    @override
    def close(self, handle: int) -> None:
        os.close(handle)

    @override
    def allocate(self, handle: int, size: int) -> None:
        if not _set_aside(handle, size):
            _write_chance(handle, size)

    @override
    def free_bytes(self, directory: Path) -> int:
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize


def _set_aside(handle: int, size: int) -> bool:
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


def _write_chance(handle: int, size: int) -> None:
    # Chance cannot be compressed: these bytes take the room that they seem to.
    piece = memoryview(os.urandom(_PIECE))
    done = 0
    while done < size:
        done += os.pwrite(handle, piece[: size - done], done)
    os.fsync(handle)


OS_FILES: Final = OsFiles()
"""It keeps nothing, so one is enough."""


class File:
    """An open file that says in one sentence what went wrong.

    Every method raises `DiskError` if the disk refuses.
    """

    __slots__ = ("_files", "_handle", "path")

    def __init__(self, files: Files, path: Path, handle: int) -> None:
        self._files = files
        self._handle = handle
        self.path = path

    def size(self) -> int:
        """Return how many bytes long the file is."""
        try:
            return self._files.size(self._handle)
        except OSError as error:
            raise refusal(self.path, "read", error) from error

    def read(self, count: int, offset: int) -> bytes:
        """Return ``count`` bytes from ``offset`` on, or fewer where the file ends."""
        try:
            return self._files.read(self._handle, count, offset)
        except OSError as error:
            raise refusal(self.path, "read", error) from error

    def uncache(self) -> None:
        """Have what is read next come from the disk itself, where the system can do that."""
        try:
            self._files.uncache(self._handle)
        except OSError as error:
            raise refusal(self.path, "read", error) from error

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        while data:
            try:
                taken = self._files.write(self._handle, data, offset)
            except OSError as error:
                raise refusal(self.path, "write", error) from error
            if not taken:
                raise DiskError(
                    f"{self.path}: the disk takes no more bytes; see that it is sound and has"
                    " free space, and start the node again"
                )
            # A disk that is almost full takes some, and says why not all when asked again.
            data, offset = data[taken:], offset + taken

    def sync(self) -> None:
        """Return once all that was written survives a power cut."""
        try:
            self._files.sync(self._handle)
        except OSError as error:
            raise refusal(self.path, "sync", error) from error

    def close(self) -> None:
        """Give the handle back."""
        try:
            self._files.close(self._handle)
        except OSError as error:
            raise refusal(self.path, "close", error) from error


class Directory:
    """The directory of one journal. Every method raises `DiskError` if the disk refuses."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self.path = path

    def make(self) -> None:
        """Make the directory, unless it is there."""
        try:
            self._files.make_directory(self.path)
        except OSError as error:
            raise refusal(self.path, "make", error) from error

    def lock(self) -> File:
        """Keep every other process out until the file returned is closed.

        :raises StartError: if one is in already.
        """
        path = self.path / LOCK_NAME
        try:
            return File(self._files, path, self._files.lock(path))
        except BlockingIOError as error:
            raise StartError(
                f"{self.path}: another process is using this journal; stop it, or give this"
                " node a directory of its own"
            ) from error
        except OSError as error:
            raise refusal(path, "lock", error) from error

    def names(self) -> list[str]:
        """Return the names of the files, in order."""
        try:
            return sorted(self._files.names(self.path))
        except OSError as error:
            raise refusal(self.path, "list", error) from error

    def names_if_any(self) -> list[str]:
        """Return the names of the files, in order: none if there is no such directory."""
        try:
            return sorted(self._files.names(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise refusal(self.path, "list", error) from error

    def create(self, name: str) -> File:
        """Make an empty file that does not exist yet."""
        path = self.path / name
        try:
            return File(self._files, path, self._files.create(path))
        except OSError as error:
            raise refusal(path, "create", error) from error

    def open(self, name: str) -> File | None:
        """Open a file, or return None if there is none of this name."""
        path = self.path / name
        try:
            return File(self._files, path, self._files.open(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise refusal(path, "open", error) from error

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        try:
            self._files.rename(self.path / old, self.path / new)
        except OSError as error:
            raise refusal(self.path / old, "rename", error) from error

    def remove(self, name: str) -> None:
        """Delete a file."""
        try:
            self._files.remove(self.path / name)
        except OSError as error:
            raise refusal(self.path / name, "delete", error) from error

    def sync(self) -> None:
        """Return once creations, renames and deletions survive a power cut."""
        try:
            self._files.sync_directory(self.path)
        except OSError as error:
            raise refusal(self.path, "sync", error) from error


def refusal(path: Path, deed: str, error: OSError) -> DiskError:
    """Return the sentence for a disk that would not do ``deed`` to ``path``."""
    if error.errno in NO_SPACE:
        advice = "free some space there, and start the node again"
    elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        advice = "let this user write there, and start the node again"
    elif error.errno in {errno.EMFILE, errno.ENFILE}:
        advice = "let this process open more files (ulimit -n), and start the node again"
    else:
        advice = "see that this disk is sound before you start the node again"
    return DiskError(f"{path}: cannot {deed} it ({error.strerror or error}); {advice}")


def lacks_space(error: DiskError) -> bool:
    """Whether ``error`` says no more than that the disk is full."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in NO_SPACE


def is_unreadable(error: DiskError) -> bool:
    """Whether ``error`` says of a read that the bytes are lost: the rest may still be there."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in UNREADABLE

"""Backups in files: packed, and read back."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from kvpaxos.cli.bar import Bar
from kvpaxos.errors import ConfigError
from kvpaxos.store.backup import FRAME_BYTES_MAX, BackupReader, BackupWriter, Header
from kvpaxos.store.view import Record

PIECE_BYTES: Final = 1024 * 1024
"""Records are packed in pieces of about this size: in smaller ones they would stay larger."""

READ_BYTES: Final = 1024 * 1024
"""How much of a file is read at a time."""

_LEVEL: Final = 3
"""zstd's own default: higher ones take much more time to make little of a difference."""


class Archive:
    """Writes a backup into ``file``."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file = file
        self._writer = BackupWriter(header)
        self._piece: list[Record] = []
        self._bytes = 0
        self._pack = zstandard.ZstdCompressor(level=_LEVEL).compress
        file.write(self._writer.begin())

    def add(self, records: list[Record]) -> None:
        """Write the next records, at once or with those that follow."""
        self._piece += records
        self._bytes += sum(len(place) + len(held) for place, held in records)
        if self._bytes >= PIECE_BYTES:
            self._write()

    def end(self) -> None:
        """Write what is left, and the end."""
        self._write()
        self._file.write(self._writer.end())

    def _write(self) -> None:
        if self._piece:
            self._file.write(self._writer.add(self._piece, self._pack))
            self._piece, self._bytes = [], 0


def reader_of(name: str) -> BackupReader:
    """Return what reads a backup, packed or not, that is called ``name`` in sentences."""
    return BackupReader(name, _unpack)


def read(path: Path, reader: BackupReader, doing: str) -> Generator[list[Record], None, None]:
    """Yield all records of the backup in ``path``; show on a terminal how far that has come.

    All of them are proved once it ends, and not before.

    :param doing: what is being done with it, for the terminal.
    :raises ConfigError: there is no such file.
    :raises BackupUnreadable: this is no backup, or one in another format.
    :raises BackupDamaged: it is not what was written.
    """
    with _opened(path) as file, Bar(doing, path.stat().st_size, things="keys") as bar:
        while data := file.read(READ_BYTES):
            for piece in reader.feed(data):
                yield piece
                bar.show(file.tell(), reader.tally.keys)
    reader.finish()


def described(header: Header) -> dict[str, object]:
    """Return what a backup is of, for JSON."""
    return {
        "cluster": header.cluster,
        "slot": header.slot,
        "keys": header.count,
        "revision": header.revision,
        "digest": f"{header.digest:032x}",
    }


def check(draft: Path, header: Header) -> None:
    """Read again what was written: what cannot be read is no backup."""
    reader = reader_of(str(draft))
    for _ in read(draft, reader, "check"):
        pass
    assert reader.header == header, "it was written as it came"


@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """Provide the file that will be at ``path`` if all goes well.

    :raises ConfigError: it cannot be there.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a directory; name a file.")
    if path.exists() and not (force and path.is_file()):
        raise ConfigError(
            f"{path} is there already; name another file, or replace that one with --force."
        )
    draft = path.with_name(f"{path.name}.part")
    try:
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{draft}: {error.strerror}; name a file that can be written.") from None
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{draft} is being written by another backup; name another file."
            ) from None
        try:
            yield draft, file
            draft.replace(path)
        except BaseException:
            draft.unlink()
            raise
    directory = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _unpack(packed: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(packed) > FRAME_BYTES_MAX:
            raise ValueError("it would be too long")
        unpacked: bytes = zstandard.ZstdDecompressor().decompress(
            packed, max_output_size=FRAME_BYTES_MAX, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return unpacked


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file that can be read.") from None

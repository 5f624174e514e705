"""An engine on RocksDB, by way of rocksdict.

RocksDB's own log is off: the journal is the log. So a write reaches the disk only when RocksDB
flushes its write buffers, and after a crash the state is an earlier one, of which the journal has
the rest. All of it is in one column family, since two would be flushed apart and tear in a crash.

What rocksdict does not say, found by trying (0.3.29):

* ``Snapshot.iter()`` does not look at the snapshot: it shows what is written later, too. But an
  iterator keeps to the moment when it was made, so here a snapshot is an iterator.
* ``items()`` and ``keys()`` end at a bad block without a word. `RdictIter` does too, but then its
  ``status()`` raises.
* ``close()`` leaves the directory locked while an iterator lives.
* Options of the column family that are not passed as ``column_families`` are read from the files,
  with a block cache of their own.
* A lost ``CURRENT`` file makes it begin an empty database, and remove the files of the old one.
* ``WriteOptions.disable_wal`` is a property, whatever the type stubs say.
* Every error is a plain ``Exception``; only its text tells what happened.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from kvpaxos.engine.scanning import CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX, Chunk, scan_in_chunks
from kvpaxos.errors import DiskError, KvPaxosError, StartError, StateClosed, StateDamaged

MEMORY_BYTES: Final = 64 * 1024 * 1024
"""How much RocksDB may take for its block cache and its write buffers, half for each."""

MEMORY_BYTES_MIN: Final = 1024 * 1024
"""With less than this RocksDB would do nothing but flush."""

_WRITE_BUFFERS: Final = 4
_OPEN_FILES_MAX: Final = 256
_BLOOM_BITS: Final = 10
_READ_AHEAD_BYTES: Final = 256 * 1024
_LOG_BYTES_MAX: Final = 1024 * 1024
_LOGS_KEPT: Final = 2
_MANIFEST_BYTES_MAX: Final = 1024 * 1024
COLUMN_FAMILY: Final = "default"
"""The only one."""


class RocksEngine:
    """A `kvpaxos.store.engine.Engine` in a directory of its own, which is made if need be.

    The thread of the first `write` is the only one that may write. `flush` may be called on any
    thread, also while others read and write; it lets them run.

    :param memory_bytes: about how much memory it may take once it is busy; idle it takes little.
    :raises StartError: the directory cannot be used, or another process uses it.
    :raises StateDamaged: the files in it are not those that were written.
    """

    def __init__(self, directory: Path, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._directory = directory
        self._snapshots: set[RocksSnapshot] = set()
        self._writer: int | None = None
        self._failure: DiskError | StateDamaged | None = None
        # Held by a flush: RocksDB must not be closed under it.
        self._flushing = threading.Lock()
        self._closed = False
        self._rdict = self._open(rocks_options(max(memory_bytes, MEMORY_BYTES_MIN)))
        self._rdict.set_write_options(_without_log())

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` holds, or None."""
        self._check_open()
        try:
            record: bytes | None = self._rdict.get(key)
        except Exception as error:
            raise self.read_error(error) from error
        return record

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put each value under its key, and remove the keys whose value is None, at once."""
        self._check_open()
        self._check_writer()
        self._check_sound()
        batch = WriteBatch(raw_mode=True)
        for key, record in changes.items():
            if record is None:
                batch.delete(key)
            else:
                batch.put(key, record)
        try:
            self._rdict.write(batch)
        except Exception as error:
            raise self._failed(error) from error

    def snapshot(self, *, once: bool = False) -> RocksSnapshot:
        """Return the engine as it is now. It keeps write buffers and files from being freed."""
        self._check_open()
        snapshot = RocksSnapshot(self, self._rdict.iter(_reading(once=once)))
        self._snapshots.add(snapshot)
        return snapshot

    def release(self, snapshot: RocksSnapshot) -> None:
        """Forget ``snapshot``. Only snapshots call this."""
        self._snapshots.discard(snapshot)

    def flush(self) -> None:
        """Make durable all writes that returned before this call; block until they are."""
        with self._flushing:
            self._check_open()
            self._check_sound()
            try:
                self._rdict.flush(wait=True)
            except Exception as error:
                raise self._failed(error) from error

    def sizes(self) -> Mapping[str, int]:
        """Return about how much there is, in bytes."""
        if self._closed:
            return {"unflushed_bytes": 0, "memory_bytes": 0, "file_bytes": 0}
        return {
            "unflushed_bytes": self._property("rocksdb.cur-size-all-mem-tables"),
            "memory_bytes": self._property("rocksdb.size-all-mem-tables")
            + self._property("rocksdb.block-cache-usage"),
            "file_bytes": self._property("rocksdb.total-sst-files-size"),
        }

    def close(self) -> None:
        """Close open snapshots, make all writes durable and unlock the directory.

        It waits for a flush that is under way. To do it twice is harmless.

        :raises DiskError: the writes did not become durable; the directory is unlocked all the
            same. It is raised only if no earlier call has raised it. Likewise `StateDamaged`.
        """
        with self._flushing:
            if self._closed:
                return
            self._closed = True
            for snapshot in tuple(self._snapshots):
                snapshot.close()
            try:
                self._rdict.close()
            except Exception as error:
                if self._failure is None:
                    raise self._failed(error) from error

    def read_error(self, error: Exception) -> KvPaxosError:
        """Return what RocksDB's ``error`` in reading means. Only snapshots call this."""
        text = self._sentence(error)
        if _CORRUPTION in text:
            return StateDamaged(str(self._directory), text)
        return DiskError(f"{self._directory} cannot be read: {text}.")

    def _open(self, options: Options) -> Rdict:
        return _open(self._directory, options)

    def _property(self, name: str) -> int:
        return self._rdict.property_int_value(name) or 0

    def _sentence(self, error: Exception) -> str:
        return sentence_of(error)

    def _failed(self, error: Exception) -> DiskError | StateDamaged:
        text = self._sentence(error)
        if _CORRUPTION in text:
            # To write is to read, too: what is compacted is written anew.
            self._failure = StateDamaged(str(self._directory), text)
            return self._failure
        if _lacks_space(text):
            text = f"{text}; {_ROOM}"
        self._failure = DiskError(f"{self._directory} cannot be written: {text}.")
        return self._failure

    def _check_open(self) -> None:
        if self._closed:
            raise StateClosed("The engine is closed.")

    def _check_sound(self) -> None:
        # RocksDB tries again by itself after some failures. What failed once is not trusted.
        if self._failure is not None:
            raise self._failure

    def _check_writer(self) -> None:
        thread = threading.get_ident()
        if self._writer is None:
            self._writer = thread
        assert self._writer == thread, "one thread writes, and this is another one"


class RocksSnapshot:
    """A `RocksEngine` as it was at one moment.

    It may be read on one thread and closed, above all with its engine, on another.
    """

    def __init__(self, engine: RocksEngine, iterator: RdictIter) -> None:
        self._engine = engine
        self._iterator: RdictIter | None = iterator
        # Whoever closes the engine must not leave an iterator behind that is at work.
        self._reading = threading.Lock()

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` held, or None."""
        with self._reading:
            found, record = self._at(key)
            if found is None:
                self._check_status()
            return record if found == key else None

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what the keys from ``start`` up to but without ``end`` held, in order."""
        return scan_in_chunks(self._read, start, end)

    def close(self) -> None:
        """Let go of the moment. To do it twice is harmless."""
        # The iterator has no method to close it: the last reference keeps the directory locked.
        with self._reading:
            self._iterator = None
        self._engine.release(self)

    def _read(self, start: bytes, end: bytes) -> Chunk:
        with self._reading:
            records, following, whole = self._walk(start, end)
            if not whole:
                self._check_status()
            return records, following

    # No frame that an exception passes may hold the iterator: it would be kept with the traceback.

    def _at(self, key: bytes) -> tuple[bytes | None, bytes | None]:
        """Return the first key from ``key`` on, and what it holds; or None if there seems none."""
        iterator = self._seek(key)
        return (iterator.key(), iterator.value()) if iterator.valid() else (None, None)

    def _walk(
        self, start: bytes, end: bytes
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None, bool]:
        """Return some records, where the next begin, and whether nothing came in between."""
        records: list[tuple[bytes, bytes]] = []
        size = 0
        iterator = self._seek(start)
        while iterator.valid():
            key: bytes = iterator.key()
            if key >= end:
                return records, None, True
            if len(records) == CHUNK_RECORDS_MAX or size >= CHUNK_BYTES_MAX:
                return records, key, True
            record: bytes = iterator.value()
            records.append((key, record))
            size += len(key) + len(record)
            iterator.next()
        return records, None, False

    def _seek(self, key: bytes) -> RdictIter:
        if self._iterator is None:
            raise StateClosed("The snapshot is closed.")
        self._iterator.seek(key)
        return self._iterator

    def _check_status(self) -> None:
        # An iterator that is no longer valid has either reached the end or met a bad block.
        assert self._iterator is not None
        try:
            self._iterator.status()
        except Exception as error:
            raise self._engine.read_error(error) from error


def _open(directory: Path, options: Options) -> Rdict:
    try:
        _make_directory(directory)
        names = [path.name for path in directory.iterdir()]
    except OSError as error:
        if _lacks_space(error.strerror or ""):
            raise StartError(
                f"{directory} cannot hold the state: {error.strerror}; {_ROOM}."
            ) from error
        raise StartError(
            f"{directory} cannot hold the state: {error.strerror}; make it a writable directory,"
            " or name another one."
        ) from error
    if "CURRENT" not in names and any(name.endswith(".sst") for name in names):
        raise StateDamaged(str(directory), "its file CURRENT is missing")
    try:
        return Rdict(str(directory), options, column_families={COLUMN_FAMILY: options})
    except Exception as error:
        raise start_error(directory, sentence_of(error)) from error


def _make_directory(directory: Path) -> None:
    """Make ``directory`` and what is missing above it, so that a power cut takes none of it."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    parent = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def start_error(directory: Path, text: str) -> StartError:
    """Return what ``text`` means, if RocksDB says so in opening. Only engines call this."""
    if "LOCK:" in text:
        return StartError(f"{directory} is in use already; stop the node that uses it first.")
    if _CORRUPTION in text or "No such file" in text:
        return StateDamaged(str(directory), text)
    mend = _ROOM if _lacks_space(text) else "start again once it is mended"
    return StartError(f"{directory} cannot be opened: {text}; {mend}.")


def rocks_options(memory_bytes: int) -> Options:
    """Return what RocksDB is told. Only engines call this."""
    tables = BlockBasedOptions()
    tables.set_block_cache(Cache(memory_bytes // 2))
    # Indexes and filters live in the cache too: so the cache bounds them.
    tables.set_cache_index_and_filter_blocks(True)
    tables.set_pin_l0_filter_and_index_blocks_in_cache(True)
    tables.set_bloom_filter(_BLOOM_BITS, block_based=False)

    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_block_based_table_factory(tables)
    options.set_compression_type(DBCompressionType.lz4())
    # Several small buffers: while one is flushed, writes go on into the next.
    options.set_write_buffer_size(memory_bytes // 2 // _WRITE_BUFFERS)
    options.set_max_write_buffer_number(_WRITE_BUFFERS)
    options.set_max_open_files(_OPEN_FILES_MAX)
    # One thread flushes, one compacts, and none wakes up to write statistics.
    options.set_max_background_jobs(2)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_max_log_file_size(_LOG_BYTES_MAX)
    options.set_keep_log_file_num(_LOGS_KEPT)
    # It has a line for every flush ever made, and is read at each start.
    options.set_max_manifest_file_size(_MANIFEST_BYTES_MAX)
    return options


def _without_log() -> WriteOptions:
    options = WriteOptions()
    options.disable_wal = True  # type: ignore[method-assign, assignment]
    return options


def _reading(*, once: bool) -> ReadOptions:
    # Whoever closes a snapshot does not wait for the files that it kept to be deleted.
    options = ReadOptions()
    options.set_background_purge_on_iterator_cleanup(True)
    if once:
        # What others need again stays in the cache.
        options.fill_cache(v=False)  # type: ignore[call-arg]  # the stubs know no argument
        options.set_readahead_size(_READ_AHEAD_BYTES)
    return options


_CORRUPTION: Final = "Corruption"
"""With this RocksDB says that bytes are not those that were written."""

_ROOM: Final = "free some space there, and start the node again"


def _lacks_space(text: str) -> bool:
    return any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT))


def sentence_of(error: Exception) -> str:
    """Return what RocksDB says, in one line. Only engines call this."""
    return " ".join(str(error).split()).rstrip(".")

"""Lines through a bounded queue to a thread of their own, which alone may be blocked by a sink."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from twisted.python.logfile import LogFile

from kvpaxos.node.threads import SYSTEM_THREADS, Thread, Threads

QUEUE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of log lines that wait for the sink; what comes beyond them is dropped."""

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A log file that has grown to this size is set aside, and a new one begun."""

FILES_MAX: Final = 4
"""Log files that are kept beside the current one."""

FLUSH_TIMEOUT_S: Final = 2.0
"""How long a stopping process waits for its last lines to be written."""

_BATCH_BYTES: Final = 64 * 1024
"""Lines are handed to the sink in pieces of about this size."""


class Sink(Protocol):
    """Where lines end up. Writing may block, and may raise OSError."""

    def write(self, data: bytes) -> None:
        """Write all of ``data``."""


class _Line(NamedTuple):
    """A line that waits; ``tells_of`` counts the lost lines that it reports, if it does."""

    data: bytes
    tells_of: int = 0


class LineWriter:
    """Writes lines to a sink that may block, without ever blocking who hands them in.

    Lines wait until `start`, so that a process may fork in between: no thread survives that.

    :ivar dropped: lines that were lost so far, because the queue was full or the sink refused.
    """

    def __init__(
        self,
        sink: Sink,
        report: Callable[[int], bytes],
        *,
        bytes_max: int = QUEUE_BYTES_MAX,
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        self.dropped = 0
        self._sink = sink
        self._report = report
        self._bytes_max = bytes_max
        self._threads = threads
        self._changed = threads.condition()
        self._lines: deque[_Line] = deque()
        self._bytes = 0
        self._unreported = 0
        self._closing = False
        self._thread: Thread | None = None

    @property
    def waiting_bytes(self) -> int:
        """Bytes of lines that are not written yet; never more than ``bytes_max``."""
        return self._bytes

    def write(self, line: bytes) -> None:
        """Queue ``line``, or drop and count it. Return at once."""
        with self._changed:
            self._tell_of_losses()
            if not self._queue(_Line(line)):
                self._lose([_Line(line)])
                return
            self._changed.notify()
            ended = self._closing and self._thread is None
        if ended:
            self._run()

    def start(self) -> None:
        """Begin to write, in a thread."""
        if self._thread is None and not self._closing:
            self._thread = self._threads.start(self._run, "log")

    def close(self, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Write what is queued, but give up after ``timeout_s``.

        Lines that come later are written by whoever hands them in: the process is ending.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is None:
            self._run()
            return
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._thread = None

    def _run(self) -> None:
        """Write until there is nothing left and nothing will come."""
        while batch := self._next_batch():
            data = b"".join(line.data for line in batch)
            try:
                self._sink.write(data)
            except OSError:
                # There is no better place to complain than the one that just failed. The log
                # tells of the loss if it ever works again.
                with self._changed:
                    self._bytes -= len(data)
                    self._lose(batch)
            else:
                with self._changed:
                    self._bytes -= len(data)
                    self._tell_of_losses()

    def _next_batch(self) -> list[_Line]:
        batch: list[_Line] = []
        size = 0
        with self._changed:
            while not self._lines and not self._closing:
                self._changed.wait()
            while self._lines and size < _BATCH_BYTES:
                batch.append(self._lines.popleft())
                size += len(batch[-1].data)
        return batch

    def _tell_of_losses(self) -> None:
        """Say in the log, where the lines are missing, how many there were."""
        count = self._unreported
        if count and self._queue(_Line(self._report(count), tells_of=count)):
            self._unreported = 0

    def _queue(self, line: _Line) -> bool:
        if self._bytes + len(line.data) > self._bytes_max:
            return False
        self._lines.append(line)
        self._bytes += len(line.data)
        return True

    def _lose(self, lines: list[_Line]) -> None:
        self.dropped += sum(not line.tells_of for line in lines)
        self._unreported += sum(line.tells_of or 1 for line in lines)


class DescriptorSink:
    """Writes to an open file descriptor, such as standard output."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Write all of ``data``, also where somebody has made the descriptor non-blocking."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])


class FileSink:
    """Writes to a file that is set aside for a new one when it has grown large."""

    def __init__(self, path: str) -> None:
        self._file = LogFile.fromFullPath(
            path, rotateLength=FILE_BYTES_MAX, maxRotatedFiles=FILES_MAX
        )

    def write(self, data: bytes) -> None:
        """Write all of ``data`` and leave none of it in a buffer."""
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

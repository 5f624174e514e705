"""Lines of a file, or of what comes through a pipe, for a program that runs on the reactor."""

from __future__ import annotations

import os
import threading
from typing import Any, BinaryIO, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.cli.pairs import BadLine

LINE_BYTES_MAX: Final = 100 * 1024 * 1024
"""No pair makes a longer line, even if each of its bytes is spelled in six."""

_READ_BYTES: Final = 256 * 1024


class Lines(Protocol):
    """Lines, one after another."""

    async def next(self) -> bytes:
        """Return the next line with its end, or nothing once there is none.

        :raises BadLine: it is too long to be a pair.
        """
        ...


class FileLines(Lines):
    """The lines of a file on a disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @override
    async def next(self) -> bytes:
        return _checked(self._file.readline(LINE_BYTES_MAX + 1))


class PipeLines(Lines):
    """The lines that come through a pipe or from a terminal, whenever they do.

    It reads on a thread: requests that are under way must not wait for the next line.
    """

    def __init__(self, descriptor: int, reactor: Any) -> None:  # noqa: ANN401 -- several interfaces
        self._descriptor = descriptor
        self._reactor = reactor
        self._lines: list[bytes] = []
        self._rest = b""
        self._over = False

    @override
    async def next(self) -> bytes:
        while not self._lines:
            if self._over:
                rest, self._rest = self._rest, b""
                return rest
            self._take(await self._read())
        return _checked(self._lines.pop())

    def _take(self, data: bytes) -> None:
        self._over = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines = [line + b"\n" for line in reversed(lines)]
        _checked(self._rest)

    def _read(self) -> Deferred[bytes]:
        data: Deferred[bytes] = Deferred()

        def read() -> None:
            # Whatever it is, it belongs to who waits, and not to this thread.
            try:
                outcome: bytes | Failure = os.read(self._descriptor, _READ_BYTES)
            except OSError:
                outcome = Failure()
            self._reactor.callFromThread(data.callback, outcome)

        # A daemon: nobody can wake it up when the command is to end.
        threading.Thread(target=read, name="standard input", daemon=True).start()
        return data


def _checked(line: bytes) -> bytes:
    if len(line) > LINE_BYTES_MAX:
        raise BadLine(
            f"it has more than {LINE_BYTES_MAX} bytes; write one object a line, each with its end"
        )
    return line

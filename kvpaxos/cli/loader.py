"""Stores the pairs of many lines, several at a time, and knows through which line all are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.python.failure import Failure

from kvpaxos.cli.checkpoint import Position
from kvpaxos.cli.lines import Lines
from kvpaxos.cli.pairs import BadLine, read_pair

Put: TypeAlias = Callable[[bytes, bytes], Deferred[Any]]
"""Stores a value under a key, and fires once that is acknowledged."""


class LineFailed(Exception):
    """A line could not be loaded.

    :ivar number: which, from 1.
    :ivar why: a `BadLine`, or what became of its request.
    """

    def __init__(self, number: int, why: Exception) -> None:
        super().__init__(number, why)
        self.number = number
        self.why = why


@dataclass(slots=True)
class _Line:
    """A line that was read.

    :ivar end: the position behind it.
    :ivar done: its pair is stored.
    """

    end: Position
    done: bool = False


class Loader:
    """Loads lines. What a key holds in the end is what its last line says.

    :param moved: told the position before which everything is acknowledged, each time it moves.
    :param concurrency: how many requests are under way at a time.
    """

    def __init__(
        self,
        put: Put,
        moved: Callable[[Position], None],
        *,
        concurrency: int,
        start: Position,
    ) -> None:
        self._put = put
        self._moved = moved
        self._concurrency = concurrency
        self._slots = DeferredSemaphore(concurrency)
        self._read_through = start
        self._lines: deque[_Line] = deque()
        self._sending: set[Deferred[None]] = set()
        self._last_of: dict[bytes, Deferred[None]] = {}
        self._failed: LineFailed | None = None

    async def load(self, lines: Lines) -> None:
        """Load all lines. After a failure no further one is sent, but all that were are waited for.

        :raises LineFailed: the first line that could not be loaded.
        """
        try:
            while self._failed is None and await self._load_next(lines):
                pass
            for _ in range(self._concurrency):
                await self._slots.acquire()
        finally:
            for sending in list(self._sending):
                sending.cancel()
        if self._failed is not None:
            raise self._failed

    async def _load_next(self, lines: Lines) -> bool:
        """Begin with the next line. Return False if there is none that could be sent."""
        try:
            text = await lines.next()
            if not text:
                return False
            line = _Line(self._read_through.after(text))
            pair = read_pair(text) if text.strip() else None
        except BadLine as error:
            self._fail(self._read_through.lines + 1, error)
            return False
        self._read_through = line.end
        self._lines.append(line)
        if pair is None:
            self._finish(line)
            return True
        await self._slots.acquire()
        sending = Deferred.fromCoroutine(self._send(line, *pair))
        self._sending.add(sending)
        sending.addErrback(Failure.trap, CancelledError).addBoth(self._sent, sending)
        return True

    async def _send(self, line: _Line, key: bytes, value: bytes) -> None:
        # Requests that are under way together are carried out in any order: those for one key
        # must not be.
        before = self._last_of.get(key)
        mine: Deferred[None] = Deferred()
        self._last_of[key] = mine
        try:
            if before is not None:
                await before
            if self._failed is None:
                await self._put(key, value)
                self._finish(line)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, whoever called is told
            self._fail(line.end.lines, error)
        finally:
            if self._last_of[key] is mine:
                del self._last_of[key]
            mine.callback(None)

    def _sent(self, _: object, sending: Deferred[None]) -> None:
        self._sending.discard(sending)
        self._slots.release()

    def _finish(self, line: _Line) -> None:
        line.done = True
        end: Position | None = None
        while self._lines and self._lines[0].done:
            end = self._lines.popleft().end
        if end is not None:
            self._moved(end)

    def _fail(self, number: int, why: Exception) -> None:
        if self._failed is None or number < self._failed.number:
            self._failed = LineFailed(number, why)

"""A dump: all pairs of one view as a JSON array, at the pace of the client that reads it."""

# mypy: allow-untyped-calls
# The methods of a twisted.web request have no annotations.

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from kvpaxos.node.http.connection import Request
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.replies import text, to_json
from kvpaxos.node.http.store import View
from kvpaxos.store.entry import Entry


@implementer(IPushProducer)
class Dump:
    """Sends a view page by page, and closes it, whatever comes.

    It reads the next page only when the one before it is on its way, so it holds about one page.
    A dump that cannot be finished breaks its connection: what arrived is then no valid JSON, and
    its last chunk is missing.

    :param after: the key after which it begins, or None to begin with the first.
    :param limit: how many pairs it sends, or None for all.
    :param closed: called once, when the view is closed.
    """

    _log = Logger()

    def __init__(
        self,
        request: Request,
        view: View,
        *,
        after: bytes | None,
        limit: int | None,
        limits: HttpLimits,
        clock: IReactorTime,
        closed: Callable[[Dump], None],
    ) -> None:
        self._request = request
        self._view: View | None = view
        self._after = after
        self._left = limit
        self._limits = limits
        self._clock = clock
        self._closed = closed
        self._timer: IDelayedCall | None = None
        self._paused = False
        self._opening = b"["
        self._finished: Deferred[None] = Deferred(lambda _: self._close())

    def run(self) -> Deferred[None]:
        """Send everything; fire when it is written. To cancel it closes the view.

        It never fires if the connection had to be broken: whoever watches that will cancel it.
        Whatever the first page raises is raised here, before anything is sent.
        """
        try:
            first = self._read()
        except BaseException:
            self._close()
            raise
        self._request.registerProducer(self, streaming=True)
        self._send(first)
        return self._finished

    def break_off(self, why: str) -> None:
        """Break the connection, unless all is sent already."""
        if self._view is not None:
            self._log.warn("a dump is broken off: {why}", why=why)
            self._close()
            self._request.channel.abort()

    def pauseProducing(self) -> None:  # noqa: N802 (IPushProducer)
        """Wait: what was written is too much for the client at the moment."""
        self._paused = True
        self._call_later(self._limits.page_s_max, self._give_up)

    def resumeProducing(self) -> None:  # noqa: N802 (IPushProducer)
        """Go on: the client has taken all that was written."""
        self._paused = False
        self._call_later(0.0, self._go_on)

    def stopProducing(self) -> None:  # noqa: N802 (IPushProducer)
        """Let go: the connection is gone."""
        self._close()

    def _go_on(self) -> None:
        with self._log.failuresHandled("while reading a page of a dump") as reading:
            self._send(self._read())
        if reading.failed:
            self.break_off("its next page cannot be read")

    def _give_up(self) -> None:
        self.break_off(f"its client takes longer than {self._limits.page_s_max:g} s for a page")

    def _read(self) -> list[tuple[bytes, Entry]]:
        assert self._view is not None, "the view is closed"
        if self._left == 0:
            return []
        entries_max = self._limits.page_entries_max
        if self._left is not None:
            entries_max = min(entries_max, self._left)
        return self._view.page(self._after, entries_max, self._limits.page_bytes_max)

    def _send(self, page: list[tuple[bytes, Entry]]) -> None:
        if not page:
            self._end()
            return
        self._after = page[-1][0]
        if self._left is not None:
            self._left -= len(page)
        pairs = to_json([_pair(key, entry.value) for key, entry in page])
        self._request.write(self._opening + pairs[1:-1])
        self._opening = b","
        # In another turn of the reactor: a fast client must not keep the
        # node from everything else while it reads a million pairs.
        if not self._paused:
            self._call_later(0.0, self._go_on)

    def _end(self) -> None:
        self._close()
        self._request.write(b"[]" if self._opening == b"[" else b"]")
        self._request.unregisterProducer()
        self._finished.callback(None)

    def _close(self) -> None:
        if self._view is None:
            return
        view, self._view = self._view, None
        self._cancel_timer()
        view.close()
        self._closed(self)

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._cancel_timer()
        if self._view is not None:
            self._timer = self._clock.callLater(delay_s, call)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _pair(key: bytes, value: bytes) -> object:
    """Return how a pair is written: as a list of two, or with its names if it is not all text."""
    try:
        return key.decode(), value.decode()
    except UnicodeDecodeError:
        return {**text("key", key), **text("value", value)}

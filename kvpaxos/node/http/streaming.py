"""Replies that are sent page by page, at the pace of the client that reads them."""

# mypy: allow-untyped-calls
# The methods of a twisted.web request have no annotations.

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from kvpaxos.node.http.connection import Request
from kvpaxos.node.http.limits import HttpLimits


class Pages(Protocol):
    """What is sent. It costs memory until it is closed.

    :ivar name: what to call it in the log, such as "dump".
    """

    name: str

    def read(self) -> tuple[bytes, bool]:
        """Return the next page, and whether it is the last one."""
        ...

    def close(self) -> None:
        """Let go of what it is read from. To do it twice is harmless."""
        ...


@implementer(IPushProducer)
class Stream:
    """Sends all pages, and closes them, whatever comes.

    It reads the next page only when the one before it is on its way, so it holds about one page.
    A stream that cannot be finished breaks its connection: its last chunk is then missing.

    :param closed: called once, when the pages are closed.
    """

    _log = Logger()

    def __init__(
        self,
        request: Request,
        pages: Pages,
        *,
        limits: HttpLimits,
        clock: IReactorTime,
        closed: Callable[[Stream], None],
    ) -> None:
        self._request = request
        self._pages = pages
        self._open = True
        self._limits = limits
        self._clock = clock
        self._closed = closed
        self._timer: IDelayedCall | None = None
        self._paused = False
        self._finished: Deferred[None] = Deferred(lambda _: self._close())

    def run(self) -> Deferred[None]:
        """Send everything; fire when it is written. To cancel it closes the pages.

        It never fires if the connection had to be broken: whoever watches that will cancel it.
        Whatever the first page raises is raised here, before anything is sent.
        """
        try:
            page, last = self._pages.read()
        except BaseException:
            self._close()
            raise
        self._request.registerProducer(self, streaming=True)
        self._send(page, last=last)
        return self._finished

    def break_off(self, why: str) -> None:
        """Break the connection, unless all is sent already."""
        if self._open:
            self._log.warn("a {what} is broken off: {why}", what=self._pages.name, why=why)
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
        with self._log.failuresHandled("while reading a page to be sent") as reading:
            page, last = self._pages.read()
            self._send(page, last=last)
        if reading.failed:
            self.break_off("its next page cannot be read")

    def _give_up(self) -> None:
        self.break_off(f"its client takes longer than {self._limits.page_s_max:g} s for a page")

    def _send(self, page: bytes, *, last: bool) -> None:
        if last:
            self._close()
            self._request.write(page)
            self._request.unregisterProducer()
            self._finished.callback(None)
            return
        self._request.write(page)
        # In another turn of the reactor: a fast client must not keep the
        # node from everything else while it reads a million pairs.
        if not self._paused:
            self._call_later(0.0, self._go_on)

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._cancel_timer()
        self._pages.close()
        self._closed(self)

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._cancel_timer()
        if self._open:
            self._timer = self._clock.callLater(delay_s, call)

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

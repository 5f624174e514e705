"""One request to one node, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol as BytesProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import RequestNotSent
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.iweb import IBodyProducer, IResponse
from typing_extensions import override
from zope.interface import implementer

from kvpaxos.client.replies import Reply
from kvpaxos.client.requests import Sent
from kvpaxos.client.retrying import Trouble
from kvpaxos.errors import Applied

T = TypeVar("T")

CONNECT_S_MAX: Final = 2.0
"""A node that has not taken the connection by then is taken for unreachable."""

ANSWER_BYTES_MAX: Final = 100 * 1024 * 1024
"""The longest answer that is read, unless the client was told another number. It holds the longest
value that nodes can be set up to take, in the longest spelling that JSON has."""


class Treq(Protocol):
    """What is needed of treq: a `treq.client.HTTPClient`, a `treq.testing.StubTreq`, or `treq`."""

    @property
    def request(self) -> Callable[..., Deferred[Any]]:
        """Send a request; see `treq.request`."""
        ...


class TooLong(Exception):
    """An answer is longer than anybody wants to hold."""


@implementer(IBodyProducer)
class Body:
    """A request body that is written at once, and asks no reactor for turns."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length: int = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 (IBodyProducer)
        """Write everything."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802 (IBodyProducer)
        """Do nothing: everything is written."""

    def resumeProducing(self) -> None:  # noqa: N802 (IBodyProducer)
        """Do nothing: everything is written."""

    def stopProducing(self) -> None:  # noqa: N802 (IBodyProducer)
        """Do nothing: everything is written."""


class Collector(BytesProtocol):
    """Collects the body of a response.

    :ivar whole: fires with it. To cancel it closes the connection.
    """

    def __init__(self, bytes_max: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._bytes_max = bytes_max
        self._body = bytearray()

    @override
    def dataReceived(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._bytes_max and not self.whole.called:
            self._stop()
            self.whole.errback(TooLong(f"its answer has more than {self._bytes_max} bytes"))

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone):
            self.whole.callback(bytes(self._body))
        else:
            self.whole.errback(reason)

    def _stop(self) -> None:
        self._body.clear()
        cast(Any, self.transport).stopProducing()


class Exchange:
    """Sends requests through treq."""

    def __init__(self, treq: Treq, clock: IReactorTime, *, answer_bytes_max: int) -> None:
        self._treq = treq
        self._clock = clock
        self._answer_bytes_max = answer_bytes_max

    async def ask(self, node: str, sent: Sent, wait_s: float) -> Reply | Trouble:
        """Return the reply of ``node``, or why there is none after ``wait_s``."""
        return await self.within(wait_s, self._ask(node, sent))

    async def within(
        self, wait_s: float, asking: Coroutine[Deferred[object], object, T]
    ) -> T | Trouble:
        """Return what ``asking`` does, or why it came to nothing in time.

        :raises CancelledError: the caller was canceled meanwhile.
        """
        asked = Deferred.fromCoroutine(asking)
        timer = self._clock.callLater(wait_s, asked.cancel)
        try:
            return await asked
        except _BROKEN as broken:
            if timer.active() and _was_canceled(broken):
                raise CancelledError from None
            return trouble(broken, None if timer.active() else wait_s)
        finally:
            if timer.active():
                timer.cancel()

    def open(self, node: str, sent: Sent) -> Deferred[IResponse]:
        """Send a request; fire with the response when its head is there."""
        options: dict[str, object] = {}
        if sent.body is not None:
            options["data"] = sent.body
            options["headers"] = {"Content-Type": "application/json"}
        return self._treq.request(
            sent.method,
            node + sent.path,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,
            **options,
        )

    def collect(self, response: IResponse) -> Deferred[bytes]:
        """Fire with the whole body of ``response``."""
        collector = Collector(self._answer_bytes_max)
        response.deliverBody(collector)
        return collector.whole

    async def _ask(self, node: str, sent: Sent) -> Reply:
        response = await self.open(node, sent)
        return Reply(node, response.code, headers_of(response), await self.collect(response))


def trouble(broken: Exception, waited_s: float | None) -> Trouble:
    """Say what a request that broke off comes to.

    :param waited_s: how long it was waited for, if it was this that ended it.
    """
    applied: Applied = "no" if isinstance(broken, _NEVER_SENT) else "unknown"
    if waited_s is not None:
        return Trouble(f"no answer within {waited_s:.3g} s", applied, silent=True)
    match broken:
        case error.ConnectionRefusedError():
            why = "it refuses connections"
        case error.TimeoutError():
            why = f"no connection within {CONNECT_S_MAX:g} s"
        case error.ConnectError() | error.DNSLookupError():
            why = f"it cannot be reached ({str(broken).rstrip('.')})"
        case TooLong():
            return Trouble(str(broken), applied, everywhere=True)
        case _:
            why = "it broke the connection off"
    return Trouble(why, applied)


def headers_of(response: IResponse) -> Mapping[str, str]:
    """Return the headers of ``response`` by lower-case name; of several the last."""
    return {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }


def _was_canceled(broken: Exception) -> bool:
    """Whether a request broke off because somebody here canceled it."""
    reasons = getattr(broken, "reasons", ())
    return isinstance(broken, CancelledError | error.ConnectingCancelledError) or any(
        reason.check(CancelledError) for reason in reasons
    )


_NEVER_SENT: Final = (
    error.ConnectError,
    error.ConnectingCancelledError,
    error.DNSLookupError,
    RequestNotSent,
)
"""The request certainly did not reach its node."""

_BROKEN: Final = (
    *_NEVER_SENT,
    CancelledError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    TooLong,
    error.ConnectionClosed,
    error.ConnectionLost,
)
"""What becomes of requests in a network. Anything else is a mistake of ours, or of the caller."""

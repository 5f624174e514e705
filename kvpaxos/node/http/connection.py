"""One client's connection, kept within bounds, and the requests that come over it.

What twisted.web does by itself is nearly enough. These classes add what a server needs whose
clients may be careless or hostile: bounds on bodies, on pipelined requests, on silence, and a
reply in JSON to what is not even HTTP.
"""

# mypy: allow-untyped-calls
# The methods of twisted.web that are extended here have no annotations.

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from urllib.parse import unquote_to_bytes

from twisted.internet import tcp
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import NO_CONTENT, HTTPChannel
from typing_extensions import override
from werkzeug.exceptions import NotFound

from kvpaxos.errors import BadRequest, TooLarge, Unavailable
from kvpaxos.node.http.dialects import VERBS
from kvpaxos.node.http.failures import refusal
from kvpaxos.node.http.ledger import Ledger
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.replies import (
    Headers,
    Replies,
    Reply,
    body_headers,
    last_reply,
    receipt_headers,
)
from kvpaxos.node.http.store import Receipt


class Request(server.Request):
    """One request, from its first header to the last byte of its reply."""

    channel: Channel
    content: BytesIO
    _held_bytes = 0

    @override
    def gotLength(self, length: int | None) -> None:
        """Prepare for a body of ``length`` bytes; None says that it comes in chunks."""
        # In memory: twisted.web would write a longer one to a file, on the
        # thread of the reactor.
        self.content = BytesIO()
        if length is not None and length > self.channel.limits.body_bytes_max:
            self._refuse_body()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.channel.refused:
            return
        if self._held_bytes + len(data) > self.channel.limits.body_bytes_max:
            self._refuse_body()
        elif self.channel.ledger.hold(len(data)):
            self._held_bytes += len(data)
            self.content.write(data)
        else:
            self.channel.refuse(Unavailable("the node holds too many request bodies already"))

    @override
    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Begin to answer: the whole request is here."""
        # A refused one can still become whole when its last piece holds the
        # end of its body too.
        if not self.channel.refused:
            super().requestReceived(command.upper(), path, version)

    @override
    def process(self) -> None:
        """Pass the request on to the routes."""
        if self.channel.clogged:
            self.channel.park(self)
        elif _is_readable(self.path):
            super().process()
        else:
            self.answer(self.fail(Failure(NotFound())))

    @override
    def getRequestHostname(self) -> bytes:
        """Return a name for this site. What the client calls it matters to no reply."""
        # The routes would otherwise decode it from the client's header, and
        # stumble if that is no host name.
        return b"kvpaxos"

    @override
    def processingFailed(self, reason: Failure) -> Failure:
        """Finish a request for which the routes had no reply."""
        if self.startedWriting:
            self._log.failure("while sending a reply to {path}", failure=reason, path=self.path)
            self.channel.abort()
        else:
            self.answer(self.fail(reason))
        return reason

    @override
    def finish(self) -> None:
        """Close the reply."""
        self._release()
        super().finish()

    @override
    def connectionLost(self, reason: Failure) -> None:
        """Give up: there is nobody to reply to."""
        self._release()
        super().connectionLost(reason)

    def take_body(self) -> bytes:
        """Return the body, and keep no copy.

        It counts on until the request is over: what is made of it may live as long.
        """
        body = self.content.getvalue()
        self.content = BytesIO()
        return body

    def query(self) -> bytes:
        """Return what follows the first question mark of the address."""
        return self.uri.partition(b"?")[2]

    def begin(self, receipt: Receipt | None = None) -> None:
        """Set the headers of a reply whose length is not known yet.

        :param receipt: what it rests on, if that is more than what this node knows by itself.
        """
        self._set(body_headers(receipt or self.channel.receipt()))

    def reply(self, reply: Reply, receipt: Receipt | None = None) -> bytes:
        """Set the status and all headers of ``reply``, and return its body."""
        self.setResponseCode(reply.status)
        self.begin(receipt)
        self._set(((b"Content-Length", b"%d" % len(reply.body)),))
        return reply.body

    def reply_empty(self, headers: Headers) -> bytes:
        """Set the headers of a reply without a body, ``headers`` among them."""
        self.setResponseCode(NO_CONTENT)
        self._set(headers)
        self._set(receipt_headers(self.channel.receipt()))
        return b""

    def fail(self, failure: Failure, receipt: Receipt | None = None) -> bytes:
        """Set the status and all headers that ``failure`` leads to, and return the body."""
        assert failure.value is not None
        refused = refusal(failure.value, self.channel.replies, VERBS.get(self.path))
        if refused.unexpected:
            self._log.failure("while answering {path}", failure=failure, path=self.path)
        self._set(refused.headers)
        return self.reply(refused.reply, receipt)

    def answer(self, body: bytes) -> None:
        """Send a whole reply."""
        self.write(body)
        self.finish()

    def leave_then(self, last: Callable[[], None]) -> None:
        """Close the connection after the reply, and call ``last`` when it is closed."""
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.channel.leave_then(last)

    def _set(self, headers: Headers) -> None:
        for name, value in headers:
            self.responseHeaders.setRawHeaders(name, [value])

    def _refuse_body(self) -> None:
        # Before twisted.web looks at this header and asks for the body.
        self.requestHeaders.removeHeader(b"Expect")
        most = self.channel.limits.body_bytes_max
        self.channel.refuse(TooLarge(f"the request body is over its limit of {most} bytes"))
        self.content = BytesIO()
        self._release()

    def _release(self) -> None:
        self.channel.ledger.release(self._held_bytes)
        self._held_bytes = 0


class Channel(HTTPChannel):
    """One connection.

    What it holds is bounded: a head, a body, a reply that its client does not read, and what its
    client sends ahead of a reply, each by a named limit or by twisted.web; and so is how long it
    may hold that while nothing moves.

    :ivar ledger: what the connections of the site hold together.
    :ivar limits: the bounds.
    :ivar replies: how replies are spelled.
    :ivar receipt: what a reply rests on that asked nobody.
    :ivar refused: whether the rest of what the client sends is thrown away.
    :ivar clogged: whether the client leaves too much of the last reply unread.
    """

    requests: list[Request]
    transport: tcp.Server

    def __init__(
        self,
        ledger: Ledger,
        limits: HttpLimits,
        replies: Replies,
        receipt: Callable[[], Receipt],
    ) -> None:
        super().__init__()
        self.ledger = ledger
        self.limits = limits
        self.replies = replies
        self.receipt = receipt
        self.refused = False
        self.clogged = False
        self.MAX_LENGTH = self.totalHeadersSize = limits.head_bytes_max
        self._closing = False
        self._lingered_bytes = 0
        self._parked: Request | None = None
        self._last: Callable[[], None] | None = None

    @override
    def connectionMade(self) -> None:
        """Begin to count the connection, and its silence."""
        super().connectionMade()
        if self.ledger.is_crowded():
            self.abort()
        elif not self.ledger.admit(self):
            self.refuse(Unavailable("the node has as many connections as it can take"))

    @override
    def dataReceived(self, data: bytes) -> None:
        """Take bytes of requests."""
        if self.refused:
            self._linger(len(data))
        else:
            # Past HTTPChannel, for which each byte is a new lease of life: a
            # client that sends one a minute would hold its connection for ever.
            LineReceiver.dataReceived(self, data)

    @override
    def lineReceived(self, line: bytes) -> None:
        """Take a line of a request's head."""
        if self.refused:
            return
        if self.ledger.wakes(self):
            self.resetTimeout()
        super().lineReceived(line)

    @override
    def headerReceived(self, line: bytes) -> bool:
        """Take a header, and return whether it makes sense."""
        try:
            makes_sense: bool = super().headerReceived(line)
        except ValueError:
            # Python refuses to read a Content-Length of thousands of digits.
            self._respondToBadRequestAndDisconnect()
            return False
        return makes_sense

    @override
    def rawDataReceived(self, data: bytes) -> None:
        """Take a piece of a body, or of what the client sends ahead of a reply."""
        if self.refused:
            self._linger(len(data))
            return
        super().rawDataReceived(data)
        # HTTPChannel reads on without a bound while it answers a request and
        # its client does not read. It resumes by itself.
        if self.clogged:
            self.transport.pauseProducing()

    @override
    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is longer than a head may be."""
        most = self.limits.head_bytes_max
        self.refuse(
            TooLarge(f"the request's address or a header is over the limit of {most} bytes")
        )

    @override
    def _respondToBadRequestAndDisconnect(self) -> None:
        most = self.limits.head_bytes_max
        self.refuse(BadRequest(f"this is not HTTP/1.1, or its head has more than {most} bytes"))

    @override
    def pauseProducing(self) -> None:
        """Note that replies pile up."""
        self.clogged = True
        super().pauseProducing()

    @override
    def resumeProducing(self) -> None:
        """Go on: the client has read what was written."""
        self.clogged = False
        super().resumeProducing()
        request, self._parked = self._parked, None
        if request is not None:
            self.setTimeout(None)
            self.transport.resumeProducing()
            request.process()

    @override
    def requestDone(self, request: Request) -> None:
        """Turn to the next request."""
        self.ledger.rests(self)
        super().requestDone(request)

    @override
    def loseConnection(self) -> None:
        """Close once everything is written, or after a while in any case."""
        self._closing = True
        self.setTimeout(self.limits.idle_s_max)
        super().loseConnection()

    @override
    def timeoutConnection(self) -> None:
        """Close a connection on which nothing moves. It is too common to be logged."""
        if self._closing or self.clogged:
            self.abort()
        else:
            self.loseConnection()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of everything."""
        self.ledger.leaves(self)
        super().connectionLost(reason)
        if self._last is not None:
            self._last()

    def retire(self) -> None:
        """Close once no request is being answered."""
        self.persistent = False
        if self.refused or not self.requests:
            self.loseConnection()

    def abort(self) -> None:
        """Break the connection, so that its client cannot take a part of a reply for the whole."""
        self.transport.abortConnection()

    def leave_then(self, last: Callable[[], None]) -> None:
        """Close after the reply to the request under way, and then call ``last``."""
        self.persistent = False
        self._last = last

    def park(self, request: Request) -> None:
        """Answer ``request`` only when the client has read the replies before it.

        A client could otherwise ask a thousand times for a large value in a few packets, read
        nothing, and have us keep a thousand copies.
        """
        self._parked = request
        self.transport.pauseProducing()
        self.setTimeout(self.limits.idle_s_max)

    def refuse(self, error: BaseException) -> None:
        """Reply to what is no request, or is too large for one, and read no more of it."""
        if self.refused:
            return
        self.refused = True
        refused = refusal(error, self.replies, None)
        headers = (*refused.headers, *body_headers(self.receipt()))
        self.transport.write(last_reply(refused.reply, headers))
        # A connection that is closed while its client still sends is reset,
        # and the client may never see the reply. So its bytes are thrown
        # away for a while before the end.
        self.setTimeout(self.limits.linger_s_max)

    def _linger(self, length: int) -> None:
        self._lingered_bytes += length
        if self._lingered_bytes > self.limits.linger_bytes_max:
            self.abort()


def _is_readable(path: bytes) -> bool:
    """Return whether the routes can read ``path`` at all: they log each one that they cannot."""
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return path != b"*"

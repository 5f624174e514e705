"""Sends many small requests over few connections, for a third of what treq costs.

It takes the place of treq in a `kvpaxos.client.client.Client`, and does only what that asks of it:
plain HTTP/1.1 over TCP, and answers that are short and wanted whole. They are read by httptools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from typing_extensions import override

from kvpaxos.client.connecting import endpoint_of

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""No honest answer to what is sent this way is longer."""


class Sender:
    """Sends requests, each over a connection of its own, which the next one takes over."""

    def __init__(self, reactor: Any) -> None:  # noqa: ANN401 -- several interfaces at once
        self._reactor = reactor
        self._idle: dict[str, list[Connection]] = {}

    def request(
        self,
        method: str,
        url: str,
        *,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> Deferred[Response]:
        """Send a request to a URL that begins with ``http:``; fire with the answer.

        To cancel it closes its connection.

        :raises ResponseFailed: the connection broke before the answer was there. What keeps one
            from being made is raised as Twisted does.
        """
        parts = urlsplit(url)
        assert parts.scheme == "http", url
        given = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = (
            f"{method} {parts.path}{'?' if parts.query else ''}{parts.query} HTTP/1.1\r\n"
            f"Host: {parts.netloc}\r\n{given}Content-Length: {len(data)}\r\n\r\n"
        )
        request = head.encode() + data
        idle = self._idle.setdefault(parts.netloc, [])
        if idle:
            return idle.pop().ask(request)
        assert parts.hostname is not None, url
        endpoint = endpoint_of(self._reactor, parts.hostname, parts.port or 80)
        connecting = endpoint.connect(_Connections(idle))

        def ask(connection: IProtocol) -> Deferred[Response]:
            assert isinstance(connection, Connection)
            return connection.ask(request)

        return connecting.addCallback(ask)

    def close(self) -> None:
        """Close all connections that are idle."""
        for idle in self._idle.values():
            for connection in list(idle):
                connection.close()


class Response(NamedTuple):
    """An answer, whole, in the form in which Twisted hands out answers that still arrive."""

    code: int
    headers: Headers
    body: bytes

    def deliverBody(self, receiver: Protocol) -> None:  # noqa: N802 -- Twisted's name
        """Hand the body to ``receiver`` at once."""
        receiver.dataReceived(self.body)
        receiver.connectionLost(Failure(ResponseDone()))


class Connection(Protocol):
    """One connection to a node: one request after another.

    :param idle: where it waits for the next request.
    """

    def __init__(self, idle: list[Connection]) -> None:
        self._idle = idle
        self._asked: Deferred[Response] | None = None
        self._parser: HttpResponseParser
        self._headers: Headers
        self._body: bytearray

    def ask(self, request: bytes) -> Deferred[Response]:
        """Send a request; fire with the answer. See `Sender.request`."""
        assert self.transport is not None
        assert self._asked is None, "one at a time"
        asked: Deferred[Response] = Deferred(self._give_up)
        self._asked = asked
        self._parser, self._headers, self._body = HttpResponseParser(self), Headers(), bytearray()
        self.transport.write(request)
        return asked

    def close(self) -> None:
        """Close it, which is idle."""
        assert self.transport is not None
        self.transport.loseConnection()

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the answer."""
        self._headers.addRawHeader(name, value)

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._body += piece
        if len(self._body) > ANSWER_BYTES_MAX:
            self._abort()

    def on_message_complete(self) -> None:
        """Hand out the answer, and be there for the next request."""
        asked, self._asked = self._asked, None
        if asked is None:
            # Nobody has asked for it, or nobody wants it any more.
            self._abort()
            return
        if self._parser.should_keep_alive():
            self._idle.append(self)
        else:
            self.close()
        answer = Response(self._parser.get_status_code(), self._headers, bytes(self._body))
        asked.callback(answer)

    # What Twisted calls.

    @override
    def dataReceived(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._abort()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self in self._idle:
            self._idle.remove(self)
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.errback(ResponseFailed([reason]))

    def _give_up(self, _: Deferred[Response]) -> None:
        self._asked = None
        self._abort()

    def _abort(self) -> None:
        cast("ITCPTransport", self.transport).abortConnection()


class _Connections(Factory):
    """Makes connections that wait in ``idle``."""

    noisy = False

    def __init__(self, idle: list[Connection]) -> None:
        self._idle = idle

    @override
    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return Connection(self._idle)

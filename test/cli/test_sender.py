"""Requests over few connections, and what becomes of them when those break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed
from typing_extensions import override

from kvpaxos.cli.sender import ANSWER_BYTES_MAX, Connection, Response, Sender
from test.processes.cluster import free_ports

pytestmark = pytest.mark.timeout(60)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Of: a\r\nX-Of: b\r\n\r\n{}"


class Wire(StringTransport):
    """A transport that is told when it is aborted."""

    aborted = False

    @override
    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class ConnectionTests(SynchronousTestCase):
    """`Connection`."""

    @override
    def setUp(self) -> None:
        self.idle: list[Connection] = []
        self.connection = Connection(self.idle)
        self.wire = Wire()
        self.connection.makeConnection(self.wire)

    def lose(self) -> None:
        self.connection.connectionLost(Failure(ConnectionDone()))

    def test_an_answer_comes_whole_however_it_is_cut(self) -> None:
        asked = self.connection.ask(b"request")
        assert self.wire.value() == b"request"
        for index in range(len(OK)):
            self.assertNoResult(asked)
            self.connection.dataReceived(OK[index : index + 1])
        answer = self.successResultOf(asked)
        assert (answer.code, answer.body) == (200, b"{}")
        assert dict(answer.headers.getAllRawHeaders())[b"X-Of"] == [b"a", b"b"]

    def test_an_answer_in_chunks(self) -> None:
        asked = self.connection.ask(b"request")
        self.connection.dataReceived(
            b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
        )
        answer = self.successResultOf(asked)
        assert (answer.code, answer.body) == (503, b"{}")

    def test_a_connection_waits_for_the_next_request(self) -> None:
        for _ in range(3):
            asked = self.connection.ask(b"request")
            assert self.idle == []
            self.connection.dataReceived(OK)
            self.successResultOf(asked)
            assert self.idle == [self.connection]
            self.idle.remove(self.connection)
        assert self.wire.value() == b"request" * 3

    def test_a_request_may_be_sent_as_soon_as_an_answer_is_there(self) -> None:
        later: list[Deferred[Response]] = []
        asked = self.connection.ask(b"one ")
        asked.addCallback(lambda _: later.append(self.idle.pop().ask(b"two")))
        self.connection.dataReceived(OK)
        assert self.wire.value() == b"one two"
        self.connection.dataReceived(OK)
        assert self.successResultOf(later[0]).body == b"{}"

    def test_a_node_that_wants_to_close_is_asked_no_more(self) -> None:
        asked = self.connection.ask(b"request")
        self.connection.dataReceived(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert self.successResultOf(asked).code == 200
        assert self.idle == []
        assert self.wire.disconnecting

    def test_a_connection_that_breaks_fails_its_request(self) -> None:
        asked = self.connection.ask(b"request")
        self.connection.dataReceived(OK[:30])
        self.lose()
        failed = self.failureResultOf(asked, ResponseFailed).value
        assert failed.reasons[0].check(ConnectionDone)

    def test_an_idle_connection_that_breaks_is_forgotten(self) -> None:
        self.connection.ask(b"request")
        self.connection.dataReceived(OK)
        self.lose()
        assert self.idle == []

    def test_what_is_no_answer_breaks_the_connection(self) -> None:
        asked = self.connection.ask(b"request")
        self.connection.dataReceived(b"SSH-2.0\r\n")
        assert self.wire.aborted
        self.lose()
        self.failureResultOf(asked, ResponseFailed)

    def test_an_answer_that_nobody_asked_for_breaks_the_connection(self) -> None:
        asked = self.connection.ask(b"request")
        self.connection.dataReceived(OK + OK)
        assert self.successResultOf(asked).code == 200
        assert self.wire.aborted
        self.lose()
        assert self.idle == []

    def test_an_answer_without_end_is_not_kept(self) -> None:
        asked = self.connection.ask(b"request")
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        self.connection.dataReceived(b"x" * ANSWER_BYTES_MAX)
        before = self.wire.aborted
        self.connection.dataReceived(b"x")
        assert (before, self.wire.aborted) == (False, True)
        self.lose()
        self.failureResultOf(asked, ResponseFailed)

    def test_a_request_that_is_given_up_closes_its_connection(self) -> None:
        asked = self.connection.ask(b"request")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        assert self.wire.aborted
        self.lose()
        assert self.idle == []


class Receiver(Protocol):
    """Takes a body."""

    def __init__(self) -> None:
        self.body = b""
        self.ended: list[Failure] = []

    @override
    def dataReceived(self, data: bytes) -> None:
        self.body += data

    @override
    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.ended.append(reason)


class Answering(Protocol):
    """A node that answers each request at once."""

    served: Served

    @override
    def connectionMade(self) -> None:
        self.served.connections += 1

    @override
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.served.requests.append(data)
        self.transport.write(OK)

    @override
    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.served.lost += 1
        if self.served.all_lost is not None and self.served.lost == self.served.connections:
            self.served.all_lost.callback(None)


@dataclass
class Served:
    """What a node has seen."""

    port: int = 0
    connections: int = 0
    lost: int = 0
    requests: list[bytes] = field(default_factory=list)
    all_lost: Deferred[None] | None = None


@pytest_twisted.async_yield_fixture
async def served() -> AsyncIterator[Served]:
    """Provide a node on loopback."""
    from twisted.internet import reactor

    seen = Served()
    factory = Factory.forProtocol(Answering)
    cast(Any, Answering).served = seen
    endpoint = TCP4ServerEndpoint(cast(Any, reactor), 0, interface="127.0.0.1")
    port = await endpoint.listen(factory)
    seen.port = cast(Any, port).getHost().port
    yield seen
    await cast(Any, port).stopListening()


@pytest_twisted.ensureDeferred
async def test_requests_take_turns_on_the_connections_that_are_there(served: Served) -> None:
    from twisted.internet import reactor

    sender = Sender(reactor)
    url = f"http://127.0.0.1:{served.port}/kv/set?x=1"
    first = sender.request("POST", url, data=b"{}", headers={"Content-Type": "application/json"})
    second = sender.request("GET", f"http://127.0.0.1:{served.port}/kvman/status")
    for answer in (await first, await second):
        receiver = Receiver()
        answer.deliverBody(receiver)
        assert (answer.code, receiver.body) == (200, b"{}")
        assert receiver.ended[0].check(ResponseDone)
    for _ in range(3):
        await sender.request("POST", url, data=b"{}", allow_redirects=False, unbuffered=True)
    assert (served.connections, len(served.requests)) == (2, 5)
    host = b"Host: 127.0.0.1:%d\r\n" % served.port
    assert min(served.requests) == (
        b"GET /kvman/status HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n"
    )
    assert (
        b"POST /kv/set?x=1 HTTP/1.1\r\n"
        + host
        + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    ) in served.requests

    served.all_lost = Deferred()
    sender.close()
    await served.all_lost


@pytest_twisted.ensureDeferred
async def test_where_nobody_listens_the_request_was_not_sent() -> None:
    from twisted.internet import reactor

    with pytest.raises(Refused):
        await Sender(reactor).request("GET", f"http://127.0.0.1:{free_ports(1)[0]}/")

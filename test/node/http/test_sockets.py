"""The HTTP face on real sockets: the few things that memory cannot show."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest_twisted
import treq
from twisted.internet import reactor as installed_reactor  # noqa: TID253 -- sockets are real here
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.site import Site, make_site
from kvpaxos.store.entry import Entry
from test.node.http.harness import FakeStore, FakeView, Reply, parse

REACTOR: Any = installed_reactor

MIB = 1024 * 1024


class Caller(Protocol):
    """A client that sends bytes as they are, and waits for what it expects."""

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[None] = Deferred()
        self._awaited: tuple[bytes, Deferred[None]] | None = None

    @override
    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self._awaited is not None and self._awaited[0] in self.received:
            (_, seen), self._awaited = self._awaited, None
            seen.callback(None)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)

    def until(self, expected: bytes) -> Deferred[None]:
        """Fire when ``expected`` has come."""
        seen: Deferred[None] = Deferred()
        self._awaited = expected, seen
        self.dataReceived(b"")
        return seen

    async def ask(self, request: bytes, end: bytes = b"}") -> Reply:
        """Send a request, and return its reply, which ends with ``end``."""
        self.received = b""
        self.send(request)
        await self.until(end)
        return parse(self.received)[0]

    def send(self, data: bytes) -> None:
        self._socket.write(data)

    def pause(self) -> None:
        """Read nothing from now on."""
        self._socket.pauseProducing()

    def hang_up(self) -> None:
        self._socket.abortConnection()

    @property
    def _socket(self) -> Any:
        return cast(Any, self.transport)


class EndlessView(FakeView):
    """A view of more pairs than anyone can read, which counts its pages."""

    def __init__(self, pages_max: int) -> None:
        self.pages = 0
        self.closings = 0
        self.closed: Deferred[None] = Deferred()
        self._pages_max = pages_max

    @override
    def page(self, after: bytes | None, limit: int, bytes_max: int) -> list[tuple[bytes, Entry]]:
        self.pages += 1
        if self.pages > self._pages_max:
            return []
        return [(b"%09d" % self.pages, Entry(b"v" * bytes_max, 1, 1, 1))]

    @override
    def close(self) -> None:
        self.closings += 1
        self.closed.callback(None)


class EndlessStore(FakeStore):
    """A store whose views hold so many pages."""

    def __init__(self, pages_max: int = 100_000) -> None:
        super().__init__()
        self.endless = EndlessView(pages_max)

    @override
    def view(self) -> FakeView:
        return self.endless


@dataclass
class Server:
    """A site that listens on a free port, and connections to it."""

    store: FakeStore
    site: Site
    port: Any
    callers: list[Caller] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}"

    async def call(self) -> Caller:
        endpoint = TCP4ClientEndpoint(REACTOR, "127.0.0.1", self.port.getHost().port)
        caller: Caller = await connectProtocol(endpoint, Caller())
        self.callers.append(caller)
        return caller

    async def stop(self) -> None:
        await self.port.stopListening()
        for caller in self.callers:
            caller.hang_up()
            await caller.closed


def listen(store: FakeStore, limits: HttpLimits | None = None) -> Server:
    site = make_site(store, reactor=REACTOR, limits=limits)
    return Server(store, site, REACTOR.listenTCP(0, site, interface="127.0.0.1"))


@pytest_twisted.async_yield_fixture
async def server() -> AsyncGenerator[Server, None]:
    """Return a server of an empty store."""
    server = listen(FakeStore())
    yield server
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_an_ordinary_client_writes_and_reads(server: Server) -> None:
    written = await treq.post(
        f"{server.url}/kv/insert", data={"key": "键 &=", "value": "🔑\0\n"}, persistent=False
    )
    assert (written.code, await written.json()) == (200, {"success": "true"})

    read = await treq.get(f"{server.url}/kv/get", params={"key": "键 &="}, persistent=False)
    assert await read.json() == {"success": "true", "value": "🔑\0\n"}
    assert read.headers.getRawHeaders("X-Kvpaxos-Slot") == ["1"]

    dump = await treq.get(f"{server.url}/kvman/dump", persistent=False)
    assert await dump.json() == [["键 &=", "🔑\0\n"]]


@pytest_twisted.ensureDeferred
async def test_a_form_without_a_content_type_is_read(server: Server) -> None:
    caller = await server.call()
    for method in (b"POST", b"PUT"):
        reply = await caller.ask(
            method + b" /kv/set HTTP/1.1\r\nContent-Length: 15\r\n\r\nkey=a+b&value=c"
        )
        assert reply.json == {"success": "true"}

    reply = await caller.ask(b"GET /kv/get?key=a%20b HTTP/1.1\r\n\r\n")
    assert reply.json["value"] == "c"


@pytest_twisted.ensureDeferred
async def test_a_body_may_come_in_chunks(server: Server) -> None:
    caller = await server.call()
    caller.send(b"POST /kv/set HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nkey=a\r\n")
    reply = await caller.ask(b"8;ext=1\r\n&value=b\r\n0\r\nTrailer: x\r\n\r\n")

    assert reply.json == {"success": "true"}
    assert server.store.get(b"a") is not None


@pytest_twisted.ensureDeferred
async def test_what_is_no_http_gets_a_reply(server: Server) -> None:
    reply = await (await server.call()).ask(b"\x16\x03\x01\x00\xff\r\n\r\n")

    assert (reply.status, reply.json["applied"]) == (400, "no")


@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_far_too_much_still_sees_why_it_is_refused(
    server: Server,
) -> None:
    caller = await server.call()
    reply = await caller.ask(
        b"POST /kv/set HTTP/1.1\r\nContent-Length: 20971520\r\n\r\n" + b"a" * 20 * MIB
    )

    assert (reply.status, reply.json["applied"]) == (413, "no")


@pytest_twisted.ensureDeferred
async def test_shutdown_is_answered_before_it_happens(server: Server) -> None:
    caller = await server.call()
    reply = await caller.ask(b"POST /kvman/shutdown HTTP/1.1\r\n\r\n")
    assert reply.json == {"success": "true"}

    await caller.closed
    assert server.store.shutdowns == 1


@pytest_twisted.ensureDeferred
async def test_a_caller_on_a_unix_socket_is_local(tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    site = make_site(FakeStore(), reactor=REACTOR)
    port: Any = await UNIXServerEndpoint(REACTOR, path).listen(site)
    caller = await connectProtocol(UNIXClientEndpoint(REACTOR, path), Caller())

    assert (await caller.ask(b"GET /kvman/journal HTTP/1.1\r\n\r\n")).status == 200
    await port.stopListening()
    await caller.closed


@pytest_twisted.ensureDeferred
async def test_a_long_dump_reaches_its_client_whole() -> None:
    store = EndlessStore(pages_max=300)
    server = listen(store)
    dump = await treq.get(f"{server.url}/kvman/dump", persistent=False)
    pairs = await dump.json()
    await server.stop()

    assert [key for key, _ in pairs] == [f"{number:09}" for number in range(1, 301)]
    assert {len(value) for _, value in pairs} == {64 * 1024}
    assert (store.endless.pages, store.endless.closings) == (301, 1)


@pytest_twisted.ensureDeferred
async def test_a_dump_that_is_not_read_stops_and_is_broken_off() -> None:
    store = EndlessStore()
    server = listen(store, HttpLimits(page_s_max=0.2))
    caller = await server.call()
    caller.send(b"GET /kvman/dump HTTP/1.1\r\n\r\n")
    await caller.until(b"[[")
    caller.pause()
    await store.endless.closed

    # What the kernel keeps for both sockets, and a page: megabytes of six
    # thousand.
    assert store.endless.pages * 64 * 1024 < 64 * MIB
    assert not caller.received.endswith(b"0\r\n\r\n")
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_a_client_that_hangs_up_in_a_dump_lets_go_of_the_view() -> None:
    store = EndlessStore()
    server = listen(store)
    caller = await server.call()
    caller.send(b"GET /kvman/dump HTTP/1.1\r\n\r\n")
    await caller.until(b"[[")
    caller.hang_up()
    await store.endless.closed

    assert store.endless.closings == 1
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_a_port_that_stops_listening_breaks_off_a_dump() -> None:
    store = EndlessStore()
    server = listen(store)
    caller = await server.call()
    caller.send(b"GET /kvman/dump HTTP/1.1\r\n\r\n")
    await caller.until(b"[[")
    await server.port.stopListening()
    await caller.closed

    assert store.endless.closings == 1
    assert not parse(caller.received)[0].whole

"""A node that does as the test says, and clients that reach it without sockets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.node.http.connection import Channel
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.site import Site, make_site
from kvpaxos.node.http.store import (
    Described,
    JournalPage,
    LinkChange,
    Receipt,
    Whole,
    Written,
)
from kvpaxos.store.backup import Header
from kvpaxos.store.commands import Operation, Set
from kvpaxos.store.entry import Entry
from kvpaxos.store.machine import Machine
from kvpaxos.store.requests import Identity, encode_request
from kvpaxos.store.results import Result
from kvpaxos.store.view import Record, View

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 50000)
ELSEWHERE = IPv4Address("TCP", "192.0.2.7", 50000)

Address = IPv4Address | IPv6Address | UNIXAddress


class FakeView:
    """A view that counts what is read from it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.pages = 0
        self.closings = 0
        self.broken: Exception | None = None

    def page(self, after: bytes | None, limit: int, bytes_max: int) -> list[tuple[bytes, Entry]]:
        self.pages += 1
        if self.broken is not None:
            raise self.broken
        return self._view.page(after, limit, bytes_max)

    def piece(self, after: bytes | None, bytes_max: int) -> list[Record]:
        self.pages += 1
        if self.broken is not None:
            raise self.broken
        return self._view.piece(after, bytes_max)

    def close(self) -> None:
        self.closings += 1
        self._view.close()


class FakeStore:
    """One state machine without a cluster around it.

    :ivar trouble: what every read and write fails with, if anything.
    :ivar held: whether reads and writes wait for `carry_out`.
    :ivar leader: the node that leads.
    """

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.held = False
        self.leader = "n02"
        self.writes: list[tuple[Operation, float, Deferred[Written]]] = []
        self.reads: list[tuple[bool, float, Deferred[Receipt]]] = []
        self.canceled: list[object] = []
        self._identities: list[Identity | None] = []
        self.views: list[FakeView] = []
        self.breaks_views: Exception | None = None
        self.unformed: Exception | None = None
        self.switched: list[LinkChange] = []
        self.journal_next: int | None = None
        self.journal_calls: list[tuple[int, int]] = []
        self.unready: str | None = None
        self.shutdowns = 0
        self.link_trouble: Exception | None = None
        self._engine = MemoryEngine()
        self._machine = Machine(self._engine, 0)
        self._slot = 0

    def write(
        self, operation: Operation, identity: Identity | None, *, timeout_s: float
    ) -> Deferred[Written]:
        if self.trouble is not None:
            return fail(self.trouble)
        written: Deferred[Written] = Deferred(self.canceled.append)
        self.writes.append((operation, timeout_s, written))
        self._identities.append(identity)
        if not self.held:
            self.carry_out()
        return written

    def read(self, *, stale: bool, timeout_s: float) -> Deferred[Receipt]:
        if self.trouble is not None:
            return fail(self.trouble)
        read: Deferred[Receipt] = Deferred(self.canceled.append)
        self.reads.append((stale, timeout_s, read))
        if not self.held:
            read.callback(Receipt(self._slot, self.leader, "stale" if stale else "quorum"))
        return read

    def carry_out(self) -> None:
        """Carry out the oldest write that waits."""
        number = next(n for n, entry in enumerate(self.writes) if not entry[2].called)
        operation, _, written = self.writes[number]
        result = self.apply(operation, self._identities[number])
        written.callback(Written(result, Receipt(self._slot, self.leader, "logged")))

    def apply(self, operation: Operation, identity: Identity | None = None) -> Result:
        """Carry out ``operation`` behind the back of the HTTP face."""
        self._slot += 1
        body = encode_request(operation, identity)
        result = self._machine.apply(("n01", 1, self._slot, self._slot - 1, body))
        assert isinstance(result, Result)
        self._engine.write(self._machine.take_changes())
        return result

    def fill(self, count: int, value: bytes = b"v") -> list[list[str]]:
        """Store pairs, and return them as a dump shows them."""
        keys = [f"key {number:05}" for number in range(count)]
        for key in keys:
            self.apply(Set(key.encode(), value))
        return [[key, value.decode()] for key in keys]

    def receipt(self) -> Receipt:
        return Receipt(self._slot, self.leader, "stale")

    def get(self, key: bytes) -> Entry | None:
        return self._machine.get(key)

    def value_of(self, key: bytes) -> bytes | None:
        """Return what a key holds, as the test sees it."""
        entry = self._machine.get(key)
        return None if entry is None else entry.value

    @property
    def revision(self) -> int:
        """How often the state has changed."""
        return self._machine.revision

    def count(self) -> int:
        return self._machine.count

    def view(self) -> FakeView:
        view = FakeView(self._machine.view())
        view.broken = self.breaks_views
        self.views.append(view)
        return view

    def whole(self) -> Whole:
        if self.unformed is not None:
            raise self.unformed
        machine = self._machine
        numbers = self._slot, machine.revision, machine.count, machine.digest
        return Whole(Header("c" * 32, 0, *numbers), self.view())

    def status(self) -> Described:
        return {"node": "n01", "role": "leading"}

    def limits(self) -> Described:
        return {"frame_bytes_max": 17, "key_bytes_max": 4096}

    def ready(self) -> str | None:
        return self.unready

    def links(self) -> Sequence[Described]:
        if self.link_trouble is not None:
            raise self.link_trouble
        return [{"from": "n01", "to": "n02", "state": "up"}]

    def set_link(self, change: LinkChange) -> Sequence[Described]:
        self.switched.append(change)
        return self.links()

    def journal(self, from_slot: int, limit: int) -> Deferred[JournalPage]:
        self.journal_calls.append((from_slot, limit))
        if self.trouble is not None:
            return fail(self.trouble)
        return succeed(JournalPage([{"slot": from_slot}], self.journal_next))

    def shutdown(self) -> None:
        self.shutdowns += 1


@dataclass(frozen=True)
class Reply:
    """A reply as its client sees it.

    :ivar headers: by lower-case name.
    :ivar whole: whether the body came to its end.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Wire(StringTransport):
    """A connection in memory, whose client reads when the test says so.

    Like a socket it tells its producer when too much is unread, and it ends in another turn.
    """

    BUFFER_BYTES = 64 * 1024

    def __init__(self, clock: Clock, peer: Address) -> None:
        super().__init__(peerAddress=peer)
        self.clock = clock
        self.protocol: Channel | None = None
        self.reads_at_once = True
        self.aborted = False
        self.received = b""
        self._told = False

    @override
    def write(self, data: bytes) -> None:
        super().write(data)
        self._after_write()

    @override
    def writeSequence(self, data: Sequence[bytes]) -> None:
        super().writeSequence(data)
        self._after_write()

    def _after_write(self) -> None:
        if self.reads_at_once:
            self.received += self.value()
            self.clear()
        elif len(self.value()) > self.BUFFER_BYTES and self.producer and not self._told:
            self._told = True
            self.producer.pauseProducing()

    @property
    def unread_bytes(self) -> int:
        return len(self.value())

    def read_all(self) -> None:
        """Take what was written, as a client does that has been slow."""
        self.received += self.value()
        self.clear()
        if self._told:
            self._told = False
            if self.producer:
                self.producer.resumeProducing()
        if self.disconnecting and not self.aborted:
            self._end(ConnectionDone())

    @override
    def loseConnection(self) -> None:
        if not self.disconnecting:
            super().loseConnection()
            if not self.unread_bytes:
                self._end(ConnectionDone())

    @override
    def abortConnection(self) -> None:
        if self.connected and not self.aborted:
            self.aborted = True
            super().abortConnection()
            self._end(ConnectionAborted())

    def hang_up(self) -> None:
        """End the connection from the client's side."""
        self._end(ConnectionLost())

    def _end(self, why: Exception) -> None:
        self.clock.callLater(0, self._lost, why)

    def _lost(self, why: Exception) -> None:
        if self.connected:
            self.connected = False
            assert self.protocol is not None
            producer, self.producer = self.producer, None
            if producer is not None:
                producer.stopProducing()
            self.protocol.connectionLost(Failure(why))


class Client:
    """One connection to a site."""

    def __init__(self, node: Node, peer: Address) -> None:
        self.node = node
        channel = node.site.buildProtocol(peer)
        assert isinstance(channel, Channel)
        self.channel = channel
        self.wire = Wire(node.clock, peer)
        self.wire.protocol = channel
        channel.makeConnection(self.wire)
        self._taken = 0

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are, in packets of at most 64 KiB."""
        for start in range(0, len(data), 65536):
            if self.wire.connected and self.wire.producerState == "producing":
                self.channel.dataReceived(data[start : start + 65536])

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str | None = None,
        **headers: str,
    ) -> Reply:
        """Send one request and return its reply, which must have come."""
        self.begin(method, target, body, content_type, **headers)
        return self.reply(to=method)

    def begin(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str | None = None,
        **headers: str,
    ) -> None:
        """Send one request."""
        self.send(request(method, target, body, content_type, **headers))

    def reply(self, *, to: str = "GET") -> Reply:
        """Return the next reply of those that have come."""
        reply, length = parse(self.wire.received[self._taken :], to)
        self._taken += length
        return reply

    @property
    def silent(self) -> bool:
        """Whether nothing has come since the last reply."""
        return len(self.wire.received) == self._taken


@dataclass
class Node:
    """A site with its store and its clock."""

    store: FakeStore = field(default_factory=FakeStore)
    clock: Clock = field(default_factory=Clock)
    limits: HttpLimits = field(default_factory=HttpLimits)
    open_to_all: bool = False
    names: set[str] = field(default_factory=set)
    dialect: str = "seed"

    def __post_init__(self) -> None:
        self.site: Site = make_site(
            self.store,
            reactor=self.clock,
            dialect=self.dialect,
            limits=self.limits,
            names=self.names,
            open_to_all=self.open_to_all,
        )
        self.site.doStart()

    def connect(self, peer: Address = LOOPBACK) -> Client:
        return Client(self, peer)

    def ask(
        self, method: str, target: str, body: bytes = b"", content_type: str | None = None
    ) -> Reply:
        """Return the reply to one request on a connection of its own."""
        return self.connect().ask(method, target, body, content_type)

    def turn(self, count: int = 1) -> None:
        """Let the reactor turn without time passing: do what is due, not what that calls later."""
        for _ in range(count):
            for call in [
                call for call in self.clock.calls if call.getTime() <= self.clock.seconds()
            ]:
                if call.active():
                    self.clock.calls.remove(call)
                    call.called = 1
                    call.func(*call.args, **call.kw)


def assert_members(reply: dict[str, Any], members: dict[str, Any]) -> None:
    """Hold a reply to what it must have; ``...`` stands for any sentence."""
    for name, member in members.items():
        if member is ...:
            assert_is_sentence(reply[name])
        else:
            assert reply[name] == member


def assert_is_sentence(text: str) -> None:
    assert text[0].isupper()
    assert text.endswith(".")
    assert ".." not in text


def request(
    method: str,
    target: str,
    body: bytes = b"",
    content_type: str | None = None,
    **headers: str,
) -> bytes:
    """Return one request as it is sent."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines.append(f"Host: {headers.pop('Host', '127.0.0.1:8801')}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def parse(data: bytes, method: str = "GET") -> tuple[Reply, int]:
    """Return the first reply in ``data`` and its length."""
    head, found, rest = data.partition(b"\r\n\r\n")
    assert found, f"no reply in {data[:200]!r}"
    first, *lines = head.decode().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    status = int(first.split()[1])
    start = len(head) + 4
    if method == "HEAD" or status == 204:
        return Reply(status, headers, b""), start
    if headers.get("transfer-encoding") == "chunked":
        body, length, whole = _unchunk(rest)
        return Reply(status, headers, body, whole), start + length
    length = int(headers["content-length"])
    return Reply(status, headers, rest[:length], len(rest) >= length), start + length


def _unchunk(data: bytes) -> tuple[bytes, int, bool]:
    body = b""
    taken = 0
    while True:
        size, found, _ = data[taken:].partition(b"\r\n")
        length = int(size, 16) if found else -1
        end = taken + len(size) + 2 + length
        if length < 0 or len(data) < end + 2:
            return body, len(data), False
        if length == 0:
            return body, end + 2, True
        body += data[end - length : end]
        taken = end + 2

"""Whatever is sent to the peer port: nothing breaks, little is kept, members are served."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvpaxos.node.connection import DEAD_S_MAX, Connection
from kvpaxos.node.links import STRANGERS_MAX
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import Standing, Stands
from kvpaxos.wire.codec import encode
from kvpaxos.wire.framing import FRAME_VERSION, FrameBuffer, frame
from kvpaxos.wire.greeting import (
    PROTOCOL_VERSION,
    Frame,
    Hello,
    Identity,
    decode_frame,
    encode_greeting,
)
from test.node.members import Cluster, Member, reply, request, soon

A, B = NodeId("n01"), NodeId("n02")

SPOKEN, OTHER = bytes([PROTOCOL_VERSION]), bytes([PROTOCOL_VERSION + 1])


class Stranger(Protocol):
    """Somebody who dials a member.

    :ivar heard: what it was sent; ``gone`` fires when it was thrown out.
    """

    def __init__(self) -> None:
        self.heard: list[Frame] = []
        self.gone: Deferred[None] = Deferred()
        self._frames = FrameBuffer()

    @override
    def dataReceived(self, data: bytes) -> None:
        self.heard += [decode_frame(payload)[1] for payload in self._frames.receive(data)]

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)

    def say(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def leave(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


@implementer(ILogObserver)
class Tracebacks:
    """Counts what is logged with a traceback, and what is logged about garbage."""

    def __init__(self) -> None:
        self.failures = 0
        self.complaints = 0

    def __call__(self, event: LogEvent) -> None:
        self.failures += "log_failure" in event
        self.complaints += event.get("kind") == "garbage"


@pytest.fixture
def tracebacks() -> Iterator[Tracebacks]:
    observer = Tracebacks()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)


@pytest_twisted.async_yield_fixture
async def two(tracebacks: Tracebacks) -> AsyncIterator[Cluster]:
    cluster = Cluster(2)
    await cluster.start_and_meet()
    yield cluster
    await cluster.stop()
    assert tracebacks.failures == 0


async def strangers(cluster: Cluster, count: int) -> list[Stranger]:
    """Dial n01 ``count`` times."""
    connected: list[Stranger] = []
    while len(connected) < count:
        # More at once than a socket queues would have to be sent again by the system.
        some = min(count - len(connected), 20)
        connecting: list[Deferred[Any]] = [
            connectProtocol(cluster.dialers[A], Stranger()) for _ in range(some)
        ]
        connected += await gatherResults(connecting)
    return connected


async def still_served(cluster: Cluster) -> None:
    """Fail unless n01 gets what n02 sends."""
    a, b = cluster.members[A], cluster.members[B]
    number = len(a.delivered)
    b.links.send(0, A, request(number))
    await a.until(lambda: len(a.delivered) == number + 1)
    assert a.messages(B)[-1] == request(number)
    assert b.said("lost") == []


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: n01\r\n\r\n",
    "nothing but zeros": bytes(100_000),
    "another frame version": bytes([FRAME_VERSION + 1]) * 100,
    "the hugest length": bytes([FRAME_VERSION]) + b"\xff" * 100,
    "a length too great for a greeting": bytes([FRAME_VERSION, 0, 1, 0, 0]) + bytes(1000),
    "a bad checksum": frame(b"")[:-1] + b"x",
    "a message without a greeting": frame(encode(0, request(1))),
    "nested arrays": frame(b"\x91" * 10_000),
    "arrays that cannot be there": frame(b"\xdd\xff\xff\xff\xff" * 1000),
}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_is_thrown_out_and_logged_once(
    data: bytes, two: Cluster, tracebacks: Tracebacks
) -> None:
    for _ in range(3):
        (stranger,) = await strangers(two, 1)
        stranger.say(data)
        await stranger.gone
    await soon(lambda: counts(two)["garbage"] == 3)
    assert tracebacks.complaints == 1
    await still_served(two)


@pytest_twisted.ensureDeferred
async def test_random_bytes_and_changed_greetings_are_thrown_out(two: Cluster) -> None:
    random = Random(0)
    good = hello(two)
    for stranger in await strangers(two, 50):
        data = bytearray(random.choice([random.randbytes(random.randrange(1, 300)), good]))
        data[random.randrange(len(data))] ^= random.randrange(1, 256)
        stranger.say(bytes(data))
        # What looks like the beginning of a frame would be waited for.
        stranger.leave()
        await stranger.gone
    await soon(lambda: not two.members[A].links._strangers)
    await still_served(two)


@pytest_twisted.ensureDeferred
async def test_another_version_is_told_so_and_thrown_out(two: Cluster) -> None:
    (stranger,) = await strangers(two, 1)
    stranger.say(hello(two).replace(b"\x41" + SPOKEN, b"\x41" + OTHER))
    await stranger.gone
    # A frame that was changed has a bad checksum: that is garbage, and gets no answer.
    assert stranger.heard == []
    (stranger,) = await strangers(two, 1)
    stranger.say(frame(b"\x95\x00\x41" + OTHER + b"\xa3n01\x90"))
    await stranger.gone
    assert f"protocol version {OTHER[0]}, not {SPOKEN[0]}" in str(stranger.heard)
    await still_served(two)


@pytest_twisted.ensureDeferred
async def test_a_stranger_with_a_name_of_its_own_is_refused(two: Cluster) -> None:
    (stranger,) = await strangers(two, 1)
    stranger.say(hello(two, node=NodeId("n09")))
    await stranger.gone
    assert "n09 is no member" in str(stranger.heard)
    await still_served(two)


@pytest_twisted.ensureDeferred
async def test_silent_strangers_are_bounded_and_the_oldest_goes_first(two: Cluster) -> None:
    a = two.members[A]
    first = await strangers(two, STRANGERS_MAX)
    await soon(lambda: len(a.links._strangers) == STRANGERS_MAX)
    more = await strangers(two, 20)
    await gatherResults([stranger.gone for stranger in first[:20]])
    assert len(a.links._strangers) == STRANGERS_MAX
    assert counts(two)["crowded"] == 20
    await still_served(two)
    for stranger in (*first[20:], *more):
        stranger.leave()
        await stranger.gone


@pytest_twisted.ensureDeferred
async def test_a_member_can_connect_among_silent_strangers(two: Cluster) -> None:
    await two.stop(B)
    crowd = await strangers(two, STRANGERS_MAX)
    two.start(B)
    await two.met()
    a, b = two.members[A], two.members[B]
    b.links.send(0, A, request(7))
    await a.until(lambda: a.messages(B)[-1:] == [request(7)])
    for stranger in crowd:
        stranger.leave()


@pytest_twisted.ensureDeferred
async def test_the_newest_connection_of_a_member_takes_the_place_of_the_last(
    two: Cluster,
) -> None:
    a = two.members[A]
    (twin,) = await strangers(two, 1)
    twin.say(hello(two, process=f"{B} 1") + stands())
    twin.say(frame(encode(0, request(5))))
    await a.until(lambda: a.messages(B) == [request(5)])
    assert a.status(B)["accepted"]
    # The true n02 loses its connection, dials again, and so throws the other one out.
    await twin.gone
    await two.met()
    b = two.members[B]
    assert b.said("lost") == [A]
    b.links.send(0, A, request(6))
    await a.until(lambda: a.messages(B) == [request(5), request(6)])


@pytest_twisted.ensureDeferred
async def test_a_reply_where_requests_belong_ends_the_connection(two: Cluster) -> None:
    a = two.members[A]
    await two.stop(B)
    (stranger,) = await strangers(two, 1)
    stranger.say(hello(two, process=f"{B} 1") + stands() + frame(encode(0, reply(1))))
    await stranger.gone
    assert a.messages(B) == []
    assert counts(two)["garbage"] == 1


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="not on this system")
@pytest_twisted.ensureDeferred
async def test_small_messages_leave_at_once_and_dead_machines_are_noticed(two: Cluster) -> None:
    connection = two.members[A].links._links[B].dialed
    assert isinstance(connection, Connection)
    tcp = ITCPTransport(connection.transport)
    assert tcp.getTcpNoDelay()
    assert tcp.getTcpKeepAlive()
    patience_ms = tcp.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)  # type: ignore[attr-defined]
    assert patience_ms == DEAD_S_MAX * 1000


def counts(cluster: Cluster) -> Any:
    """Return what n01 has counted."""
    return member(cluster).links.complaints.counts


def member(cluster: Cluster) -> Member:
    """Return n01."""
    return cluster.members[A]


def hello(cluster: Cluster, *, node: NodeId = B, process: str = "stranger") -> bytes:
    """Return the greeting of somebody who calls himself ``node``, to n01."""
    identity = Identity(node, cluster.names, "cluster", True, 1, 1, process, 0, "00", "r=1")  # noqa: FBT003
    return frame(encode_greeting(Hello(PROTOCOL_VERSION, A, identity)))


def stands() -> bytes:
    """Return the end of the greetings."""
    return frame(encode_greeting(Stands(Standing("cluster", formed=True))))

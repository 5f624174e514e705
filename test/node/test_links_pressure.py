"""Back-pressure, and what a turn of the reactor costs, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_twisted

from kvpaxos.node.outgoing import EXPRESS_BYTES_MAX, QUEUE_BYTES_MAX
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Accept, Command, Health, Ping
from kvpaxos.wire.codec import encode
from test.node.members import MESSAGE_BYTES_MAX, Cluster, Member, request, soon

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")

TRANSPORT_BYTES_MAX = 64 * 1024
"""What Twisted takes before it tells a producer to wait."""


def accept(number: int, size: int) -> Accept:
    """Return a message of about ``size`` bytes."""
    command = Command(A, 1, number, 0, bytes(size))
    return Accept(Ballot(1, A), Slot(number), (command,), Slot(0))


def ping(number: int) -> Ping:
    """Return a heartbeat."""
    return Ping(Health(ZERO_BALLOT, False, Slot(0), Slot(0), Slot(0)), float(number))  # noqa: FBT003


@pytest_twisted.async_yield_fixture
async def three() -> AsyncIterator[Cluster]:
    cluster = Cluster(3)
    await cluster.start_and_meet()
    yield cluster
    await cluster.stop()


def transport(member: Member, peer: NodeId) -> Any:
    """Return the transport of the connection that ``member`` dialed."""
    connection = member.links._links[peer].dialed
    assert connection is not None
    return connection.transport


@pytest_twisted.ensureDeferred
async def test_a_flood_to_a_peer_that_does_not_read_is_bounded_and_counted(
    three: Cluster,
) -> None:
    a, b, c = (three.members[name] for name in three.names)
    b.links.pause()
    size, count = 100_000, 1000
    for number in range(count):
        a.links.send(0, B, accept(number, size))
        if number % 50 == 0:
            # Let the system take what it will.
            await soon(lambda: True)
    status = a.status(B)
    assert QUEUE_BYTES_MAX - 2 * size < status["bytes_queued"] <= QUEUE_BYTES_MAX
    wire = transport(a, B)
    assert len(wire.dataBuffer) + wire._tempDataLen <= TRANSPORT_BYTES_MAX + 2 * size
    dropped = status["dropped"]["queue full"]
    assert dropped > count // 2
    assert status["sent"] == count - dropped

    # Heartbeats have a little room of their own, and no more than that.
    beats = 10_000
    for number in range(beats):
        a.links.send(0, B, ping(number))
    taken = a.status(B)["sent"] - status["sent"]
    assert 500 < taken < beats
    assert a.status(B)["bytes_queued"] <= QUEUE_BYTES_MAX + EXPRESS_BYTES_MAX

    # The others are served meanwhile.
    a.links.send(0, C, request(1))
    await c.until(lambda: c.messages(A) == [request(1)])
    assert b.delivered == []

    b.links.resume()
    await b.until(lambda: len(b.delivered) == a.status(B)["sent"])
    accepts = [message.slot for message in b.messages(A) if isinstance(message, Accept)]
    assert accepts == sorted(set(accepts))
    assert len(accepts) == count - dropped
    assert a.status(B)["bytes_queued"] == 0
    assert a.said("lost") == []


@pytest_twisted.ensureDeferred
async def test_a_node_that_reads_no_more_has_its_peers_wait_and_loses_nothing(
    three: Cluster,
) -> None:
    a, b, _ = (three.members[name] for name in three.names)
    b.links.pause()
    for number in range(2000):
        a.links.send(0, B, accept(number, 1000))
    a.links.send(0, C, request(1))
    await three.members[C].until(lambda: bool(three.members[C].delivered))
    assert b.delivered == []
    b.links.resume()
    await b.until(lambda: len(b.delivered) == 2000)
    assert [message.slot for message in b.messages(A) if isinstance(message, Accept)] == list(
        range(2000)
    )


@pytest_twisted.ensureDeferred
async def test_a_connection_that_comes_while_reading_is_paused_is_paused_too(
    three: Cluster,
) -> None:
    a, b, _ = (three.members[name] for name in three.names)
    b.links.pause()
    await three.stop(A)
    (a,) = three.start(A)
    await a.until(lambda: a.up() == {B, C})
    a.links.send(0, B, request(1))
    a.links.send(0, C, request(1))
    await three.members[C].until(lambda: bool(three.members[C].delivered))
    assert b.delivered == []
    b.links.resume()
    await b.until(lambda: b.messages(A) == [request(1)])


@pytest_twisted.ensureDeferred
async def test_all_that_is_sent_in_one_turn_leaves_in_one_write(three: Cluster) -> None:
    a, b, _ = (three.members[name] for name in three.names)
    wire = transport(a, B)
    writes: list[int] = []
    really_write = wire.writeSomeData

    def write_some_data(data: bytes) -> Any:
        writes.append(len(data))
        return really_write(data)

    wire.writeSomeData = write_some_data
    for number in range(1000):
        a.links.send(0, B, request(number))
    assert writes == []
    await b.until(lambda: len(b.delivered) == 1000)
    assert len(writes) == 1
    a.links.send(0, B, request(0))
    await b.until(lambda: len(b.delivered) == 1001)
    assert len(writes) == 2


@pytest_twisted.ensureDeferred
async def test_a_message_to_several_peers_is_encoded_once(three: Cluster, monkeypatch: Any) -> None:
    a, b, c = (three.members[name] for name in three.names)
    encoded = []

    def remember(group: int, message: Any) -> bytes:
        encoded.append((group, message))
        return encode(group, message)

    monkeypatch.setattr("kvpaxos.node.parcels.encode", remember)
    message = request(1)
    for group, to in ((0, B), (0, C), (1, C)):
        a.links.send(group, to, message)
    await c.until(lambda: len(c.delivered) == 2)
    assert encoded == [(0, message), (1, message)]
    assert c.delivered == [(A, 0, message), (A, 1, message)]
    await b.until(lambda: b.delivered == [(A, 0, message)])


@pytest_twisted.ensureDeferred
async def test_a_message_too_long_for_the_cluster_is_dropped_and_counted(three: Cluster) -> None:
    a, b, _ = (three.members[name] for name in three.names)
    a.links.send(0, B, accept(1, MESSAGE_BYTES_MAX))
    a.links.send(0, B, accept(2, MESSAGE_BYTES_MAX - 1000))
    await b.until(lambda: bool(b.delivered))
    assert b.messages(A) == [accept(2, MESSAGE_BYTES_MAX - 1000)]
    assert a.status(B)["dropped"] == {"too long": 1}
    assert a.links.complaints.counts["too long"] == 1

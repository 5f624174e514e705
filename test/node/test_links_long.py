"""Long messages share a link with short ones, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_twisted

from kvpaxos.node.connection import LinkError
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Accept, Command, Health, Message, Ping, Watermark
from kvpaxos.wire.chunks import CHUNK_BYTES_MAX, CHUNK_MARK, packed
from kvpaxos.wire.codec import encode
from test.node.members import Cluster, Member, soon

A, B = NodeId("n01"), NodeId("n02")
BALLOT = Ballot(1, A)
CHUNKS = 3
LONG = CHUNKS * CHUNK_BYTES_MAX - 1000
"""Less than the longest message, and more than the system takes from a sender at once."""


def accept(slot: int, size: int = LONG) -> Accept:
    return Accept(BALLOT, Slot(slot), (Command(A, 1, slot, 0, bytes(size)),), Slot(0))


def ping(decided_through: int) -> Ping:
    health = Health(ZERO_BALLOT, False, Slot(decided_through), Slot(0), Slot(0))  # noqa: FBT003
    return Ping(health, 0.0)


def watermark(slot: int) -> Watermark:
    return Watermark(BALLOT, Slot(slot))


@pytest_twisted.async_yield_fixture
async def two() -> AsyncIterator[Cluster]:
    cluster = Cluster(2)
    await cluster.start_and_meet()
    yield cluster
    await cluster.stop()


def members(cluster: Cluster) -> tuple[Member, Member]:
    return cluster.members[A], cluster.members[B]


def frames_taken(
    member: Member, peer: NodeId, at_first: Callable[[], None] = lambda: None
) -> list[bool]:
    """Return a list that grows with each frame from ``peer``: whether it is a chunk."""
    connection = member.links._links[peer].accepted
    assert connection is not None
    taken: list[bool] = []
    joiner = connection._joiner
    take = joiner.take

    def listen(payload: bytes) -> Any:
        if not taken:
            at_first()
        taken.append(payload[:1] == bytes([CHUNK_MARK]))
        return take(payload)

    joiner.take = listen  # type: ignore[method-assign]
    return taken


@pytest_twisted.ensureDeferred
async def test_a_long_message_does_not_hold_up_a_heartbeat(two: Cluster) -> None:
    a, b = members(two)
    taken = frames_taken(b, A)
    b.links.pause()
    for slot in (1, 2, 3):
        a.links.send(0, B, accept(slot))
    # The system has taken what it will, and the rest waits.
    await soon(lambda: True)
    left = sum(len(packed(encode(0, accept(slot)))) for slot in (1, 2, 3))
    waiting = a.status(B)["bytes_queued"]
    assert 0 < waiting < left
    a.links.send(0, B, ping(0))
    b.links.resume()
    await b.until(lambda: len(b.delivered) == 4)
    assert b.messages(A) == [ping(0), accept(1), accept(2), accept(3)]
    # Nothing that was still waiting has left before the heartbeat did, but for the chunk that
    # had been chosen by then.
    before = taken.index(False)
    assert taken.count(True) == 3 * CHUNKS
    assert taken.count(True) - before >= waiting // CHUNK_BYTES_MAX - 1


@pytest_twisted.ensureDeferred
async def test_what_speaks_of_earlier_messages_does_not_overtake_them(two: Cluster) -> None:
    a, b = members(two)
    b.links.pause()
    sent: list[Message] = [accept(1), watermark(1), accept(2, 10), watermark(2)]
    for message in sent:
        a.links.send(0, B, message)
    b.links.resume()
    await b.until(lambda: len(b.delivered) == len(sent))
    assert b.messages(A) == sent


@pytest_twisted.ensureDeferred
async def test_a_heartbeat_that_overtakes_an_offer_does_not_say_that_it_is_decided(
    two: Cluster,
) -> None:
    a, b = members(two)
    a.links.send(0, B, ping(4))
    await b.until(lambda: b.messages(A) == [ping(4)])
    b.links.pause()
    a.links.send(0, B, accept(5))
    a.links.send(0, B, ping(5))
    b.links.resume()
    await b.until(lambda: len(b.delivered) == 3)
    assert b.messages(A) == [ping(4), ping(4), accept(5)]
    a.links.send(0, B, ping(5))
    await b.until(lambda: b.messages(A)[3:] == [ping(5)])


@pytest_twisted.ensureDeferred
async def test_a_link_that_is_cut_in_the_middle_of_a_message_loses_all_of_it(two: Cluster) -> None:
    a, b = members(two)
    taken = frames_taken(b, A, lambda: b.links.switches.set(A, B, state="cut"))
    a.links.send(0, B, accept(1))
    await soon(lambda: taken.count(True) == CHUNKS)
    assert b.delivered == []
    b.links.switches.heal()
    a.links.send(0, B, accept(2))
    await b.until(lambda: b.messages(A) == [accept(2)])
    assert b.status(A)["dropped"] == {"switched off": 1}
    assert b.said("lost") == []


@pytest_twisted.ensureDeferred
async def test_a_connection_that_breaks_in_the_middle_of_a_message_brings_none_of_it(
    two: Cluster,
) -> None:
    a, b = members(two)
    b.links.pause()
    a.links.send(0, B, accept(1))
    connection = a.links._links[B].dialed
    assert connection is not None
    assert connection.outgoing.bytes_held > 0
    connection.drop(LinkError("lost", "for this test"))
    b.links.resume()
    await a.until(lambda: a.said("lost") == [B])
    await a.until(lambda: a.said("dialed") == [B, B])
    a.links.send(0, B, accept(2))
    await b.until(lambda: bool(b.delivered))
    assert b.messages(A) == [accept(2)]

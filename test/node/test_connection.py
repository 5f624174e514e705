"""One end of a connection: greetings, garbage and pauses, with no socket and no time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import packb
from twisted.internet import tcp
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from kvpaxos.errors import WireError
from kvpaxos.node.connection import (
    CLOSE_S_MAX,
    HANDSHAKE_S_MAX,
    UNFINISHED_MAX,
    Connection,
    LinkError,
)
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.formation import EMPTY, Stands
from kvpaxos.paxos.messages import Accept, Command, Message
from kvpaxos.wire.chunks import CHUNK_MARK, MESSAGE_BYTES_MAX, Parcel, packed
from kvpaxos.wire.codec import encode
from kvpaxos.wire.framing import FRAME_VERSION, FrameBuffer, frame
from kvpaxos.wire.greeting import (
    GREETING_BYTES_MAX,
    PROTOCOL_VERSION,
    Frame,
    Greeting,
    Hello,
    Identity,
    Refused,
    Welcome,
    decode_frame,
    encode_greeting,
)
from test.node.members import request

A, B = NodeId("n01"), NodeId("n02")
MINE = Identity(A, (A, B), "c", True, 1, 5, "mine", 9, "00", "r=1")  # noqa: FBT003
THEIRS = replace(MINE, node=B, process="theirs")
HELLO = Hello(PROTOCOL_VERSION, A, THEIRS)
STANDS = Stands(THEIRS.standing)


class Host:
    """Remembers what connections say, and objects if told to."""

    def __init__(self) -> None:
        self.objection: str | None = None
        self.examined: list[tuple[Identity, NodeId]] = []
        self.greetings = 0
        self.contents: list[Frame] = []
        self.errors: list[LinkError] = []
        self.on_received = lambda: None

    def identity(self) -> Identity:
        return MINE

    def examine(self, connection: Connection, theirs: Identity, meant: NodeId) -> str | None:
        self.examined.append((theirs, meant))
        return self.objection

    def greeted(self, connection: Connection) -> None:
        self.greetings += 1

    def received(self, connection: Connection, group: int, content: Frame) -> None:
        self.contents.append(content)
        self.on_received()

    def lost(self, connection: Connection, error: LinkError) -> None:
        self.errors.append(error)


class End:
    """One end of a connection, and what it has written."""

    def __init__(
        self, *, meant: NodeId | None = None, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> None:
        self.clock = Clock()
        self.host = Host()
        self.transport = StringTransport()
        self.connection = Connection(
            self.host,
            meant=meant,
            clock=self.clock,
            monotonic=self.clock.seconds,
            message_bytes_max=message_bytes_max,
        )
        self.connection.makeConnection(self.transport)

    def receive(self, *greetings: Greeting) -> None:
        self.connection.dataReceived(b"".join(frame(encode_greeting(one)) for one in greetings))

    def written(self) -> list[Frame]:
        data = self.transport.value()
        self.transport.clear()
        return [decode_frame(payload)[1] for payload in FrameBuffer().receive(data)]

    def closing(self) -> bool:
        return bool(self.transport.disconnecting)

    def cut(self) -> None:
        self.connection.connectionLost(Failure(ConnectionLost()))


def greeted(*, message_bytes_max: int = MESSAGE_BYTES_MAX) -> End:
    """Return the accepting end of a connection that has greeted."""
    end = End(message_bytes_max=message_bytes_max)
    end.receive(HELLO, STANDS)
    end.written()
    end.host.contents.clear()
    return end


def test_the_dialing_end_says_hello_and_after_the_welcome_where_it_stands() -> None:
    end = End(meant=B)
    assert end.written() == [Hello(PROTOCOL_VERSION, B, MINE)]
    end.receive(Welcome(THEIRS))
    assert end.host.examined == [(THEIRS, B)]
    assert end.written() == [Stands(MINE.standing)]
    assert end.host.greetings == 1
    assert end.connection.theirs == THEIRS
    ready: list[LinkError | None] = []
    end.connection.ready.addCallback(ready.append)
    assert ready == [None]


def test_the_accepting_end_waits_for_both() -> None:
    end = End()
    assert end.written() == []
    end.receive(HELLO)
    assert end.host.examined == [(THEIRS, A)]
    assert end.written() == [Welcome(MINE)]
    assert end.host.greetings == 0
    end.receive(Stands(EMPTY))
    assert end.host.greetings == 1
    assert end.host.contents == [Stands(EMPTY)]


@pytest.mark.parametrize("meant", [None, B])
def test_an_objection_is_told_to_the_other_end(meant: NodeId | None) -> None:
    end = End(meant=meant)
    end.written()
    end.host.objection = "I do not know you"
    end.receive(HELLO if meant is None else Welcome(THEIRS))
    assert end.written() == [Refused("I do not know you")]
    assert end.closing()
    assert end.host.greetings == 0
    end.cut()
    assert [(error.kind, str(error)) for error in end.host.errors] == [
        ("refused", "I do not know you")
    ]


def test_a_refusal_ends_the_connection() -> None:
    end = End(meant=B)
    end.receive(Refused("you are old"))
    assert end.closing()
    end.cut()
    assert str(end.host.errors[0]) == "it refuses this node: you are old"


def test_who_says_nothing_is_dropped_in_the_end() -> None:
    end = End()
    end.clock.advance(HANDSHAKE_S_MAX - 0.01)
    assert not end.closing()
    end.clock.advance(0.01)
    assert end.closing()
    end.cut()
    assert end.host.errors[0].kind == "silent"


def test_who_only_says_hello_is_dropped_in_the_end() -> None:
    end = End()
    end.receive(HELLO)
    end.clock.advance(HANDSHAKE_S_MAX)
    assert end.closing()


def test_who_has_greeted_may_be_silent() -> None:
    end = greeted()
    end.clock.advance(HANDSHAKE_S_MAX * 100)
    assert not end.closing()
    assert end.clock.getDelayedCalls() == []


def test_another_version_is_told_which_one_is_spoken_here() -> None:
    end = End()
    end.connection.dataReceived(frame(packb([0, 65, PROTOCOL_VERSION + 1, "n01", "whatever"])))
    (refused,) = end.written()
    assert isinstance(refused, Refused)
    assert f"version {PROTOCOL_VERSION + 1}, not {PROTOCOL_VERSION}" in refused.reason
    assert end.closing()


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "another frame version": bytes([FRAME_VERSION + 1]),
    "a huge length": bytes([FRAME_VERSION]) + b"\xff" * 8,
    "a bad checksum": frame(b"")[:-1] + b"x",
    "an empty frame": frame(b""),
    "no array": frame(packb("hello")),
    "an unknown tag": frame(packb([0, 99])),
    "a message before the greetings": frame(encode(0, request(1))),
    "a standing before the greetings": frame(encode_greeting(STANDS)),
    "a welcome to nobody": frame(encode_greeting(Welcome(THEIRS))),
    "two hellos": frame(encode_greeting(HELLO)) * 2,
    "more than a greeting": frame(encode_greeting(Refused("x" * GREETING_BYTES_MAX))),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_ends_the_connection(data: bytes) -> None:
    end = End()
    end.connection.dataReceived(data)
    assert end.closing()
    end.cut()
    assert end.host.errors[0].kind == "garbage"
    assert end.host.greetings == 0


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_random_bytes_end_the_connection_or_wait_for_more(chunks: list[bytes]) -> None:
    end = End()
    for chunk in chunks:
        end.connection.dataReceived(chunk)
    assert end.host.greetings == 0
    assert end.connection._frames.bytes_held <= GREETING_BYTES_MAX
    end.cut()


def test_after_garbage_nothing_is_kept() -> None:
    end = End()
    end.connection.dataReceived(b"x")
    for _ in range(100):
        end.connection.dataReceived(b"x" * 1000)
    assert end.connection._frames.bytes_held <= 1


def test_an_objection_to_a_content_ends_the_connection() -> None:
    def object_to_it() -> None:
        raise WireError("not here")

    end = greeted()
    end.host.on_received = object_to_it
    end.connection.dataReceived(frame(encode(0, request(1))))
    assert end.closing()
    end.cut()
    assert end.host.errors[0].kind == "garbage"


BEGUN = pack(">BII", FRAME_VERSION, 1000, 0)
"""A frame, or what a flipped bit has made of the length of one: more than is going to come."""


def test_a_frame_that_is_never_whole_ends_the_connection() -> None:
    end = greeted()
    end.connection.review()
    end.connection.dataReceived(BEGUN)
    for _ in range(UNFINISHED_MAX):
        end.connection.review()
        assert end.host.errors == []
        end.connection.dataReceived(b"more")
    end.connection.review()
    assert end.closing()
    end.cut()
    (error,) = end.host.errors
    assert error.kind == "garbage"
    assert "has not sent the rest" in str(error)


def test_frames_that_become_whole_meanwhile_keep_the_connection() -> None:
    end = greeted()
    data = frame(encode(0, request(1)))
    end.connection.dataReceived(data[:-5])
    for _ in range(3 * UNFINISHED_MAX):
        end.connection.dataReceived(data[-5:] + data[:-5])
        end.connection.review()
    assert not end.closing()
    assert len(end.host.contents) == 3 * UNFINISHED_MAX


def test_what_is_left_of_a_paused_connection_is_waited_for() -> None:
    end = greeted()
    end.connection.dataReceived(BEGUN)
    end.connection.pause()
    for _ in range(3 * UNFINISHED_MAX):
        end.connection.review()
    assert not end.closing()


def test_a_paused_connection_gives_nothing_and_then_all_in_order() -> None:
    end = greeted()
    end.connection.pause()
    assert end.transport.producerState == "paused"
    end.connection.dataReceived(b"".join(frame(encode(0, request(n))) for n in range(5)))
    assert end.host.contents == []
    end.connection.resume()
    assert end.transport.producerState == "producing"
    assert end.host.contents == [request(n) for n in range(5)]


def test_a_pause_amid_a_chunk_stops_the_rest_of_it() -> None:
    end = greeted()
    end.host.on_received = end.connection.pause
    end.connection.dataReceived(b"".join(frame(encode(0, request(n))) for n in range(3)))
    for count in (1, 2, 3):
        assert end.host.contents == [request(n) for n in range(count)]
        end.connection.resume()
    assert end.host.contents == [request(n) for n in range(3)]


def test_whoever_takes_a_message_may_pause_and_resume_at_once() -> None:
    def pause_and_resume() -> None:
        end.connection.pause()
        end.connection.resume()

    end = greeted()
    end.host.on_received = pause_and_resume
    end.connection.dataReceived(b"".join(frame(encode(0, request(n))) for n in range(50)))
    assert end.host.contents == [request(n) for n in range(50)]


def test_a_connection_that_closes_takes_nothing_more() -> None:
    end = greeted()
    end.connection.close(LinkError("lost", "enough"))
    end.connection.dataReceived(frame(encode(0, request(1))))
    assert end.host.contents == []


def test_a_connection_that_cannot_close_is_cut() -> None:
    aborted: list[bool] = []
    end = greeted()
    end.transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    end.connection.close(LinkError("lost", "enough"))
    assert aborted == []
    end.clock.advance(CLOSE_S_MAX)
    assert aborted == [True]


@pytest.mark.parametrize("before", [False, True])
def test_its_end_is_told_once(before: bool) -> None:  # noqa: FBT001
    end = End() if before else greeted()
    ends: list[Any] = []
    end.connection.ended.addCallback(ends.append)
    end.connection.ready.addCallback(ends.append)
    end.cut()
    error = end.host.errors[0]
    assert ends == ([error, error] if before else [None, error])
    assert len(end.host.errors) == 1
    assert end.clock.getDelayedCalls() == []


def test_a_message_in_chunks_arrives_whole_and_short_ones_before_its_end() -> None:
    end = greeted()
    long, short = accept(1_200_000), request(1)
    first, *rest = parcel(long)
    end.connection.dataReceived(first)
    assert end.host.contents == []
    end.connection.dataReceived(frame(encode(0, short)))
    assert end.host.contents == [short]
    end.connection.dataReceived(b"".join(rest))
    assert end.host.contents == [short, long]
    assert end.host.errors == []


@pytest.mark.parametrize("size", [2_000_000, 2**31])
def test_a_peer_that_announces_too_long_a_message_is_dropped_at_its_first_chunk(size: int) -> None:
    end = greeted(message_bytes_max=2_000_000)
    end.connection.dataReceived(frame(pack(">BI", CHUNK_MARK, size) + b"x"))
    end.cut()
    assert [error.kind for error in end.host.errors] == ["garbage"]
    assert end.host.contents == []


def test_a_peer_whose_chunks_do_not_fit_together_is_dropped() -> None:
    end = greeted()
    first, *_ = parcel(accept(1_200_000))
    end.connection.dataReceived(first + first)
    end.cut()
    assert [error.kind for error in end.host.errors] == ["garbage"]


def test_what_a_lost_connection_brought_of_a_message_is_gone_with_it() -> None:
    end = greeted()
    first, *rest = parcel(accept(1_200_000))
    end.connection.dataReceived(first)
    end.cut()
    assert [error.kind for error in end.host.errors] == ["lost"]
    end = greeted()
    end.connection.dataReceived(rest[0])
    end.cut()
    assert [error.kind for error in end.host.errors] == ["garbage"]
    assert end.host.contents == []


def test_no_message_in_chunks_is_taken_before_the_greetings() -> None:
    end = End()
    end.connection.dataReceived(frame(pack(">BI", CHUNK_MARK, 3_000_000) + b"x"))
    end.cut()
    assert [error.kind for error in end.host.errors] == ["garbage"]


def accept(size: int) -> Accept:
    """Return a message of about ``size`` bytes."""
    return Accept(Ballot(1, B), Slot(1), (Command(B, 1, 1, 0, bytes(size)),), Slot(0))


def parcel(message: Message) -> Parcel:
    """Return what carries a long message."""
    carried = packed(encode(0, message))
    assert isinstance(carried, Parcel)
    return carried


class Wired:
    """The dialing end of a connection over a real socket, with a reactor that never turns.

    :ivar far: the other end.
    """

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        near.settimeout(0)
        self.far.settimeout(0)
        self.reactor = MemoryReactorClock()
        self.host = Host()
        self.connection = Connection(
            self.host, meant=B, clock=self.reactor, monotonic=self.reactor.seconds
        )
        self.transport = tcp.Connection(near, self.connection, self.reactor)
        self.transport.connected = True
        self.connection.makeConnection(self.transport)

    def arrived(self) -> list[Frame]:
        return [decode_frame(one)[1] for one in FrameBuffer().receive(self.far.recv(4096))]

    def close(self) -> None:
        self.far.close()
        self.transport.connectionLost(Failure(ConnectionLost()))


@pytest.fixture
def wired() -> Iterator[Wired]:
    made = Wired()
    yield made
    made.close()


def test_what_was_sent_in_a_turn_of_the_reactor_can_leave_in_it_together(wired: Wired) -> None:
    wired.connection.greet(STANDS)
    assert wired.reactor.getWriters() == [wired.transport]
    wired.connection.outgoing.hurry()
    assert wired.arrived() == [Hello(PROTOCOL_VERSION, B, MINE), STANDS]
    assert not wired.reactor.getWriters()


def test_what_does_not_fit_leaves_later_and_whole(wired: Wired) -> None:
    wired.connection.outgoing.hurry()
    wired.arrived()
    long = frame(bytes(1024 * 1024))
    wired.connection.outgoing.put(long)
    wired.connection.outgoing.hurry()
    assert wired.reactor.getWriters() == [wired.transport]
    taken = b""
    while len(taken) < len(long):
        taken += wired.far.recv(len(long))
        assert wired.transport.doWrite() is None
    assert taken == long
    assert not wired.reactor.getWriters()


def test_a_peer_that_is_gone_is_noticed_by_the_reactor_and_in_its_next_turn(wired: Wired) -> None:
    wired.far.close()
    wired.connection.outgoing.hurry()
    assert wired.host.errors == []
    assert wired.reactor.getWriters() == [wired.transport]
    assert wired.transport.doWrite() is not None

"""What waits to leave: order, delay, speed and limits, on a clock that stands still."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from kvpaxos.node.outgoing import EXPRESS_BYTES_MAX, QUEUE_BYTES_MAX, Outgoing
from kvpaxos.node.switches import Switch
from kvpaxos.wire.chunks import CHUNK_BYTES_MAX, Parcel

MEBIBYTE = 1024 * 1024


class Sink:
    """A transport that takes everything, and tells its producer if that is too much."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.chokes: Outgoing | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.chokes is not None:
            self.chokes.pauseProducing()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outgoing(sink: Sink, clock: Clock) -> Outgoing:
    return Outgoing(sink, clock=clock, monotonic=clock.seconds)


def test_frames_leave_at_once_while_the_transport_takes_them(
    outgoing: Outgoing, sink: Sink
) -> None:
    assert outgoing.put(b"a")
    assert outgoing.put(b"b")
    assert sink.written == [b"a", b"b"]
    assert outgoing.bytes_held == 0


def test_only_what_need_not_wait_is_hurried(sink: Sink, clock: Clock) -> None:
    hurried: list[bytes] = []
    outgoing = Outgoing(
        sink,
        clock=clock,
        monotonic=clock.seconds,
        hurry=lambda: hurried.append(sink.written[-1]),
    )
    outgoing.hurry()
    outgoing.put(b"a")
    outgoing.put(b"b")
    outgoing.hurry()
    assert hurried == [b"b"]
    outgoing.put(b"late", switch=Switch(delay_s=1.0))
    clock.advance(1.0)
    outgoing.hurry()
    assert (sink.written[-1], hurried) == (b"late", [b"b"])
    outgoing.put(b"c")
    outgoing.close()
    outgoing.hurry()
    assert hurried == [b"b"]


def test_frames_wait_in_order_while_it_does_not(outgoing: Outgoing, sink: Sink) -> None:
    outgoing.pauseProducing()
    for data in (b"a", b"bc", b"d"):
        assert outgoing.put(data)
    assert sink.written == []
    assert outgoing.bytes_held == 4
    outgoing.resumeProducing()
    assert sink.written == [b"a", b"bc", b"d"]
    assert outgoing.bytes_held == 0


def test_one_frame_leaves_for_each_time_that_there_is_room(outgoing: Outgoing, sink: Sink) -> None:
    sink.chokes = outgoing
    for data in (b"a", b"b", b"c"):
        outgoing.put(data)
    assert sink.written == [b"a"]
    outgoing.resumeProducing()
    assert sink.written == [b"a", b"b"]
    outgoing.resumeProducing()
    assert sink.written == [b"a", b"b", b"c"]


def test_beyond_the_limit_frames_are_refused_but_express_ones_have_room_of_their_own(
    outgoing: Outgoing,
) -> None:
    outgoing.pauseProducing()
    taken = sum(outgoing.put(bytes(MEBIBYTE)) for _ in range(40))
    assert taken == QUEUE_BYTES_MAX // MEBIBYTE
    assert not outgoing.put(b"x")
    kibibytes = sum(outgoing.put(bytes(1024), express=True) for _ in range(1000))
    assert kibibytes == EXPRESS_BYTES_MAX // 1024
    assert outgoing.bytes_held == QUEUE_BYTES_MAX + EXPRESS_BYTES_MAX


def test_a_frame_longer_than_the_limit_waits_alone(outgoing: Outgoing) -> None:
    outgoing.pauseProducing()
    assert outgoing.put(bytes(QUEUE_BYTES_MAX + 1))
    assert not outgoing.put(b"x")


def test_a_delay_holds_each_frame_back(outgoing: Outgoing, sink: Sink, clock: Clock) -> None:
    outgoing.put(b"a", switch=Switch(delay_s=1.0))
    clock.advance(0.5)
    outgoing.put(b"b", switch=Switch(delay_s=1.0))
    assert sink.written == []
    clock.advance(0.5)
    assert sink.written == [b"a"]
    clock.advance(0.5)
    assert sink.written == [b"a", b"b"]


def test_order_is_kept_when_the_delay_is_taken_away(
    outgoing: Outgoing, sink: Sink, clock: Clock
) -> None:
    outgoing.put(b"slow", switch=Switch(delay_s=1.0))
    outgoing.put(b"fast")
    outgoing.put(b"faster", switch=Switch(delay_s=0.1))
    clock.advance(0.9)
    assert sink.written == []
    clock.advance(0.1)
    assert sink.written == [b"slow", b"fast", b"faster"]
    outgoing.put(b"now")
    assert sink.written[-1] == b"now"


def test_a_slow_link_spreads_frames_out(outgoing: Outgoing, sink: Sink, clock: Clock) -> None:
    slow = Switch(bytes_per_s=100)
    for _ in range(3):
        outgoing.put(bytes(50), switch=slow)
    for count in (0, 1, 2, 3):
        assert len(sink.written) == count
        clock.advance(0.5)


def test_delayed_frames_wait_for_room_as_well(outgoing: Outgoing, sink: Sink, clock: Clock) -> None:
    outgoing.put(b"a", switch=Switch(delay_s=1.0))
    outgoing.pauseProducing()
    clock.advance(2.0)
    assert sink.written == []
    outgoing.resumeProducing()
    assert sink.written == [b"a"]


def test_what_is_closed_holds_nothing_and_sends_nothing(
    outgoing: Outgoing, sink: Sink, clock: Clock
) -> None:
    outgoing.put(b"a", switch=Switch(delay_s=1.0))
    outgoing.stopProducing()
    assert outgoing.bytes_held == 0
    assert clock.getDelayedCalls() == []
    clock.advance(2.0)
    assert sink.written == []


def test_express_frames_overtake_what_waits_and_keep_their_order(
    outgoing: Outgoing, sink: Sink
) -> None:
    outgoing.pauseProducing()
    for data in (b"a", b"b"):
        outgoing.put(data)
    for data in (b"1", b"2"):
        outgoing.put(data, express=True)
    assert outgoing.is_behind
    assert outgoing.bytes_held == 4
    outgoing.resumeProducing()
    assert sink.written == [b"1", b"2", b"a", b"b"]
    assert not outgoing.is_behind


def test_a_long_message_leaves_chunk_by_chunk_and_short_ones_pass_between_in_order(
    outgoing: Outgoing, sink: Sink
) -> None:
    sink.chokes = outgoing
    parcel = Parcel(bytes(4 * CHUNK_BYTES_MAX))
    chunks = list(parcel)
    outgoing.put(parcel)
    outgoing.put(b"after")
    assert sink.written == chunks[:1]
    assert outgoing.bytes_held == len(parcel) - len(chunks[0]) + len(b"after")
    outgoing.put(b"beat", express=True)
    for _ in range(5):
        outgoing.resumeProducing()
    assert sink.written == [chunks[0], b"beat", *chunks[1:], b"after"]
    assert outgoing.bytes_held == 0


def test_a_long_message_to_a_transport_with_room_leaves_at_once(
    outgoing: Outgoing, sink: Sink
) -> None:
    parcel = Parcel(bytes(3 * CHUNK_BYTES_MAX))
    outgoing.put(parcel)
    assert sink.written == list(parcel)
    outgoing.put(b"after")
    assert sink.written[-1] == b"after"


def test_on_a_slow_link_an_express_frame_waits_for_one_chunk_and_no_more(
    outgoing: Outgoing, sink: Sink, clock: Clock
) -> None:
    parcel = Parcel(bytes(10 * CHUNK_BYTES_MAX))
    chunk = len(next(iter(parcel)))
    slow = Switch(bytes_per_s=chunk)
    outgoing.put(parcel, switch=slow)
    outgoing.put(b"beat", switch=Switch(bytes_per_s=2**40), express=True)
    clock.advance(1.0)
    assert [len(data) for data in sink.written] == [chunk]
    clock.advance(0.001)
    assert [len(data) for data in sink.written] == [chunk, 4]
    for count in range(3, 12):
        clock.advance(1.0)
        assert len(sink.written) == count


def test_an_express_frame_is_not_held_back_by_the_delay_of_others(
    outgoing: Outgoing, sink: Sink, clock: Clock
) -> None:
    outgoing.put(b"slow", switch=Switch(delay_s=2.0))
    outgoing.put(b"soon", switch=Switch(delay_s=0.5), express=True)
    outgoing.put(b"now", express=True)
    assert sink.written == []
    clock.advance(0.5)
    assert sink.written == [b"soon", b"now"]
    clock.advance(1.5)
    assert sink.written == [b"soon", b"now", b"slow"]


def test_a_parcel_of_which_some_has_left_is_let_go_with_the_rest(
    outgoing: Outgoing, sink: Sink
) -> None:
    sink.chokes = outgoing
    outgoing.put(Parcel(bytes(4 * CHUNK_BYTES_MAX)))
    outgoing.stopProducing()
    assert outgoing.bytes_held == 0
    outgoing.resumeProducing()
    assert len(sink.written) == 1

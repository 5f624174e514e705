"""Frames come out as they went in, however the stream was chopped up."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.errors import WireError
from kvpaxos.wire.framing import FRAME_BYTES_MAX, HEADER_BYTES, FrameBuffer, frame

payloads = st.lists(st.binary(max_size=50), max_size=6)


@given(payloads, st.lists(st.integers(0, 300)))
def test_frames_come_back_in_order_however_they_were_chopped_up(
    sent: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(frame, sent))
    buffer = FrameBuffer()
    ends = sorted({*(cut for cut in cuts if cut < len(stream)), len(stream)})
    received: list[bytes] = []
    start = 0
    for end in ends:
        received += buffer.receive(stream[start:end])
        start = end
    assert received == sent
    assert buffer.bytes_held == 0


@given(st.binary(max_size=60), st.data())
def test_a_changed_byte_is_refused_or_waits_for_more(payload: bytes, data: st.DataObject) -> None:
    stream = bytearray(frame(payload))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    with suppress(WireError):
        assert list(FrameBuffer().receive(bytes(stream))) == []


@given(st.binary(min_size=1, max_size=100))
def test_random_bytes_are_refused_or_wait_for_more(data: bytes) -> None:
    buffer = FrameBuffer()
    with suppress(WireError):
        assert list(buffer.receive(data)) == []


def test_another_version_is_refused_at_its_first_byte() -> None:
    with pytest.raises(WireError, match="version 71"):
        list(FrameBuffer().receive(b"G"))


def test_a_frame_that_is_too_long_is_refused_before_it_is_there() -> None:
    buffer = FrameBuffer(frame_bytes_max=100)
    header = frame(b"x" * 101)[:HEADER_BYTES]
    with pytest.raises(WireError, match="101 bytes, limit 100"):
        list(buffer.receive(header))


def test_a_frame_of_just_the_limit_passes() -> None:
    assert list(FrameBuffer(frame_bytes_max=100).receive(frame(b"x" * 100))) == [b"x" * 100]


def test_the_limit_may_be_raised_between_frames() -> None:
    buffer = FrameBuffer(frame_bytes_max=1)
    received = []
    for payload in buffer.receive(frame(b"a") + frame(b"bcd")):
        received.append(payload)
        buffer.frame_bytes_max = FRAME_BYTES_MAX
    assert received == [b"a", b"bcd"]


def test_what_is_held_never_exceeds_one_frame_and_one_chunk() -> None:
    chunk, length = 1_000, 10_000
    stream = b"".join(frame(bytes(length)) for _ in range(20))
    buffer = FrameBuffer(frame_bytes_max=length)
    count = 0
    for start in range(0, len(stream), chunk):
        count += len(list(buffer.receive(stream[start : start + chunk])))
        assert buffer.bytes_held < HEADER_BYTES + length
    assert count == 20


def test_frames_not_asked_for_stay_for_the_next_call() -> None:
    buffer = FrameBuffer()
    first = buffer.receive(frame(b"a") + frame(b"b"))
    assert next(first) == b"a"
    first.close()
    assert list(buffer.receive(b"")) == [b"b"]

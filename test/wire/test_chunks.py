"""A long message comes back whole, whatever passes between its chunks; nothing else comes back."""

from __future__ import annotations

import struct
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.errors import WireError
from kvpaxos.wire.chunks import (
    CHUNK_BYTES_MAX,
    CHUNK_MARK,
    MESSAGE_BYTES_MAX,
    Joiner,
    Parcel,
    packed,
)
from kvpaxos.wire.codec import MESSAGES, RECORDS
from kvpaxos.wire.framing import FRAME_BYTES_MAX, FrameBuffer, frame
from kvpaxos.wire.greeting import GREETINGS

LENGTHS = [
    FRAME_BYTES_MAX + 1,
    2 * CHUNK_BYTES_MAX - 1,
    2 * CHUNK_BYTES_MAX,
    2 * CHUNK_BYTES_MAX + 1,
    16 * 1024 * 1024,
]


NOISE = Random(1).randbytes(LENGTHS[-1])


def chunk(to_come: int, data: bytes) -> bytes:
    """Return a chunk, honest or not."""
    return struct.pack(">BI", CHUNK_MARK, to_come) + data


def message(length: int) -> bytes:
    """Return bytes of which no two stretches are alike."""
    return NOISE[:length]


def parcel_of(data: bytes) -> Parcel:
    parcel = packed(data)
    assert isinstance(parcel, Parcel)
    return parcel


def payloads(stream: bytes) -> list[bytes]:
    return list(FrameBuffer().receive(stream))


@pytest.mark.parametrize("length", [0, 1, FRAME_BYTES_MAX])
def test_what_a_frame_holds_travels_in_one(length: int) -> None:
    assert packed(bytes(length)) == frame(bytes(length))


@pytest.mark.parametrize("length", LENGTHS)
def test_what_no_frame_holds_travels_in_chunks_and_comes_back(length: int) -> None:
    sent = message(length)
    parcel = parcel_of(sent)
    frames = list(parcel)
    assert len(frames) == -(-length // CHUNK_BYTES_MAX)
    assert sum(map(len, frames)) == len(parcel)
    joiner = Joiner()
    *some, last = [joiner.take(payload) for payload in payloads(b"".join(frames))]
    assert some == [None] * (len(frames) - 1)
    assert last == sent
    assert joiner.bytes_held == 0


@pytest.mark.parametrize("length", LENGTHS)
def test_no_frame_of_a_parcel_is_too_long(length: int) -> None:
    assert all(
        len(payload) <= FRAME_BYTES_MAX
        for one in parcel_of(bytes(length))
        for payload in payloads(one)
    )


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(FRAME_BYTES_MAX + 1, 4 * 10**6))
def test_short_messages_pass_between_chunks(gaps: list[int], length: int) -> None:
    sent = message(length)
    frames = list(parcel_of(sent))
    short = [b"\x90" + bytes([number]) for number in range(len(gaps))]
    stream = list(frames)
    for payload, gap in zip(short, gaps, strict=True):
        stream.insert(min(gap, len(stream)), frame(payload))
    joiner = Joiner()
    received = [joiner.take(payload) for payload in payloads(b"".join(stream))]
    whole = [one for one in received if one is not None]
    assert sent in whole
    assert sorted(one for one in whole if one != sent) == sorted(short)


def test_nothing_else_begins_as_a_chunk_does() -> None:
    # A message or record is an array: 0x90 to 0x9f, or 0xdc and 0xdd.
    assert CHUNK_MARK == 0xC1
    assert all(len(kind.checks) + 2 <= 15 for kind in (*MESSAGES, *GREETINGS, *RECORDS))


@pytest.mark.parametrize(
    ("stream", "sentence"),
    {
        "an empty chunk": ([chunk(FRAME_BYTES_MAX, b"")], "nothing in it"),
        "half a header": ([bytes([CHUNK_MARK, 0, 1])], "nothing in it"),
        "a message over the limit": ([chunk(4_000_000, b"x")], "4000001 bytes, limit 4000000"),
        "the longest announcement": ([chunk(2**32 - 1, b"x")], "limit 4000000"),
        "a message that fits a frame": ([chunk(FRAME_BYTES_MAX - 1, b"x")], "a frame holds it"),
        "a last chunk without a first": ([chunk(0, b"x")], "a frame holds it"),
        "a chunk left out": ([chunk(2_900_000, b"x"), chunk(2_899_000, b"x")], "not 2900000"),
        "a chunk twice": ([chunk(2_900_000, b"x"), chunk(2_900_000, b"x")], "not 2900000"),
        "a second message": ([chunk(2_900_000, b"x"), chunk(2_800_000, b"x")], "not 2900000"),
        "more at the end than announced": (
            [chunk(2_900_000, b"x"), chunk(0, b"xx")],
            "not 2900000",
        ),
    }.values(),
)
def test_what_no_honest_peer_sends_is_refused(stream: list[bytes], sentence: str) -> None:
    joiner = Joiner(message_bytes_max=4_000_000)
    *before, last = stream
    assert [joiner.take(payload) for payload in before] == [None] * len(before)
    with pytest.raises(WireError, match=sentence):
        joiner.take(last)


def test_a_message_of_just_the_limit_passes_and_a_longer_one_is_refused_at_its_first_chunk() -> (
    None
):
    limit = FRAME_BYTES_MAX + 1000
    joiner = Joiner(message_bytes_max=limit)
    fits, over = (payloads(b"".join(parcel_of(bytes(limit + more)))) for more in (0, 1))
    assert [joiner.take(one) for one in fits] == [None, bytes(limit)]
    with pytest.raises(WireError, match=f"limit {limit}"):
        joiner.take(over[0])
    assert joiner.bytes_held == 0


def test_no_chunk_is_taken_where_none_may_come() -> None:
    joiner = Joiner(message_bytes_max=0)
    assert joiner.take(b"\x90") == b"\x90"
    with pytest.raises(WireError, match="limit 0"):
        joiner.take(chunk(FRAME_BYTES_MAX, b"x"))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.builds(chunk, st.integers(0, 2**32 - 1), st.binary(max_size=20)),
            st.builds(
                chunk, st.integers(FRAME_BYTES_MAX, FRAME_BYTES_MAX + 100), st.binary(max_size=20)
            ),
        ),
        max_size=30,
    )
)
def test_a_hostile_stream_is_refused_or_brings_what_was_whole(stream: list[bytes]) -> None:
    joiner = Joiner(message_bytes_max=4_000_000)
    sent = 0
    with suppress(WireError):
        for payload in stream:
            sent += len(payload)
            received = joiner.take(payload)
            assert received is None or received == payload
            # Whatever it announces, it is given no more room than it has filled.
            assert joiner.bytes_held <= sent


def test_chunks_come_to_an_end_however_small_they_are() -> None:
    size, count = 64, FRAME_BYTES_MAX // 64 + 1
    joiner = Joiner(message_bytes_max=size * count)
    received = [joiner.take(chunk(size * left, bytes(size))) for left in range(count - 1, -1, -1)]
    assert received == [None] * (count - 1) + [bytes(size * count)]
    with pytest.raises(WireError):
        joiner.take(chunk(0, b"x"))


def test_the_longest_message_of_any_cluster_fits() -> None:
    assert 2 * 16 * 1024 * 1024 < MESSAGE_BYTES_MAX < 2**32

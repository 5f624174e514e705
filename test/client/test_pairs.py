"""Pairs are cut out of a dump however its bytes are cut, and nothing else passes for a dump."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from kvpaxos.client.pairs import Pair, Pairs
from kvpaxos.node.http.dump import _pair
from kvpaxos.node.http.replies import to_json

MIB = 1024 * 1024

BYTES = st.one_of(st.binary(max_size=20), st.text(max_size=20).map(str.encode))
PAIRS = st.lists(st.tuples(BYTES, BYTES), max_size=20)


def spelled(pairs: list[Pair]) -> bytes:
    return to_json([_pair(key, value) for key, value in pairs])


def cut(dump: bytes, pieces: list[int], pair_bytes_max: int = MIB) -> list[Pair]:
    """Return the pairs of ``dump``, which comes in pieces of these sizes and a last one."""
    parser = Pairs(pair_bytes_max)
    found = []
    start = 0
    for size in pieces:
        found += parser.feed(dump[start : start + size])
        start += size
    found += parser.feed(dump[start:])
    return found + parser.end()


@given(pairs=PAIRS, pieces=st.lists(st.integers(0, 30), max_size=50))
def test_a_dump_is_read_the_same_however_it_is_cut(pairs: list[Pair], pieces: list[int]) -> None:
    assert cut(spelled(pairs), pieces) == pairs


@given(pairs=PAIRS, pieces=st.lists(st.integers(0, 30), max_size=50), data=st.data())
def test_a_beginning_of_a_dump_is_not_taken_for_the_whole(
    pairs: list[Pair], pieces: list[int], data: st.DataObject
) -> None:
    dump = spelled(pairs)
    end = data.draw(st.integers(0, len(dump) - 1))
    with pytest.raises(ValueError, match="cut off"):
        cut(dump[:end], pieces)


def test_a_dump_may_be_spaced_as_json_may() -> None:
    pairs = [(b'a"]}', b"[,"), (b"\x00\\", b'"')]
    dump = json.dumps([[key.decode(), value.decode()] for key, value in pairs], indent=2)
    assert cut(f" \n{dump}\r\n ".encode(), [1] * len(dump)) == pairs
    assert cut(b" [ ] ", [1, 1, 1]) == []


@pytest.mark.parametrize(
    "dump",
    [
        b'{"a":"b"}',
        b'"a"',
        b'[["a","b"]["c","d"]]',
        b'[,["a","b"]]',
        b'[["a","b"],]',
        b'[["a","b"]]]',
        b'[["a","b"]] x',
        b'[["a"]]',
        b'[["a",1]]',
        b'[["a","b","c"]]',
        b'[["a",["b"]]]',
        b'[{"key":"a"}]',
        b'[{"key":"a","value":null}]',
        b'[{"key":"a","value":null,"value_base64":"?"}]',
        b"[1]",
        b'[["a","\xff"]]',
        b'[["a","\\ud800"]]',
        b"",
    ],
)
@pytest.mark.parametrize("pieces", [[], [1] * 60])
def test_what_is_no_dump_is_refused(dump: bytes, pieces: list[int]) -> None:
    with pytest.raises(ValueError, match=r"."):
        cut(dump, pieces)


def test_a_pair_that_does_not_end_is_refused_and_not_collected() -> None:
    parser = Pairs(pair_bytes_max=1000)
    parser.feed(b'[["a","' + b"x" * 900)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        parser.feed(b"x" * 2000)


def test_a_parser_holds_no_more_than_a_pair_however_long_the_dump_is() -> None:
    page = spelled([(b"key", b"v" * 1000)] * 64)
    parser = Pairs(MIB)
    parser.feed(page[:-1])
    tracemalloc.start()
    for _ in range(200):
        assert len(parser.feed(b"," + page[1:-1])) == 64
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(page)


def test_a_long_pair_of_escapes_in_small_pieces_is_looked_through_a_few_times_only() -> None:
    """Each look takes as long as what has come so far, so that too many take for ever."""
    dump = spelled([(b"k", b"\x00" * 64 * 1024)])
    looks = 0

    class Counting(Pairs):
        @override
        def _cut(self) -> list[Pair]:
            nonlocal looks
            looks += 1
            return super()._cut()

    parser = Counting(MIB)
    for start in range(0, len(dump), 100):
        parser.feed(dump[start : start + 100])
    assert parser.end() == [(b"k", b"\x00" * 64 * 1024)]
    assert looks < 20

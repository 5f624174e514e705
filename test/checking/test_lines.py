"""Histories as JSON lines."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.checking.history import UNTOLD, Call, Dump, Outcome
from kvpaxos.checking.lines import EXAMPLE, BadLine, call_line, read_call, read_history
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Set,
    Update,
)
from kvpaxos.store.requests import Named, Numbered
from test.checking.brute import true_history

RAW = st.binary(max_size=4)
KEYS = st.binary(min_size=1, max_size=4)
OPERATIONS = st.one_of(
    *(st.builds(kind, KEYS, RAW) for kind in (Insert, Update, Set, Append)),
    st.builds(CompareAndSet, KEYS, st.none() | RAW, RAW),
)


OUTCOMES: list[Outcome] = ["done", "unknown"]


@given(OPERATIONS, st.sampled_from(OUTCOMES))
def test_a_write_comes_back_from_its_line(
    operation: Insert | Update | Set | Append | CompareAndSet, outcome: Outcome
) -> None:
    call = Call("c1", operation, 1.5, None if outcome == "unknown" else 2.0, outcome)
    line = call_line(call)
    assert read_call(line) == call
    assert line.count(b"\n") == 1


def test_histories_come_back_from_their_lines() -> None:
    random = Random(7)
    calls = [call for _ in range(200) for call in true_history(random, 5)]
    lines = [call_line(call) for call in calls]
    assert list(read_history("history", [*lines, b" \n"])) == calls


@pytest.mark.parametrize(
    "call",
    [
        Call("c", Count(), 0, 1, "done", b"3", slot=7, read="quorum"),
        Call(
            "c", Dump(), 0, 1, "done", pairs=((b"a", b"b"), (b"\xff", b"")), slot=0, read="quorum"
        ),
        Call("c", Dump(), 0, None, "failed"),
        Call("c", Get(b"k"), 0, 1, "done", b"v", read="stale"),
        Call("c", Delete(b"k"), 0, 1, "done", b"v", identity=Numbered(b"c", 5)),
        Call("c", Delete(b"k"), 0, 1, "refused", identity=Named(b"once")),
        Call("c", CompareAndSet(b"k", b"a", b"b"), 0, 1, "refused", None),
        Call("c", CompareAndSet(b"k", b"a", b"b"), 0, 1, "refused", UNTOLD),
    ],
    ids=repr,
)
def test_a_call_comes_back_from_its_line(call: Call) -> None:
    assert read_call(call_line(call)) == call


def line(**members: object) -> bytes:
    return json.dumps({**json.loads(EXAMPLE), **members}).encode()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"{", "it is no JSON from column 2 on; write one call a line, such as"),
        (b"[]", "it is no object; write one call a line"),
        (b"\xff", "byte 1 is not UTF-8; write what is no text in base64"),
        (b"[" * 100_000, "it is nested too deep"),
        (b"{}", '"outcome" is missing; write one call a line, such as'),
        (line(retrun=1), '"retrun" is no member of a call; leave it out'),
        (line(outcome="ok"), '"outcome" is "ok"; make it one of done, refused, failed, unknown'),
        (line(operation="put"), '"operation" is "put"; make it one of insert, update, set, append'),
        (line(operation="get"), 'a get has no "value"; leave it out'),
        (line(operation="cas"), '"expect" is missing'),
        (line(client=1), '"client" is no text; put it between quotes'),
        (line(key=""), "the key is empty"),
        (line(key=None), '"key" is null; give it as text, or in base64 as "key_base64"'),
        (line(value=5), '"value" is no text; put it between quotes'),
        (line(value="\ud800"), '"value" holds half of a surrogate pair'),
        (line(value_base64="eA=="), '"value" is there twice, as text and in base64'),
        (line(value=None, value_base64="?"), '"value_base64" is no base64; encode the bytes again'),
        (line(**{"return": None}), '"return" is no number; give a time, in any unit'),
        (line(**{"return": -1}), '"return" is -1, before "call", 0; give both by one clock'),
        (line(call=True), '"call" is no number'),
        (line(outcome="refused"), "no set is refused by what there is"),
        (line(result="x"), 'a set with the outcome "done" shows no "result"; leave it out'),
        (line(pairs=[]), 'only a dump that is done has "pairs"'),
        (line(opid=1, requestid="x"), 'it has both "opid" and "requestid"'),
        (line(opid=-1), '"opid" is no whole number from 0 to'),
        (line(read="fresh"), '"read" is "fresh"; make it one of logged, quorum, stale'),
    ],
)
def test_a_line_that_is_no_call_is_refused_with_what_to_do(given: bytes, sentence: str) -> None:
    with pytest.raises(BadLine) as refused:
        list(read_history("h.jsonl", [EXAMPLE.encode(), b"\n", given]))
    assert str(refused.value).startswith(f"h.jsonl: line 3: {sentence}")
    assert str(refused.value).endswith((".", "}."))


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (["k"], 'a pair is neither ["key","value"] nor an object'),
        ([["k", 1]], 'a pair is neither ["key","value"] nor an object'),
        ("k", '"pairs" is no list; give one'),
        ([{"key": "k"}], '"value" is missing'),
    ],
)
def test_a_dump_whose_pairs_are_none_is_refused(pairs: object, sentence: str) -> None:
    given = {"client": "c", "operation": "dump", "call": 0, "return": 1, "outcome": "done"}
    with pytest.raises(BadLine, match=r".") as refused:
        read_call(json.dumps({**given, "pairs": pairs}).encode())
    assert str(refused.value).startswith(sentence)

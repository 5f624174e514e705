"""Pairs as lines, both ways."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvpaxos.cli.pairs import BadLine, pair_line, read_pair

AWKWARD = [
    b" ",
    b'"',
    b"&=+%",
    b"\n",
    b"\r\n",
    b"\0",
    b"\x7f",
    b"\\",
    "键".encode(),
    "🔑".encode(),
    "\u2028\u2029\u0085\ufeff\ufffd".encode(),
    b"\xff",
    b"\xed\xa0\x80",
    b"a\xc3",
]


@given(st.binary(min_size=1), st.binary())
@example(b"k", b"")
def test_any_pair_comes_back_from_its_line(key: bytes, value: bytes) -> None:
    line = pair_line(key, value)
    assert read_pair(line) == (key, value)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    line.decode()


@pytest.mark.parametrize("raw", AWKWARD, ids=repr)
def test_awkward_text_comes_back_from_its_line(raw: bytes) -> None:
    assert read_pair(pair_line(raw, raw)) == (raw, raw)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_text_stays_readable(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert pair_line(text.encode(), b"v").decode() == f'{{"key":"{quoted}","value":"v"}}\n'


def test_what_is_no_text_stands_in_base64() -> None:
    assert pair_line(b"\xff", b"v") == b'{"key_base64":"/w==","value":"v"}\n'
    assert pair_line(b"k", b"\xff\0") == b'{"key":"k","value_base64":"/wA="}\n'


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        ('{"key":"k","value":"v"}', (b"k", b"v")),
        ('{"value": "v", "key": "k"}\r\n', (b"k", b"v")),
        ('{"key":"\\u952e","value":"\\ud83d\\udd11"}', ("键".encode(), "🔑".encode())),
        ('{"key":null,"key_base64":"aw==","value":null,"value_base64":""}', (b"k", b"")),
    ],
)
def test_other_spellings_are_read_too(line: str, pair: tuple[bytes, bytes]) -> None:
    assert read_pair(line.encode()) == pair


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"nonsense", "it is no JSON from column 1 on; write one object a line"),
        (b'{"key":"k","value":"v"', "it is no JSON from column 23 on; write one object a line"),
        (b'{"key":"k","value":"v"} x', "it is no JSON from column 25 on; write one object a line"),
        (b'{"key":"a\nb","value":""}', "it is no JSON from column 10 on; write one object a line"),
        (b"\xef\xbb\xbf{}", "it is no JSON from column 1 on; write one object a line"),
        (b"[" * 100_000, "it is nested too deep; write one object a line"),
        (b'["k","v"]', "it is no object; write one object a line"),
        (b'{"key":"\xff","value":"v"}', "byte 9 is not UTF-8; write what is no text as key_base64"),
        (b'{"value":"v"}', "the key is missing; write one object a line"),
        (b'{"key":"k"}', "the value is missing; write one object a line"),
        (b'{"key":"k","key_base64":"aw==","value":""}', "the key is there twice, as text and in"),
        (b'{"key":7,"value":"v"}', 'the key is no text; put it between quotes: "7"'),
        (b'{"key":"k","value_base64":7}', "the value is no text; put it between quotes"),
        (b'{"key":"","value":"v"}', "the key is empty; give it one byte or more"),
        (b'{"key":"k","value":"v","ttl":1}', '"ttl" is no member of a pair; leave it out'),
        (b'{"key":"k","value_base64":"a"}', "value_base64 is no base64 ("),
        (b'{"key":"k","value_base64":"a b="}', "value_base64 is no base64 ("),
        (b'{"key":"k","value_base64":"\xc3\xa9"}', "value_base64 is no base64 ("),
        (b'{"key":"\\ud800","value":"v"}', "the key holds half of a surrogate pair; write its"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_line_that_is_no_pair_is_told_with_the_mend(line: bytes, sentence: str) -> None:
    with pytest.raises(BadLine) as refused:
        read_pair(line)
    assert str(refused.value).startswith(sentence)
    assert not str(refused.value).endswith(".")


@given(st.text())
def test_any_line_is_a_pair_or_refused(text: str) -> None:
    try:
        key, value = read_pair(text.encode(errors="surrogatepass"))
    except BadLine:
        return
    assert json.loads(text)
    assert isinstance(key + value, bytes)

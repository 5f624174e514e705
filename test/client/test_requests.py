"""How requests are spelled: a node reads exactly what the caller meant."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.client.requests import Request, to_bytes
from kvpaxos.errors import BadRequest
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.parameters import Parameters

LIMITS = HttpLimits()
SOME_BYTES = st.one_of(st.binary(min_size=1, max_size=50), st.text(min_size=1).map(str.encode))


@given(key=SOME_BYTES, value=st.binary(max_size=50), timeout_s=st.floats(0.001, 60.0))
def test_a_node_reads_from_a_body_what_was_meant(
    key: bytes, value: bytes, timeout_s: float
) -> None:
    request = Request("POST", "/kv/cas", {"key": key, "value": value, "expect": value}, {})
    sent = request.sent(timeout_s)
    assert (sent.method, sent.path) == ("POST", "/kv/cas")
    assert sent.body is not None
    read = Parameters(LIMITS, query=b"", content_type=b"application/json", body=sent.body)
    assert (read.key(), read.value(), read.expect()) == (key, value, value)
    assert read.timeout_s() == pytest.approx(timeout_s, abs=1e-6)


@given(key=SOME_BYTES, timeout_s=st.floats(0.001, 60.0))
def test_a_node_reads_from_a_query_what_was_meant(key: bytes, timeout_s: float) -> None:
    sent = Request("GET", "/kv/get", {"key": key, "after": key}, {}).sent(timeout_s)
    address = urlsplit(sent.path)
    assert (sent.method, address.path, sent.body) == ("GET", "/kv/get", None)
    read = Parameters(LIMITS, query=address.query.encode())
    assert (read.key(), read.after()) == (key, key)
    assert read.timeout_s() == pytest.approx(timeout_s, abs=1e-6)


def test_text_goes_as_text_and_only_what_is_none_in_base64() -> None:
    body = Request("POST", "/kv/set", {"key": "键".encode(), "value": b"\xff"}, {}).sent().body
    assert body is not None
    assert json.loads(body) == {"key": "键", "value_base64": "/w=="}


def test_what_is_none_is_left_out() -> None:
    assert Request("GET", "/kv/get", {"key": b"k", "consistency": None}, {}).sent().path == (
        "/kv/get?key=k"
    )
    assert Request("GET", "/kvman/status", {}, {}).sent().path == "/kvman/status"


def test_a_repetition_differs_in_its_deadline_only() -> None:
    request = Request("POST", "/kv/append", {"key": b"k"}, {"client": b"c/1", "opid": 7})
    first, second = (json.loads(request.sent(timeout_s).body or b"") for timeout_s in (2.0, 1.0))
    assert (first.pop("timeout"), second.pop("timeout")) == (2.0, 1.0)
    assert first == second == {"key": "k", "client": "c/1", "opid": 7}


def test_text_that_no_bytes_stand_for_is_refused_before_it_is_sent() -> None:
    with pytest.raises(BadRequest, match=r"^The value holds half of a surrogate pair; nothing"):
        to_bytes("value", "\ud800")

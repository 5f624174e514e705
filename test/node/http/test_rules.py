"""Each rule of the interface at each path to which it applies: no path has manners of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from kvpaxos.errors import OutcomeUnknown, Unavailable
from kvpaxos.node.http.dialects import DIALECTS
from kvpaxos.store.limits import VALUE_BYTES_MAX
from test.node.http.harness import Node, assert_is_sentence

Given = Mapping[str, str]


class Endpoint(NamedTuple):
    """One path, and parameters with which it succeeds where the key ``taken`` holds ``old``."""

    path: str
    method: str
    given: Given


KEY = {"key": "taken"}
PAIR = {"key": "taken", "value": "new"}
TIMED = {"timeout": "5"}

ENDPOINTS = [
    Endpoint("/kv/insert", "POST", {**PAIR, **TIMED, "key": "new", "opid": "1"}),
    Endpoint("/kv/insert", "PUT", {**PAIR, **TIMED, "key": "new", "opid": "1"}),
    Endpoint("/kv/put", "POST", {**PAIR, **TIMED, "key": "new", "opid": "1"}),
    Endpoint("/kv/put", "PUT", {**PAIR, **TIMED, "key": "new", "opid": "1"}),
    Endpoint("/kv/update", "POST", {**PAIR, **TIMED, "opid": "1"}),
    Endpoint("/kv/update", "PUT", {**PAIR, **TIMED, "opid": "1"}),
    Endpoint("/kv/delete", "POST", {**KEY, **TIMED, "opid": "1"}),
    Endpoint("/kv/delete", "DELETE", {**KEY, **TIMED, "opid": "1"}),
    Endpoint("/kv/set", "POST", {**PAIR, **TIMED, "opid": "1"}),
    Endpoint("/kv/set", "PUT", {**PAIR, **TIMED, "opid": "1"}),
    Endpoint("/kv/cas", "POST", {**PAIR, **TIMED, "expect": "old", "opid": "1"}),
    Endpoint("/kv/cas", "PUT", {**PAIR, **TIMED, "expect": "old", "opid": "1"}),
    Endpoint("/kv/append", "POST", {**PAIR, **TIMED, "opid": "1"}),
    Endpoint("/kv/get", "GET", {**KEY, **TIMED, "consistency": "linearizable"}),
    Endpoint("/kv/get", "GET", {**KEY, **TIMED, "opid": "1"}),
    Endpoint("/kvman/countkey", "GET", TIMED),
    Endpoint("/kvman/countkey", "GET", {**TIMED, "opid": "1"}),
    Endpoint("/kvman/dump", "GET", {**TIMED, "limit": "1", "after": "a"}),
    Endpoint("/kvman/links", "POST", {"from": "n01", "state": "up", "delay": "0", "loss": "0"}),
    Endpoint("/kvman/journal", "GET", {"from": "1", "limit": "1"}),
]


class Rule(NamedTuple):
    """What is refused of every path that takes a parameter, and how."""

    what: str
    parameter: str
    spoil: Callable[[Given], Given]
    status: int


def without(name: str) -> Callable[[Given], Given]:
    return lambda given: {other: value for other, value in given.items() if other != name}


def instead(**others: str) -> Callable[[Given], Given]:
    return lambda given: {**given, **others}


RULES = [
    Rule("a missing key", "key", without("key"), 400),
    Rule("an empty key", "key", instead(key=""), 400),
    Rule("a key over its limit", "key", instead(key="k" * 4097), 413),
    Rule("a key given both ways", "key", instead(key_base64="dGFrZW4="), 400),
    Rule("a key in bad base64", "key", lambda g: {**without("key")(g), "key_base64": "!"}, 400),
    Rule("a missing value", "value", without("value"), 400),
    Rule("a value over its limit", "value", instead(value="v" * (VALUE_BYTES_MAX + 1)), 413),
    Rule("a value given both ways", "value", instead(value_base64=""), 400),
    Rule(
        "an expected value over its limit",
        "expect",
        instead(expect="v" * (VALUE_BYTES_MAX + 1)),
        413,
    ),
    Rule("an expected value given both ways", "expect", instead(expect_base64=""), 400),
    Rule("a consistency of its own", "consistency", instead(consistency="strong"), 400),
    Rule("a timeout that is no number", "timeout", instead(timeout="soon"), 400),
    Rule("a timeout of nothing", "timeout", instead(timeout="0"), 400),
    Rule("a timeout over its limit", "timeout", instead(timeout="61"), 400),
    Rule("an opid that is no number", "opid", instead(opid="first"), 400),
    Rule("an opid over its limit", "opid", instead(opid=str(2**63)), 400),
    Rule("an opid and a requestid", "opid", instead(requestid="r"), 400),
    Rule("a client without opid", "opid", lambda g: {**without("opid")(g), "client": "c"}, 400),
    Rule("a client over its limit", "opid", instead(client="c" * 129), 413),
    Rule("a limit of nothing", "limit", instead(limit="0"), 400),
    Rule("a limit that is no number", "limit", instead(limit="all"), 400),
    Rule("a start over its limit", "after", instead(after="k" * 4097), 413),
    Rule("a state of its own", "state", instead(state="down"), 400),
    Rule("a delay over its limit", "delay", instead(delay="61"), 400),
    Rule("a loss over 1", "loss", instead(loss="1.1"), 400),
]

TABLE = [
    pytest.param(
        endpoint, rule, id=f"{endpoint.method} {endpoint.path} {[*endpoint.given][-1]}: {rule.what}"
    )
    for endpoint in ENDPOINTS
    for rule in RULES
    if rule.parameter in endpoint.given
]


def filled(dialect: str = "seed") -> Node:
    node = Node(dialect=dialect)
    node.ask("POST", "/kv/insert", b"key=taken&value=old")
    return node


def ask(node: Node, endpoint: Endpoint, given: Given, *, in_body: bool) -> Any:
    client = node.connect()
    encoded = urlencode(given)
    if in_body:
        client.begin(endpoint.method, endpoint.path, encoded.encode())
    else:
        client.begin(endpoint.method, f"{endpoint.path}?{encoded}")
    node.turn(3)
    return client.reply()


def assert_is_refusal(reply: Any, status: int, dialect: str, applied: str = "no") -> None:
    """Hold a reply to what every failure is, whatever the path."""
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert {"x-kvpaxos-slot", "x-kvpaxos-leader", "x-kvpaxos-read"} <= set(reply.headers)
    assert reply.json["success"] == DIALECTS[dialect].no
    if dialect == "handout":
        assert set(reply.json) <= {"success", "value"}
    else:
        assert set(reply.json) == {"success", "message", "applied"}
        assert_is_sentence(reply.json["message"])
        assert reply.json["applied"] == applied


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
@pytest.mark.parametrize("in_body", [True, False], ids=["body", "query"])
def test_each_path_succeeds_with_all_its_parameters(endpoint: Endpoint, *, in_body: bool) -> None:
    assert ask(filled(), endpoint, endpoint.given, in_body=in_body).status == 200


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("endpoint", "rule"), TABLE)
def test_each_rule_holds_at_each_path(endpoint: Endpoint, rule: Rule, dialect: str) -> None:
    node = filled(dialect)
    reply = ask(node, endpoint, rule.spoil(endpoint.given), in_body=True)

    assert_is_refusal(reply, rule.status, dialect)
    assert (len(node.store.writes), node.store.reads, node.store.switched) == (1, [], [])
    assert node.store.journal_calls == []


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"key":', "application/json"),
        (b"[]", "application/json"),
        (b'{"key":"a","key":"a"}', "application/json"),
        (b"limit=1&limit=1", None),
        (b"&" * 100, "text/plain"),
        (b"--cut\r\n\r\n", "multipart/form-data; boundary=cut"),
    ],
)
def test_a_malformed_body_is_refused_at_each_path(
    body: bytes, content_type: str | None, endpoint: Endpoint
) -> None:
    node = filled()
    reply = node.ask(
        endpoint.method, f"{endpoint.path}?{urlencode(endpoint.given)}", body, content_type
    )

    assert_is_refusal(reply, 400, "seed")
    assert (len(node.store.writes), node.store.reads, node.store.switched) == (1, [], [])


ANSWERED_BY_A_QUORUM = [endpoint for endpoint in ENDPOINTS if "timeout" in endpoint.given]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("endpoint", ANSWERED_BY_A_QUORUM, ids=lambda e: f"{e.method} {e.path}")
@pytest.mark.parametrize(
    ("trouble", "status", "applied"),
    [(Unavailable("no leader"), 503, "no"), (OutcomeUnknown("no quorum"), 504, "unknown")],
    ids=["503", "504"],
)
def test_each_path_that_needs_a_quorum_says_so_without_one(
    trouble: Exception, status: int, applied: str, endpoint: Endpoint, dialect: str
) -> None:
    node = filled(dialect)
    node.store.trouble = trouble
    reply = ask(node, endpoint, endpoint.given, in_body=True)

    assert_is_refusal(reply, status, dialect, applied)
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("endpoint", ANSWERED_BY_A_QUORUM, ids=lambda e: f"{e.method} {e.path}")
def test_each_path_that_needs_a_quorum_hands_its_deadline_on(endpoint: Endpoint) -> None:
    node = filled()
    ask(node, endpoint, {**endpoint.given, "timeout": "2.5"}, in_body=False)

    asked = [timeout_s for _, timeout_s, _ in [*node.store.writes[1:], *node.store.reads]]
    assert asked == [2.5]


LOGGED = [endpoint for endpoint in ENDPOINTS if "opid" in endpoint.given]


@pytest.mark.parametrize("endpoint", LOGGED, ids=lambda e: f"{e.method} {e.path}")
def test_each_path_that_takes_an_identity_keeps_it_apart_from_others(endpoint: Endpoint) -> None:
    node = filled()
    first = ask(node, endpoint, endpoint.given, in_body=True)
    again = ask(node, endpoint, endpoint.given, in_body=False)
    node.ask("POST", "/kv/append", b"key=other&value=b&opid=2")
    stale = ask(node, endpoint, endpoint.given, in_body=True)

    assert (first.status, again.body) == (200, first.body)
    assert (stale.status, stale.json["applied"]) == (200, "unknown")
    reused = ask(node, endpoint, {**endpoint.given, "opid": "2"}, in_body=True)
    assert_is_refusal(reused, 400, "seed")

"""What replies carry besides their answer: troubles and limits; and what deadlines do."""

from __future__ import annotations

from typing import Any

import pytest

from kvpaxos.errors import BadRequest, NoSpace, OutcomeUnknown, TooLarge, Unavailable
from kvpaxos.node.http.limits import HttpLimits
from test.node.http.harness import Node, assert_members


def test_no_reply_may_be_cached(node: Node) -> None:
    for target in ("/kv/get?key=taken", "/kv/nothing", "/kvman/status"):
        assert node.ask("GET", target).headers["cache-control"] == "no-store"


def test_a_stale_read_asks_for_a_stale_read(node: Node) -> None:
    node.ask("GET", "/kv/get?key=taken&consistency=stale")
    node.ask("GET", "/kv/get?key=taken")

    assert [stale for stale, _, _ in node.store.reads] == [True, False]


def test_the_deadline_is_5_s_unless_the_request_names_another(node: Node) -> None:
    for timeout in ("", "&timeout=2.5", "&timeout=60"):
        node.ask("GET", f"/kv/get?key=taken{timeout}")
        node.ask("POST", "/kv/set", f"key=a&value=b{timeout}".encode())

    assert [timeout_s for _, timeout_s, _ in node.store.reads] == [5.0, 2.5, 60.0]
    assert [timeout_s for _, timeout_s, _ in node.store.writes[1:]] == [5.0, 2.5, 60.0]


def test_a_request_that_makes_no_sense_never_reaches_the_store(node: Node) -> None:
    node.ask("POST", "/kv/set", b"key=a&value=b&timeout=never")
    node.ask("GET", "/kv/get?key=a&timeout=never")

    assert (len(node.store.writes), node.store.reads) == (1, [])


TROUBLES = [
    (Unavailable("no leader is known"), 503, "no", "1"),
    (NoSpace("the disk of this node is nearly full"), 507, "no", "5"),
    (OutcomeUnknown("no quorum answered within 5 s"), 504, "unknown", "1"),
    (TooLarge("the operation does not fit into a command"), 413, "no", None),
    (BadRequest("the operation makes no sense"), 400, "no", None),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: type(trouble[0]).__name__)
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/kv/set?key=a&value=b"),
        ("GET", "/kv/get?key=a"),
        ("GET", "/kvman/countkey"),
        ("GET", "/kvman/dump"),
    ],
)
def test_each_trouble_says_what_happened_and_whether_it_was_applied(
    method: str, target: str, trouble: tuple[Exception, int, str, str | None], node: Node
) -> None:
    error, status, applied, retry_after = trouble
    node.store.trouble = error
    reply = node.ask(method, target)

    assert (reply.status, reply.headers.get("retry-after")) == (status, retry_after)
    assert_members(reply.json, {"success": "false", "message": ..., "applied": applied})
    assert str(error)[1:] in reply.json["message"]


def test_an_unexpected_error_is_logged_and_its_client_learns_no_detail(
    node: Node, logged: list[Any]
) -> None:
    node.store.trouble = ZeroDivisionError("secret")
    reply = node.ask("POST", "/kv/set", b"key=a&value=b")

    assert reply.status == 500
    assert_members(reply.json, {"success": "false", "message": ..., "applied": "unknown"})
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]
    assert "in _log" in logged[0]["log_failure"].getTraceback()
    logged.clear()


def test_readyz_tells_why_the_node_is_not_ready(node: Node) -> None:
    node.store.unready = "no read has finished for 7 s"
    reply = node.ask("GET", "/readyz")

    assert reply.status == 503
    assert "o read has finished for 7 s" in reply.json["message"]
    assert node.ask("GET", "/healthz").status == 200


def test_limits_name_every_limit_of_the_face(node: Node) -> None:
    limits = node.ask("GET", "/kvman/limits").json

    assert set(HttpLimits.__dataclass_fields__) <= set(limits)

"""The contract of each endpoint, in the dialect ``seed``: one row for each rule."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from test.node.http.harness import Node, assert_members


class Case(NamedTuple):
    """A request to a node whose key ``taken`` holds ``old``, and its reply.

    ``reply`` holds the members that must be in the reply; ``message`` stands for any sentence.
    """

    rule: str
    method: str
    target: str
    body: bytes
    status: int
    reply: dict[str, Any]


OK = {"success": "true"}
NOT = {"success": "false", "message": ...}
REFUSED = {"success": "false", "message": ..., "applied": "no"}

MIB = 1024 * 1024

CASES = [
    Case("insert stores a new key", "POST", "/kv/insert", b"key=a&value=b", 200, OK),
    Case("put is insert", "POST", "/kv/put", b"key=a&value=b", 200, OK),
    Case("insert may be put", "PUT", "/kv/insert", b"key=a&value=b", 200, OK),
    Case("put may be put", "PUT", "/kv/put", b"key=a&value=b", 200, OK),
    Case("insert fails if the key exists", "POST", "/kv/insert", b"key=taken&value=b", 200, NOT),
    Case(
        "update returns the old value",
        "POST",
        "/kv/update",
        b"key=taken&value=new",
        200,
        {**OK, "value": "old"},
    ),
    Case(
        "update may be put",
        "PUT",
        "/kv/update",
        b"key=taken&value=new",
        200,
        {**OK, "value": "old"},
    ),
    Case("update fails if the key is missing", "POST", "/kv/update", b"key=a&value=b", 200, NOT),
    Case(
        "delete returns the old value",
        "POST",
        "/kv/delete",
        b"key=taken",
        200,
        {**OK, "value": "old"},
    ),
    Case(
        "delete may be DELETE", "DELETE", "/kv/delete?key=taken", b"", 200, {**OK, "value": "old"}
    ),
    Case("delete fails if the key is missing", "POST", "/kv/delete", b"key=a", 200, NOT),
    Case("set creates a key", "POST", "/kv/set", b"key=a&value=b", 200, OK),
    Case("set replaces a value", "PUT", "/kv/set", b"key=taken&value=b", 200, OK),
    Case(
        "cas replaces what it expects", "POST", "/kv/cas", b"key=taken&expect=old&value=b", 200, OK
    ),
    Case(
        "cas shows the value if another is expected",
        "POST",
        "/kv/cas",
        b"key=taken&expect=other&value=b",
        200,
        {**NOT, "value": "old"},
    ),
    Case("cas without expect creates", "PUT", "/kv/cas", b"key=a&value=b", 200, OK),
    Case(
        "cas without expect fails if the key exists",
        "POST",
        "/kv/cas",
        b"key=taken&value=b",
        200,
        {**NOT, "value": "old"},
    ),
    Case(
        "cas fails with no value if the key is missing",
        "POST",
        "/kv/cas",
        b"key=a&expect=b&value=c",
        200,
        {**NOT, "value": None},
    ),
    Case(
        "cas with an empty expect is not cas without expect",
        "POST",
        "/kv/cas",
        b"key=a&expect=&value=c",
        200,
        {**NOT, "value": None},
    ),
    Case("append creates", "POST", "/kv/append", b"key=a&value=b", 200, {**OK, "value": "b"}),
    Case(
        "append returns the new value",
        "POST",
        "/kv/append",
        b"key=taken&value=er",
        200,
        {**OK, "value": "older"},
    ),
    Case("get returns the value", "GET", "/kv/get?key=taken", b"", 200, {**OK, "value": "old"}),
    Case("get fails if the key is missing", "GET", "/kv/get?key=a", b"", 200, NOT),
    Case(
        "get may ask for linearizable",
        "GET",
        "/kv/get?key=taken&consistency=linearizable",
        b"",
        200,
        {**OK, "value": "old"},
    ),
    Case(
        "get may ask for stale",
        "GET",
        "/kv/get?key=taken&consistency=stale",
        b"",
        200,
        {**OK, "value": "old"},
    ),
    Case(
        "another consistency is refused",
        "GET",
        "/kv/get?key=taken&consistency=strong",
        b"",
        400,
        REFUSED,
    ),
    Case("countkey is a number", "GET", "/kvman/countkey", b"", 200, {"result": 1}),
    Case(
        "status is what the node says",
        "GET",
        "/kvman/status",
        b"",
        200,
        {"node": "n01", "role": "leading"},
    ),
    Case(
        "limits are the node's and the face's",
        "GET",
        "/kvman/limits",
        b"",
        200,
        {
            "frame_bytes_max": 17,
            "key_bytes_max": 4096,
            "value_bytes_max": MIB,
            "timeout_s_max": 60.0,
        },
    ),
    Case("healthz says that the node is alive", "GET", "/healthz", b"", 200, OK),
    Case("readyz says that the node is ready", "GET", "/readyz", b"", 200, OK),
    Case("a value may be empty", "POST", "/kv/insert", b"key=a&value=", 200, OK),
    Case("a key must be there", "POST", "/kv/insert", b"value=b", 400, REFUSED),
    Case("a key must not be empty", "POST", "/kv/insert", b"key=&value=b", 400, REFUSED),
    Case("a key to read must be there", "GET", "/kv/get", b"", 400, REFUSED),
    Case("a key to read must not be empty", "GET", "/kv/get?key=", b"", 400, REFUSED),
    Case("a value must be there", "POST", "/kv/insert", b"key=a", 400, REFUSED),
    Case("a value to compare with is no value", "POST", "/kv/cas", b"key=a&expect=b", 400, REFUSED),
    Case("a key may have 4 KiB", "POST", "/kv/insert", b"value=b&key=" + b"k" * 4096, 200, OK),
    Case(
        "a longer key is too large",
        "POST",
        "/kv/insert",
        b"value=b&key=" + b"k" * 4097,
        413,
        REFUSED,
    ),
    Case(
        "a longer key to read is too large", "GET", "/kv/get?key=" + "k" * 4097, b"", 413, REFUSED
    ),
    Case("a value may have 1 MiB", "POST", "/kv/insert", b"key=a&value=" + b"v" * MIB, 200, OK),
    Case(
        "a longer value is too large",
        "POST",
        "/kv/insert",
        b"key=a&value=" + b"v" * (MIB + 1),
        413,
        REFUSED,
    ),
    Case(
        "a longer expected value is too large",
        "POST",
        "/kv/cas",
        b"key=a&value=b&expect=" + b"v" * (MIB + 1),
        413,
        REFUSED,
    ),
    Case(
        "an append past 1 MiB is too large",
        "POST",
        "/kv/append",
        b"key=taken&value=" + b"v" * (MIB - 2),
        413,
        REFUSED,
    ),
    Case("a timeout may be a fraction", "GET", "/kv/get?key=taken&timeout=0.25", b"", 200, OK),
    Case("a timeout may be 60 s", "GET", "/kv/get?key=taken&timeout=60", b"", 200, OK),
    *(
        Case(
            f"a timeout of {bad!r} is refused",
            "GET",
            f"/kv/get?key=taken&timeout={bad}",
            b"",
            400,
            REFUSED,
        )
        for bad in ("0", "-1", "60.1", "nan", "inf", "1e99", "five", "", "1_0", "%D9%A3", "0x10")
    ),
    *(
        Case(f"a limit of {bad!r} is refused", "GET", f"/kvman/dump?limit={bad}", b"", 400, REFUSED)
        for bad in ("0", "-1", "1.5", "many", "", "9" * 19)
    ),
    *(
        Case(
            f"a slot of {bad!r} is refused", "GET", f"/kvman/journal?from={bad}", b"", 400, REFUSED
        )
        for bad in ("0", "-1", "1.5", "first")
    ),
    Case("too many slots are refused", "GET", "/kvman/journal?limit=1001", b"", 400, REFUSED),
    Case("an unknown path is JSON too", "GET", "/kv/nothing", b"", 404, REFUSED),
    Case("the root is an unknown path", "GET", "/", b"", 404, REFUSED),
    Case("a path with a slash too many is unknown", "GET", "/kv/get/?key=taken", b"", 404, REFUSED),
    Case("a path with two slashes is unknown", "GET", "/kv//get?key=taken", b"", 404, REFUSED),
    Case("a path that is not UTF-8 is unknown", "GET", "/kv/%FF", b"", 404, REFUSED),
    Case("a path of a star is unknown", "GET", "*", b"", 404, REFUSED),
    Case("an unknown path is unknown by any method", "BREW", "/coffee", b"", 404, REFUSED),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_each_rule(case: Case, node: Node) -> None:
    reply = node.ask(case.method, case.target, case.body)

    assert (reply.status, reply.headers["content-type"]) == (case.status, "application/json")
    assert_members(reply.json, case.reply)


def test_seed_replies_hold_nothing_else(node: Node) -> None:
    assert node.ask("POST", "/kv/insert", b"key=a&value=b").body == b'{"success":"true"}'
    assert node.ask("POST", "/kv/set", b"key=a&value=b").body == b'{"success":"true"}'
    assert node.ask("POST", "/kv/cas", b"key=c&value=d").body == b'{"success":"true"}'
    assert node.ask("GET", "/kv/get?key=a").body == b'{"success":"true","value":"b"}'
    assert node.ask("GET", "/kvman/countkey").body == b'{"result":3}'
    assert set(node.ask("GET", "/kv/get?key=none").json) == {"success", "message"}
    assert set(node.ask("POST", "/kv/update", b"key=none&value=").json) == {"success", "message"}


METHODS = {
    "/kv/insert": {"POST", "PUT"},
    "/kv/put": {"POST", "PUT"},
    "/kv/update": {"POST", "PUT"},
    "/kv/delete": {"POST", "DELETE"},
    "/kv/set": {"POST", "PUT"},
    "/kv/cas": {"POST", "PUT"},
    "/kv/append": {"POST"},
    "/kv/get": {"GET", "HEAD"},
    "/kvman/countkey": {"GET", "HEAD"},
    "/kvman/dump": {"GET", "HEAD"},
    "/kvman/shutdown": {"GET", "POST"},
    "/kvman/status": {"GET", "HEAD"},
    "/kvman/limits": {"GET", "HEAD"},
    "/kvman/links": {"GET", "HEAD", "POST"},
    "/kvman/journal": {"GET", "HEAD"},
    "/kvman/backup": {"GET", "HEAD"},
    "/healthz": {"GET", "HEAD"},
    "/readyz": {"GET", "HEAD"},
}
EVERY_METHOD = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW")


@pytest.mark.parametrize("path", METHODS)
def test_any_other_method_is_405_with_those_that_are_allowed(path: str, node: Node) -> None:
    for method in set(EVERY_METHOD) - METHODS[path]:
        reply = node.ask(method, f"{path}?key=taken&value=b")

        assert reply.status == 405
        assert {"GET", "POST"} & set(reply.headers["allow"].split(", "))
        if method != "HEAD":
            assert_members(reply.json, REFUSED)
    assert node.store.get(b"taken") is not None
    assert len(node.store.writes) == 1
    assert node.store.shutdowns == 0


@pytest.mark.parametrize("path", METHODS)
def test_options_names_the_methods_and_does_nothing(path: str, node: Node) -> None:
    reply = node.ask("OPTIONS", f"{path}?key=taken&value=b")

    allowed = METHODS[path] | {"OPTIONS"} | ({"HEAD"} if path == "/kvman/shutdown" else set())
    assert (reply.status, reply.body) == (204, b"")
    assert set(reply.headers["allow"].split(", ")) == allowed
    assert (len(node.store.writes), node.store.reads, node.store.shutdowns) == (1, [], 0)


def test_a_method_in_small_letters_is_the_same_method(node: Node) -> None:
    assert node.ask("post", "/kv/set", b"key=a&value=b").status == 200
    assert node.ask("head", "/kvman/shutdown").status == 405


@pytest.mark.parametrize("path", ["/kv/get?key=taken", "/kvman/status", "/healthz"])
def test_head_has_the_headers_of_get_and_no_body(path: str, node: Node) -> None:
    client = node.connect()
    head = client.ask("HEAD", path)
    get = client.ask("GET", path)

    assert head.status == get.status
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["content-type"] == "application/json"

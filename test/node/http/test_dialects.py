"""Each dialect, to the byte: one row for each thing that can be said, one column a dialect."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from kvpaxos.config.cluster import REPLY_DIALECTS, ClusterOptions
from kvpaxos.errors import Forbidden, OutcomeUnknown, Unavailable
from kvpaxos.node.http.dialects import DIALECTS
from test.node.http.harness import ELSEWHERE, Node, Reply

NAMES = tuple(DIALECTS)

Spelled = tuple[int, Any]
"""A status code, and what the JSON says; ``...`` stands for a sentence."""


class Case(NamedTuple):
    """A request to a node whose key ``taken`` holds ``old``, and its reply in each dialect."""

    rule: str
    method: str
    target: str
    seed: Spelled
    handout: Spelled
    plain: Spelled


YES = {"success": "true"}
NO = {"success": "false"}
TRUE = {"success": True}
FALSE = {"success": False, "message": ..., "applied": "no"}
SAID = {**NO, "message": ...}
REFUSED = {**NO, "message": ..., "applied": "no"}

CASES = [
    Case("insert", "POST", "/kv/insert?key=a&value=b", (200, YES), (200, YES), (200, TRUE)),
    Case("put", "PUT", "/kv/put?key=a&value=b", (200, YES), (200, YES), (200, TRUE)),
    Case(
        "insert of a key that exists",
        "POST",
        "/kv/insert?key=taken&value=b",
        (200, SAID),
        (200, NO),
        (409, FALSE),
    ),
    Case(
        "update",
        "POST",
        "/kv/update?key=taken&value=b",
        (200, {**YES, "value": "old"}),
        (200, YES),
        (200, {**TRUE, "value": "old"}),
    ),
    Case(
        "update of a key that is missing",
        "POST",
        "/kv/update?key=a&value=b",
        (200, SAID),
        (200, NO),
        (404, FALSE),
    ),
    Case(
        "delete",
        "DELETE",
        "/kv/delete?key=taken",
        (200, {**YES, "value": "old"}),
        (200, {**YES, "value": "old"}),
        (200, {**TRUE, "value": "old"}),
    ),
    Case(
        "delete of a key that is missing",
        "POST",
        "/kv/delete?key=a",
        (200, SAID),
        (200, {**NO, "value": ""}),
        (404, FALSE),
    ),
    Case(
        "get",
        "GET",
        "/kv/get?key=taken",
        (200, {**YES, "value": "old"}),
        (200, {**YES, "value": "old"}),
        (200, {**TRUE, "value": "old"}),
    ),
    Case(
        "get of a key that is missing",
        "GET",
        "/kv/get?key=a",
        (200, SAID),
        (200, {**NO, "value": ""}),
        (404, FALSE),
    ),
    Case("set", "POST", "/kv/set?key=a&value=b", (200, YES), (200, YES), (200, TRUE)),
    Case("cas", "POST", "/kv/cas?key=a&value=b", (200, YES), (200, YES), (200, TRUE)),
    Case(
        "cas of a key that exists",
        "POST",
        "/kv/cas?key=taken&value=b",
        (200, {**SAID, "value": "old"}),
        (200, NO),
        (409, {**FALSE, "value": "old"}),
    ),
    Case(
        "cas of a key that holds another value",
        "POST",
        "/kv/cas?key=taken&expect=new&value=b",
        (200, {**SAID, "value": "old"}),
        (200, NO),
        (409, {**FALSE, "value": "old"}),
    ),
    Case(
        "cas of a key that is missing",
        "POST",
        "/kv/cas?key=a&expect=new&value=b",
        (200, {**SAID, "value": None}),
        (200, NO),
        (404, {**FALSE, "value": None}),
    ),
    Case(
        "append",
        "POST",
        "/kv/append?key=taken&value=er",
        (200, {**YES, "value": "older"}),
        (200, YES),
        (200, {**TRUE, "value": "older"}),
    ),
    Case(
        "count",
        "GET",
        "/kvman/countkey",
        (200, {"result": 1}),
        (200, {"result": "1"}),
        (200, {"result": 1}),
    ),
    Case(
        "dump",
        "GET",
        "/kvman/dump",
        (200, [["taken", "old"]]),
        (200, [["taken", "old"]]),
        (200, [["taken", "old"]]),
    ),
    Case("health", "GET", "/healthz", (200, YES), (200, YES), (200, TRUE)),
    Case("readiness", "GET", "/readyz", (200, YES), (200, YES), (200, TRUE)),
    Case("shutdown", "POST", "/kvman/shutdown", (200, YES), (200, YES), (200, TRUE)),
    Case("a bad write", "POST", "/kv/insert?key=", (400, REFUSED), (400, NO), (400, FALSE)),
    Case(
        "a bad delete",
        "POST",
        "/kv/delete?key=",
        (400, REFUSED),
        (400, {**NO, "value": ""}),
        (400, FALSE),
    ),
    Case(
        "a bad get",
        "GET",
        "/kv/get?key=a&timeout=never",
        (400, REFUSED),
        (400, {**NO, "value": ""}),
        (400, FALSE),
    ),
    Case("a bad page", "GET", "/kvman/dump?limit=0", (400, REFUSED), (400, NO), (400, FALSE)),
    Case(
        "a key that is too large",
        "POST",
        f"/kv/set?value=b&key={'k' * 4097}",
        (413, REFUSED),
        (413, NO),
        (413, FALSE),
    ),
    Case(
        "a get of one",
        "GET",
        f"/kv/get?key={'k' * 4097}",
        (413, REFUSED),
        (413, {**NO, "value": ""}),
        (413, FALSE),
    ),
    Case("a write by GET", "GET", "/kv/insert", (405, REFUSED), (405, NO), (405, FALSE)),
    Case(
        "a delete by GET",
        "GET",
        "/kv/delete?key=taken",
        (405, REFUSED),
        (405, {**NO, "value": ""}),
        (405, FALSE),
    ),
    Case("an unknown path", "GET", "/kv/nothing", (404, REFUSED), (404, NO), (404, FALSE)),
]


def filled(dialect: str) -> Node:
    node = Node(dialect=dialect)
    node.ask("POST", "/kv/insert", b"key=taken&value=old")
    return node


def assert_says(reply: Reply, spelled: Spelled) -> None:
    """Hold a reply to exactly what it must say, in any order."""
    status, said = spelled
    got = reply.json
    if isinstance(said, dict):
        assert set(got) == set(said)
        sentence = {name for name, member in said.items() if member is ...}
        for name in sentence:
            assert isinstance(got[name], str)
            assert got[name].endswith(".")
        got = {name: member for name, member in got.items() if name not in sentence}
        said = {name: member for name, member in said.items() if name not in sentence}
    assert (reply.status, got) == (status, said)


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_each_dialect_says_exactly_this(case: Case, dialect: str) -> None:
    node = filled(dialect)
    client = node.connect()
    client.begin(case.method, case.target)
    node.turn(3)

    assert_says(client.reply(), getattr(case, dialect))


FAILED: dict[str, dict[str, Any]] = {"seed": REFUSED, "handout": NO, "plain": FALSE}
ASKED = [
    ("POST", "/kv/set?key=a&value=b", {}),
    ("POST", "/kv/delete?key=a", {"value": ""}),
    ("GET", "/kv/get?key=a", {"value": ""}),
    ("GET", "/kvman/countkey", {}),
    ("GET", "/kvman/dump", {}),
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked[1])
@pytest.mark.parametrize("dialect", NAMES)
def test_a_request_without_a_quorum_keeps_its_status_and_its_header(
    dialect: str, asked: tuple[str, str, dict[str, str]]
) -> None:
    node = filled(dialect)
    method, target, in_the_handout = asked
    besides = in_the_handout if dialect == "handout" else {}
    for trouble, status in (Unavailable("no leader"), 503), (OutcomeUnknown("too late"), 504):
        node.store.trouble = trouble
        reply = node.ask(method, target)

        said = {**FAILED[dialect], **besides}
        if "applied" in said and status == 504:
            said["applied"] = "unknown"
        assert_says(reply, (status, said))
        assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("dialect", NAMES)
def test_what_is_refused_before_it_is_a_request_is_spelled_likewise(dialect: str) -> None:
    client = filled(dialect).connect()
    client.send(b"hello\r\n\r\n")

    assert_says(client.reply(), (400, FAILED[dialect]))


@pytest.mark.parametrize("dialect", NAMES)
def test_a_caller_who_may_not_ask_is_told_likewise(dialect: str) -> None:
    node = filled(dialect)
    assert_says(node.connect(ELSEWHERE).ask("POST", "/kvman/shutdown"), (403, FAILED[dialect]))

    node.store.link_trouble = Forbidden("partitions are not allowed")
    assert_says(node.ask("GET", "/kvman/links"), (403, FAILED[dialect]))


@pytest.mark.parametrize("dialect", NAMES)
def test_bytes_that_are_no_text_come_back_in_base64_in_each_dialect(dialect: str) -> None:
    node = filled(dialect)
    node.ask("POST", "/kv/set", b"key=a&value=%FF%00x")
    reply = node.ask("GET", "/kv/get?key=a").json

    assert (reply["value"], reply["value_base64"]) == (None, "/wB4")


@pytest.mark.parametrize("dialect", NAMES)
def test_what_the_node_tells_of_itself_is_the_same_in_each_dialect(dialect: str) -> None:
    node = filled(dialect)

    assert node.ask("GET", "/kvman/status").json == {"node": "n01", "role": "leading"}
    assert node.ask("GET", "/kvman/limits").json["key_bytes_max"] == 4096
    assert node.ask("GET", "/kvman/journal").json == {"slots": [{"slot": 1}], "next": None}


def test_the_bodies_of_the_handout_are_those_of_the_course_to_the_byte() -> None:
    node = filled("handout")

    assert node.ask("POST", "/kv/insert", b"key=a&value=b").body == b'{"success":"true"}'
    assert node.ask("POST", "/kv/insert", b"key=a&value=b").body == b'{"success":"false"}'
    assert node.ask("POST", "/kv/update", b"key=a&value=c").body == b'{"success":"true"}'
    assert node.ask("GET", "/kv/get?key=a").body == b'{"success":"true","value":"c"}'
    assert node.ask("POST", "/kv/delete", b"key=a").body == b'{"success":"true","value":"c"}'
    assert node.ask("GET", "/kv/get?key=a").body == b'{"success":"false","value":""}'
    assert node.ask("GET", "/kvman/countkey").body == b'{"result":"1"}'


def test_the_dialects_that_settings_can_choose_are_those_that_there_are() -> None:
    assert set(REPLY_DIALECTS) == set(DIALECTS)
    assert ClusterOptions().replies == REPLY_DIALECTS[0] == "seed"

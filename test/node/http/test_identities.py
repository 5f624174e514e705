"""Requests with an identity: sent again, they are carried out once and answered again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvpaxos.errors import BadRequest, TooLarge
from kvpaxos.node.http.dialects import DIALECTS
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.parameters import Parameters
from kvpaxos.store.requests import Identity, Named, Numbered
from test.node.http.harness import Node, Reply, assert_members

ALONE = "opid without client is for one client only: name a client"

LARGEST = 2**63 - 1

IDENTITIES: list[tuple[str, Identity | None]] = [
    ("key=a", None),
    ("opid=5", Numbered(b"", 5)),
    ("client=c&opid=5", Numbered(b"c", 5)),
    ("client=%E9%94%AE%00+%26&opid=0", Numbered("键\0 &".encode(), 0)),
    (f"client=c&opid={LARGEST}", Numbered(b"c", LARGEST)),
    ("client=c&opid=007", Numbered(b"c", 7)),
    (f"client={'c' * 128}&opid=1", Numbered(b"c" * 128, 1)),
    ("requestid=r", Named(b"r")),
    ("id=r", Named(b"r")),
    ("id=r&requestid=r", Named(b"r")),
    ("id=7", Named(b"7")),
    ("requestid=%FF%00", Named(b"\xff\0")),
    (f"requestid={'r' * 128}", Named(b"r" * 128)),
]


@pytest.mark.parametrize(("given", "identity"), IDENTITIES)
def test_an_identity_is_an_opid_or_a_requestid(given: str, identity: Identity | None) -> None:
    assert Parameters(HttpLimits(), query=given.encode()).identity() == identity
    assert Parameters(HttpLimits(), query=b"", body=given.encode()).identity() == identity


def test_an_opid_in_json_may_be_a_number_or_a_string() -> None:
    for opid in (LARGEST, str(LARGEST)):
        body = json.dumps({"client": "c", "opid": opid, "requestid": None}).encode()
        asked = Parameters(HttpLimits(), query=b"", content_type=b"application/json", body=body)
        assert asked.identity() == Numbered(b"c", LARGEST)


BAD = {
    "an opid and a requestid": ("opid=1&requestid=r", "opid and requestid are both given"),
    "an opid and an id": ("client=c&opid=1&id=r", "opid and requestid are both given"),
    "a client alone": ("client=c", "client is given without opid"),
    "a client and a requestid": ("client=c&requestid=r", "client is given without opid"),
    "an id and another requestid": ("id=r&requestid=q", "id and requestid are the same"),
    "an empty client": ("client=&opid=1", "the client is empty"),
    "an empty requestid": ("requestid=", "the requestid is empty"),
    "an empty id": ("id=", "the id is empty"),
    "an opid that is no number": ("opid=one", "opid must be a whole number"),
    "an empty opid": ("opid=", "opid must be a whole number"),
    "a negative opid": ("opid=-1", "opid must be a whole number"),
    "a fraction": ("opid=1.5", "opid must be a whole number"),
    "an opid that is too large": (f"opid={LARGEST + 1}", f"from 0 to {LARGEST}"),
    "an endless opid": (f"opid={'9' * 5000}", f"from 0 to {LARGEST}"),
    "an opid of other digits": ("opid=%D9%A3", "opid must be a whole number"),
}


@pytest.mark.parametrize(("given", "why"), BAD.values(), ids=BAD)
def test_an_identity_that_makes_no_sense_is_refused(given: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        Parameters(HttpLimits(), query=given.encode()).identity()


@pytest.mark.parametrize("given", ["opid=1&client=", "requestid=", "id="])
def test_a_name_that_is_too_long_is_too_large(given: str) -> None:
    with pytest.raises(TooLarge, match="129 bytes, and the limit is 128"):
        Parameters(HttpLimits(), query=given.encode() + b"n" * 129).identity()


NAMELY = ["opid=7", "client=c&opid=7", "requestid=r", "id=r"]
WRITES = [
    ("/kv/insert?key=a&value=b", {"success": "true"}),
    ("/kv/put?key=a&value=b", {"success": "true"}),
    ("/kv/update?key=taken&value=b", {"success": "true", "value": "old"}),
    ("/kv/delete?key=taken", {"success": "true", "value": "old"}),
    ("/kv/set?key=a&value=b", {"success": "true"}),
    ("/kv/cas?key=taken&expect=old&value=b", {"success": "true"}),
    ("/kv/append?key=taken&value=er", {"success": "true", "value": "older"}),
]


@pytest.mark.parametrize("identity", NAMELY)
@pytest.mark.parametrize(("target", "reply"), WRITES)
def test_a_write_that_comes_again_is_answered_again_and_not_repeated(
    target: str, reply: dict[str, str], identity: str, node: Node
) -> None:
    first = node.ask("POST", f"{target}&{identity}")
    revision = node.store.revision
    again = node.ask("POST", f"{target}&{identity}")

    assert (first.status, first.json) == (200, reply)
    assert (again.status, again.body) == (200, first.body)
    assert node.store.revision == revision
    assert again.headers["x-kvpaxos-read"] == "logged"


@pytest.mark.parametrize("identity", NAMELY)
def test_a_failure_that_comes_again_is_answered_again(identity: str, node: Node) -> None:
    asked = f"/kv/cas?key=taken&expect=new&value=b&{identity}"
    first = node.ask("POST", asked)
    node.ask("POST", "/kv/set?key=taken&value=new")
    again = node.ask("POST", asked)

    assert_members(first.json, {"success": "false", "value": "old"})
    assert (again.status, again.body) == (200, first.body)


@pytest.mark.parametrize("identity", NAMELY)
@pytest.mark.parametrize("key", ["taken", "none"])
def test_a_get_with_an_identity_is_logged_and_answered_again(
    key: str, identity: str, node: Node
) -> None:
    first = node.ask("GET", f"/kv/get?key={key}&{identity}")
    node.ask("POST", f"/kv/set?key={key}&value=new")
    again = node.ask("GET", f"/kv/get?key={key}&{identity}")
    fresh = node.ask("GET", f"/kv/get?key={key}")

    assert first.body == again.body
    assert first.json.get("value") == ("old" if key == "taken" else None)
    assert fresh.json["value"] == "new"
    reads = [reply.headers["x-kvpaxos-read"] for reply in (first, again, fresh)]
    assert reads == ["logged", "logged", "quorum"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("identity", NAMELY)
def test_a_count_with_an_identity_is_logged_and_answered_again(identity: str, dialect: str) -> None:
    node = Node(dialect=dialect)
    node.store.fill(3)
    first = node.ask("GET", f"/kvman/countkey?{identity}")
    node.ask("POST", "/kv/set?key=another&value=")
    again = node.ask("GET", f"/kvman/countkey?{identity}")
    fresh = node.ask("GET", "/kvman/countkey")

    number = DIALECTS[dialect].number
    assert (first.json, again.json) == ({"result": number(3)}, {"result": number(3)})
    assert fresh.json == {"result": number(4)}
    assert [r.headers["x-kvpaxos-read"] for r in (first, again)] == ["logged", "logged"]


@pytest.mark.parametrize("identity", NAMELY)
def test_a_read_with_an_identity_goes_on_when_its_client_hangs_up(
    identity: str, node: Node
) -> None:
    node.store.held = True
    client = node.connect()
    client.begin("GET", f"/kv/get?key=taken&{identity}")
    client.wire.hang_up()
    node.turn(3)

    assert node.store.canceled == []
    node.store.carry_out()


def ask_with(node: Node, identity: str, value: str = "b") -> Reply:
    return node.ask("POST", f"/kv/append?key=a&value={value}&{identity}")


STALE: dict[str, tuple[int, dict[str, Any]]] = {
    "seed": (200, {"success": "false", "message": ..., "applied": "unknown"}),
    "handout": (200, {"success": "false"}),
    "plain": (409, {"success": False, "message": ..., "applied": "unknown"}),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_smaller_opid_is_stale_and_not_carried_out(dialect: str) -> None:
    node = Node(dialect=dialect)
    ask_with(node, "client=c&opid=7")
    reply = ask_with(node, "client=c&opid=6")

    status, said = STALE[dialect]
    assert reply.status == status
    assert set(reply.json) == set(said)
    assert_members(reply.json, said)
    assert reply.headers["x-kvpaxos-read"] == "logged"
    if "message" in said:
        assert reply.json["message"].startswith("Stale opid: ")
        assert ALONE not in reply.json["message"]
    assert node.store.value_of(b"a") == b"b"


@pytest.mark.parametrize(
    ("method", "target", "handout"),
    [
        ("GET", "/kv/get?key=a", {"success": "false", "value": ""}),
        ("POST", "/kv/delete?key=a", {"success": "false", "value": ""}),
        ("GET", "/kvman/countkey?", {"success": "false"}),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stale_read_or_delete_is_spelled_as_its_dialect_does(
    dialect: str, method: str, target: str, handout: dict[str, str]
) -> None:
    node = Node(dialect=dialect)
    ask_with(node, "opid=7")
    reply = node.ask(method, f"{target}&opid=6")

    assert reply.status == STALE[dialect][0]
    if dialect == "handout":
        assert reply.json == handout
    else:
        assert_members(reply.json, STALE[dialect][1])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("identity", NAMELY)
def test_the_same_identity_with_other_parameters_is_refused(identity: str, dialect: str) -> None:
    node = Node(dialect=dialect)
    first = ask_with(node, identity)
    reply = ask_with(node, identity, value="c")
    again = ask_with(node, identity)

    assert reply.status == 400
    assert reply.headers["x-kvpaxos-read"] == "logged"
    if dialect != "handout":
        assert_members(reply.json, {"message": ..., "applied": "no"})
        name = "opid" if "opid" in identity else "requestid"
        assert f"has the same {name};" in reply.json["message"]
    assert first.body == again.body
    assert node.store.value_of(b"a") == b"b"


def test_the_same_identity_for_another_verb_is_refused(node: Node) -> None:
    assert node.ask("POST", "/kv/set?key=a&value=b&id=r").status == 200
    assert node.ask("POST", "/kv/insert?key=a&value=b&id=r").status == 400
    assert node.ask("GET", "/kv/get?key=a&id=r").status == 400
    assert node.ask("GET", "/kvman/countkey?id=r").status == 400


def test_opids_and_requestids_do_not_meet(node: Node) -> None:
    for identity in ("opid=7", "client=c&opid=7", "client=d&opid=7", "requestid=7", "id=c"):
        assert ask_with(node, identity).json["success"] == "true"
    assert node.store.value_of(b"a") == b"bbbbb"


def test_the_anonymous_session_is_one_client_and_its_refusals_say_so(node: Node) -> None:
    ask_with(node, "opid=7")

    for refused in (ask_with(node, "opid=6"), ask_with(node, "opid=7", value="c")):
        assert ALONE in refused.json["message"]
    ask_with(node, "client=c&opid=7")
    ask_with(node, "requestid=r")
    for refused in (
        ask_with(node, "client=c&opid=6"),
        ask_with(node, "client=c&opid=7", value="c"),
        ask_with(node, "requestid=r", value="c"),
    ):
        assert ALONE not in refused.json["message"]


def test_what_cannot_be_answered_again_takes_no_identity(node: Node) -> None:
    for identity in NAMELY:
        dump = node.ask("GET", f"/kvman/dump?{identity}")
        assert (dump.status, dump.json["applied"]) == (400, "no")
        assert "a dump is never answered again" in dump.json["message"].lower()
        stale = node.ask("GET", f"/kv/get?key=taken&consistency=stale&{identity}")
        assert (stale.status, stale.json["applied"]) == (400, "no")
        assert "never stale" in stale.json["message"]
    assert (node.store.reads, len(node.store.writes)) == ([], 1)


def test_an_identity_that_makes_no_sense_never_reaches_the_store(node: Node) -> None:
    for method, target in [
        ("POST", "/kv/set?key=a&value=b"),
        ("GET", "/kv/get?key=a"),
        ("GET", "/kvman/countkey?"),
        ("GET", "/kvman/dump?"),
    ]:
        assert node.ask(method, f"{target}&client=c").status == 400
    assert (node.store.reads, len(node.store.writes)) == ([], 1)

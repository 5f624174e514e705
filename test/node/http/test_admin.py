"""The paths for those who run the node: who may ask, and what reaches the node."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from kvpaxos.errors import (
    BadRequest,
    ConfigError,
    DiskError,
    Forbidden,
    JournalDamaged,
    StateDamaged,
)
from kvpaxos.node.http.site import make_site
from kvpaxos.node.http.store import LinkChange
from test.node.http.harness import ELSEWHERE, Address, Node, assert_members

LOCAL: list[Address] = [
    IPv4Address("TCP", "127.0.0.1", 1),
    IPv4Address("TCP", "127.8.9.10", 1),
    IPv6Address("TCP", "::1", 1),
    IPv6Address("TCP", "::ffff:127.0.0.1", 1),
    UNIXAddress(b"/run/n01.sock"),
    UNIXAddress(None),
]
REMOTE: list[Address] = [
    ELSEWHERE,
    IPv4Address("TCP", "10.0.0.1", 1),
    IPv4Address("TCP", "128.0.0.1", 1),
    IPv6Address("TCP", "2001:db8::1", 1),
    IPv6Address("TCP", "fe80::1%eth0", 1),
    IPv6Address("TCP", "::ffff:192.0.2.7", 1),
]
GUARDED = [
    ("GET", "/kvman/shutdown"),
    ("POST", "/kvman/shutdown"),
    ("GET", "/kvman/links"),
    ("POST", "/kvman/links?state=cut"),
    ("GET", "/kvman/journal"),
    ("GET", "/kvman/backup"),
]
OPEN = ["/kv/get?key=taken", "/kvman/countkey", "/kvman/status", "/kvman/limits", "/healthz"]


@pytest.mark.parametrize(("method", "target"), GUARDED)
def test_guarded_paths_answer_on_this_machine_only(method: str, target: str, node: Node) -> None:
    for address in LOCAL:
        assert node.connect(address).ask(method, target).status == 200
        node.turn(3)
    done = (node.store.shutdowns, len(node.store.switched), len(node.store.journal_calls))

    for remote in REMOTE:
        reply = node.connect(remote).ask(method, target)
        assert (reply.status, reply.json["success"], reply.json["applied"]) == (403, "false", "no")
    node.turn(3)
    assert done == (node.store.shutdowns, len(node.store.switched), len(node.store.journal_calls))


@pytest.mark.parametrize("target", OPEN)
@pytest.mark.parametrize("peer", REMOTE, ids=str)
def test_all_other_paths_answer_everybody(target: str, peer: Address, node: Node) -> None:
    assert node.connect(peer).ask("GET", target).status == 200


def test_a_header_does_not_make_a_caller_local(node: Node) -> None:
    client = node.connect(ELSEWHERE)

    assert client.ask("GET", "/kvman/journal", X_Forwarded_For="127.0.0.1").status == 403


@pytest.mark.parametrize(("method", "target"), GUARDED)
def test_guarded_paths_answer_all_machines_if_settings_say_so(method: str, target: str) -> None:
    assert Node(open_to_all=True).connect(ELSEWHERE).ask(method, target).status == 200


@pytest.mark.parametrize("node", [Node(), Node(open_to_all=True)], ids=["guarded", "open"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_guarded_paths_answer_no_foreign_web_page(site: str, node: Node) -> None:
    client = node.connect()

    assert client.ask("GET", "/kvman/shutdown", Sec_Fetch_Site=site).status == 403
    assert client.ask("GET", "/kvman/journal", Sec_Fetch_Site="none").status == 200
    assert node.store.shutdowns == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_shutdown_answers_first_and_then_stops(method: str, node: Node) -> None:
    client = node.connect()
    client.wire.reads_at_once = False
    client.begin(method, "/kvman/shutdown")
    node.turn(3)
    assert (client.wire.unread_bytes > 0, node.store.shutdowns) == (True, 0)

    client.wire.read_all()
    node.turn(3)
    reply = client.reply()
    assert (reply.status, reply.json, reply.headers["connection"]) == (
        200,
        {"success": "true"},
        "close",
    )
    assert (client.wire.connected, node.store.shutdowns) == (False, 1)


def test_shutdown_happens_though_its_client_hangs_up(node: Node) -> None:
    client = node.connect()
    client.wire.reads_at_once = False
    client.begin("POST", "/kvman/shutdown")
    client.wire.hang_up()
    node.turn(3)

    assert node.store.shutdowns == 1


def test_links_are_described(node: Node) -> None:
    link = {"from": "n01", "to": "n02", "state": "up"}

    assert node.ask("GET", "/kvman/links").json == {"links": [link]}
    assert node.ask("POST", "/kvman/links?state=up").json == {"links": [link]}


@pytest.mark.parametrize(
    ("body", "content_type", "change"),
    [
        (b"from=n01&to=n02&state=cut", None, ("n01", "n02", "cut", None, None)),
        (b"state=up", None, (None, None, "up", None, None)),
        (b"to=n03&delay=0.25&loss=0.5", None, (None, "n03", None, 0.25, 0.5)),
        (
            b'{"from":"n01","delay":0,"loss":1}',
            "application/json",
            ("n01", None, None, 0.0, 1.0),
        ),
    ],
)
def test_links_are_switched_as_asked(
    body: bytes, content_type: str | None, change: tuple[object, ...], node: Node
) -> None:
    assert node.ask("POST", "/kvman/links", body, content_type).status == 200

    switched = node.store.switched[0]
    assert isinstance(switched, LinkChange)
    assert change == (
        switched.from_node,
        switched.to_node,
        switched.state,
        switched.delay_s,
        switched.loss,
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"from=n01&to=n02", b"state=down", b"loss=1.1", b"loss=-1", b"delay=61", b"delay=soon"],
)
def test_a_switch_that_makes_no_sense_is_refused(body: bytes, node: Node) -> None:
    assert node.ask("POST", "/kvman/links", body).status == 400
    assert node.store.switched == []


def test_links_say_so_if_partitions_are_not_allowed(node: Node) -> None:
    node.store.link_trouble = Forbidden("links are switched only with --allow-partitions")

    assert node.ask("GET", "/kvman/links").status == 403
    assert node.ask("POST", "/kvman/links", b"state=cut").status == 403
    node.store.link_trouble = BadRequest("no member is called n09")
    assert node.ask("POST", "/kvman/links", b"to=n09&state=cut").status == 400


def test_the_journal_is_asked_for_slots(node: Node) -> None:
    assert node.ask("GET", "/kvman/journal").json["slots"] == [{"slot": 1}]
    assert node.ask("GET", "/kvman/journal?from=7&limit=1000").json["slots"] == [{"slot": 7}]

    beyond = node.ask("GET", f"/kvman/journal?limit={node.limits.journal_slots_max + 1}")
    assert (beyond.status, beyond.json["applied"]) == (400, "no")
    assert node.store.journal_calls == [(1, 100), (7, 1000)]


@pytest.mark.parametrize("following", [None, 2])
def test_the_journal_says_where_to_go_on(following: int | None, node: Node) -> None:
    node.store.journal_next = following

    assert node.ask("GET", "/kvman/journal").json == {"slots": [{"slot": 1}], "next": following}


DAMAGES = [
    DiskError("data/n01/journal-1.log: cannot read it (Input/output error)"),
    JournalDamaged("data/n01/journal-1.log", 4096, "Vote in slot 3"),
    StateDamaged("key 6b", "it is not the record of a key"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: type(damage).__name__)
@pytest.mark.parametrize("target", ["/kvman/journal", "/kv/get?key=taken", "/kvman/dump"])
def test_damage_is_a_500_that_sends_the_client_to_another_node(
    target: str, damage: Exception, node: Node
) -> None:
    node.store.trouble = damage
    reply = node.ask("GET", target)

    assert reply.status == 500
    assert_members(reply.json, {"success": "false", "message": ..., "applied": "no"})
    assert "another node" in reply.json["message"]
    assert b"data/n01" not in reply.body


def test_an_unknown_dialect_is_a_mistake_in_the_settings(node: Node) -> None:
    with pytest.raises(
        ConfigError, match='no dialect is called "plan": use seed or handout or plain'
    ):
        make_site(node.store, reactor=node.clock, dialect="plan")

"""Every reply, whatever it says, tells what it rests on: slot, leader, and how it was read."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from kvpaxos.errors import Forbidden, OutcomeUnknown, TooLarge, Unavailable
from kvpaxos.node.http.limits import HttpLimits
from test.node.http.harness import ELSEWHERE, Node, Reply

MIB = 1024 * 1024


def receipt(reply: Reply) -> tuple[str, str, str]:
    """Return the slot, the leader and the kind of read that a reply names, each once."""
    slot, leader, read = (reply.headers[f"x-kvpaxos-{name}"] for name in ("slot", "leader", "read"))
    return slot, leader, read


class Case(NamedTuple):
    """A request to a node that has applied one slot."""

    rule: str
    method: str
    target: str
    status: int
    read: str
    slot: str = "1"


CASES = [
    Case("an insert is in the log", "POST", "/kv/insert?key=a&value=b", 200, "logged", "2"),
    Case("a put is in the log", "PUT", "/kv/put?key=a&value=b", 200, "logged", "2"),
    Case("an update is in the log", "POST", "/kv/update?key=taken&value=b", 200, "logged", "2"),
    Case("a delete is in the log", "DELETE", "/kv/delete?key=taken", 200, "logged", "2"),
    Case("a set is in the log", "POST", "/kv/set?key=a&value=b", 200, "logged", "2"),
    Case("a cas is in the log", "POST", "/kv/cas?key=a&value=b", 200, "logged", "2"),
    Case("an append is in the log", "POST", "/kv/append?key=a&value=b", 200, "logged", "2"),
    Case(
        "a write that the state refuses is in the log too",
        "POST",
        "/kv/insert?key=taken&value=b",
        200,
        "logged",
        "2",
    ),
    Case("a get rests on a quorum", "GET", "/kv/get?key=taken", 200, "quorum"),
    Case("a get of nothing rests on a quorum too", "GET", "/kv/get?key=none", 200, "quorum"),
    Case("a stale get on nobody", "GET", "/kv/get?key=taken&consistency=stale", 200, "stale"),
    Case("a count rests on a quorum", "GET", "/kvman/countkey", 200, "quorum"),
    Case("a dump rests on a quorum", "GET", "/kvman/dump", 200, "quorum"),
    Case("status is what one node knows", "GET", "/kvman/status", 200, "stale"),
    Case("limits are what one node knows", "GET", "/kvman/limits", 200, "stale"),
    Case("links are what one node knows", "GET", "/kvman/links", 200, "stale"),
    Case("switched links too", "POST", "/kvman/links?state=up", 200, "stale"),
    Case("the journal is what one node knows", "GET", "/kvman/journal", 200, "stale"),
    Case("shutdown is of one node", "POST", "/kvman/shutdown", 200, "stale"),
    Case("healthz is of one node", "GET", "/healthz", 200, "stale"),
    Case("readyz is of one node", "GET", "/readyz", 200, "stale"),
    Case("a bad parameter", "GET", "/kv/get?key=", 400, "stale"),
    Case("a bad write", "POST", "/kv/insert?key=a", 400, "stale"),
    Case("no such path", "GET", "/kv/nothing", 404, "stale"),
    Case("a path that is not UTF-8", "GET", "/kv/%FF", 404, "stale"),
    Case("no such method", "GET", "/kv/insert?key=a&value=b", 405, "stale"),
    Case("options", "OPTIONS", "/kv/insert", 204, "stale"),
    Case("a key that is too large", "GET", "/kv/get?key=" + "k" * 4097, 413, "stale"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_every_reply_has_a_receipt(case: Case, node: Node) -> None:
    client = node.connect()
    client.begin(case.method, case.target)
    node.turn(3)
    reply = client.reply(to=case.method)

    assert reply.status == case.status
    assert receipt(reply) == (case.slot, "n02", case.read)


@pytest.mark.parametrize("target", ["/kv/get?key=taken", "/kvman/dump", "/kvman/countkey"])
def test_head_has_the_receipt_of_get(target: str, node: Node) -> None:
    assert receipt(node.ask("HEAD", target)) == ("1", "n02", "quorum")


TROUBLES = [
    (Unavailable("no leader is known"), 503),
    (OutcomeUnknown("no quorum decided it in time"), 504),
    (TooLarge("it does not fit into a command"), 413),
    (ZeroDivisionError("a mistake of ours"), 500),
]
ASKED = [
    ("POST", "/kv/set?key=a&value=b"),
    ("GET", "/kv/get?key=a"),
    ("GET", "/kvman/countkey"),
    ("GET", "/kvman/dump"),
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked[1])
@pytest.mark.parametrize(("trouble", "status"), TROUBLES, ids=str)
def test_what_failed_rests_on_what_the_node_knew(
    asked: tuple[str, str], trouble: Exception, status: int, node: Node, logged: list[object]
) -> None:
    node.store.trouble = trouble
    reply = node.ask(*asked)

    assert reply.status == status
    assert receipt(reply) == ("1", "n02", "stale")
    logged.clear()


def test_a_dump_whose_first_page_cannot_be_read_rests_on_no_quorum(
    node: Node, logged: list[object]
) -> None:
    node.store.breaks_views = ZeroDivisionError("a mistake of ours")

    reply = node.ask("GET", "/kvman/dump")
    assert (reply.status, receipt(reply)) == (500, ("1", "n02", "stale"))
    logged.clear()


def test_a_write_that_the_log_finds_too_large_is_in_the_log(node: Node) -> None:
    reply = node.ask("POST", "/kv/append", b"key=taken&value=" + b"v" * (MIB - 2))

    assert (reply.status, receipt(reply)) == (413, ("2", "n02", "logged"))
    assert reply.json["message"].startswith(
        f"The value that would come of it has more than {MIB} bytes, or the key more than 4096;"
    )


def test_a_dump_too_many_rests_on_what_the_node_knew(node: Node) -> None:
    crowded = Node(store=node.store, limits=HttpLimits(dumps_max=0))

    reply = crowded.ask("GET", "/kvman/dump")
    assert (reply.status, receipt(reply)) == (503, ("1", "n02", "stale"))


def test_a_node_that_is_not_ready_tells_what_it_knows(node: Node) -> None:
    node.store.unready = "no read has finished for 7 s"

    reply = node.ask("GET", "/readyz")
    assert (reply.status, receipt(reply)) == (503, ("1", "n02", "stale"))


def test_a_caller_who_may_not_ask_gets_a_receipt_too(node: Node) -> None:
    reply = node.connect(ELSEWHERE).ask("POST", "/kvman/shutdown")
    assert (reply.status, receipt(reply)) == (403, ("1", "n02", "stale"))

    node.store.link_trouble = Forbidden("partitions are not allowed")
    reply = node.ask("GET", "/kvman/links")
    assert (reply.status, receipt(reply)) == (403, ("1", "n02", "stale"))


RAW = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "an address that is too long": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 413),
    "a body that is too long": (b"POST /kv/set HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
}


@pytest.mark.parametrize(("data", "status"), RAW.values(), ids=RAW)
def test_what_never_became_a_request_gets_a_receipt(data: bytes, status: int, node: Node) -> None:
    client = node.connect()
    client.send(data)
    reply = client.reply()

    assert (reply.status, receipt(reply)) == (status, ("1", "n02", "stale"))


def test_a_connection_too_many_gets_a_receipt(node: Node) -> None:
    crowded = Node(store=node.store, limits=HttpLimits(connections_max=1))
    busy = crowded.connect()
    busy.send(b"GET /healthz HTTP/1.1\r\n")
    reply = crowded.connect().reply()

    assert (reply.status, receipt(reply)) == (503, ("1", "n02", "stale"))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/kv/set?key=a&value=b", 503),
        ("GET", "/kv/get?key=a", 503),
        ("GET", "/readyz", 503),
        ("GET", "/kvman/status", 200),
        ("GET", "/healthz", 200),
        ("GET", "/nothing", 404),
    ],
)
def test_before_the_cluster_is_formed_the_slot_is_0_and_nobody_leads(
    method: str, target: str, status: int
) -> None:
    node = Node()
    node.store.leader = ""
    node.store.unready = "the cluster has not formed yet"
    node.store.trouble = Unavailable("the cluster has not formed yet")

    reply = node.ask(method, target)
    assert (reply.status, receipt(reply)) == (status, ("0", "", "stale"))

"""Dumps: one view, in pages, at the pace of the client, and never half of one for the whole."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest

from kvpaxos.errors import StateClosed
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.store.commands import Set
from test.node.http.harness import Client, Node, Reply


def read(node: Node, target: str = "/kvman/dump") -> Reply:
    """Return a dump to a client that reads at once."""
    client = node.connect()
    client.begin("GET", target)
    node.turn(200)
    return client.reply()


def slow_client(node: Node) -> Client:
    """Return a client that has asked for a dump and reads nothing of it."""
    client = node.connect()
    client.wire.reads_at_once = False
    client.begin("GET", "/kvman/dump")
    return client


def closings(node: Node) -> list[int]:
    return [view.closings for view in node.store.views]


@pytest.fixture
def full() -> Node:
    """Return a node whose dump has about 25 pages."""
    node = Node()
    node.store.fill(400, b"v" * 4096)
    return node


def test_a_dump_is_all_pairs_in_the_order_of_keys() -> None:
    node = Node()
    pairs = node.store.fill(3000)
    reply = read(node)

    assert (reply.status, reply.whole, reply.json) == (200, True, pairs)
    assert (node.store.views[0].pages, closings(node)) == (4, [1])


def test_a_dump_of_nothing_is_an_empty_list() -> None:
    assert read(Node()).body == b"[]"


def test_a_dump_carries_its_receipt(node: Node) -> None:
    reply = read(node)

    receipt = [reply.headers[f"x-kvpaxos-{name}"] for name in ("slot", "leader", "read")]
    assert receipt == ["1", "n02", "quorum"]
    assert reply.headers["content-type"] == "application/json"


def test_a_dump_shows_one_moment_whatever_is_written_meanwhile(full: Node) -> None:
    client = slow_client(full)
    full.store.apply(Set(b"key 00399", b"new"))
    full.store.apply(Set(b"zzz", b"new"))
    drain(full, client)

    pairs = client.reply().json
    assert len(pairs) == 400
    assert pairs[-1] == ["key 00399", "v" * 4096]


def drain(node: Node, client: Client) -> None:
    """Read until nothing more comes."""
    client.wire.read_all()
    node.turn()
    while client.wire.unread_bytes:
        client.wire.read_all()
        node.turn()


@pytest.mark.parametrize("limit", [1, 2, 3, 1000, 1001])
def test_limit_and_after_page_through_all_pairs(limit: int) -> None:
    node = Node()
    pairs = node.store.fill(2500 if limit > 100 else 7)
    pages = [read(node, f"/kvman/dump?limit={limit}").json]
    while pages[-1]:
        last = pages[-1][-1][0].replace(" ", "%20")
        pages.append(read(node, f"/kvman/dump?limit={limit}&after={last}").json)

    assert list(chain(*pages)) == pairs
    assert {len(page) for page in pages[:-2]} <= {limit}
    assert all(closing == 1 for closing in closings(node))


def test_after_need_not_be_a_key_that_exists() -> None:
    node = Node()
    pairs = node.store.fill(3)

    assert read(node, "/kvman/dump?after=key%2000001x").json == pairs[2:]
    assert read(node, "/kvman/dump?after=").json == pairs


def test_a_pair_that_is_not_text_is_an_object_with_names() -> None:
    node = Node()
    node.store.apply(Set(b"a", b"\xff"))
    node.store.apply(Set(b"b", "文\0".encode()))
    node.store.apply(Set(b"\xfe", b"c"))

    assert read(node).json == [
        {"key": "a", "value": None, "value_base64": "/w=="},
        ["b", "文\0"],
        {"key": None, "key_base64": "/g==", "value": "c"},
    ]


def test_a_slow_client_is_sent_no_more_than_about_a_page(full: Node) -> None:
    client = slow_client(full)
    most = 0
    turns = 0
    while client.wire.unread_bytes:
        full.turn(2)
        pages = full.store.views[0].pages
        # However long the client takes: nothing is read ahead for it.
        full.turn(20)
        assert full.store.views[0].pages == pages
        most = max(most, client.wire.unread_bytes)
        turns += 1
        client.wire.read_all()
        full.turn(2)

    assert client.reply().json == [[f"key {n:05}", "v" * 4096] for n in range(400)]
    assert turns > 10
    assert most < 3 * full.limits.page_bytes_max


def test_one_page_is_read_in_one_turn_of_the_reactor(full: Node) -> None:
    client = full.connect()
    client.begin("GET", "/kvman/dump")
    for pages in range(1, 10):
        assert full.store.views[0].pages == pages
        full.turn()


def test_a_pair_larger_than_a_page_passes() -> None:
    node = Node()
    pairs = node.store.fill(3, b"v" * 500_000)

    assert read(node).json == pairs


def test_other_requests_are_answered_during_a_dump(full: Node) -> None:
    slow_client(full)

    assert full.ask("GET", "/kvman/countkey").json == {"result": 400}


def test_a_client_that_hangs_up_lets_go_of_the_view(full: Node) -> None:
    client = slow_client(full)
    client.wire.hang_up()
    full.turn(5)

    assert (closings(full), full.clock.getDelayedCalls()) == ([1], [])


def test_a_client_that_hangs_up_before_the_read_is_done_opens_no_view(full: Node) -> None:
    full.store.held = True
    client = slow_client(full)
    client.wire.hang_up()
    full.turn(5)

    assert (len(full.store.canceled), full.store.views) == (1, [])


def test_a_client_that_reads_no_page_in_time_is_cut_off(full: Node) -> None:
    client = slow_client(full)
    full.turn(3)
    full.clock.advance(full.limits.page_s_max - 1)
    assert not client.wire.aborted
    client.wire.read_all()
    full.turn(3)
    full.clock.advance(full.limits.page_s_max - 1)
    assert not client.wire.aborted
    full.clock.advance(1)

    assert (client.wire.aborted, closings(full)) == (True, [1])


def test_a_page_that_cannot_be_read_breaks_the_connection(full: Node, logged: list[Any]) -> None:
    client = slow_client(full)
    full.store.views[0].broken = StateClosed("the state is closed")
    client.wire.read_all()
    full.turn(3)

    assert (client.wire.aborted, closings(full)) == (True, [1])
    assert not client.reply().whole
    assert [event["log_failure"].type for event in logged] == [StateClosed]
    logged.clear()


def test_part_of_a_dump_is_not_valid_json(full: Node) -> None:
    client = slow_client(full)
    for _ in range(5):
        client.wire.read_all()
        full.turn()
        with pytest.raises(json.JSONDecodeError):
            json.loads(client.reply().body)
        client._taken = 0


def test_a_first_page_that_cannot_be_read_is_an_error_like_any_other(full: Node) -> None:
    full.store.breaks_views = StateClosed("the state is closed")
    reply = read(full)

    assert (reply.status, reply.json["applied"], closings(full)) == (503, "no", [1])


def test_a_site_that_stops_breaks_off_its_dumps(full: Node) -> None:
    clients = [slow_client(full), slow_client(full)]
    full.site.doStop()

    assert closings(full) == [1, 1]
    assert all(client.wire.aborted for client in clients)
    full.turn(3)
    assert full.clock.getDelayedCalls() == []


def test_too_many_dumps_are_refused_until_one_is_over() -> None:
    node = Node(limits=HttpLimits(dumps_max=2))
    node.store.fill(100, b"v" * 4096)
    first, _ = slow_client(node), slow_client(node)
    reply = read(node)
    assert (reply.status, reply.json["applied"], reply.headers["retry-after"]) == (503, "no", "1")

    drain(node, first)
    assert read(node).status == 200


def test_head_opens_no_view(full: Node) -> None:
    reply = full.ask("HEAD", "/kvman/dump")

    assert (reply.status, reply.headers["x-kvpaxos-read"], full.store.views) == (200, "quorum", [])


def test_a_connection_serves_on_after_a_dump(node: Node) -> None:
    client = node.connect()
    client.begin("GET", "/kvman/dump")
    client.begin("GET", "/kv/get?key=taken")
    node.turn(5)

    assert client.reply().json == [["taken", "old"]]
    assert client.reply().json["value"] == "old"


def test_a_dump_over_http_1_0_ends_with_the_connection(node: Node) -> None:
    client = node.connect()
    client.send(b"GET /kvman/dump HTTP/1.0\r\n\r\n")
    node.turn(5)

    assert client.wire.received.endswith(b'\r\n\r\n[["taken","old"]]')
    assert not client.wire.connected
    assert not client.wire.aborted

"""One connection: what is no HTTP, what is too large, too slow, or too much at a time."""

from __future__ import annotations

import pytest

from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.store.commands import Set
from test.node.http.harness import Client, Node

MIB = 1024 * 1024

SMALL = HttpLimits(
    body_bytes_max=1000,
    bodies_bytes_max=2500,
    head_bytes_max=2000,
    linger_bytes_max=100_000,
    connections_max=4,
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def head(length: int | str, method: str = "POST", extra: str = "") -> bytes:
    return f"{method} /kv/set HTTP/1.1\r\nContent-Length: {length}\r\n{extra}\r\n".encode()


CHUNKED = b"POST /kv/set HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

MALFORMED = {
    "no HTTP at all": b"hello\r\n\r\n",
    "TLS": bytes.fromhex("16030100") + b"\r\n\r\n",
    "no version": b"GET /kv/get\r\n\r\n",
    "another version": b"GET /kv/get HTTP/3.0\r\n\r\n",
    "a blank in the address": b"GET /kv/get?key=a b HTTP/1.1\r\n\r\n",
    "raw UTF-8 in the address": "GET /kv/get?key=é HTTP/1.1\r\n\r\n".encode(),
    "a header without a colon": b"GET /kv/get HTTP/1.1\r\nnonsense\r\n\r\n",
    "a header of no name": b"GET /kv/get HTTP/1.1\r\n: x\r\n\r\n",
    "NUL in a header": b"GET /kv/get HTTP/1.1\r\nA: \0\r\n\r\n",
    "a length that is no number": head("many"),
    "a negative length": head("-1"),
    "a length of thousands of digits": head("1" * 5000),
    "two lengths": head(1, extra="Content-Length: 2\r\n"),
    "a length and chunks": head(1, extra="Transfer-Encoding: chunked\r\n"),
    "an unknown transfer encoding": head(1, extra="Transfer-Encoding: gzip\r\n"),
    "a chunk of no length": CHUNKED + b"many\r\n",
    "a chunk that is longer than it says": CHUNKED + b"1\r\nkey\r\n",
    "too many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 501 + b"\r\n",
    "a head of too many lines": b"GET / HTTP/1.1\r\n"
    + (b"A: %s\r\n" % (b"b" * 1000)) * 70
    + b"\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_gets_a_reply_in_json_and_is_closed(data: bytes, node: Node) -> None:
    client = node.connect()
    client.send(data)
    reply = client.reply()

    assert (reply.status, reply.json["applied"]) == (400, "no")
    assert reply.headers["connection"] == "close"
    client.send(head(13) + b"key=a&value=b")
    assert client.silent
    assert len(node.store.writes) == 1
    node.clock.advance(node.limits.linger_s_max)
    assert not client.wire.connected


TOO_LARGE = {
    "an address": b"GET /kv/get?key=" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "an address without an end": b"GET /kv/get?key=" + b"a" * 70_000,
    "a header": b"GET /kv/get HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n",
    "a length": head(14 * MIB),
    "a length of hundreds of digits": head("1" * 500),
    "chunks": CHUNKED + chunk(b"a" * 65_000) * 220,
    "one chunk": CHUNKED + b"ffffffffff\r\n" + b"a" * 14 * MIB,
}


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_too_large_gets_a_reply_in_json_and_is_closed(data: bytes, node: Node) -> None:
    client = node.connect()
    client.send(data)
    reply = client.reply()

    assert (reply.status, reply.json["applied"]) == (413, "no")
    assert client.silent
    assert len(node.store.writes) == 1
    node.clock.advance(node.limits.linger_s_max)
    assert not client.wire.connected


def test_a_body_of_exactly_the_limit_passes() -> None:
    node = Node(limits=SMALL)
    body = b"key=a&value=" + b"b" * 988

    assert node.ask("POST", "/kv/set", body).status == 200
    assert node.ask("POST", "/kv/set", body + b"b").status == 413
    client = node.connect()
    client.send(CHUNKED + chunk(body[:600]) + chunk(body[600:]) + chunk(b""))
    assert client.reply().status == 200
    client = node.connect()
    client.send(CHUNKED + chunk(body) + chunk(b"b") + chunk(b""))
    assert client.reply().status == 413
    assert client.silent
    assert client.channel.requests[0].content.getvalue() == b""


def test_the_longest_values_fit_into_a_body_in_their_longest_spelling(node: Node) -> None:
    long = b"\\u0001" * MIB
    body = b'{"key":"%s","expect":"%s","value":"%s"}' % (b"\\u0001" * 4096, long, long)

    assert node.ask("POST", "/kv/cas", body, "application/json").status == 200


def test_a_body_that_is_too_large_is_not_asked_for() -> None:
    node = Node(limits=SMALL)
    client = node.connect()
    client.send(head(1001, extra="Expect: 100-continue\r\n"))
    assert client.reply().status == 413
    assert client.silent

    client = node.connect()
    client.send(head(13, extra="Expect: 100-continue\r\n"))
    assert client.wire.received == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_what_follows_a_refusal_is_thrown_away_for_a_while() -> None:
    node = Node(limits=SMALL)
    client = node.connect()
    client.send(head(200_000) + b"a" * 90_000)
    assert client.reply().status == 413
    # Not closed: a client that is still sending would miss the reply.
    assert client.wire.connected

    client.send(b"a" * 20_000)
    node.turn()
    assert client.wire.aborted


def test_all_bodies_together_have_a_limit() -> None:
    node = Node(limits=SMALL)
    clients = [node.connect() for _ in range(3)]
    for client in clients:
        client.send(head(1000) + b"key=a&value=" + b"b" * 900)
    reply = clients[2].reply()
    assert (reply.status, reply.json["applied"], reply.headers["retry-after"]) == (503, "no", "1")

    clients[0].send(b"b" * 88)
    assert clients[0].reply().status == 200


def test_a_body_counts_until_its_request_is_over() -> None:
    node = Node(limits=SMALL)
    for _ in range(10):
        client = node.connect()
        client.send(head(1000) + b"key=a&value=" + b"b" * 900)
        client.wire.hang_up()
        node.turn()
        client = node.connect()
        client.send(head(1001) + b"key=a&value=" + b"b" * 989)
        assert client.reply().status == 413
        client.wire.hang_up()
        # Paths that look into the body, and paths that do not.
        for target in ("/kv/get", "/kvman/status", "/kv/nothing"):
            reply = node.ask("GET", target, b"key=a&value=" + b"b" * 988)
            assert reply.status in {200, 404}
            node.turn()


def test_a_body_counts_while_its_write_is_under_way() -> None:
    node = Node(limits=SMALL)
    node.store.held = True
    clients = [node.connect() for _ in range(3)]
    for client in clients:
        client.begin("POST", "/kv/set", b"key=a&value=" + b"b" * 988)
    assert clients[2].reply().status == 503

    node.store.carry_out()
    assert clients[0].reply().status == 200
    clients[0].begin("POST", "/kv/set", b"key=a&value=" + b"b" * 988)
    assert len(node.store.writes) == 3


def test_requests_that_come_together_are_answered_in_order(node: Node) -> None:
    client = node.connect()
    client.send(
        head(13) + b"key=a&value=1" + head(13) + b"key=a&value=2"
        b"GET /kv/get?key=a HTTP/1.1\r\n\r\nGET /kv/nothing HTTP/1.1\r\n\r\n"
    )

    assert [client.reply().status for _ in range(4)] == [200, 200, 200, 404]
    assert node.ask("GET", "/kv/get?key=a").json["value"] == "2"


def test_a_request_may_come_byte_by_byte(node: Node) -> None:
    client = node.connect()
    for byte in head(13) + b"key=a&value=b":
        client.send(bytes([byte]))

    assert client.reply().status == 200


def test_replies_that_are_not_read_hold_back_the_next_request(node: Node) -> None:
    node.store.apply(Set(b"big", b"v" * MIB))
    client = node.connect()
    client.wire.reads_at_once = False
    client.send(b"GET /kv/get?key=big HTTP/1.1\r\n\r\n" * 1000)
    assert client.wire.unread_bytes < 2 * MIB
    assert len(node.store.reads) == 1
    assert client.wire.producerState == "paused"

    for reads in range(2, 10):
        client.wire.read_all()
        assert (client.wire.unread_bytes < 2 * MIB, len(node.store.reads)) == (True, reads)
        assert client.reply().json["value"] == "v" * MIB


def test_a_request_that_was_held_back_notices_when_its_client_hangs_up(node: Node) -> None:
    node.store.apply(Set(b"big", b"v" * MIB))
    client = node.connect()
    client.wire.reads_at_once = False
    client.send(b"GET /kv/get?key=big HTTP/1.1\r\n\r\n" * 2)
    node.store.held = True
    client.wire.read_all()

    # Only who reads from a socket learns of its end.
    assert client.wire.producerState == "producing"


def test_what_comes_ahead_of_a_dump_that_is_not_read_is_bounded(node: Node) -> None:
    node.store.fill(400, b"v" * 4096)
    client = node.connect()
    client.wire.reads_at_once = False
    client.begin("GET", "/kvman/dump")
    node.turn(3)
    for _ in range(1000):
        client.send(b"GET /kv/get?key=a HTTP/1.1\r\n\r\n" * 1000)

    assert client.wire.producerState == "paused"


def test_a_client_that_leaves_a_reply_unread_is_cut_off(node: Node) -> None:
    node.store.apply(Set(b"big", b"v" * MIB))
    for connection in ("keep-alive", "close"):
        client = node.connect()
        client.wire.reads_at_once = False
        client.begin("GET", "/kv/get?key=big", Connection=connection)
        node.clock.advance(node.limits.idle_s_max - 1)
        assert client.wire.connected
        node.clock.advance(1)
        node.turn()
        assert client.wire.aborted

    client = node.connect()
    client.wire.reads_at_once = False
    client.send(b"GET /kv/get?key=big HTTP/1.1\r\n\r\n" * 2)
    node.clock.advance(node.limits.idle_s_max)
    assert client.wire.aborted
    assert node.clock.getDelayedCalls() == []


def test_a_silent_connection_is_closed(node: Node) -> None:
    fresh = node.connect()
    used = node.connect()
    used.ask("GET", "/healthz")
    node.clock.advance(node.limits.idle_s_max / 2)
    used.ask("GET", "/healthz")
    node.clock.advance(node.limits.idle_s_max / 2)
    assert (fresh.wire.connected, used.wire.connected) == (False, True)
    assert not fresh.wire.aborted

    node.clock.advance(node.limits.idle_s_max / 2)
    assert not used.wire.connected
    assert node.clock.getDelayedCalls() == []


@pytest.mark.parametrize("start", [b"GET /healthz HTTP/1.1\r\n", head(1000)], ids=["head", "body"])
def test_a_request_that_comes_too_slowly_is_cut_off(start: bytes, node: Node) -> None:
    client = node.connect()
    client.send(start)
    seconds = 0
    while client.wire.connected:
        client.send(b"a")
        node.clock.advance(1)
        seconds += 1

    assert seconds == node.limits.idle_s_max


def test_a_request_that_begins_late_has_its_time_all_the_same(node: Node) -> None:
    client = node.connect()
    node.clock.advance(node.limits.idle_s_max - 1)
    client.send(head(13) + b"key=a")
    node.clock.advance(node.limits.idle_s_max - 1)
    client.send(b"&value=b")

    assert client.reply().status == 200


def test_a_request_that_waits_for_its_answer_is_not_idle(node: Node) -> None:
    node.store.held = True
    client = node.connect()
    client.begin("POST", "/kv/set", b"key=a&value=b")
    node.clock.advance(10 * node.limits.idle_s_max)
    node.store.carry_out()

    assert client.reply().status == 200


def test_a_new_connection_takes_the_place_of_the_longest_idle_one() -> None:
    node = Node(limits=SMALL)
    first, second, third, fourth = (node.connect() for _ in range(4))
    first.ask("GET", "/healthz")
    fifth = node.connect()
    node.turn()

    assert not second.wire.connected
    for client in (first, third, fourth, fifth):
        assert client.ask("GET", "/healthz").status == 200


def hold_all(node: Node) -> list[Client]:
    node.store.held = True
    clients = [node.connect() for _ in range(node.limits.connections_max)]
    for client in clients:
        client.begin("POST", "/kv/set", b"key=a&value=b")
    return clients


def test_a_connection_too_many_is_refused_if_none_is_idle() -> None:
    node = Node(limits=SMALL)
    clients = hold_all(node)
    refused = node.connect()
    reply = refused.reply()
    assert (reply.status, reply.json["applied"], reply.headers["retry-after"]) == (503, "no", "1")

    node.clock.advance(node.limits.linger_s_max)
    assert not refused.wire.connected
    for client in clients:
        node.store.carry_out()
        assert client.reply().status == 200
    assert node.connect().ask("GET", "/healthz").status == 200


def test_far_too_many_connections_are_closed_without_a_word() -> None:
    node = Node(limits=SMALL)
    hold_all(node)
    extra = [node.connect() for _ in range(20)]
    node.turn()

    # Those that were refused politely make room for each other.
    still_open = [client for client in extra if client.wire.connected]
    assert len(still_open) <= node.limits.connections_max
    assert all(client.reply().status == 503 for client in still_open)


def test_a_site_that_stops_closes_idle_connections_and_answers_the_others(node: Node) -> None:
    node.store.held = True
    idle, busy, refused = node.connect(), node.connect(), node.connect()
    busy.begin("POST", "/kv/set", b"key=a&value=b")
    refused.send(b"nonsense\r\n")
    node.site.doStop()
    node.turn()
    assert [client.wire.connected for client in (idle, busy, refused)] == [False, True, False]

    node.store.carry_out()
    node.turn()
    assert busy.reply().status == 200
    assert not busy.wire.connected
    assert node.clock.getDelayedCalls() == []


@pytest.mark.parametrize("host", ["", "a..b", "x" * 300, "\xff\xfe", "[::1", "a b", "%"])
def test_the_host_header_matters_to_nothing(host: str, node: Node) -> None:
    client = node.connect()
    request = b"GET /kv/get?key=taken HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode("latin-1")
    client.send(request)

    assert client.reply().json["value"] == "old"


def test_a_connection_is_kept_unless_its_client_says_otherwise(node: Node) -> None:
    client = node.connect()
    for _ in range(3):
        assert client.ask("GET", "/healthz").status == 200
    assert client.ask("GET", "/healthz", Connection="close").status == 200
    node.turn()

    assert not client.wire.connected

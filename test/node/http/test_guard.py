"""Web pages reach a browser's own machine; the paths of whoever runs the node are not for them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import UNIXAddress

from kvpaxos.config.cluster import default_cluster
from test.node.http.harness import ELSEWHERE, LOOPBACK, Node, Reply

GUARDED = [
    ("GET", "/kvman/shutdown"),
    ("POST", "/kvman/shutdown"),
    ("GET", "/kvman/links"),
    ("POST", "/kvman/links?state=cut"),
    ("GET", "/kvman/journal"),
    ("GET", "/kvman/backup"),
]

OUR_HOSTS = [
    "127.0.0.1:8801",
    "127.0.0.1",
    "127.8.9.10:8801",
    "10.0.0.1:8801",
    "[::1]:8801",
    "[::1]",
    "[2001:db8::1]:80",
    "localhost:8801",
    "LocalHost:8801",
    "localhost.:8801",
    "db1.example:8801",
    "DB1.Example",
]
FOREIGN_HOSTS = [
    "evil.example:8801",
    "evil.example",
    "localhost.evil.example:8801",
    "127.0.0.1.evil.example:8801",
    "db1.example.evil.example",
    "x.db1.example",
    "notlocalhost",
    "[evil.example]:8801",
    "[localhost]",
    "[::1].evil.example",
    "127.0.0.1:8801:evil.example",
    "127.0.0.1@evil.example",
    "evil.example:127.0.0.1",
    "999.0.0.1",
    "",
    ":8801",
    "\u00fdvil.example",
]


def assert_is_refused(reply: Reply, node: Node) -> None:
    assert (reply.status, reply.json["success"], reply.json["applied"]) == (403, "false", "no")
    node.turn(3)
    done = (node.store.shutdowns, len(node.store.switched), len(node.store.journal_calls))
    assert done == (0, 0, 0)


@pytest.fixture(params=[False, True], ids=["guarded", "open to all"])
def guarded(request: pytest.FixtureRequest) -> Node:
    """Return a node that its settings call db1.example."""
    return Node(names={"DB1.example."}, open_to_all=request.param)


@pytest.mark.parametrize(("method", "target"), GUARDED)
@pytest.mark.parametrize("host", OUR_HOSTS)
def test_an_address_localhost_and_the_names_in_the_settings_are_ours(
    host: str, method: str, target: str, guarded: Node
) -> None:
    assert guarded.connect().ask(method, target, Host=host).status == 200


@pytest.mark.parametrize(("method", "target"), GUARDED)
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_page_whose_name_was_made_to_point_here_is_refused(
    host: str, method: str, target: str, guarded: Node
) -> None:
    # Its browser takes it for a page of this very site.
    same: dict[str, Any] = {"Sec_Fetch_Site": "same-origin", "Origin": f"http://{host}"}

    assert_is_refused(guarded.connect().ask(method, target, Host=host), guarded)
    assert_is_refused(guarded.connect().ask(method, target, Host=host, **same), guarded)


def test_the_refusal_of_a_name_says_what_to_do(node: Node) -> None:
    message = node.connect().ask("POST", "/kvman/shutdown", Host="kv.example:8801").json["message"]

    assert message == (
        "This path answers requests to an address, to localhost, or to a name in the settings,"
        ' and "kv.example:8801" is none of these; nothing was changed.'
    )


def test_one_good_host_does_not_hide_a_bad_one(node: Node) -> None:
    client = node.connect()
    client.send(b"GET /kvman/journal HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
    assert_is_refused(client.reply(), node)

    client = node.connect()
    client.send(b"GET /kvman/journal HTTP/1.1\r\nHost: evil.example\r\nHost: 127.0.0.1\r\n\r\n")
    assert_is_refused(client.reply(), node)


def test_an_old_client_that_names_no_host_is_no_browser(node: Node) -> None:
    client = node.connect()
    client.send(b"GET /kvman/journal HTTP/1.0\r\n\r\n")

    assert client.reply().status == 200


def test_no_page_reaches_a_unix_socket_so_any_name_will_do(node: Node) -> None:
    client = node.connect(UNIXAddress(b"run/n01.sock"))

    assert client.ask("GET", "/kvman/journal", Host="whatever").status == 200


FOREIGN_ORIGINS = [
    "http://evil.example",
    "https://evil.example:8801",
    "http://127.0.0.1",
    "http://127.0.0.1:8802",
    "http://localhost:8801",
    "http://127.0.0.1:8801.evil.example",
    "http://evil.example/http://127.0.0.1:8801",
    "127.0.0.1:8801",
    "null",
    "file://",
    "",
    "chrome-extension://abcdef",
]


@pytest.mark.parametrize(("method", "target"), GUARDED)
@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_page_of_another_origin_is_refused(
    origin: str, method: str, target: str, guarded: Node
) -> None:
    assert_is_refused(guarded.connect().ask(method, target, Origin=origin), guarded)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8801", "127.0.0.1:8801"),
        ("http://localhost:8801", "LOCALHOST:8801"),
        ("https://db1.example", "db1.example"),
    ],
)
def test_a_page_of_this_very_site_is_answered(origin: str, host: str, guarded: Node) -> None:
    same: dict[str, Any] = {"Origin": origin, "Sec_Fetch_Site": "same-origin"}

    assert guarded.connect().ask("POST", "/kvman/links?state=up", Host=host, **same).status == 200


@pytest.mark.parametrize(("method", "target"), GUARDED)
@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "something new", ""])
def test_a_request_that_another_site_caused_is_refused(
    site: str, method: str, target: str, guarded: Node
) -> None:
    assert_is_refused(guarded.connect().ask(method, target, Sec_Fetch_Site=site), guarded)


def test_an_address_that_somebody_typed_is_answered(node: Node) -> None:
    assert node.connect().ask("GET", "/kvman/journal", Sec_Fetch_Site="none").status == 200


def test_a_form_on_another_site_cannot_stop_the_node(node: Node) -> None:
    form: dict[str, Any] = {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}
    reply = node.connect().ask("POST", "/kvman/shutdown", b"a=b", "text/plain", **form)

    assert_is_refused(reply, node)


@pytest.mark.parametrize(
    "target", ["/kv/get?key=taken", "/kvman/status", "/kvman/limits", "/healthz", "/readyz"]
)
def test_all_other_paths_answer_by_any_name(target: str, node: Node) -> None:
    foreign: dict[str, Any] = {
        "Host": "kv.example",
        "Origin": "http://kv2.example",
        "Sec_Fetch_Site": "cross-site",
    }

    assert node.connect(ELSEWHERE).ask("GET", target, **foreign).status == 200
    assert node.connect(LOOPBACK).ask("GET", target, **foreign).status == 200


def test_the_names_of_a_node_are_those_in_its_settings() -> None:
    [node] = default_cluster(1).nodes
    assert node.hosts == {"127.0.0.1"}

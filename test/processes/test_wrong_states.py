"""A state that is whole, and wrong: the nodes find out by themselves, and say whose it is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.node.recovery import GROUP
from kvpaxos.store.entry import decode_entry, encode_entry
from kvpaxos.store.layout import Layout
from test.processes.cluster import Cluster, Node, cluster
from test.processes.states import wait_for

pytestmark = pytest.mark.timeout(180)

NO_MAJORITY = "and no majority says which one is right"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve."""
    # Each scans its disk once it has started, and would find it first.
    with cluster(tmp_path, storage={"scan_bytes_per_s": 0}) as made:
        made.start()
        yield made


def agrees(node: Node) -> bool:
    """Whether ``node`` has seen that a majority has the state that it has now."""
    status = node.ask("GET", "/kvman/status").body
    agreed: int = status["state"]["agreed_slot"]
    applied: int = status["applied"]
    return agreed == applied > 0


def says(node: Node, sentence: str) -> bool:
    """Whether a stale read of ``node`` is refused for that reason."""
    reply = node.ask("GET", "/kv/get", key="k", consistency="stale")
    return reply.status == 503 and sentence in reply.body["message"]


def stop_and_tamper(three: Cluster, node: Node) -> None:
    """Have all nodes hold a key and agree on it, and change it on the disk of one, which stops."""
    assert three.nodes[0].ask("POST", "/kv/set", key="k", value="v1").done
    for each in three.nodes:
        wait_for(partial(agrees, each))
    three.signal(node, signal.SIGTERM)
    tamper(three.directory / node.name)


def tamper(directory: Path) -> None:
    """Change what the key holds on the disk of a node that is stopped, as no command has."""
    place = Layout(GROUP).user(b"k")
    with closing(RocksEngine(directory / "state")) as engine:
        held = engine.get(place)
        assert held is not None
        entry = decode_entry(place, held)
        engine.write({place: encode_entry(entry._replace(value=b"tampered with"))})
        engine.flush()


def test_whoever_is_wrong_is_named_and_gets_the_state_of_another(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    stop_and_tamper(three, n02)
    three.start(n02)
    # It shows when the record is taken away.
    assert n01.ask("POST", "/kv/set", key="k", value="v2").done
    line = n02.wait_for_line("damage was found, and this node starts again to repair it")
    assert "the state of n02: the state is damaged" in line
    assert "it is not that of n01, n03, who are a majority" in line
    for peer in (n01, n03):
        named = peer.wait_for_line("the state of n02 after slot")
        assert "is wrong: it is not that of n01, n03" in named
        assert peer.ask("GET", "/kv/get", key="k").body["value"] == "v2"

    n02.wait_for_line("ready")
    assert n02.ask("GET", "/kv/get", key="k").body["value"] == "v2"
    wait_for(partial(agrees, n02))


def test_without_a_majority_those_that_differ_answer_nothing(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    stop_and_tamper(three, n02)
    three.kill(n03)
    three.start(n02)
    n01.ask("POST", "/kv/set", key="k", value="v2")
    wait_for(partial(says, n01, f"not that of n02, {NO_MAJORITY}"))
    wait_for(partial(says, n02, f"not that of n01, {NO_MAJORITY}"))
    for node in (n01, n02):
        assert node.ask("GET", "/readyz").status == 503
        assert node.ask("GET", "/kv/get", key="k").status == 503
        refused = node.ask("POST", "/kv/set", key="k", value="v3")
        assert (refused.status, refused.body["applied"]) == (503, "no")
        assert node.ask("GET", "/healthz").status == 200

    # The third knows.
    three.start(n03)
    n02.wait_for_line("it is not that of n01, n03, who are a majority")
    n01.wait_for_line("a majority has a state like this one")
    assert n01.ask("GET", "/kv/get", key="k").body["value"] == "v2"

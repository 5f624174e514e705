"""Links of real processes, cut through ``/kvman/links``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from test.processes.cluster import Cluster, Node, cluster
from test.processes.writers import writers

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["tcp", "unix"])
def three(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster(tmp_path, 3, request.param) as made:
        made.start(options=("--allow-partitions",))
        yield made


def _isolate(node: Node, state: str) -> None:
    """Cut, or heal, every link of ``node``, both ways."""
    assert node.ask("POST", "/kvman/links", state=state).status == 200
    rows = node.ask("GET", "/kvman/links").body["links"]
    assert {row["state"] for row in rows} == {state}


def test_a_leader_cut_off_writes_nothing_and_the_others_go_on_without_it(three: Cluster) -> None:
    leader = three.leader()
    others = [node for node in three.nodes if node is not leader]
    clients = writers(three)
    for client in clients:
        client.start()
        client.wait_for(5)

    _isolate(leader, "cut")
    for client in clients:
        if client.node is not leader:
            client.wait_for(10)
    # Whatever it takes for a write may be sent out one day; it knows better than to read.
    refused = leader.ask("GET", "/kv/get", key="k", timeout="1")
    assert (refused.status, refused.body["applied"]) == (503, "no")
    assert leader.ask("POST", "/kv/set", key="k", value="v", timeout="1").status in {503, 504}
    assert others[0].ask("GET", "/kv/get", key="k").status == 200

    _isolate(leader, "up")
    for client in clients:
        client.wait_for(5)
        client.stop()
    for client in clients:
        client.check(three)


def test_links_that_lose_and_delay_lose_no_write(three: Cluster) -> None:
    clients = writers(three)
    for node in three.nodes:
        assert node.ask("POST", "/kvman/links", loss="0.1", delay="0.01").status == 200
    for client in clients:
        client.start()
    for client in clients:
        client.wait_for(10)
    for node in three.nodes:
        assert node.ask("POST", "/kvman/links", loss="0", delay="0").status == 200
    for client in clients:
        client.wait_for(5)
        client.stop()
    for client in clients:
        client.check(three)


def test_links_cannot_be_cut_where_that_was_not_allowed(tmp_path: Path) -> None:
    with cluster(tmp_path, 1) as one:
        one.start()
        reply = one.nodes[0].ask("POST", "/kvman/links", state="cut")
        assert (reply.status, reply.body["applied"]) == (403, "no")

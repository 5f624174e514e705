"""The fake cluster: its nodes are real where users look, and its faults are those they get."""

from __future__ import annotations

from typing import Any

import pytest
import treq
from twisted.internet.defer import Deferred

from kvpaxos.errors import KeyExists, OutcomeUnknown, Unavailable
from kvpaxos.testing import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def ask(cluster: FakeCluster, name: str, path: str, method: str = "GET") -> tuple[int, Any]:
    """Ask one node without a client, and return the status of its reply and its JSON."""

    async def asking() -> tuple[int, Any]:
        # Whatever has callLater will do, though treq says that it wants more.
        clock: Any = cluster.clock
        response = await cluster.treq.request(method, cluster.urls[name] + path, reactor=clock)
        return response.code, await treq.json_content(response)

    return cluster.result_of(asking())


def test_its_nodes_speak_the_http_of_real_ones(cluster: FakeCluster) -> None:
    assert ask(cluster, "n01", "/kv/insert?key=k&value=v", "POST") == (200, {"success": "true"})
    assert ask(cluster, "n02", "/kv/get?key=k") == (200, {"success": "true", "value": "v"})
    assert ask(cluster, "n03", "/kvman/dump") == (200, [["k", "v"]])
    assert ask(cluster, "n03", "/kvman/countkey") == (200, {"result": 1})
    assert ask(cluster, "n03", "/kv/get")[0] == 400
    assert ask(cluster, "n03", "/readyz")[0] == 200
    status, body = ask(cluster, "n02", "/kvman/status")
    assert (status, body["node"], body["role"], body["leader"]) == (200, "n02", "following", "n01")
    assert ask(cluster, "n01", "/kvman/limits")[1]["key_bytes_max"] == 4096


@pytest.mark.parametrize("path", ["/kvman/links", "/kvman/journal"])
def test_what_it_does_not_have_it_refuses(cluster: FakeCluster, path: str) -> None:
    assert ask(cluster, "n01", path)[0] == 403


def test_a_node_stops_when_it_is_told_to(cluster: FakeCluster) -> None:
    client = cluster.blocking_client()
    assert ask(cluster, "n01", "/kvman/shutdown", "POST") == (200, {"success": "true"})
    cluster.clock.advance(0.0)
    assert cluster.leader == "n02"
    assert client.set("k", "v").receipt.node == cluster.urls["n02"]


@pytest.mark.parametrize(("nodes", "stopped"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_it_serves_while_a_majority_is_together(nodes: int, stopped: int) -> None:
    cluster = FakeCluster(nodes)
    names = list(cluster.urls)
    cluster.stop(*names[:stopped])
    client = cluster.blocking_client()
    client.set("k", "v")
    cluster.stop(names[stopped])
    with pytest.raises(Unavailable):
        client.set("k", "w", timeout_s=1.0)
    assert cluster.leader is None
    assert cluster.pairs() == {b"k": b"v"}


def test_a_stopped_node_has_lost_nothing_and_learns_what_it_missed(cluster: FakeCluster) -> None:
    client = cluster.blocking_client()
    client.set("k", "v")
    cluster.stop("n01")
    client.append("k", "w")
    cluster.start("n01")
    assert ask(cluster, "n01", "/kv/get?key=k&consistency=stale")[1]["value"] == "vw"


def test_to_stop_start_and_cut_off_twice_is_harmless(cluster: FakeCluster) -> None:
    client = cluster.blocking_client()
    for _ in range(2):
        cluster.stop("n01")
        cluster.cut_off("n01", "n02")
    for _ in range(2):
        cluster.start("n01")
        cluster.heal()
    client.set("k", "v")
    assert ask(cluster, "n01", "/readyz")[0] == 200


def test_a_node_that_was_stopped_while_cut_off_is_still_cut_off(cluster: FakeCluster) -> None:
    cluster.cut_off("n01")
    cluster.stop("n01")
    cluster.start("n01")
    assert ask(cluster, "n01", "/readyz")[0] == 503
    cluster.heal()
    assert ask(cluster, "n01", "/readyz")[0] == 200


def test_a_node_that_is_cut_off_fails_at_the_deadline_and_serves_stale_reads(
    cluster: FakeCluster,
) -> None:
    client = cluster.blocking_client()
    client.set("k", "old")
    cluster.cut_off("n03")
    client.set("k", "new")
    status, body = ask(cluster, "n03", "/kv/get?key=k&timeout=3")
    assert (status, body["applied"], cluster.clock.seconds()) == (503, "no", 3.0)
    status, body = ask(cluster, "n03", "/kv/set?key=k&value=w&timeout=3", "POST")
    assert (status, body["applied"], cluster.clock.seconds()) == (503, "no", 6.0)
    assert ask(cluster, "n03", "/kv/get?key=k&consistency=stale")[1]["value"] == "old"
    cluster.heal()
    assert ask(cluster, "n03", "/kv/get?key=k")[1]["value"] == "new"


def test_a_node_that_is_held_back_is_stale_until_it_must_be_up_to_date(
    cluster: FakeCluster,
) -> None:
    client = cluster.blocking_client()
    client.set("k", "old")
    cluster.hold_back("n03")
    client.set("k", "new")
    stale = "/kv/get?key=k&consistency=stale"
    assert ask(cluster, "n03", stale)[1]["value"] == "old"
    assert ask(cluster, "n03", "/kv/get?key=k")[1]["value"] == "new"
    assert ask(cluster, "n03", stale)[1]["value"] == "new"
    client.set("k", "newer")
    assert ask(cluster, "n03", stale)[1]["value"] == "new"
    cluster.let_go()
    assert ask(cluster, "n03", stale)[1]["value"] == "newer"


def test_faults_meet_the_next_writes_in_order(cluster: FakeCluster) -> None:
    client = cluster.blocking_client(exactly_once=False)
    cluster.lose_writes(applied=False)
    cluster.stall_writes(applied=True)
    for value in ("1", "2"):
        with pytest.raises(OutcomeUnknown):
            client.append("k", value)
    client.append("k", "3")
    assert cluster.pairs() == {b"k": b"23"}


def test_a_fault_that_is_not_applied_leaves_no_trace_of_the_identity(cluster: FakeCluster) -> None:
    cluster.lose_writes(applied=False)
    cluster.refuse_writes()
    assert cluster.blocking_client().insert("k", "v").receipt.slot == 1


def test_what_it_was_filled_with_is_there(cluster: FakeCluster) -> None:
    cluster.fill({"a": "1", b"\xff": b"\x00"})
    client = cluster.blocking_client()
    assert list(client.dump()) == [(b"a", b"1"), (b"\xff", b"\x00")]
    with pytest.raises(KeyExists):
        client.insert("a", "2")


def test_time_passes_only_as_far_as_it_must(cluster: FakeCluster) -> None:
    client = cluster.blocking_client()
    client.set("k", "v")
    client.get("k")
    assert cluster.clock.seconds() == 0.0


def test_whoever_waits_for_nothing_is_told_so(cluster: FakeCluster) -> None:
    with pytest.raises(AssertionError, match="will not happen"):
        cluster.result_of(Deferred())


def run(seed: int) -> tuple[float, list[str], dict[bytes, bytes]]:
    """Let much go wrong, and return when it was over, where each write ended, and the result."""
    cluster = FakeCluster(seed=seed)
    client = cluster.client()

    async def work() -> list[str]:
        nodes = []
        for number in range(30):
            cluster.refuse_writes(number % 5)
            if number % 4 == 0:
                cluster.lose_writes(applied=True)
            nodes.append((await client.append("k", f"{number},")).receipt.node)
        return nodes

    nodes = cluster.result_of(work())
    return cluster.clock.seconds(), nodes, cluster.pairs()


def test_the_same_seed_does_the_same_every_time() -> None:
    assert run(1) == run(1)
    assert run(1)[0] != run(2)[0]
    assert run(1)[2] == run(2)[2]


@pytest.mark.parametrize("nodes", [0, 100])
def test_a_cluster_has_as_many_nodes_as_a_real_one_may_have(nodes: int) -> None:
    with pytest.raises(ValueError, match="1 to 99 nodes"):
        FakeCluster(nodes)


def test_a_node_that_is_not_there_is_named(cluster: FakeCluster) -> None:
    with pytest.raises(ValueError, match="no node is called n04: use n01, n02, n03"):
        cluster.stop("n04")

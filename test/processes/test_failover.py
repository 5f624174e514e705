"""What a real cluster keeps through kills, and how it says what it cannot do."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.processes.cluster import START_S, Cluster, Node, cluster
from test.processes.writers import writers

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=["tcp", "unix"])
def three(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three nodes that serve, linked by each transport in turn."""
    with cluster(tmp_path, 3, request.param) as made:
        made.start()
        yield made


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve."""
    with cluster(tmp_path) as made:
        made.start()
        yield made


def test_what_one_node_writes_every_node_reads(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    assert n01.ask("POST", "/kv/insert", key="k", value="v").body == {"success": "true"}
    assert n02.ask("GET", "/kv/get", key="k").body == {"success": "true", "value": "v"}
    assert n03.ask("POST", "/kv/update", key="k", value="w").body["value"] == "v"
    assert n01.ask("GET", "/kvman/countkey").body == {"result": 1}
    assert n02.ask("GET", "/kvman/dump").body == [["k", "w"]]
    assert n03.ask("POST", "/kv/delete", key="k").body["value"] == "w"
    assert n01.ask("GET", "/kv/get", key="k").body["success"] == "false"


def test_a_killed_leader_loses_no_acknowledged_write_and_doubles_none(three: Cluster) -> None:
    clients = writers(three)
    for client in clients:
        client.start()
    for client in clients:
        client.wait_for(20)
    leader = three.leader()
    three.kill(leader)
    for client in clients:
        if client.node is not leader:
            client.wait_for(20)
    three.start(leader)
    for client in clients:
        client.wait_for(5)
        client.stop()
    for client in clients:
        client.check(three)


def test_a_cluster_that_was_killed_whole_comes_back_with_every_acknowledged_write(
    three: Cluster,
) -> None:
    clients = writers(three)
    for client in clients:
        client.start()
    for client in clients:
        client.wait_for(20)
    three.kill(*three.nodes)
    three.start()
    for client in clients:
        client.wait_for(5)
        client.stop()
    for client in clients:
        client.check(three)


def test_a_write_sent_to_a_follower_right_after_the_kill_is_acknowledged(tcp: Cluster) -> None:
    leader = tcp.leader()
    follower = next(node for node in tcp.nodes if node is not leader)
    tcp.kill(leader)
    assert follower.ask("POST", "/kv/set", key="k", value="v").done


def test_a_minority_says_within_the_deadline_whether_it_may_have_been_applied(
    three: Cluster,
) -> None:
    leader = three.leader()
    three.kill(*(node for node in three.nodes if node is not leader))
    began = time.monotonic()
    first = leader.ask("POST", "/kv/set", key="k", value="v", timeout="1")
    assert (first.status, first.body["applied"]) in {(503, "no"), (504, "unknown")}
    # Later ones find no leader at all, so that they are never sent.
    while (reply := leader.ask("POST", "/kv/set", key="k", value="v", timeout="1")).status != 503:
        assert reply.body["applied"] == "unknown"
        assert time.monotonic() - began < START_S
    assert reply.body["applied"] == "no"
    assert reply.headers["retry-after"]
    read = leader.ask("GET", "/kv/get", key="k", timeout="1")
    assert (read.status, read.body["applied"]) == (503, "no")
    assert leader.ask("GET", "/kv/get", key="k", consistency="stale").status == 200


def test_a_planned_stop_hands_leadership_over_and_leaves_clean_files(tcp: Cluster) -> None:
    leader = tcp.leader()
    assert leader.ask("POST", "/kv/set", key="k", value="v").done
    # Twisted ends in good order, and then lets the signal have its way.
    assert tcp.signal(leader, signal.SIGTERM) == -signal.SIGTERM
    assert any("handed" in line for line in leader.lines), leader.lines
    for node in tcp.nodes:
        if node is not leader:
            assert node.ask("GET", "/kv/get", key="k").body["value"] == "v"
    assert not (tcp.directory / f"kvpaxos-{leader.name}.pid").exists()
    tcp.start(leader)
    assert leader.ask("GET", "/kv/get", key="k").body["value"] == "v"


def test_a_node_with_nobody_to_hand_over_to_closes_its_files_all_the_same(tcp: Cluster) -> None:
    leader = tcp.leader()
    tcp.kill(*(node for node in tcp.nodes if node is not leader))
    tcp.signal(leader, signal.SIGTERM)
    assert any("Node: stopped" in line for line in leader.lines), leader.lines
    assert not any("Traceback" in line for line in leader.lines)


def test_a_cluster_that_is_stopped_whole_waits_for_nobody(tcp: Cluster) -> None:
    processes = [node.process for node in tcp.nodes if node.process is not None]
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for node, process in zip(tcp.nodes, processes, strict=True):
        assert process.wait(timeout=START_S) == -signal.SIGTERM
        node.wait_for_line("Node: stopped")
        node.process = None
        assert not any("did not wait longer" in line for line in node.lines), node.lines
    tcp.start()


def test_shutdown_answers_first_and_then_the_port_is_free(tcp: Cluster) -> None:
    node = tcp.nodes[0]
    assert node.ask("POST", "/kvman/shutdown").status == 200
    assert node.process is not None
    assert node.process.wait(timeout=START_S) == 0
    node.process = None
    tcp.start(node)
    assert node.ask("GET", "/readyz").status == 200


def test_an_empty_disk_in_a_formed_cluster_is_refused_with_a_sentence(tcp: Cluster) -> None:
    node = tcp.nodes[1]
    tcp.kill(node)
    shutil.rmtree(tcp.directory / node.name)
    tcp.launch(node)
    node.wait_for_line("already formed")
    assert node.process is not None
    assert node.process.wait(timeout=START_S) != 0
    node.process = None
    assert not any("Traceback" in line for line in node.lines)
    assert tcp.nodes[0].ask("POST", "/kv/set", key="k", value="v").done


def test_a_disk_that_refuses_stops_the_node_and_its_mending_starts_it_again(tcp: Cluster) -> None:
    node: Node = tcp.nodes[2]
    assert node.ask("POST", "/kv/set", key="before", value="v").done
    assert node.process is not None
    _, hard = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    assert tcp.nodes[0].ask("POST", "/kv/set", key="during", value="v").done
    assert node.process.wait(timeout=START_S) != 0
    node.process = None
    sentence = [line for line in node.lines if os.strerror(27) in line]
    assert sentence, node.lines
    assert not any("Traceback" in line for line in node.lines)

    tcp.start(node)
    for key in ("before", "during"):
        assert node.ask("GET", "/kv/get", key=key).body["value"] == "v"

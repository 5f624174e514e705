"""Nodes that lack what nobody keeps any more: they were away, or lost or damaged their disks."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from test.cli.commands import Shell
from test.processes.cluster import START_S, Cluster, Node, cluster

pytestmark = pytest.mark.timeout(120)

FORGETFUL = {"snapshot_slots": 50, "segment_bytes": 32768, "journal_bytes_max": 131072}
"""A journal that holds only some tens of writes for a member that is away."""

REJOIN = ("--rejoin",)
VOLATILE = ("--volatile",)

KEYS = 10
VALUE = "x" * 4096
PATIENCE_S = 0.5
"""How long a request may take that nobody can do; more than many elections take."""


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve and forget soon."""
    with cluster(tmp_path, storage=FORGETFUL) as made:
        made.start()
        yield made


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Cluster]:
    """Five nodes that serve and forget soon."""
    with cluster(tmp_path, nodes=5, storage=FORGETFUL) as made:
        made.start()
        yield made


def test_a_node_that_was_away_for_too_long_gets_the_state_and_takes_part(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    _write(n01, "before", KEYS)
    three.kill(n02)
    _forget(n01)

    three.launch(n02)
    n02.wait_for_line("is kept by nobody any more; getting the state of")
    n02.wait_for_line("ready")
    _wait_for_equal_states(three.nodes)
    assert _disk(n02) == 1

    three.kill(n03)
    _write(n02, "after", KEYS)
    _expect(n01, "after", KEYS)
    _expect(n02, "before", KEYS)


def test_every_node_in_turn_loses_its_disk_and_no_acknowledged_write_is_lost(
    three: Cluster,
) -> None:
    for node in three.nodes:
        other = next(one for one in three.nodes if one is not node)
        _write(other, f"before {node.name}", KEYS)
        _lose(three, node)
        _forget(other)
        _write(other, f"without {node.name}", KEYS)
        three.start(node, options=REJOIN)
        _wait_for_vote(node)
        assert _disk(node) == 2
        _write(node, f"after {node.name}", KEYS)

    _wait_for_equal_states(three.nodes)
    for node in three.nodes:
        for lost in three.nodes:
            for moment in ("before", "without", "after"):
                _expect(node, f"{moment} {lost.name}", KEYS)
    three.kill(*three.nodes)
    three.start()
    assert [_disk(node) for node in three.nodes] == [2, 2, 2]
    _expect(three.nodes[0], "after n03", KEYS)


def test_a_node_that_has_rejoined_votes_after_a_restart_and_needs_no_option(
    three: Cluster,
) -> None:
    n01, n02, n03 = three.nodes
    _lose(three, n02)
    three.start(n02, options=REJOIN)
    _wait_for_vote(n02)
    _write(n01, "a", KEYS)
    three.kill(n02, n03)
    three.start(n02)
    # Without its vote there would be no majority.
    _write(n02, "b", KEYS)
    assert _disk(n02) == 2
    _expect(n01, "b", KEYS)


def test_a_lost_disk_is_replaced_by_a_command_and_an_ordinary_start(three: Cluster) -> None:
    n01, n02, _ = three.nodes
    _write(n01, "a", KEYS)
    shell = Shell(three.directory, "")
    arguments = ("node", "replace", "n02", "--settings", str(three.settings))
    running = shell.run(*arguments)
    assert (running.status, "n02 runs, and answers at" in running.errors) == (2, True)
    disk = three.directory / n02.name
    three.kill(n02)
    _wait_for(lambda: not _linked(n01, n02))
    sound = shell.run(*arguments)
    assert (sound.status, "start it as it is" in sound.errors) == (2, True)
    assert not (disk / "aside-1").exists()

    shutil.rmtree(disk)
    done = shell.run(*arguments)
    assert (done.status, done.errors) == (0, "")
    assert [path.name for path in disk.iterdir()] == ["rejoin"]
    three.start(n02)
    _wait_for_vote(n02)
    assert not (disk / "rejoin").exists()
    _write(n02, "b", KEYS)

    # Once more, with a disk that is there and is given up.
    three.kill(n02)
    _wait_for(lambda: not _linked(n01, n02))
    given_up = shell.run(*arguments, "--yes", "--json")
    assert (given_up.status, given_up.json["aside"]) == (0, str(disk / "aside-1"))
    assert given_up.json["cluster"] == _cluster_id(n01)
    assert (disk / "aside-1" / "journal").is_dir()
    three.start(n02)
    _wait_for_vote(n02)
    assert _disk(n02) == 3
    _expect(n02, "a", KEYS)
    _expect(n02, "b", KEYS)


def test_an_empty_disk_is_refused_unless_the_node_is_told_to_rejoin(three: Cluster) -> None:
    n01, _, n03 = three.nodes
    _write(n01, "a", KEYS)
    _lose(three, n03)
    three.launch(n03)
    line = n03.wait_for_line("is already formed")
    assert "but this node's disk is empty: it was lost or swapped" in line
    assert "start the node with an empty directory and --rejoin" in line
    assert n03.process is not None
    assert n03.process.wait(timeout=START_S) == 1
    n03.process = None
    _write(n01, "b", KEYS)


def test_a_disk_that_was_replaced_is_refused_by_all_others(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    disk, old = three.directory / n03.name, three.directory / "old"
    _write(n01, "a", KEYS)
    three.kill(n03)
    disk.rename(old)
    three.start(n03, options=REJOIN)
    _wait_for_vote(n03)
    _write(n01, "b", KEYS)
    three.kill(n03)
    disk.rename(three.directory / "new")
    old.rename(disk)

    sentence = "n03 shows its disk number 1, but it has come back with number 2 since"
    three.launch(n03)
    for peer in (n01, n02):
        peer.wait_for_line(sentence)
    # They have that from their own disks too.
    three.kill(n01, n02)
    three.launch(n01, n02)
    for peer in (n01, n02):
        peer.wait_for_line(sentence)
    _wait_for(lambda: n01.ask("GET", "/readyz").status == 200)
    assert n03.ask("GET", "/readyz").status == 503
    _write(n01, "c", KEYS)
    assert not _linked(n01, n03)


def test_a_lost_disk_is_replaced_while_another_node_is_down(five: Cluster) -> None:
    n01, n02, n03, n04, n05 = five.nodes
    _write(n01, "a", KEYS)
    five.kill(n01)
    _write(n03, "b", KEYS)
    for lost in (n02, n03, n04, n05):
        _lose(five, lost)
        five.start(lost, options=REJOIN)
        _wait_for_vote(lost)
        _write(lost, f"after {lost.name}", KEYS)

    five.start(n01)
    _wait_for_equal_states(five.nodes)
    assert [_disk(node) for node in five.nodes] == [1, 2, 2, 2, 2]
    for prefix in ("a", "b", "after n02", "after n05"):
        _expect(n01, prefix, KEYS)


def test_nobody_answers_while_two_of_three_disks_are_lost(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    _write(n01, "a", KEYS)
    _lose(three, n02, n03)
    three.launch(n02, n03, options=REJOIN)
    for node in (n02, n03):
        node.wait_for_line("serving HTTP")
    _wait_until_linked(*three.nodes)
    for node in three.nodes:
        _expect_no_answer(node)
    assert n01.ask("GET", "/kv/get", key="a0", consistency="stale").body["value"] == VALUE


def test_nodes_on_probation_make_no_majority(five: Cluster) -> None:
    """Three of five processes run, but two of them must not vote."""
    n01, n02, n03, n04, n05 = five.nodes
    _write(n02, "a", KEYS)
    five.kill(n01)
    _write(n02, "b", 2)
    five.kill(n02, n03, n04, n05)
    shutil.rmtree(five.directory / n02.name)
    shutil.rmtree(five.directory / n03.name)
    five.launch(n01)
    five.launch(n02, n03, options=REJOIN)
    for node in (n01, n02, n03):
        node.wait_for_line("serving HTTP")
    _wait_until_linked(n01, n02, n03)
    for node in (n01, n02, n03):
        _expect_no_answer(node)

    five.start(n04, n05)
    for node in (n01, n02, n03):
        node.wait_for_line("ready")
    _write(n02, "c", KEYS)
    _wait_for_equal_states(five.nodes)
    for node in five.nodes:
        _expect(node, "a", KEYS)
        _expect(node, "b", 2)
        _expect(node, "c", KEYS)
    assert [_disk(node) for node in five.nodes] == [1, 2, 2, 1, 1]


def test_volatile_nodes_remember_while_a_majority_is_up(tmp_path: Path) -> None:
    with cluster(tmp_path, storage=FORGETFUL) as three:
        three.start(options=VOLATILE)
        n01, n02, n03 = three.nodes
        _write(n01, "a", KEYS)
        _forget(n01)
        for number, node in enumerate(three.nodes, start=1):
            three.kill(node)
            three.start(node, options=VOLATILE)
            _wait_for_vote(node)
            assert _disk(node) == 2
            _write(node, f"after {number}", KEYS)
        _wait_for_equal_states(three.nodes)
        for node in three.nodes:
            _expect(node, "a", KEYS)
            _expect(node, "after 1", KEYS)

        cluster_id = _cluster_id(n01)
        three.kill(n01, n02, n03)
        three.start(options=VOLATILE)
        assert _cluster_id(n01) != cluster_id
        assert n02.ask("GET", "/kvman/countkey").body == {"result": 0}
        _write(n03, "b", KEYS)
        _expect(n01, "b", KEYS)
        assert not any((three.directory / node.name).exists() for node in three.nodes)


@pytest.mark.parametrize("damage", ["tables", "manifest"])
def test_a_damaged_state_is_set_aside_and_got_from_a_peer(three: Cluster, damage: str) -> None:
    n01, n02, n03 = three.nodes
    _write(n01, "a", KEYS)
    _forget_all(three)
    three.kill(n02)
    state = three.directory / n02.name / "state"
    if damage == "tables":
        tables = list(state.glob("*.sst"))
        assert tables
        for table in tables:
            _overwrite_the_middle(table)
    else:
        (manifest,) = state.glob("MANIFEST-*")
        manifest.write_bytes(manifest.read_bytes()[:10])

    three.launch(n02)
    n02.wait_for_line("ready")
    _wait_for_equal_states(three.nodes)
    assert (three.directory / n02.name / "state.damaged-1").is_dir()
    assert _disk(n02) == 1

    three.kill(n03)
    _write(n02, "b", KEYS)
    for node in (n01, n02):
        _expect(node, "a", KEYS)
        _expect(node, "b", KEYS)


# Clients.


def _write(node: Node, prefix: str, count: int) -> None:
    """Set ``count`` keys; each write is acknowledged."""
    for number in range(count):
        reply = node.ask("POST", "/kv/set", key=f"{prefix}{number}", value=VALUE)
        assert reply.done, reply


def _expect(node: Node, prefix: str, count: int) -> None:
    """Read, linearizably, what `_write` has written."""
    for number in range(count):
        reply = node.ask("GET", "/kv/get", key=f"{prefix}{number}")
        assert reply.body == {"success": "true", "value": VALUE}, (node.name, prefix, number)


def _expect_no_answer(node: Node) -> None:
    """Read and write through ``node``: it cannot, and says so."""
    read = node.ask("GET", "/kv/get", key="a0", timeout=str(PATIENCE_S))
    assert read.status in (503, 504), read
    assert read.body["success"] == "false"
    write = node.ask("POST", "/kv/set", key="never", value="v", timeout=str(PATIENCE_S))
    assert write.status in (503, 504), write
    assert write.body["applied"] in ("no", "unknown"), write


def _forget(node: Node) -> None:
    """Write until ``node`` has forgotten everything decided before, whoever may lack it."""
    decided: int = node.ask("GET", "/kvman/status").body["decided"]

    def forgotten() -> bool:
        _write(node, "filler", KEYS)
        return _first_kept(node) > decided

    _wait_for(forgotten)


def _forget_all(cluster: Cluster) -> None:
    """Do as `_forget` does with all nodes."""
    for node in cluster.nodes:
        _forget(node)


# Disks.


def _lose(cluster: Cluster, *nodes: Node) -> None:
    """Kill ``nodes`` and remove their directories."""
    cluster.kill(*nodes)
    for node in nodes:
        shutil.rmtree(cluster.directory / node.name)


def _overwrite_the_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    middle = slice(len(content) // 4, len(content) * 3 // 4)
    content[middle] = bytes(byte ^ 0xFF for byte in content[middle])
    file.write_bytes(content)


# What nodes say of themselves.


def _cluster_id(node: Node) -> str:
    cluster_id: str = node.ask("GET", "/kvman/status").body["cluster"]
    return cluster_id


def _first_kept(node: Node) -> int:
    kept: int = node.ask("GET", "/kvman/status").body["kept_from"]
    return kept


def _disk(node: Node) -> int:
    """Return the number of the disk that ``node`` is on."""
    life: int = node.ask("GET", "/kvman/status").body["life"]
    return life >> 32


def _linked(node: Node, peer: Node) -> bool:
    """Whether ``node`` holds a connection with ``peer``."""
    peers = node.ask("GET", "/kvman/status").body["peers"]
    return any(link["peer"] == peer.name and (link["dialed"] or link["accepted"]) for link in peers)


def _wait_until_linked(*nodes: Node) -> None:
    """Return once each of ``nodes`` has met all others."""
    for node in nodes:
        for peer in nodes:
            if peer is not node:
                _wait_for(partial(_linked, node, peer))


def _wait_for_vote(node: Node) -> None:
    """Return once ``node``, which has rejoined, votes: until then it has promised nothing."""
    _wait_for(lambda: node.ask("GET", "/kvman/status").body["ballot"])


def _wait_for_equal_states(nodes: Sequence[Node]) -> None:
    """Return once all ``nodes`` have applied the same slots, which made the same state."""

    def comparable() -> bool:
        statuses = [node.ask("GET", "/kvman/status").body for node in nodes]
        states = {(status["applied"], status["state"]["digest"]) for status in statuses}
        applied = {slot for slot, _ in states}
        # Each slot makes one state: two of the same slot are a bug, however soon they vanish.
        assert len(states) == len(applied), states
        return len(applied) == 1

    _wait_for(comparable)


def _wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline

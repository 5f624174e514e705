"""Nodes that lack what nobody keeps any more: they were away, or lost or damaged their disks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from test.cli.commands import Shell
from test.processes.cluster import START_S, Cluster, Node, cluster
from test.processes.states import (
    VALUE,
    disk,
    expect,
    forget,
    forget_all,
    wait_for,
    wait_for_equal_states,
    wait_for_vote,
    write,
)

pytestmark = pytest.mark.timeout(120)

FORGETFUL = {"snapshot_slots": 50, "segment_bytes": 32768, "journal_bytes_max": 131072}
"""A journal that holds only some tens of writes for a member that is away."""

REJOIN = ("--rejoin",)
VOLATILE = ("--volatile",)

KEYS = 10
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


def test_a_node_whose_directory_is_removed_while_it_runs_stops_at_once(three: Cluster) -> None:
    n01, n02, _ = three.nodes
    write(n01, "a", KEYS)
    # Moved away at once: to delete one file after the other takes a while, and it makes new ones.
    (three.directory / n02.name).rename(three.directory / "elsewhere")
    assert n02.process is not None
    assert n02.process.wait(timeout=START_S) == 1
    n02.process = None
    write(n01, "b", KEYS)
    three.start(n02, options=REJOIN)
    wait_for_vote(n02)
    expect(n02, "b", KEYS)


def test_a_node_that_was_away_for_too_long_gets_the_state_and_takes_part(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    write(n01, "before", KEYS)
    three.kill(n02)
    forget(n01)

    three.launch(n02)
    n02.wait_for_line("is kept by nobody any more; getting the state of")
    n02.wait_for_line("ready")
    wait_for_equal_states(three.nodes)
    assert disk(n02) == 1

    three.kill(n03)
    write(n02, "after", KEYS)
    expect(n01, "after", KEYS)
    expect(n02, "before", KEYS)


def test_every_node_in_turn_loses_its_disk_and_no_acknowledged_write_is_lost(
    three: Cluster,
) -> None:
    for node in three.nodes:
        other = next(one for one in three.nodes if one is not node)
        write(other, f"before {node.name}", KEYS)
        _lose(three, node)
        forget(other)
        write(other, f"without {node.name}", KEYS)
        three.start(node, options=REJOIN)
        wait_for_vote(node)
        assert disk(node) == 2
        write(node, f"after {node.name}", KEYS)

    wait_for_equal_states(three.nodes)
    for node in three.nodes:
        for lost in three.nodes:
            for moment in ("before", "without", "after"):
                expect(node, f"{moment} {lost.name}", KEYS)
    three.kill(*three.nodes)
    three.start()
    assert [disk(node) for node in three.nodes] == [2, 2, 2]
    expect(three.nodes[0], "after n03", KEYS)


def test_a_node_that_has_rejoined_votes_after_a_restart_and_needs_no_option(
    three: Cluster,
) -> None:
    n01, n02, n03 = three.nodes
    _lose(three, n02)
    three.start(n02, options=REJOIN)
    wait_for_vote(n02)
    write(n01, "a", KEYS)
    three.kill(n02, n03)
    three.start(n02)
    # Without its vote there would be no majority.
    write(n02, "b", KEYS)
    assert disk(n02) == 2
    expect(n01, "b", KEYS)


def test_a_lost_disk_is_replaced_by_a_command_and_an_ordinary_start(three: Cluster) -> None:
    n01, n02, _ = three.nodes
    write(n01, "a", KEYS)
    shell = Shell(three.directory, "")
    arguments = ("node", "replace", "n02", "--settings", str(three.settings))
    running = shell.run(*arguments)
    assert (running.status, "n02 runs, and answers at" in running.errors) == (2, True)
    directory = three.directory / n02.name
    three.kill(n02)
    wait_for(lambda: not _linked(n01, n02))
    sound = shell.run(*arguments)
    assert (sound.status, "start it as it is" in sound.errors) == (2, True)
    assert not (directory / "aside-1").exists()

    shutil.rmtree(directory)
    done = shell.run(*arguments)
    assert (done.status, done.errors) == (0, "")
    assert [path.name for path in directory.iterdir()] == ["rejoin"]
    three.start(n02)
    wait_for_vote(n02)
    assert not (directory / "rejoin").exists()
    write(n02, "b", KEYS)

    # Once more, with a disk that is there and is given up.
    three.kill(n02)
    wait_for(lambda: not _linked(n01, n02))
    given_up = shell.run(*arguments, "--yes", "--json")
    assert (given_up.status, given_up.json["aside"]) == (0, str(directory / "aside-1"))
    assert given_up.json["cluster"] == _cluster_id(n01)
    assert (directory / "aside-1" / "journal").is_dir()
    three.start(n02)
    wait_for_vote(n02)
    assert disk(n02) == 3
    expect(n02, "a", KEYS)
    expect(n02, "b", KEYS)


def test_an_empty_disk_is_refused_unless_the_node_is_told_to_rejoin(three: Cluster) -> None:
    n01, _, n03 = three.nodes
    write(n01, "a", KEYS)
    _lose(three, n03)
    three.launch(n03)
    line = n03.wait_for_line("is already formed")
    assert "but this node's disk is empty: it was lost or swapped" in line
    assert "use kvpaxos node replace" in line
    assert n03.process is not None
    assert n03.process.wait(timeout=START_S) == 1
    n03.process = None
    write(n01, "b", KEYS)


def test_a_disk_that_was_replaced_is_refused_by_all_others(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    disk, old = three.directory / n03.name, three.directory / "old"
    write(n01, "a", KEYS)
    three.kill(n03)
    disk.rename(old)
    three.start(n03, options=REJOIN)
    wait_for_vote(n03)
    write(n01, "b", KEYS)
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
    wait_for(lambda: n01.ask("GET", "/readyz").status == 200)
    assert n03.ask("GET", "/readyz").status == 503
    write(n01, "c", KEYS)
    assert not _linked(n01, n03)


def test_a_lost_disk_is_replaced_while_another_node_is_down(five: Cluster) -> None:
    n01, n02, n03, n04, n05 = five.nodes
    write(n01, "a", KEYS)
    five.kill(n01)
    write(n03, "b", KEYS)
    for lost in (n02, n03, n04, n05):
        _lose(five, lost)
        five.start(lost, options=REJOIN)
        wait_for_vote(lost)
        write(lost, f"after {lost.name}", KEYS)

    five.start(n01)
    wait_for_equal_states(five.nodes)
    assert [disk(node) for node in five.nodes] == [1, 2, 2, 2, 2]
    for prefix in ("a", "b", "after n02", "after n05"):
        expect(n01, prefix, KEYS)


def test_nobody_answers_while_two_of_three_disks_are_lost(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    write(n01, "a", KEYS)
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
    write(n02, "a", KEYS)
    five.kill(n01)
    write(n02, "b", 2)
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
    write(n02, "c", KEYS)
    wait_for_equal_states(five.nodes)
    for node in five.nodes:
        expect(node, "a", KEYS)
        expect(node, "b", 2)
        expect(node, "c", KEYS)
    assert [disk(node) for node in five.nodes] == [1, 2, 2, 1, 1]


def test_volatile_nodes_remember_while_a_majority_is_up(tmp_path: Path) -> None:
    with cluster(tmp_path, storage=FORGETFUL) as three:
        three.start(options=VOLATILE)
        n01, n02, n03 = three.nodes
        write(n01, "a", KEYS)
        forget(n01)
        for number, node in enumerate(three.nodes, start=1):
            three.kill(node)
            three.start(node, options=VOLATILE)
            wait_for_vote(node)
            assert disk(node) == 2
            write(node, f"after {number}", KEYS)
        wait_for_equal_states(three.nodes)
        for node in three.nodes:
            expect(node, "a", KEYS)
            expect(node, "after 1", KEYS)

        cluster_id = _cluster_id(n01)
        three.kill(n01, n02, n03)
        three.start(options=VOLATILE)
        assert _cluster_id(n01) != cluster_id
        assert n02.ask("GET", "/kvman/countkey").body == {"result": 0}
        write(n03, "b", KEYS)
        expect(n01, "b", KEYS)
        assert not any((three.directory / node.name).exists() for node in three.nodes)


@pytest.mark.parametrize("damage", ["tables", "manifest"])
def test_a_damaged_state_is_set_aside_and_got_from_a_peer(three: Cluster, damage: str) -> None:
    n01, n02, n03 = three.nodes
    write(n01, "a", KEYS)
    forget_all(three)
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
    wait_for_equal_states(three.nodes)
    assert (three.directory / n02.name / "state.damaged-1").is_dir()
    assert disk(n02) == 1

    three.kill(n03)
    write(n02, "b", KEYS)
    for node in (n01, n02):
        expect(node, "a", KEYS)
        expect(node, "b", KEYS)


# Clients.


def _expect_no_answer(node: Node) -> None:
    """Read and write through ``node``: it cannot, and says so."""
    read = node.ask("GET", "/kv/get", key="a0", timeout=str(PATIENCE_S))
    assert read.status in (503, 504), read
    assert read.body["success"] == "false"
    write = node.ask("POST", "/kv/set", key="never", value="v", timeout=str(PATIENCE_S))
    assert write.status in (503, 504), write
    assert write.body["applied"] in ("no", "unknown"), write


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


def _linked(node: Node, peer: Node) -> bool:
    """Whether ``node`` holds a connection with ``peer``."""
    peers = node.ask("GET", "/kvman/status").body["peers"]
    return any(link["peer"] == peer.name and (link["dialed"] or link["accepted"]) for link in peers)


def _wait_until_linked(*nodes: Node) -> None:
    """Return once each of ``nodes`` has met all others."""
    for node in nodes:
        for peer in nodes:
            if peer is not node:
                wait_for(partial(_linked, node, peer))

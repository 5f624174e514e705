"""Disks that return other bytes than were written: nodes repair themselves, and nobody helps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvpaxos.journal.format import DATA_START, HEADER_BYTES
from test.processes.cluster import Cluster, Node, Unreachable, cluster
from test.processes.states import (
    disk,
    expect,
    forget_all,
    wait_for,
    wait_for_equal_states,
    wait_for_vote,
    write,
)

pytestmark = pytest.mark.timeout(180)

FORGETFUL = {"snapshot_slots": 50, "segment_bytes": 32768, "journal_bytes_max": 131072}

# Bounds the journal by no less than what a client can write while a node starts.
MINDFUL = {**FORGETFUL, "journal_bytes_max": 2**28}

KEYS = 10


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, storage=FORGETFUL) as made:
        made.start()
        yield made


@pytest.fixture
def mindful(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, storage=MINDFUL) as made:
        made.start()
        yield made


@contextmanager
def writing(node: Node) -> Iterator[list[str]]:
    """Have a client write through ``node``, one key after the other; provide what was written."""
    done: list[str] = []
    stopped = threading.Event()

    def run() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            key = f"meanwhile{number}"
            try:
                reply = node.ask("POST", "/kv/insert", key=key, value=key)
            except Unreachable:
                continue
            if reply.done:
                done.append(key)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        stopped.set()
        thread.join()


def segments(cluster: Cluster, node: Node) -> list[Path]:
    return sorted(cluster.directory.glob(f"{node.name}/journal/*.log"))


def flip(path: Path, offset: int, bits: int = 0x10) -> None:
    """Change one byte of a file, in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def ruin(path: Path) -> None:
    """Damage a segment so that nobody can mend it. To do so twice is to set it right."""
    for offset in (100, HEADER_BYTES + 100):
        flip(path, offset)


def mended(node: Node) -> int:
    """Return how many records of its journal ``node`` has had made again."""
    count: int = node.ask("GET", "/kvman/status").body["repair"]["mended"]
    return count


def kept(node: Node) -> list[str]:
    """Return the names of what ``node`` has set aside, as it says itself."""
    places: list[str] = node.ask("GET", "/kvman/status").body["repair"]["set_aside"]
    return [Path(place).name for place in places]


def whom_to_damage(three: Cluster, role: str) -> tuple[Node, Node]:
    """Return the leader and a follower, whichever is to be damaged first."""
    leader = three.leader()
    follower = next(node for node in three.nodes if node is not leader)
    return (leader, follower) if role == "leader" else (follower, leader)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_node_whose_journal_is_beyond_mending_comes_back_by_itself(
    three: Cluster, role: str
) -> None:
    damaged, other = whom_to_damage(three, role)
    write(other, "a", KEYS)
    three.kill(damaged)
    journal = segments(three, damaged)[0]
    content = journal.read_bytes()
    ruin(journal)

    with writing(other) as meanwhile:
        three.launch(damaged)
        line = damaged.wait_for_line("the journal is damaged, and was moved")
        assert "journal.damaged-1" in line
        assert "state.damaged-1" in line
        damaged.wait_for_line("ready")
        wait_for_vote(damaged)
    wait_for_equal_states(three.nodes)

    assert disk(damaged) == 2
    assert kept(damaged) == ["journal.damaged-1", "state.damaged-1"]
    assert meanwhile
    for key in meanwhile:
        assert damaged.ask("GET", "/kv/get", key=key).body["value"] == key
    expect(damaged, "a", KEYS)
    # It is kept as it was, damage and all, and votes without it.
    moved = three.directory / damaged.name / "journal.damaged-1" / journal.name
    assert sum(a != b for a, b in zip(moved.read_bytes(), content, strict=True)) == 2
    third = next(node for node in three.nodes if node not in (damaged, other))
    three.kill(third)
    write(other, "b", KEYS)
    expect(damaged, "b", KEYS)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_node_whose_journal_is_damaged_has_it_mended_and_is_the_node_that_it_was(
    mindful: Cluster, role: str
) -> None:
    damaged, other = whom_to_damage(mindful, role)
    write(other, "a", KEYS)
    mindful.kill(damaged)
    for offset in (12, 4000, 12000):
        flip(segments(mindful, damaged)[0], DATA_START + offset)

    with writing(other) as meanwhile:
        mindful.launch(damaged)
        damaged.wait_for_line("this node asks the others for what was in it")
        damaged.wait_for_line("the journal was mended in place; damaged records made again: 3")
        damaged.wait_for_line("ready")
    wait_for_equal_states(mindful.nodes)

    assert (disk(damaged), mended(damaged), kept(damaged)) == (1, 3, [])
    for key in meanwhile:
        assert damaged.ask("GET", "/kv/get", key=key).body["value"] == key
    third = next(node for node in mindful.nodes if node not in (damaged, other))
    mindful.kill(third)
    write(other, "b", KEYS)
    expect(damaged, "a", KEYS)
    expect(damaged, "b", KEYS)


def test_journals_that_are_all_damaged_in_other_slots_mend_each_other(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    write(n01, "a", KEYS)
    three.kill(n01, n02, n03)
    for number, node in enumerate(three.nodes):
        flip(segments(three, node)[0], DATA_START + 4000 + 6000 * number)
    three.launch(n01, n02)
    for node in (n01, n02):
        node.wait_for_line("serving HTTP")
    three.launch(n03)
    for node in three.nodes:
        node.wait_for_line("the journal was mended in place")
        node.wait_for_line("ready")
    wait_for_equal_states(three.nodes)
    for node in three.nodes:
        assert (disk(node), mended(node), kept(node)) == (1, 1, [])
        expect(node, "a", KEYS)


def test_a_node_that_cannot_be_mended_yet_says_whom_it_waits_for(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    write(n01, "a", KEYS)
    three.kill(n01, n02, n03)
    flip(segments(three, n02)[0], DATA_START + 4000)
    three.launch(n02)
    n02.wait_for_line("serving HTTP")
    said = n02.ask("GET", "/readyz")
    assert said.status == 503
    assert (
        "node's journal is damaged, and it does not vote before that is mended"
        in said.body["message"]
    )
    assert "waits for word from n01 (not here), n03 (not here)" in said.body["message"]
    assert n02.ask("GET", "/kvman/status").body["waits_for"] == ["n01", "n03"]
    assert n02.ask("GET", "/kv/get", key="a0", timeout="0.5").status == 503
    # A stop, and another start, change nothing.
    three.kill(n02)
    three.launch(n02, n03)
    for node in (n02, n03):
        node.wait_for_line("ready")
    assert (disk(n02), mended(n02), kept(n02)) == (1, 1, [])
    expect(n02, "a", KEYS)


def test_two_damaged_journals_of_three_wait_and_one_that_is_brought_back_helps_the_other(
    three: Cluster,
) -> None:
    n01, n02, n03 = three.nodes
    write(n01, "a", KEYS)
    three.kill(n02, n03)
    for node in (n02, n03):
        ruin(segments(three, node)[0])
    three.launch(n02, n03)
    for node in (n02, n03):
        node.wait_for_line("serving HTTP")
        said = node.ask("GET", "/readyz")
        assert said.status == 503
        assert "waits for word from" in said.body["message"]
        assert "its old journal was damaged, and is kept as" in said.body["message"]
        assert "journal.damaged-1" in said.body["message"]
        assert kept(node) == ["journal.damaged-1", "state.damaged-1"]

    # A restart changes nothing, and needs no option; nor does it make a new cluster.
    three.kill(n01, n02, n03)
    three.launch(n02, n03, n01)
    for node in (n01, n02, n03):
        node.wait_for_line("serving HTTP")
    read = n02.ask("GET", "/kv/get", key="a0", timeout="0.5")
    assert read.status == 503

    three.kill(n03)
    home = three.directory / n03.name
    (home / "journal").rename(home / "journal.empty")
    (home / "state").rename(home / "state.empty")
    (home / "journal.damaged-1").rename(home / "journal")
    (home / "state.damaged-1").rename(home / "state")
    ruin(segments(three, n03)[0])
    three.launch(n03)
    for node in (n02, n03):
        node.wait_for_line("ready")
    wait_for_equal_states(three.nodes)
    assert [disk(node) for node in three.nodes] == [1, 2, 1]
    write(n02, "b", KEYS)
    for node in three.nodes:
        expect(node, "a", KEYS)
        expect(node, "b", KEYS)


def test_a_node_alone_stops_at_a_damaged_journal_and_changes_nothing(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1, storage=FORGETFUL) as one:
        one.start()
        (n01,) = one.nodes
        write(n01, "a", KEYS)
        one.kill(n01)
        journal = segments(one, n01)[0]
        flip(journal, DATA_START + 4000)
        content = journal.read_bytes()
        one.launch(n01)
        n01.wait_for_line("one that has none needs a sound copy of this same disk, or a backup")
        assert n01.process is not None
        assert n01.process.wait(timeout=60) == 2
        n01.process = None
        assert journal.read_bytes() == content
        assert not list((tmp_path / "n01").glob("*.damaged*"))


def test_the_damaged_journal_of_another_node_is_not_touched(three: Cluster) -> None:
    n01, n02, _ = three.nodes
    write(n01, "a", KEYS)
    three.kill(n01, n02)
    flip(segments(three, n02)[0], DATA_START + 4000)
    three.launch(n01, options=("--data", str(three.directory / "n02")))
    n01.wait_for_line("this journal is that of n02, and this node is n01")
    assert not list((three.directory / "n02").glob("*.damaged*"))


def test_damage_that_shows_while_a_node_runs_has_it_start_again_and_repaired(
    three: Cluster,
) -> None:
    n01, n02, _ = three.nodes
    write(n01, "a", KEYS)
    assert segments(three, n02)[0].name == "journal-0000000001.log", "slot 1 is there"
    flip(segments(three, n02)[0], DATA_START + 4000)

    reply = n02.send("GET", "/kvman/journal", {"from": "1"})
    assert reply.status == 500
    n02.wait_for_line("damage was found, and this node starts again to repair it")
    n02.wait_for_line("the journal was mended in place")
    n02.wait_for_line("ready")
    wait_for_vote(n02)
    wait_for_equal_states(three.nodes)
    # Nobody has started another process for it.
    assert (disk(n02), mended(n02), kept(n02)) == (1, 1, [])
    repair = n02.ask("GET", "/kvman/status").body["repair"]
    assert repair["count"] == 1
    assert any("is damaged; this node will not vote" in found for found in repair["findings"])
    expect(n02, "a", KEYS)


def test_a_state_that_is_damaged_while_a_node_runs_is_got_from_a_peer(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    write(n01, "a", KEYS)
    forget_all(three)
    # Started anew it has none of it in memory.
    three.kill(n02)
    three.start(n02)
    for table in three.directory.glob(f"{n02.name}/state/*.sst"):
        for offset in range(100, table.stat().st_size // 2, 500):
            flip(table, offset)
    with writing(n01) as meanwhile:
        for number in range(KEYS):
            # One of them reads a bad block. Then the port is closed for a moment.
            try:
                n02.ask("GET", "/kv/get", key=f"a{number}", consistency="stale")
            except Unreachable:
                break
        n02.wait_for_line("damage was found, and this node starts again to repair it")
        n02.wait_for_line("the state is damaged and was moved to")
        n02.wait_for_line("the state is that of slot")
        n02.wait_for_line("ready")
    wait_for_equal_states(three.nodes)
    # Nothing was promised in a state: it is on the same disk, and may vote at once.
    assert disk(n02) == 1
    assert kept(n02) == ["state.damaged-1"]
    assert meanwhile
    three.kill(n03)
    write(n02, "b", KEYS)
    expect(n02, "a", KEYS)


SCANNING = {**FORGETFUL, "scan_bytes_per_s": 2**30, "scan_every_s": 1}


def scans(node: Node) -> int:
    completed: int = node.ask("GET", "/kvman/status").body["scan"]["completed"]
    return completed


@pytest.mark.parametrize("what", ["state", "journal"])
def test_damage_that_nobody_reads_is_found_by_the_scan_and_repaired(
    tmp_path: Path, what: str
) -> None:
    with cluster(tmp_path, storage=SCANNING) as three:
        three.start()
        n01, n02, _ = three.nodes
        write(n01, "a", KEYS)
        forget_all(three)
        before = scans(n02)
        wait_for(lambda: scans(n02) > before)
        assert n02.ask("GET", "/kvman/status").body["repair"]["findings"] == []
        if what == "state":
            tables = list(three.directory.glob(f"{n02.name}/state/*.sst"))
            for table in tables:
                for offset in range(100, table.stat().st_size // 2, 500):
                    flip(table, offset)
        else:
            # The one that is being written is not read.
            while len(segments(three, n02)) == 1:
                write(n01, "more", 1)
            flip(segments(three, n02)[0], DATA_START + 4000)

        n02.wait_for_line("damage was found, and this node starts again to repair it")
        n02.wait_for_line("ready: a linearizable read has finished")
        wait_for(lambda: scans(n02) > 0)
        wait_for_vote(n02)
        wait_for_equal_states(three.nodes)
        if what == "state":
            assert kept(n02) == ["state.damaged-1"]
        else:
            # Unless the others have forgotten it by now.
            assert mended(n02) or kept(n02) == ["journal.damaged-1", "state.damaged-1"]
        assert disk(n02) == (2 if "journal.damaged-1" in kept(n02) else 1)
        assert n02.ask("GET", "/kvman/status").body["repair"]["findings"]
        expect(n02, "a", KEYS)

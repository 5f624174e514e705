"""Too many disks are gone: nothing is served, and what one node has left makes a new cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from test.cli.commands import Done, Shell
from test.processes.cluster import Cluster, Node, Reply, cluster
from test.processes.states import wait_for

pytestmark = pytest.mark.timeout(180)

KEYS = 10


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve, with some keys."""
    with cluster(tmp_path) as made:
        made.start()
        for number in range(KEYS):
            assert made.nodes[0].ask("POST", "/kv/set", key=f"k{number}", value=f"v{number}").done
        assert append(made.nodes[0]).body["success"] == "true"
        # What is decided is on the disk of n01 by then, its last slot too.
        wait_for(lambda: all(applied(node) == applied(made.nodes[0]) for node in made.nodes))
        yield made


def append(node: Node) -> Reply:
    return node.ask("POST", "/kv/append", key="log", value="x", client="c", opid="1")


def applied(node: Node) -> int:
    slot: int = node.ask("GET", "/kvman/status").body["applied"]
    return slot


def shell_of(made: Cluster) -> Shell:
    return Shell(made.directory, ",".join(f"127.0.0.1:{node.port}" for node in made.nodes))


def recover(made: Cluster, *arguments: str) -> Done:
    settings = str(made.settings)
    return shell_of(made).run("recover", "--node", "n01", "--settings", settings, *arguments)


def image(directory: Path) -> Mapping[str, tuple[int, int]]:
    """Return every file below ``directory``, with its size and the time of its last change."""
    return {
        str(path.relative_to(directory)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def expect_nobody_serves(three: Cluster) -> None:
    """See that every node says why, and that a write is refused."""
    n01, n02, n03 = three.nodes
    for node, sentence in (
        (n01, "majority can vote: n02 (here with an empty disk), n03 (here with an empty disk)"),
        (n02, "does not vote yet: it waits for word from n03 (here with an empty disk)"),
        (n03, "does not vote yet: it waits for word from n02 (here with an empty disk)"),
    ):
        wait_for(partial(says, node, sentence))
        write = node.ask("POST", "/kv/set", key="never", value="v", timeout="0.5")
        assert write.body["applied"] in ("no", "unknown")
    assert n02.ask("GET", "/kvman/status").body["waits_for"] == ["n03"]
    told = n01.ask("GET", "/kvman/status").body
    assert told["waits_for"] == []
    status = shell_of(three).run("status", "--json")
    assert status.status == 3
    known = f"n01 holds every slot through {told['decided']}; n02 waits for word from n03;"
    assert status.json["advice"].startswith(known)


def says(node: Node, sentence: str) -> bool:
    """Whether ``node`` is not ready for that reason."""
    reply = node.ask("GET", "/readyz")
    return reply.status == 503 and sentence in reply.body["message"]


def test_what_one_of_three_disks_holds_becomes_a_new_cluster(three: Cluster) -> None:
    n01, n02, n03 = three.nodes
    before = n01.ask("GET", "/kvman/status").body
    three.kill(n01, n02, n03)
    for lost in (n02, n03):
        shutil.rmtree(three.directory / lost.name)
    three.launch(n01)
    three.launch(n02, n03, options=("--rejoin",))
    for node in three.nodes:
        node.wait_for_line("serving HTTP")

    expect_nobody_serves(three)
    running = recover(three, "--accept-data-loss")
    assert (running.status, "is in use by process" in running.errors) == (2, True)
    three.kill(n01)
    disk = image(three.directory / "n01")
    looked = recover(three)
    assert looked.status == 0, looked.errors
    assert b"nothing was done" in looked.output
    assert not (three.directory / "recovered-n01.kvb").exists()
    done = recover(three, "--accept-data-loss", "--json")
    assert done.status == 0, done.errors
    assert done.json["revision"] == before["state"]["revision"]
    assert done.json["digest"] == before["state"]["digest"]
    assert done.json["file"] == "recovered-n01.kvb"
    assert image(three.directory / "n01") == disk
    again = recover(three, "--accept-data-loss")
    assert (again.status, "is there already" in again.errors) == (2, True)

    settings = str(three.settings)
    arguments = ("restore", "recovered-n01.kvb", "--settings", settings, "--set-aside")
    refused = shell_of(three).run(*arguments)
    assert (refused.status, "is in use by process" in refused.errors) == (2, True)
    assert image(three.directory / "n01") == disk
    three.kill(n02, n03)
    restored = shell_of(three).run(*arguments)
    assert restored.status == 0, restored.errors
    assert image(three.directory / "n01" / "aside-1") == disk

    three.start()
    after = n03.ask("GET", "/kvman/status").body
    assert after["cluster"] != before["cluster"]
    assert after["state"]["revision"] == before["state"]["revision"]
    for number in range(KEYS):
        assert n02.ask("GET", "/kv/get", key=f"k{number}").body["value"] == f"v{number}"
    # It is remembered what was executed before.
    assert append(n03).body["success"] == "true"
    assert n01.ask("GET", "/kv/get", key="log").body["value"] == "x"
    assert n01.ask("POST", "/kv/set", key="new", value="v").done
    assert n01.ask("GET", "/kvman/status").body["state"]["revision"] > before["state"]["revision"]
    assert not [line for node in three.nodes for line in node.lines if "Traceback" in line]


def test_a_cluster_that_has_a_majority_is_not_recovered(three: Cluster) -> None:
    n01, _, n03 = three.nodes
    three.kill(n01)
    wait_for(lambda: n03.ask("GET", "/readyz").status == 200)
    serving = recover(three, "--accept-data-loss")
    assert (serving.status, "n03 can serve, so nothing needs" in serving.errors) == (2, True)
    three.kill(n03)
    wait_for(lambda: three.nodes[1].ask("GET", "/readyz").status == 503)
    sound = recover(three, "--accept-data-loss")
    assert (sound.status, "which is a majority of 3 nodes" in sound.errors) == (2, True)
    assert not (three.directory / "recovered-n01.kvb").exists()

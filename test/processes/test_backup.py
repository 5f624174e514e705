"""A backup of real processes while they are written to, and new clusters made of it."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from test.cli.commands import Shell
from test.processes.cluster import Cluster, Node, cluster

pytestmark = pytest.mark.timeout(240)

KEYS = 2000
"""So many are loaded before the backup."""

MEANWHILE = 100
"""So many are written before the backup, with opids of their own, and it goes on during it."""


def shell_of(made: Cluster, directory: Path) -> Shell:
    return Shell(directory, ",".join(f"127.0.0.1:{node.port}" for node in made.nodes))


class Writer(threading.Thread):
    """Appends numbers to a key, one after the other, each with an opid."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self.acknowledged = 0
        self.enough = threading.Event()
        self.over = threading.Event()
        self._node = node

    @override
    def run(self) -> None:
        while not self.over.is_set():
            opid = self.acknowledged + 1
            assert append(self._node, opid).done
            self.acknowledged = opid
            if opid >= MEANWHILE:
                self.enough.set()


def append(node: Node, opid: int) -> Any:
    return node.ask("POST", "/kv/append", key="log", value=f"{opid},", client="w", opid=str(opid))


@dataclass
class Saved:
    """A backup, and what it must hold.

    :ivar before: how many appends were acknowledged before it, and ``after`` when it was done.
    """

    file: Path
    told: dict[str, Any]
    before: int
    after: int


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    directory = tmp_path_factory.mktemp("old")
    with cluster(directory) as three:
        three.start()
        shell = shell_of(three, directory)
        lines = "".join(
            json.dumps({"key": f"key {number:05}", "value": f"value {number}"}) + "\n"
            for number in range(KEYS)
        )
        assert shell.run("load", "-", stdin=lines.encode()).status == 0
        follower = next(node for node in three.nodes if node is not three.leader())
        writer = Writer(three.leader())
        writer.start()
        assert writer.enough.wait(60)
        before = writer.acknowledged
        url = f"127.0.0.1:{follower.port}"
        done = shell.run("backup", "--nodes", url, "old.kvb", "--json")
        assert (done.status, done.errors) == (0, "")
        after = writer.acknowledged
        writer.over.set()
        writer.join(60)
        assert not (directory / "old.kvb.part").exists()
        again = shell.run("backup", "old.kvb")
        assert (again.status, "is there already" in again.errors) == (2, True)
    return Saved(directory / "old.kvb", done.json, before, after)


@pytest.mark.parametrize("nodes", [1, 5])
def test_a_cluster_of_another_size_goes_on_where_the_backup_was_made(
    saved: Saved, nodes: int, tmp_path: Path
) -> None:
    with cluster(tmp_path, nodes) as made:
        shell = shell_of(made, tmp_path)
        settings = str(made.settings)
        restored = shell.run("restore", str(saved.file), "--settings", settings, "--json")
        assert (restored.status, restored.errors) == (0, "")
        assert restored.json["nodes"] == [node.name for node in made.nodes]
        made.start()
        first, last = made.nodes[0], made.nodes[-1]
        status = last.ask("GET", "/kvman/status").body
        assert status["state"]["revision"] == saved.told["revision"] == restored.json["revision"]
        assert status["state"]["digest"] == restored.json["digest"]
        assert status["applied"] >= saved.told["slot"]
        assert status["cluster"] != saved.told["cluster"]

        # All that was acknowledged before the backup is there, and what came during it is whole.
        log = last.ask("GET", "/kv/get", key="log").body["value"]
        count = log.count(",")
        assert log == "".join(f"{opid}," for opid in range(1, count + 1))
        assert saved.before <= count <= saved.after + 1
        pairs = dict(first.ask("GET", "/kvman/dump").body)
        assert pairs.pop("log") == log
        assert pairs == {f"key {number:05}": f"value {number}" for number in range(KEYS)}
        assert len(pairs) + 1 == saved.told["keys"]

        # The last request gets its answer again, from whichever node; the next one is carried out.
        for node in made.nodes:
            repeated = append(node, count)
            assert repeated.body == {"success": "true", "value": log}
        revision = last.ask("GET", "/kvman/status").body["state"]["revision"]
        assert revision == saved.told["revision"]
        assert append(first, count + 1).body["value"] == f"{log}{count + 1},"
        for node in made.nodes:
            assert node.ask("GET", "/kv/get", key="log").body["value"] == f"{log}{count + 1},"

        # It outlives a kill.
        made.kill(*made.nodes)
        made.start()
        assert last.ask("GET", "/kv/get", key="log").body["value"] == f"{log}{count + 1},"


def test_members_that_begin_with_different_states_refuse_each_other(
    saved: Saved, tmp_path: Path
) -> None:
    with cluster(tmp_path, 2) as two:
        shell = shell_of(two, tmp_path)
        n01, n02 = two.nodes
        args = ("restore", str(saved.file), "--node", "n01", "--settings", str(two.settings))
        one = shell.run(*args)
        assert (one.status, one.errors) == (0, "")
        assert b"restore the same backup for n02" in one.output
        two.launch(n01, n02)
        line = n01.wait_for_line("must be restored from the same backup, or none")
        assert f"the state after slot {saved.told['slot']} with the digest" in line
        assert "an empty state" in line
        two.kill(n01, n02)


def test_a_running_nodes_directory_is_not_verified(tmp_path: Path) -> None:
    with cluster(tmp_path, 1) as one:
        one.start()
        shell = shell_of(one, tmp_path)
        done = shell.run("verify", "n01")
        assert (done.status, "is in use by process" in done.errors) == (2, True)
        assert one.nodes[0].ask("POST", "/kv/set", key="a", value="b").done
        one.signal(one.nodes[0], signal.SIGTERM)
        done = shell.run("verify", "n01", "--json")
        assert (done.status, done.errors, done.json["success"]) == (0, "", True)
        assert done.json["journal"]["last_slot"] == done.json["state"]["slot"] >= 1

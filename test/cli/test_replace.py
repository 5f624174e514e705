"""``kvpaxos node replace`` where it must not go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from kvpaxos.cli.archive import Archive
from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.store.backup import Header
from kvpaxos.store.commands import Set
from kvpaxos.store.machine import Machine
from test.cli.commands import Done, Shell
from test.processes.cluster import free_ports
from test.store.building import GROUP, Caller, write


class Says(BaseHTTPRequestHandler):
    """Answers what its server is to say."""

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = json.dumps(self.server.told).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[dict[str, HTTPServer]]:
    """Two nodes that say what they are told to, and the settings of three."""
    ports = free_ports(6)
    nodes = {
        f"n0{number}": {
            "http": f"tcp:{ports[number - 1]}:interface=127.0.0.1",
            "peer": f"tcp:{ports[number + 2]}:interface=127.0.0.1",
            "data": str(tmp_path / f"n0{number}"),
        }
        for number in (1, 2, 3)
    }
    (tmp_path / "three.conf").write_text(json.dumps({"nodes": nodes}))
    servers = {}
    for name, port in (("n01", ports[0]), ("n03", ports[2])):
        server = HTTPServer(("127.0.0.1", port), Says)
        server.told = {"node": name, "role": "following", "cluster": "c" * 32, "peers": []}  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers[name] = server
    yield servers
    for server in servers.values():
        server.shutdown()
        server.server_close()


def told(server: HTTPServer) -> dict[str, object]:
    table: dict[str, object] = server.told  # type: ignore[attr-defined]
    return table


def replace(tmp_path: Path, *arguments: str) -> Done:
    shell = Shell(tmp_path, "")
    return shell.run("node", "replace", "n02", "--settings", "three.conf", *arguments)


def test_a_node_that_others_are_connected_with_is_not_replaced(
    peers: dict[str, HTTPServer], tmp_path: Path
) -> None:
    told(peers["n03"])["peers"] = [{"peer": "n02", "dialed": False, "accepted": True}]
    done = replace(tmp_path)
    assert (done.status, "n03 is connected with n02, so it runs" in done.errors) == (2, True)
    assert not (tmp_path / "n02").exists()


@pytest.mark.parametrize("arguments", [(), ("--node", "n02"), ("--node", "n02", "--set-aside")])
def test_beside_a_cluster_that_is_formed_nothing_is_restored(
    peers: dict[str, HTTPServer], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    machine = Machine(engine := MemoryEngine(), GROUP)
    Caller(machine)(Set(b"k", b"v"))
    write(machine, engine)
    view = machine.view()
    with (tmp_path / "it.kvb").open("wb") as file:
        archive = Archive(file, Header("c" * 32, GROUP, 1, view.revision, 1, view.digest))
        archive.add(view.piece(None, 10**6))
        archive.end()
    (tmp_path / "n02").mkdir()
    (tmp_path / "n02" / "mine").write_text("keep")
    done = Shell(tmp_path, "").run("restore", "it.kvb", "--settings", "three.conf", *arguments)
    assert done.status == 2
    assert f"is part of the cluster {'c' * 32}: stop all nodes of it" in done.errors
    assert [path.name for path in (tmp_path / "n02").iterdir()] == ["mine"]
    if "--set-aside" in arguments:
        for server in peers.values():
            told(server).update({"role": "forming", "cluster": ""})
        done = Shell(tmp_path, "").run("restore", "it.kvb", "--settings", "three.conf", *arguments)
        assert done.status == 0, done.errors


def test_without_a_cluster_that_is_formed_nothing_is_done(
    peers: dict[str, HTTPServer], tmp_path: Path
) -> None:
    for server in peers.values():
        told(server).update({"role": "forming", "cluster": "", "trouble": "it waits"})
    done = replace(tmp_path)
    assert (done.status, "no other node says that the cluster is formed" in done.errors) == (
        3,
        True,
    )
    told(peers["n01"])["cluster"] = "a" * 32
    told(peers["n03"])["cluster"] = "b" * 32
    done = replace(tmp_path)
    assert (done.status, "the nodes are not of one cluster" in done.errors) == (3, True)
    assert not (tmp_path / "n02").exists()


def test_who_is_missing_is_said_and_to_do_it_twice_is_harmless(
    peers: dict[str, HTTPServer], tmp_path: Path
) -> None:
    assert replace(tmp_path).errors == ""
    told(peers["n03"])["waits_for"] = ["n02"]
    done = replace(tmp_path)
    assert (done.status, "until enough of n03 are up" in done.errors) == (0, True)
    assert [path.name for path in (tmp_path / "n02").iterdir()] == ["rejoin"]

"""Starting and stopping as graders and operators do, with the scripts and with ``twistd``."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.node.test_daemons import Checkout, Place, twistd

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open of Linux"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def start(checkout: Checkout) -> str:
    return str(checkout.path / "bin" / "start_server")


@pytest.fixture
def stop(checkout: Checkout) -> str:
    return str(checkout.path / "bin" / "stop_server")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Place]:
    """Provide a place whose settings name one node."""
    place = Place(tmp_path)
    rename(place, "n01")
    yield place
    place.close()


def rename(place: Place, node: str) -> None:
    """Call the one node of ``place`` so."""
    port, peer = place.settings["port_n01"], place.settings["RPC_port_n01"]
    settings = {node: "127.0.0.1", f"port_{node}": port, f"RPC_port_{node}": peer}
    (place.path / "conf" / "settings.conf").write_text(json.dumps(settings))


def until(node: subprocess.Popen[str], text: str) -> str:
    """Return the next line of a node's log that holds ``text``."""
    assert node.stdout is not None
    for line in node.stdout:
        if text in line:
            return line
    raise AssertionError(f"the node ended before it said {text!r}")


def test_the_options_of_the_script_are_those_of_a_node(checkout: Checkout, start: str) -> None:
    with checkout.start(start, "n02", "--log-format", "json", "--data", "elsewhere") as node:
        line = until(node, "serving HTTP")
        assert json.loads(line)["node"] == "n02"
        assert (checkout.path / "elsewhere" / "journal").is_dir()
        node.kill()
        until_end(node)


def until_end(node: subprocess.Popen[str]) -> None:
    assert node.stdout is not None
    node.stdout.read()
    node.wait()


def test_to_stop_a_node_no_python_is_started(
    checkout: Checkout, start: str, stop: str, tmp_path: Path
) -> None:
    # Nothing but what the script needs; above all no Python, which would take its time.
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cat", "dirname", "rm", "tr", "ps"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    with checkout.start(start, "n01") as node:
        until(node, "serving HTTP")
        done = subprocess.run(  # noqa: S603 -- our own script
            [stop, "n01"], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"n01 is stopping (process {node.pid})\n"
        until_end(node)


def test_a_node_serves_http_though_it_is_the_only_one(checkout: Checkout, start: str) -> None:
    with checkout.start(start, "n01") as node:
        until(node, "serving HTTP")
        assert asked(checkout, "/healthz") == 200
        assert asked(checkout, "/readyz") == 503
        node.kill()
        until_end(node)


def asked(place: Place, path: str) -> int:
    """Return the status with which n01 answers."""
    connection = http.client.HTTPConnection("127.0.0.1", int(place.settings["port_n01"]))
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_port_can_be_taken_again_at_once_after_a_kill(checkout: Checkout, start: str) -> None:
    port = int(checkout.settings["port_n01"])
    for _ in range(2):
        with checkout.start(start, "n01") as node:
            until(node, "serving HTTP")
            # A connection that is open when the node dies stays behind in the system.
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: n01\r\n\r\n")
                assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
                node.kill()
                node.wait()
            until_end(node)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--http", "tcp:8899:interface=192.0.2.1"],
            (
                "kvpaxos: n01 cannot serve http: 192.0.2.1 is not an address of this machine;"
                " correct it in the settings.\n"
            ),
        ),
        (
            ["--data", "file/below"],
            (
                "cannot keep its data in {here}/file/below: {here}/file is a file;"
                " choose another directory.\n"
            ),
        ),
        (
            ["--http", "8801"],
            (
                'kvpaxos: --http is "8801", which is no endpoint such as'
                ' "tcp:7701:interface=127.0.0.1"; write it as "tcp:PORT:interface=ADDRESS".\n'
            ),
        ),
        (
            ["--data", "other"],
            (
                "{here}/other/journal: this journal is that of n02, and this node is n01:"
                " give each node its own directory\n"
            ),
        ),
    ],
    ids=["an address that is not ours", "a file in the way", "no endpoint", "another node's disk"],
)
def test_a_node_that_cannot_start_says_one_sentence_and_ends_with_status_2(
    options: list[str], sentence: str, alone: Place
) -> None:
    (alone.path / "file").write_text("mine")
    if "other" in options:
        leave_a_disk(alone)
    done = alone.run(*twistd("-n", "kvpaxos", "--node", "n01", *options))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("kvpaxos: ")
    assert sentence.format(here=alone.path) in done.stderr
    assert done.stderr.count("\n") == 1


def leave_a_disk(place: Place) -> None:
    """Leave the disk of a node n02 in the directory ``other``."""
    rename(place, "n02")
    arguments = twistd("-n", "kvpaxos", "--node", "n02", "--data", "other")
    with place.start(*arguments) as node:
        until(node, "ready: ")
        node.terminate()
        until_end(node)
    rename(place, "n01")


def test_a_node_that_the_settings_do_not_name_is_answered_with_those_they_do(
    checkout: Checkout, start: str
) -> None:
    done = checkout.run(start, "n04")
    assert done.returncode == 2
    assert done.stderr.endswith("there is no node 'n04'; name n01, n02 or n03.\n")
    assert done.stderr.count("\n") == 1

"""Nodes as users start them: ``twistd``, ``twist``, and the two scripts in ``bin``."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from test.processes.cluster import free_ports
from test.processes.states import wait_for

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open of Linux"),
]

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE_S = 60.0


class Place:
    """A directory with settings of three nodes, in which commands are run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        http, peers = (free_ports(6)[part] for part in (slice(3), slice(3, 6)))
        self.settings = {
            **{f"n{number:02}": "127.0.0.1" for number in (1, 2, 3)},
            **{f"port_n{number:02}": str(port) for number, port in enumerate(http, start=1)},
            **{f"RPC_port_n{number:02}": str(port) for number, port in enumerate(peers, start=1)},
        }
        (path / "conf").mkdir()
        (path / "conf" / "settings.conf").write_text(json.dumps(self.settings))
        self._daemons: list[int] = []

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 -- our own command
            arguments, cwd=self.path, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command beside the test, whose end it does not outlive."""
        with subprocess.Popen(  # noqa: S603 -- our own command
            arguments,
            cwd=self.path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def daemon(self, pid_file: str) -> int:
        """Return an open handle on the daemon that wrote ``pid_file``."""
        handle = os.pidfd_open(int((self.path / pid_file).read_text()))
        self._daemons.append(handle)
        return handle

    def serves(self, node: str) -> bool:
        """Whether the daemon of ``node`` has said so."""
        return "serving HTTP" in (self.path / f"kvpaxos-{node}.log").read_text()

    def close(self) -> None:
        for handle in self._daemons:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def twistd(*arguments: str) -> list[str]:
    return [str(SCRIPTS / "twistd"), *arguments]


def stop(handle: int) -> None:
    """Ask a daemon to stop, and wait until it has."""
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    assert select.select([handle], [], [], PATIENCE_S)[0]


def test_two_daemons_live_in_one_directory(place: Place) -> None:
    for node, form in (("n01", "text"), ("n02", "json")):
        done = place.run(*twistd("kvpaxos", "--node", node, "--log-format", form))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    daemons = [place.daemon(f"kvpaxos-{node}.pid") for node in ("n01", "n02")]
    for node, handle in zip(("n01", "n02"), daemons, strict=True):
        # Before that the reactor may not run yet, and a signal ends the process as it is.
        wait_for(partial(place.serves, node))
        stop(handle)

    # Each has taken its pid file along and left its log.
    left = sorted(path.name for path in place.path.iterdir())
    assert left == ["conf", "data", "kvpaxos-n01.log", "kvpaxos-n02.log"]
    first = (place.path / "kvpaxos-n01.log").read_text().splitlines()
    assert any("n01 info  node.serving: serving HTTP at tcp:" in line for line in first)
    assert first[-1].endswith("n01 info  node.node.Node: stopped")
    second = [json.loads(x) for x in (place.path / "kvpaxos-n02.log").read_text().splitlines()]
    assert {record["node"] for record in second} == {"n02"}
    assert second[-1]["message"] == "stopped"


def test_a_node_that_cannot_start_says_why_and_ends_with_status_2(place: Place) -> None:
    command = twistd("kvpaxos", "--node", "n01")
    assert place.run(*command).returncode == 0
    daemon = place.daemon("kvpaxos-n01.pid")
    again = place.run(*command)
    port = place.settings["port_n01"]
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == (
        f"kvpaxos: n01 cannot serve http: port {port} of 127.0.0.1 is taken by another process;"
        " stop that one, or choose another port.\n"
    )
    # The one that runs was not disturbed.
    assert select.select([daemon], [], [], 0)[0] == []
    stop(daemon)


def test_two_nodes_cannot_share_a_directory(place: Place) -> None:
    assert place.run(*twistd("kvpaxos", "--node", "n01", "--data", "d")).returncode == 0
    daemon = place.daemon("kvpaxos-n01.pid")
    other = place.run(*twistd("-n", "kvpaxos", "--node", "n02", "--data", "d"))
    assert other.returncode == 2
    assert other.stdout == ""
    assert other.stderr.startswith("kvpaxos: ")
    assert other.stderr.count("\n") == 1
    stop(daemon)


def test_assertions_must_be_on(place: Place) -> None:
    done = place.run(sys.executable, "-O", *twistd("-n", "kvpaxos", "--node", "n01"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "kvpaxos: kvpaxos checks itself with assertions, which python -O removes;"
        " start it without.\n"
    )


def test_twist_runs_a_node_too(place: Place) -> None:
    arguments = ["-m", "twisted", "--log-format", "text", "kvpaxos", "--node", "n01"]
    with place.start(sys.executable, *arguments) as node:
        assert node.stdout is not None
        assert any("n01 info  node.serving: serving HTTP" in line for line in node.stdout)
        node.send_signal(signal.SIGTERM)
        assert any("node.node.Node: stopped" in line for line in node.stdout)
        assert node.wait(PATIENCE_S) == -signal.SIGTERM


class Checkout(Place):
    """A directory that looks like a checkout after ``make setup``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        shutil.copytree(ROOT / "bin", path / "bin")
        scripts = path / ".venv" / "bin"
        scripts.mkdir(parents=True)
        wrapper = scripts / "twistd"
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {SCRIPTS}/twistd "$@"\n')
        wrapper.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_scripts_start_and_stop_a_node(checkout: Checkout, tmp_path: Path) -> None:
    start, stop_it = str(tmp_path / "bin" / "start_server"), str(tmp_path / "bin" / "stop_server")
    with checkout.start(start, "n01", "--log-level", "info") as node:
        assert node.stdout is not None
        assert any("serving HTTP" in line for line in node.stdout)
        # The process that was started is the server itself.
        assert (tmp_path / "run" / "kvpaxos-n01.pid").read_text() == str(node.pid)

        other = checkout.run(stop_it, "n02")
        assert (other.returncode, other.stdout) == (1, "n02 is not running\n")
        done = checkout.run(stop_it, "n01")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"n01 is stopping (process {node.pid})\n"
        node.stdout.read()
        assert node.wait(PATIENCE_S) == -signal.SIGTERM
    again = checkout.run(stop_it, "n01")
    assert (again.returncode, again.stdout) == (1, "n01 is not running\n")


def test_a_process_that_is_not_ours_is_never_stopped(checkout: Checkout, tmp_path: Path) -> None:
    # The node was killed, and its process id has passed to somebody else: to us.
    pid_file = tmp_path / "run" / "kvpaxos-n01.pid"
    pid_file.parent.mkdir()
    pid_file.write_text(str(os.getpid()))
    done = checkout.run(str(tmp_path / "bin" / "stop_server"), "n01")
    assert (done.returncode, done.stdout) == (1, "n01 is not running\n")
    assert not pid_file.exists()

    pid_file.write_text(str(os.getpid()))
    with checkout.start(str(tmp_path / "bin" / "start_server"), "n01") as node:
        assert node.stdout is not None
        assert any("serving HTTP" in line for line in node.stdout)
        node.kill()
        node.stdout.read()


@pytest.mark.parametrize("script", ["start_server", "stop_server"])
@pytest.mark.parametrize("arguments", [[], ["--help"], ["n1"], ["n01x"]])
def test_a_script_without_a_node_says_how_it_is_used(
    script: str, arguments: list[str], checkout: Checkout, tmp_path: Path
) -> None:
    done = checkout.run(str(tmp_path / "bin" / script), *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: bin/{script} n01")


def test_without_a_twistd_the_script_says_what_to_do(checkout: Checkout, tmp_path: Path) -> None:
    shutil.rmtree(checkout.path / ".venv")
    # Nothing but the one tool that the script needs by then.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname") or "dirname")
    done = subprocess.run(  # noqa: S603 -- our own command
        [str(tmp_path / "bin" / "start_server"), "n01"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "kvpaxos: there is neither .venv nor a twistd; run 'make setup' first.\n"
    )

"""A whole cluster in one terminal: it serves, it stops, and it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from twisted.logger import LogLevel

from kvpaxos.cli.main import main
from kvpaxos.cli.up import LOG_LEVELS
from kvpaxos.config.settings import parse

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open of Linux"),
]

ROOT = Path(__file__).parents[2]
KVPAXOS = [sys.executable, "-m", "kvpaxos"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE_S = 60.0


def base_port(nodes: int) -> int:
    """Return a base port from which on a cluster finds its ports free, HTTP and peers alike."""
    first = 21000 + os.getpid() % 9000
    for base in range(first, first + 1000, nodes):
        try:
            for port in (*range(base, base + nodes), *range(base - 1100, base - 1100 + nodes)):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


class Terminal:
    """A running ``kvpaxos up``."""

    def __init__(self, directory: Path, *options: str, nodes: int = 3) -> None:
        self.base = base_port(nodes)
        arguments = ["up", "--nodes", str(nodes), "--base-port", str(self.base), *options]
        self.process = subprocess.Popen(  # noqa: S603 -- our own command
            [*KVPAXOS, *arguments],
            cwd=directory,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def until(self, text: str) -> str:
        """Return the next line that holds ``text``."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return line.rstrip()
        raise AssertionError(f"no {text!r} in:\n" + "\n".join(self.lines))

    def pids(self) -> dict[str, int]:
        """Return the process ids of the nodes, once all were started."""
        found = [re.fullmatch(r"kvpaxos: (n\d\d) runs as process (\d+)", x) for x in self.lines]
        return {match[1]: int(match[2]) for match in found if match}

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def ended(pids: dict[str, int]) -> set[str]:
    """Return the nodes whose process has ended, after waiting for all of them."""
    gone = set()
    for node, pid in pids.items():
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            gone.add(node)
            continue
        if select.select([watched], [], [], PATIENCE_S)[0]:
            gone.add(node)
        os.close(watched)
    return gone


def ask(url: str, **parameters: str) -> dict[str, str]:
    data = json.dumps(parameters).encode() if parameters else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
        answer: dict[str, str] = json.load(response)
    return answer


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_a_cluster_serves_until_ctrl_c(
    transport: str, tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(tmp_path, "--transport", transport)
    terminals.append(terminal)
    serving = terminal.until("serving at")
    urls = [f"http://127.0.0.1:{terminal.base + index}" for index in range(3)]
    assert serving == f"kvpaxos: 3 nodes serving at {' '.join(urls)}"
    assert terminal.until("try: curl").endswith(
        f"curl -d key=hello -d value=world {urls[0]}/kv/insert"
    )

    assert ask(f"{urls[0]}/kv/insert", key="hello", value="world")["success"] == "true"
    assert ask(f"{urls[1]}/kv/get?key=hello")["value"] == "world"

    # Another command in this directory finds the cluster by itself.
    status = subprocess.run(  # noqa: S603 -- our own command
        [*KVPAXOS, "status", "--json"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["verdict"].endswith("leads; all 3 nodes serve")

    pids = terminal.pids()
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.until("SIGINT") == "kvpaxos: SIGINT: stopping n01, n02, n03"
    assert terminal.process.wait(PATIENCE_S) == 0
    assert len(pids) == 3
    assert ended(pids) == set(pids)


def test_a_node_that_is_killed_is_reported_and_the_cluster_goes_on(
    tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(tmp_path, "--dir", "here")
    terminals.append(terminal)
    terminal.until("serving at")
    os.kill(terminal.pids()["n02"], signal.SIGKILL)
    assert (
        terminal.until("n02 was killed") == "kvpaxos: n02 was killed by SIGKILL; n01, n03 going on"
    )
    answer = ask(f"http://127.0.0.1:{terminal.base}/kv/insert", key="hello", value="world")
    assert answer["success"] == "true"
    settings = tmp_path / "here" / "settings.conf"
    assert parse("settings.conf", settings.read_bytes()).members == ("n01", "n02", "n03")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(PATIENCE_S) == 0


def test_nodes_do_not_outlive_a_manager_that_was_killed(
    tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(tmp_path)
    terminals.append(terminal)
    terminal.until("serving at")
    pids = terminal.pids()
    terminal.process.kill()
    assert len(pids) == 3
    assert ended(pids) == set(pids)


def test_when_all_nodes_have_ended_so_does_the_manager(
    tmp_path: Path, terminals: list[Terminal]
) -> None:
    terminal = Terminal(tmp_path, nodes=1)
    terminals.append(terminal)
    assert terminal.until("serving at").startswith("kvpaxos: 1 node serving at http://")
    os.kill(terminal.pids()["n01"], signal.SIGKILL)
    assert terminal.process.wait(PATIENCE_S) == 1


def test_a_port_that_is_taken_is_said_before_any_node_is_started(tmp_path: Path) -> None:
    base = base_port(2)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", base + 1))
        taken.listen()
        done = run("--nodes", "2", "--base-port", str(base), "--dir", str(tmp_path))
    sentence = (
        f"kvpaxos: n02 cannot serve http: port {base + 1} of 127.0.0.1 is taken by another"
        " process; stop that one, or choose another port.\n"
    )
    assert done == (2, sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_log_level_that_does_not_exist_is_said_before_any_node_is_started(
    tmp_path: Path,
) -> None:
    done = CliRunner().invoke(main, ["up", "--dir", str(tmp_path / "a"), "--log-level", "loud"])
    assert done.exit_code == 2
    assert "'loud' is not one of 'debug', 'info', 'warn', 'error', 'critical'" in done.output
    assert not (tmp_path / "a").exists()


def test_the_log_levels_are_those_of_the_nodes() -> None:
    assert [level.name for level in LogLevel.iterconstants()] == list(LOG_LEVELS)


def test_a_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    directory = str(tmp_path / "file")
    sentence = f"kvpaxos: {directory}: it is a file; choose another with --dir.\n"
    assert run("--dir", directory) == (2, sentence)


def test_a_settings_file_says_it_all() -> None:
    sentence = "kvpaxos: --config says it all; leave out --base-port beside it.\n"
    assert run("--config", "x.conf", "--base-port", "9000") == (2, sentence)
    sentence = "kvpaxos: --config says it all; leave out --dir beside it.\n"
    assert run("--config", "x.conf", "--dir", "d") == (2, sentence)


def test_a_node_whose_http_interface_has_no_url_is_refused(tmp_path: Path) -> None:
    settings = tmp_path / "s.conf"
    settings.write_text('{"nodes": {"n01": {"http": "unix:h.sock", "peer": "unix:p.sock"}}}')
    sentence = "kvpaxos: n01 serves HTTP at unix:h.sock, which has no URL.\n"
    assert run("--config", str(settings)) == (2, sentence)


def test_a_socket_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    status, sentence = run("--transport", "unix", "--dir", str(tmp_path / ("d" * 100)))
    assert status == 2
    assert sentence.endswith("a UNIX socket's can have 107; choose a shorter directory.\n")


def run(*options: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["up", *options])
    return done.exit_code, done.stderr

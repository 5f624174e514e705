"""The examples of the docs do what they say."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from test.processes.cluster import ROOT, free_ports

EMBEDDED = ROOT / "docs" / "examples" / "embedded.py"

PATIENCE_S = 60.0
"""No example takes so long on the slowest machine."""


def run_embedded(directory: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run the example from ``directory``, where its data goes."""
    return subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, str(EMBEDDED), "--http", f"tcp:{port}:interface=127.0.0.1"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def test_a_node_in_an_application_of_its_own(tmp_path: Path, port: int) -> None:
    for _ in ("a new disk", "the same disk again"):
        done = run_embedded(tmp_path, port)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "set: {'success': 'true'}",
            "get: {'success': 'true', 'value': 'blue'}",
        ]


def test_the_application_is_told_why_its_node_had_to_stop(tmp_path: Path, port: int) -> None:
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", port))
        taker.listen()
        done = run_embedded(tmp_path, port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cannot serve HTTP at tcp:{port}:interface=127.0.0.1: ")
    assert len(done.stderr.splitlines()) == 1

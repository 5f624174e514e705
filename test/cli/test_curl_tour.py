"""The tour with curl does what it says, against real nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from test.processes.cluster import ROOT, START_S, cluster

TOUR = ROOT / "docs" / "examples" / "curl_tour.sh"

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]


def test_the_tour_with_curl(tmp_path: Path) -> None:
    with cluster(tmp_path) as three:
        three.start(options=("--allow-partitions",))
        urls = [f"http://127.0.0.1:{node.port}" for node in three.nodes]
        done = subprocess.run(  # noqa: S603 -- our own script
            [str(TOUR), *urls],
            env={**os.environ, "SHUTDOWN": "yes"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:]
        assert done.stdout.endswith("\nAll replies were as expected.\n")
        # It leaves nothing behind, and has stopped the third node.
        third = three.nodes[2]
        assert third.process is not None
        assert third.process.wait(timeout=START_S) == 0
        third.process = None
        assert three.nodes[0].ask("GET", "/kvman/dump").body == []


def test_every_path_of_the_interface_is_on_the_tour() -> None:
    script = TOUR.read_text()
    routes = (ROOT / "kvpaxos" / "node" / "http" / "routes.py").read_text()
    paths = {line.split('"')[1] for line in routes.splitlines() if "@router.route(" in line}
    assert len(paths) > 15
    assert {path for path in paths if path not in script} == set()


def test_the_tour_stops_at_the_first_reply_that_is_not_as_expected(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    impostor = tools / "curl"
    impostor.write_text("#!/bin/sh\nprintf 500\n")
    impostor.chmod(0o755)
    done = subprocess.run(  # noqa: S603 -- our own script
        [str(TOUR)],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == 'expected {"success":"true"}, but got  with status 500\n'

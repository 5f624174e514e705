"""Disks that are older copies, among processes that have seen the newer ones."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.processes.cluster import START_S, Cluster, Node, cluster

pytestmark = pytest.mark.timeout(120)

WRITES = 20


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that serve."""
    with cluster(tmp_path) as made:
        made.start()
        yield made


@pytest.mark.parametrize("again", [False, True], ids=["peers that saw it", "started since"])
def test_an_older_copy_is_refused_however_often_it_is_started(
    three: Cluster,
    again: bool,  # noqa: FBT001
) -> None:
    n01, n02, n03 = three.nodes
    disk, copy = three.directory / n03.name, three.directory / "copy"
    three.signal(n03, signal.SIGTERM)
    shutil.copytree(disk, copy)
    three.start(n03)
    for number in range(WRITES):
        assert n03.ask("POST", "/kv/set", key="k", value=str(number)).done
    written = n03.ask("GET", "/kvman/status").body["journal"]["durable_records"]
    for peer in (n01, n02):
        wait_until_seen(peer, n03, written)
    three.kill(n03)
    shutil.rmtree(disk)
    copy.rename(disk)
    if again:
        for peer in (n01, n02):
            three.signal(peer, signal.SIGTERM)
        three.start(n01, n02)
    for sentence in ("two processes call themselves n03 in run 2", "n03 shows a journal of"):
        three.launch(n03)
        for _ in (n01, n02):
            n03.wait_for_line(sentence)
        three.kill(n03)
    assert n01.ask("GET", "/kv/get", key="k").body["value"] == str(WRITES - 1)


def wait_until_seen(by: Node, node: Node, records: int) -> None:
    """Return once ``node`` has shown ``by`` that its journal holds ``records``."""
    deadline, seen = time.monotonic() + START_S, 0
    while time.monotonic() < deadline:
        peers = by.ask("GET", "/kvman/status").body["peers"]
        (seen,) = [peer["records"] for peer in peers if peer["peer"] == node.name]
        if seen >= records:
            return
    raise AssertionError(f"{by.name} has not seen more than {seen} of {records} records")

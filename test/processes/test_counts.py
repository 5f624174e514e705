"""What a write costs: syncs and messages, counted by the nodes themselves."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from test.processes.cluster import Cluster, Node, cluster

pytestmark = pytest.mark.timeout(120)

SERIAL = 40
WRITERS = 100
ROUNDS = 5


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path) as made:
        made.start()
        yield made


def _syncs(nodes: list[Node]) -> list[int]:
    return [node.ask("GET", "/kvman/status").body["journal"]["syncs"] for node in nodes]


def _settled(nodes: list[Node]) -> list[int]:
    """Return how often each has synced once none owes anything to what was written before."""
    assert all(node.ask("GET", "/kv/get", key="?").status == 200 for node in nodes)
    # Two of three disks are enough for a write, so one may be at it still.
    counts = _syncs(nodes)
    while counts != (counts := _syncs(nodes)):
        pass
    return counts


def _set(node: Node, key: str) -> bool:
    return node.ask("POST", "/kv/set", key=key, value="v").done


def test_a_serial_write_costs_a_majority_one_sync_each_and_no_node_more(three: Cluster) -> None:
    leader = three.leader()
    assert _set(leader, "warm-up")
    before = _settled(three.nodes)
    assert all(_set(leader, str(number)) for number in range(SERIAL))
    assert three.leader() is leader
    spent = [after - b for after, b in zip(_settled(three.nodes), before, strict=True)]
    # One that is slow, be it the leader, may sync two votes at once; never the other way.
    assert max(spent) <= SERIAL
    # Two have each write on their disks before the next one begins.
    assert sum(spent) >= 2 * SERIAL


def test_concurrent_writers_share_syncs(three: Cluster) -> None:
    leader = three.leader()
    before = _syncs(three.nodes)

    def write(writer: int) -> bool:
        return all(_set(leader, f"{writer}-{number}") for number in range(ROUNDS))

    with ThreadPoolExecutor(WRITERS) as pool:
        assert all(pool.map(write, range(WRITERS)))
    spent = [after - b for after, b in zip(_syncs(three.nodes), before, strict=True)]
    assert max(spent) < WRITERS * ROUNDS / 2
    assert leader.ask("GET", "/kvman/countkey").body == {"result": WRITERS * ROUNDS}

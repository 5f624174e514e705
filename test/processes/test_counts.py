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


def _set(node: Node, key: str) -> bool:
    return node.ask("POST", "/kv/set", key=key, value="v").done


def test_a_serial_write_costs_every_node_one_sync(three: Cluster) -> None:
    leader = three.leader()
    assert _set(leader, "warm-up")
    before = _syncs(three.nodes)
    assert all(_set(leader, str(number)) for number in range(SERIAL))
    # A read through every node: what they owe to the last write is done by then.
    assert all(node.ask("GET", "/kv/get", key="0").done for node in three.nodes)
    assert three.leader() is leader
    spent = [after - b for after, b in zip(_syncs(three.nodes), before, strict=True)]
    # A follower may meet two Accepts at once, which then share a sync; never the other way.
    assert max(spent) <= SERIAL
    assert spent[three.nodes.index(leader)] == SERIAL


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

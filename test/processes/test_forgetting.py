"""The journal does not grow for ever: what every member's state holds durably is deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.processes.cluster import START_S, Cluster, Node, cluster

pytestmark = pytest.mark.timeout(120)

MIB = 1024 * 1024
WRITES = 64


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path) as made:
        made.start()
        yield made


def _journal(node: Node) -> dict[str, int]:
    journal: dict[str, int] = node.ask("GET", "/kvman/status").body["journal"]
    return journal


def _first_kept(node: Node) -> int:
    kept: int = node.ask("GET", "/kvman/status").body["kept_from"]
    return kept


def test_segments_go_once_every_member_has_their_slots_in_its_state(three: Cluster) -> None:
    value = "x" * (MIB - 100)
    n01, _, n03 = three.nodes

    three.kill(n03)
    for number in range(WRITES):
        assert n01.ask("POST", "/kv/set", key=f"k{number % 4}", value=value).done
    # One member has reported nothing: whatever it may have missed is kept for it.
    assert _first_kept(n01) == 1

    three.start(n03)
    assert n03.ask("GET", "/kv/get", key="k0").done
    deadline = time.monotonic() + START_S
    while _journal(n01)["bytes"] >= WRITES * MIB:
        assert time.monotonic() < deadline, _journal(n01)
        assert n01.ask("POST", "/kv/set", key="k0", value=value).done
    assert _first_kept(n01) > 1

    # And what was forgotten is not needed to come back.
    three.kill(*three.nodes)
    three.start()
    assert n03.ask("GET", "/kvman/countkey").body == {"result": 4}

"""What a node tells of its parts while they are busy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from kvpaxos.config.cluster import default_cluster
from kvpaxos.node.overview import Overview


def overview(donor: str | None, received_bytes: int) -> Overview:
    made = Overview("n01", default_cluster(), lambda: 0.0)
    recipient = SimpleNamespace(donor=donor, received_bytes=received_bytes)
    made.states = cast("Any", SimpleNamespace(recipient=recipient))
    return made


def test_a_state_on_its_way_is_told_with_its_progress() -> None:
    fetching = overview("n02", 52 * 2**20)

    assert fetching.describe()["fetching"] == {"from": "n02", "bytes": 52 * 2**20}
    doubt = fetching.doubt()
    assert doubt is not None
    assert "it is getting the state of n02, and 52 MiB of it have come" in doubt


def test_nothing_is_told_when_none_is() -> None:
    idle = overview(None, 0)

    assert idle.describe()["fetching"] == {}
    assert idle.doubt() is None

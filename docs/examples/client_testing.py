"""A test of code that uses kvpaxos: no network, no reactor, the same every time.

pytest docs/examples/client_testing.py
"""

# ruff: noqa: INP001, D103  (tests, whose names say it all)

from __future__ import annotations

import pytest

from kvpaxos.client import Client
from kvpaxos.errors import KeyExists, Unavailable
from kvpaxos.testing import FakeCluster


async def register(client: Client, name: str, owner: str) -> bool:
    """Return whether ``name`` now belongs to ``owner``: this is what is tested."""
    try:
        await client.insert(f"names/{name}", owner)
    except KeyExists:
        return False
    return True


def test_a_name_is_given_away_once() -> None:
    cluster = FakeCluster(nodes=3)
    client = cluster.client()
    assert cluster.result_of(register(client, "atlas", "ann"))
    assert not cluster.result_of(register(client, "atlas", "bob"))
    assert cluster.pairs() == {b"names/atlas": b"ann"}


def test_whose_answer_is_lost_has_the_name_all_the_same() -> None:
    cluster = FakeCluster(nodes=3)
    cluster.lose_writes(applied=True)
    assert cluster.result_of(register(cluster.client(), "atlas", "ann"))


def test_without_a_majority_nobody_gets_a_name() -> None:
    cluster = FakeCluster(nodes=3)
    cluster.stop("n01", "n02")
    client = cluster.client(timeout_s=2.0)
    with pytest.raises(Unavailable):
        cluster.result_of(register(client, "atlas", "ann"))
    assert cluster.pairs() == {}

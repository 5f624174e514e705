"""The client and real nodes, whose leader is killed again and again while it writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from kvpaxos.client import Answer, Client
from test.processes.cluster import Cluster, cluster

pytestmark = pytest.mark.timeout(180)

PATIENCE_S = 30.0
"""No election takes so long on the slowest machine."""


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path) as made:
        made.start()
        yield made


def client_of(three: Cluster, *, lanes_max: int = 16) -> Client:
    urls = [f"http://127.0.0.1:{node.port}" for node in three.nodes]
    return Client(urls, timeout_s=PATIENCE_S, lanes_max=lanes_max)


def restart_leader(three: Cluster) -> None:
    """Kill the leader with SIGKILL, and start it again. It blocks."""
    leader = three.leader()
    three.kill(leader)
    three.start(leader)


def elements(three: Cluster, key: str) -> list[list[str]]:
    """Return what each node says that ``key`` is made of."""
    replies = [node.ask("GET", "/kv/get", key=key) for node in three.nodes]
    return [reply.body["value"].split(",")[:-1] for reply in replies]


@pytest_twisted.ensureDeferred
async def test_a_stream_of_appends_survives_the_kill_of_leaders_once_and_in_order(
    three: Cluster,
) -> None:
    async with client_of(three) as client:
        appended = 0
        for _ in range(2):
            restarted = deferToThread(restart_leader, three)
            while not restarted.called:
                await client.append("log", f"{appended},")
                appended += 1
            await restarted
        answer = await client.append("log", f"{appended},")
    expected = [str(number) for number in range(appended + 1)]
    assert appended > 10
    assert answer.text.split(",")[:-1] == expected
    assert elements(three, "log") == [expected] * 3


@pytest_twisted.ensureDeferred
async def test_writes_that_are_under_way_together_are_each_carried_out_once(
    three: Cluster,
) -> None:
    async with client_of(three, lanes_max=8) as client:
        restarted = deferToThread(restart_leader, three)
        appends: list[Deferred[Answer]] = []
        while not restarted.called:
            batch = [client.append("bag", f"{len(appends) + n},") for n in range(24)]
            appends += batch
            await gatherResults(batch)
        await restarted
    for found in elements(three, "bag"):
        assert sorted(found, key=int) == [str(number) for number in range(len(appends))]


@pytest_twisted.ensureDeferred
async def test_a_dump_is_read_whole_while_nodes_come_and_go(three: Cluster) -> None:
    pairs = {f"{number:04}".encode(): Random(number).randbytes(1000) for number in range(500)}
    async with client_of(three) as client:
        await gatherResults([client.set(key, value) for key, value in pairs.items()])
        assert [pair async for pair in client.dump()] == sorted(pairs.items())
        restarted = deferToThread(restart_leader, three)
        while not restarted.called:
            assert [pair async for pair in client.dump(page=100)] == sorted(pairs.items())
        await restarted
        assert await client.count() == len(pairs)

"""Values of many frames, in clusters of real processes that are set up to take them.

``KVPAXOS_VALUE_MIB`` says how long they are: 4 MiB, and 16 in ``make test_values``.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from test.processes.cluster import Cluster, Node, Reply, Unreachable, cluster

pytestmark = pytest.mark.timeout(600)

MIB = 1024 * 1024
VALUE_BYTES_MAX = int(os.environ.get("KVPAXOS_VALUE_MIB", "4")) * MIB
TIMEOUT_S = 60
"""A deadline that only a broken node misses, be the machine ever so busy."""

NOISE = Random(1).randbytes(MIB // 2).hex()
"""1 MiB that no two stretches of are alike."""


def value(length: int = VALUE_BYTES_MAX, mark: str = "") -> str:
    """Return a value of ``length`` bytes, and another one for each ``mark``."""
    return (mark + NOISE * (length // MIB + 1))[:length]


def post(node: Node, verb: str, **parameters: str) -> Reply:
    """Write; what is sent needs no escapes."""
    parameters["timeout"] = str(TIMEOUT_S)
    body = "&".join(f"{name}={text}" for name, text in parameters.items())
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=2 * TIMEOUT_S)
    try:
        connection.request("POST", f"/kv/{verb}", body=body)
        response = connection.getresponse()
        return Reply(response.status, json.loads(response.read()), {})
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{node.name}: {error!r}") from error
    finally:
        connection.close()


def read(node: Node, key: str) -> Any:
    """Return the value of ``key``, or None."""
    reply = node.ask("GET", "/kv/get", 2 * TIMEOUT_S, key=key, timeout=str(TIMEOUT_S))
    return reply.body["value"] if reply.done else None


@pytest.fixture(params=["tcp", "unix"])
def three(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    limits = {"value_bytes_max": VALUE_BYTES_MAX}
    with cluster(tmp_path, transport=request.param, limits=limits) as made:
        made.start()
        yield made


def test_the_longest_values_are_written_and_read_through_every_node_and_no_longer_ones(
    three: Cluster,
) -> None:
    leader = three.leader()
    for node in (leader, next(one for one in three.nodes if one is not leader)):
        name = node.name
        longest, other = value(mark=f"a {name}".replace(" ", "-")), value(mark=name)
        assert post(node, "insert", key=name, value=longest).done
        assert read(three.nodes[0], name) == longest
        assert post(node, "update", key=name, value=other).done
        assert post(node, "append", key=f"{name}-grows", value=longest[1:]).done
        assert post(node, "append", key=f"{name}-grows", value="x").done

        refused = [
            post(node, "insert", key=f"{name}-over", value=value(VALUE_BYTES_MAX + 1)),
            post(node, "update", key=name, value=value(VALUE_BYTES_MAX + 1)),
            post(node, "append", key=f"{name}-grows", value="y"),
        ]
        assert [(reply.status, reply.body["applied"]) for reply in refused] == [(413, "no")] * 3
        for reader in three.nodes:
            assert read(reader, name) == other
            assert read(reader, f"{name}-grows") == longest[1:] + "x"
            assert read(reader, f"{name}-over") is None


@pytest.mark.parametrize("three", ["tcp"], indirect=True)
def test_a_node_that_was_down_catches_up_over_slots_of_the_longest_values(three: Cluster) -> None:
    leader = three.leader()
    away = next(one for one in three.nodes if one is not leader)
    three.kill(away)
    written = {f"k{number}": value(mark=f"{number}-") for number in range(4)}
    for key, text in written.items():
        assert post(leader, "set", key=key, value=text).done
    three.start(away)
    for key, text in written.items():
        assert read(away, key) == text
    assert not [line for line in away.lines if "getting the state of" in line]


@pytest.mark.parametrize("three", ["tcp"], indirect=True)
def test_a_long_write_whose_leader_is_killed_is_executed_once_when_it_is_sent_again(
    three: Cluster,
) -> None:
    leader = three.leader()
    asked = next(one for one in three.nodes if one is not leader)
    request = {"key": "once", "value": value(VALUE_BYTES_MAX // 2), "client": "c", "opid": "1"}
    outcomes: list[Reply | Unreachable] = []

    def write() -> None:
        try:
            outcomes.append(post(asked, "append", **request))
        except Unreachable as error:
            outcomes.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        three.kill(leader)
    finally:
        writer.join(3 * TIMEOUT_S)
    assert len(outcomes) == 1
    assert post(asked, "append", **request).done
    three.start(leader)
    for node in three.nodes:
        assert read(node, "once") == request["value"]

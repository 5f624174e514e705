"""Exactly once under fire: leaders are killed, links and replies are lost, clients ask again.

``KVPAXOS_FIRES`` says how often the whole of it is done, over each kind of link in turn.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import parse_headers
from io import BufferedReader
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest

from test.processes.cluster import Cluster, Node, Unreachable, cluster

pytestmark = pytest.mark.timeout(180)

FIRES = int(os.environ.get("KVPAXOS_FIRES", "2"))
CLIENTS = 8
KILLS = 2
PIPELINED = 40
LOSS = "0.05"
KEYS = ("first", "second", "third")


@dataclass
class Appender:
    """Appends elements to keys by random nodes, each with an opid, until it is acknowledged.

    One in ten of its requests is cut off before the reply can have come.

    :ivar acknowledged: the key of each element, in the order of opids, from 1.
    :ivar last: what the last acknowledged element was answered.
    """

    name: str
    nodes: list[Node]
    random: Random
    acknowledged: list[str] = field(default_factory=list)
    retries: int = 0
    last: Any = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the element under way."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), f"{self.name} cannot get its element acknowledged"

    def wait_for(self, more: int) -> None:
        with self._news:
            wanted = len(self.acknowledged) + more
            done = self._news.wait_for(lambda: len(self.acknowledged) >= wanted, timeout=60)
        assert done, f"{self.name} got {len(self.acknowledged)} of {wanted} acknowledged"

    def request(self, opid: int, key: str) -> dict[str, str]:
        """Return the parameters of one append: the same whenever it is sent again."""
        return {"key": key, "value": f"{self.name}.{opid},", "client": self.name, "opid": str(opid)}

    def _run(self) -> None:
        while not self._stop.is_set():
            key = self.random.choice(KEYS)
            request = self.request(len(self.acknowledged) + 1, key)
            while (answer := self._try(request)) is None:
                self.retries += 1
                # Nodes that are down refuse at once: somebody may have news of them soon.
                self._stop.wait(0.02)
            with self._news:
                self.last = answer
                self.acknowledged.append(key)
                self._news.notify_all()

    def _try(self, request: dict[str, str]) -> Any:
        node = self.random.choice(self.nodes)
        if self.random.random() < 0.1:
            _send_and_leave(node, request)
            return None
        try:
            reply = node.send("POST", "/kv/append", {**request, "timeout": "2"})
        except Unreachable:
            return None
        if reply.status in {503, 504}:
            return None
        assert reply.done, (request, reply)
        return reply.body


def _send_and_leave(node: Node, request: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=5)
    try:
        connection.request("POST", "/kv/append", body=urlencode(request))
    except OSError:
        return
    finally:
        connection.close()


@pytest.fixture
def three(tmp_path: Path, fire: int) -> Iterator[Cluster]:
    with cluster(tmp_path, 3, ("tcp", "unix")[fire % 2]) as made:
        made.start(options=("--allow-partitions",))
        yield made


@pytest.mark.parametrize("fire", range(FIRES))
def test_every_element_is_there_once_and_in_its_clients_order(three: Cluster, fire: int) -> None:
    random = Random(fire)
    clients = [
        Appender(f"c{number}", three.nodes, Random(f"{fire}.{number}")) for number in range(CLIENTS)
    ]
    for node in three.nodes:
        _lose(node, LOSS)
    for client in clients:
        client.start()
    for _ in range(KILLS):
        for client in clients:
            client.wait_for(random.randrange(2, 6))
        leader = three.leader()
        three.kill(leader)
        for client in clients:
            client.wait_for(random.randrange(1, 4))
        three.start(leader, options=("--allow-partitions",))
        _lose(leader, LOSS)
    for client in clients:
        client.wait_for(2)
        client.stop()
    for node in three.nodes:
        _lose(node, "0")
    assert any(client.retries for client in clients), "nothing was ever asked for again"
    for node in three.nodes:
        _check(node, clients)


def test_what_a_client_pipelines_stays_in_its_order_when_the_leader_is_killed(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path) as three:
        three.start()
        leader = three.leader()
        node, other = (node for node in three.nodes if node is not leader)
        with socket.create_connection(("127.0.0.1", node.port), timeout=60) as connection:
            connection.sendall(b"".join(_append(opid) for opid in range(1, PIPELINED + 1)))
            replies = connection.makefile("rb")
            values = [_next_value(replies)]
            # Some of the others are with the leader, some on their way, some not read yet.
            three.kill(leader)
            values += [_next_value(replies) for _ in range(PIPELINED - 1)]
        elements = [f"{opid}," for opid in range(1, PIPELINED + 1)]
        assert values == ["".join(elements[:count]) for count in range(1, PIPELINED + 1)]
        # Another node knows what was answered, and what it can know nothing of any more.
        newest = {"key": "line", "value": f"{PIPELINED},", "client": "c", "opid": str(PIPELINED)}
        assert other.send("POST", "/kv/append", newest).body["value"] == values[-1]
        stale = other.send("POST", "/kv/append", {**newest, "opid": str(PIPELINED - 1)})
        assert (stale.body["success"], stale.body["applied"]) == ("false", "unknown")
        assert other.ask("GET", "/kv/get", key="line").body["value"] == values[-1]


def _append(opid: int) -> bytes:
    body = urlencode({"key": "line", "value": f"{opid},", "client": "c", "opid": str(opid)})
    return (
        f"POST /kv/append HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _next_value(replies: BufferedReader) -> str:
    """Read one reply of several on a connection, and return the value in it."""
    assert replies.readline().split()[1] == b"200"
    headers = parse_headers(replies)
    value: str = json.loads(replies.read(int(headers["Content-Length"])))["value"]
    return value


def _lose(node: Node, share: str) -> None:
    assert node.ask("POST", "/kvman/links", loss=share).status == 200


def _check(node: Node, clients: list[Appender]) -> None:
    found: dict[str, list[str]] = {}
    for key in KEYS:
        reply = node.ask("GET", "/kv/get", key=key)
        found[key] = reply.body["value"].rstrip(",").split(",") if reply.done else []
    for client in clients:
        for key in KEYS:
            mine = [element for element in found[key] if element.startswith(f"{client.name}.")]
            wanted = [
                f"{client.name}.{opid}"
                for opid, at in enumerate(client.acknowledged, start=1)
                if at == key
            ]
            assert mine == wanted, f"{client.name} at {node.name}, in {key}"
        newest = len(client.acknowledged)
        key = client.acknowledged[-1]
        again = node.send("POST", "/kv/append", client.request(newest, key))
        assert again.body == client.last, "a repeated request got another answer"
        older = node.send("POST", "/kv/append", client.request(newest - 1, "first"))
        assert older.body["success"] == "false"
        assert older.body["applied"] == "unknown"

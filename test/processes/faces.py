"""Whole nodes, asked as the tables of test/node/http ask the one in memory."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlencode

from test.node.http.harness import Reply, parse, request
from test.processes.cluster import START_S, Cluster, Node


class Face:
    """One node, as the tables of test/node/http ask it. Each request has its own connection."""

    def __init__(self, node: Node, dialect: str, cluster: Cluster) -> None:
        self.node = node
        self.dialect = dialect
        self.cluster = cluster

    def connect(self) -> Conversation:
        return Conversation(self.node.port)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str | None = None,
        **headers: str,
    ) -> Reply:
        return self.connect().ask(method, target, body, content_type, **headers)

    def turn(self, times: int = 1) -> None:
        """Do nothing: a process turns its reactor itself."""

    def other(self) -> Face:
        """Return another node of the cluster."""
        place = self.cluster.nodes.index(self.node) + 1
        return Face(self.cluster.nodes[place % len(self.cluster.nodes)], self.dialect, self.cluster)

    def pairs(self) -> list[Any]:
        dump = self.ask("GET", "/kvman/dump")
        assert dump.whole
        pairs: list[Any] = dump.json
        return pairs

    def refill(self, pairs: list[list[str]]) -> None:
        """Make ``pairs`` all that there is."""
        found = self.pairs()
        if found == pairs:
            return
        for pair in found:
            named = {"key": pair[0]} if isinstance(pair, list) else {**pair}
            given = {name: text for name, text in named.items() if name.startswith("key") and text}
            assert self.ask("POST", "/kv/delete", urlencode(given).encode()).status == 200
        for key, value in pairs:
            given = {"key": key, "value": value}
            assert self.ask("POST", "/kv/set", urlencode(given).encode()).status == 200


class Conversation:
    """One request to a node and its reply."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=START_S)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str | None = None,
        **headers: str,
    ) -> Reply:
        self.begin(method, target, body, content_type, **headers)
        return self.reply(to=method)

    def begin(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        content_type: str | None = None,
        **headers: str,
    ) -> None:
        self.send(request(method, target, body, content_type, **headers))

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def reply(self, *, to: str = "GET") -> Reply:
        received = bytearray()
        with self._socket:
            while chunk := self._socket.recv(256 * 1024):
                received += chunk
                if b"\r\n\r\n" in received:
                    reply, _ = parse(bytes(received), to.upper())
                    if reply.whole:
                        return reply
        raise AssertionError(f"the reply broke off: {bytes(received[:200])!r}")

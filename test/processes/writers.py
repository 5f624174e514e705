"""Clients that write through one node each, for as long as a test wants, and keep accounts."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from test.processes.cluster import Cluster, Node, Unreachable


@dataclass
class Writer:
    """Appends the tokens 0, 1, 2, … to a key of its own; never sends one twice.

    :ivar acknowledged: tokens whose append was answered with success.
    :ivar unknown: tokens whose fate the client was not told.
    """

    node: Node
    key: str
    acknowledged: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    _next: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _news: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def wait_for(self, more: int) -> None:
        """Wait until ``more`` further tokens have been acknowledged."""
        with self._news:
            wanted = len(self.acknowledged) + more
            done = self._news.wait_for(lambda: len(self.acknowledged) >= wanted, timeout=30)
        assert done, f"{self.node.name} acknowledged {len(self.acknowledged)} of {wanted}"

    def _run(self) -> None:
        while not self._stop.is_set():
            token, self._next = self._next, self._next + 1
            try:
                reply = self.node.ask("POST", "/kv/append", key=self.key, value=f"{token},")
            except Unreachable:
                self.unknown.append(token)
                # A node that is down is asked again once somebody has news.
                self._stop.wait(0.05)
                continue
            if reply.done:
                with self._news:
                    self.acknowledged.append(token)
                    self._news.notify_all()
            elif reply.body["applied"] == "unknown":
                self.unknown.append(token)

    def check(self, cluster: Cluster) -> None:
        """Every acknowledged token is there once, in order; no token is there twice."""
        for node in cluster.nodes:
            reply = node.ask("GET", "/kv/get", key=self.key)
            assert reply.done, reply
            found = [int(token) for token in reply.body["value"].split(",") if token]
            assert found == sorted(set(found)), "a token was appended twice, or out of order"
            lost = set(self.acknowledged) - set(found)
            assert not lost, f"acknowledged and lost at {node.name}: {sorted(lost)}"
            invented = set(found) - set(self.acknowledged) - set(self.unknown)
            assert not invented, f"refused and yet there: {sorted(invented)}"


def writers(cluster: Cluster) -> list[Writer]:
    """Return one writer for each node, not started."""
    return [Writer(node, f"log-{node.name}") for node in cluster.nodes]

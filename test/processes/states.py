"""Writes, reads and compares what nodes hold, for tests that take their disks from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from test.processes.cluster import START_S, Cluster, Node

VALUE = "x" * 4096

FILLERS = 10
"""So many writes at a time are made to have nodes forget."""


def write(node: Node, prefix: str, count: int) -> None:
    """Set ``count`` keys; each write is acknowledged."""
    for number in range(count):
        reply = node.ask("POST", "/kv/set", key=f"{prefix}{number}", value=VALUE)
        assert reply.done, reply


def expect(node: Node, prefix: str, count: int) -> None:
    """Read, linearizably, what `write` has written."""
    for number in range(count):
        reply = node.ask("GET", "/kv/get", key=f"{prefix}{number}")
        assert reply.body == {"success": "true", "value": VALUE}, (node.name, prefix, number)


def forget(node: Node) -> None:
    """Write until ``node`` has forgotten everything decided before, whoever may lack it."""
    decided: int = node.ask("GET", "/kvman/status").body["decided"]

    def forgotten() -> bool:
        write(node, "filler", FILLERS)
        return _first_kept(node) > decided

    wait_for(forgotten)


def forget_all(cluster: Cluster) -> None:
    """Do as `forget` does with all nodes."""
    for node in cluster.nodes:
        forget(node)


def disk(node: Node) -> int:
    """Return the number of the disk that ``node`` is on."""
    life: int = node.ask("GET", "/kvman/status").body["life"]
    return life >> 32


def wait_for_vote(node: Node) -> None:
    """Return once ``node``, which has rejoined, votes: until then it has promised nothing."""
    wait_for(lambda: node.ask("GET", "/kvman/status").body["ballot"])


def wait_for_equal_states(nodes: Sequence[Node]) -> None:
    """Return once all ``nodes`` have applied the same slots, which made the same state."""

    def comparable() -> bool:
        statuses = [node.ask("GET", "/kvman/status").body for node in nodes]
        states = {(status["applied"], status["state"]["digest"]) for status in statuses}
        applied = {slot for slot, _ in states}
        # Each slot makes one state: two of the same slot are a bug, however soon they vanish.
        assert len(states) == len(applied), states
        return len(applied) == 1

    wait_for(comparable)


def wait_for(holds: Callable[[], object]) -> None:
    """Return once something is so. It is asked of other processes, which do not tell."""
    deadline = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline, holds


def _first_kept(node: Node) -> int:
    kept: int = node.ask("GET", "/kvman/status").body["kept_from"]
    return kept

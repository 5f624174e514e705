"""Who hears whom, among nodes that run in this process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Literal, TypeAlias

from kvpaxos.paxos.ballot import NodeId

Throw: TypeAlias = Callable[[NodeId, NodeId, Literal["up", "cut"]], object]
"""Throws the switch of one direction, from a sender to a receiver, at one of its ends."""


class Partition:
    """Cuts links and heals them, while their nodes run.

    A cut loses all that goes its way, and leaves connections alone. It outlasts restarts.

    :ivar cuts: the directions, as (sender, receiver), in which everything is lost.
    """

    def __init__(self, nodes: Collection[NodeId]) -> None:
        self.cuts: frozenset[tuple[NodeId, NodeId]] = frozenset()
        self._nodes = frozenset(nodes)
        self._ends: dict[NodeId, Throw] = {}

    def attach(self, node: NodeId, throw: Throw) -> None:
        """Let ``throw`` switch the links of ``node``, which was started, perhaps once more."""
        self._ends[node] = throw
        self._switch(node)

    def detach(self, node: NodeId) -> None:
        """Leave ``node`` alone: it has ended. It is to be attached again when it is started."""
        del self._ends[node]

    def divide(self, *sides: Collection[NodeId]) -> None:
        """Let only those hear each other that are on one side. Who is on no side is alone."""
        self.cut(
            (sender, receiver)
            for sender in self._nodes
            for receiver in self._nodes - {sender}
            if not any(sender in side and receiver in side for side in sides)
        )

    def cut(self, directions: Iterable[tuple[NodeId, NodeId]]) -> None:
        """Cut exactly ``directions``, as (sender, receiver), and heal all others."""
        self.cuts = frozenset(directions)
        for node in self._ends:
            self._switch(node)

    def heal(self) -> None:
        """Let everybody hear everybody."""
        self.cut(())

    def _switch(self, node: NodeId) -> None:
        for peer in self._nodes - {node}:
            for direction in ((node, peer), (peer, node)):
                self._ends[node](*direction, "cut" if direction in self.cuts else "up")

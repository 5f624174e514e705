"""Switches that cut, delay, thin out and slow down the links of a node while it runs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import isfinite
from random import Random
from typing import Final, Literal

from kvpaxos.errors import BadRequest, Forbidden
from kvpaxos.paxos.ballot import NodeId

DELAY_S_MAX: Final = 60.0
"""The longest that a message can be held back."""


@dataclass(frozen=True, slots=True)
class Switch:
    """How one direction of one link behaves.

    :ivar cut: whether every message is lost.
    :ivar delay_s: how long each message is held back; their order is kept.
    :ivar loss: the share of messages that are lost, from 0 to 1.
    :ivar bytes_per_s: how fast they travel; 0 means as fast as they can.
    """

    cut: bool = False
    delay_s: float = 0.0
    loss: float = 0.0
    bytes_per_s: float = 0.0


CLEAR: Final = Switch()
"""A direction that nothing was done to."""


class Switches:
    """The switches of all directions that begin or end at one node.

    What is cut or lost is lost at both ends; delay and speed act at the sending end, once.
    They act on everything but greetings: a connection can be made, and shows nothing but that.
    """

    def __init__(
        self, node: NodeId, members: Collection[NodeId], *, random: Random, allowed: bool
    ) -> None:
        """Make switches that are all clear.

        :param random: decides which messages are lost.
        :param allowed: whether they may be touched in this cluster at all.
        """
        self._node = node
        self._members = tuple(sorted(members))
        self._random = random
        self._allowed = allowed
        self._thrown: dict[tuple[NodeId, NodeId], Switch] = {}

    def set(
        self,
        from_node: str | None,
        to_node: str | None,
        *,
        state: Literal["up", "cut"] | None = None,
        delay_s: float | None = None,
        loss: float | None = None,
        bytes_per_s: float | None = None,
    ) -> None:
        """Throw the switch of the direction from ``from_node`` to ``to_node``.

        A node that is None means every node, as far as this node is at the other end. What
        else is None stays as it is.

        :raises BadRequest: if there is no such direction here, or no such setting.
        :raises Forbidden: if partitions are not allowed in this cluster.
        """
        self._check_allowed()
        directions = self._directions(from_node, to_node)
        changes: dict[str, float | bool] = {}
        if state is not None:
            if state not in ("up", "cut"):
                raise BadRequest(f"state is {state!r}, and can only be up or cut")
            changes["cut"] = state == "cut"
        if delay_s is not None:
            changes["delay_s"] = _between("delay", delay_s, DELAY_S_MAX)
        if loss is not None:
            changes["loss"] = _between("loss", loss, 1.0)
        if bytes_per_s is not None:
            changes["bytes_per_s"] = _between("bytes per second", bytes_per_s, float(2**40))
        for direction in directions:
            # mypy cannot see that each name goes with its own type.
            switch = replace(self._thrown.get(direction, CLEAR), **changes)  # type: ignore[arg-type]
            self._thrown[direction] = switch
            if switch == CLEAR:
                del self._thrown[direction]

    def heal(self) -> None:
        """Clear all switches.

        :raises Forbidden: if partitions are not allowed in this cluster.
        """
        self._check_allowed()
        self._thrown.clear()

    def all(self) -> list[dict[str, object]]:
        """Describe every direction that begins or ends here, for the operator.

        :raises Forbidden: if partitions are not allowed in this cluster.
        """
        self._check_allowed()
        return [_row(*direction, self._thrown.get(direction, CLEAR)) for direction in self._own()]

    def sending(self, to: NodeId) -> Switch:
        """Return the switch that messages to ``to`` pass here."""
        return self._thrown.get((self._node, to), CLEAR) if self._thrown else CLEAR

    def receiving(self, sender: NodeId) -> Switch:
        """Return the switch that messages from ``sender`` pass here."""
        return self._thrown.get((sender, self._node), CLEAR) if self._thrown else CLEAR

    def loses(self, switch: Switch) -> bool:
        """Decide whether the next message that passes ``switch`` is lost."""
        if switch is CLEAR:
            return False
        return switch.cut or (switch.loss > 0 and self._random.random() < switch.loss)

    def _check_allowed(self) -> None:
        if not self._allowed:
            raise Forbidden(
                "the links of this cluster cannot be switched:"
                " start its nodes with --allow-partitions for that"
            )

    def _own(self) -> list[tuple[NodeId, NodeId]]:
        return [
            (from_node, to_node)
            for from_node in self._members
            for to_node in self._members
            if from_node != to_node and self._node in (from_node, to_node)
        ]

    def _directions(
        self, from_node: str | None, to_node: str | None
    ) -> list[tuple[NodeId, NodeId]]:
        for node in (from_node, to_node):
            if node is not None and node not in self._members:
                raise BadRequest(f"{node} is no member; the members are {', '.join(self._members)}")
        chosen = [
            (sender, receiver)
            for sender, receiver in self._own()
            if from_node in (None, sender) and to_node in (None, receiver)
        ]
        if not chosen:
            raise BadRequest(
                f"no link leads from {from_node or 'anywhere'} to {to_node or 'anywhere'} with"
                f" an end at {self._node}; ask one of the nodes at its ends"
            )
        return chosen


def _between(name: str, number: float, most: float) -> float:
    if not (isfinite(number) and 0 <= number <= most):
        raise BadRequest(f"{name} is {number:g}, and can only be from 0 to {most:g}")
    return float(number)


def _row(from_node: NodeId, to_node: NodeId, switch: Switch) -> dict[str, object]:
    return {
        "from": from_node,
        "to": to_node,
        "state": "cut" if switch.cut else "up",
        "delay": switch.delay_s,
        "loss": switch.loss,
        "bytes_per_s": switch.bytes_per_s,
    }

"""Which replicas hold the state that the log makes, and which have gone astray.

After one slot all replicas hold equal states, so their digests are equal, unless a disk, a memory
or a program went wrong somewhere. Nothing in a replica tells which one it was; a majority does:

C1. At a slot at which a majority of the members tells the same digest, that one is right. Whoever
    tells another is wrong, and must get the state from one that is right.
C2. At a slot at which digests differ and none of them has a majority yet, any may be wrong. Whoever
    told one there must answer nothing, until there is a majority at that slot or a later one.
C3. What was told at an earlier slot counts no more once a node has told of a later one at which
    there is a majority: each state grows out of the one before. Two that differed are equal later
    only if all that was different has been overwritten; then nothing is wrong any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.quorum import Quorum

SLOTS_MAX: Final = 16
"""So many slots are compared at a time: those with the highest numbers."""


@dataclass(frozen=True, slots=True)
class Agrees:
    """The node was of one mind with a majority at ``slot``; 0 if that was never seen."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class IsWrong:
    """The state of the node, at ``slot``, is not that of ``right``, who are a majority."""

    slot: Slot
    right: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class IsDisputed:
    """The state of the node, at ``slot``, is that of ``same``, and not that of ``others``."""

    slot: Slot
    same: tuple[NodeId, ...]
    others: tuple[NodeId, ...]


Finding: TypeAlias = Agrees | IsWrong | IsDisputed


class Comparison:
    """What the members have told of their states, lately."""

    def __init__(self, quorum: Quorum) -> None:
        self._quorum = quorum
        self._told: dict[Slot, dict[NodeId, bytes]] = {}

    def note(self, node: NodeId, slot: Slot, digest: bytes) -> None:
        """Take what ``node`` tells of its state after ``slot``. What it told before is void."""
        if node not in self._quorum.members:
            return
        self._told.setdefault(slot, {})[node] = digest
        while len(self._told) > SLOTS_MAX:
            del self._told[min(self._told)]

    def forget(self, node: NodeId) -> None:
        """Forget what ``node`` has told: its state is another one now."""
        for told in self._told.values():
            told.pop(node, None)

    def is_compared(self, slot: Slot) -> bool:
        """Whether anybody has told of ``slot``."""
        return slot in self._told

    def find(self, node: NodeId) -> Finding:
        """Return what is known of the state of ``node``."""
        dispute: IsDisputed | None = None
        for slot in sorted(self._told, reverse=True):
            told = self._told[slot]
            if node not in told:
                continue
            right = self._right(told)
            if right is None:
                dispute = dispute or _dispute(node, slot, told)
            elif told[node] != right:
                return IsWrong(slot, _who(told, right))
            else:
                return dispute or Agrees(slot)
        return dispute or Agrees(NO_SLOT)

    def _right(self, told: Mapping[NodeId, bytes]) -> bytes | None:
        """Return the digest that a majority tells, if there is one."""
        for digest in Counter(told.values()):
            if self._quorum.reached(_who(told, digest)):
                return digest
        return None


def _dispute(node: NodeId, slot: Slot, told: Mapping[NodeId, bytes]) -> IsDisputed | None:
    same = _who(told, told[node])
    others = tuple(sorted(set(told).difference(same)))
    return IsDisputed(slot, same, others) if others else None


def _who(told: Mapping[NodeId, bytes], digest: bytes) -> tuple[NodeId, ...]:
    return tuple(sorted(node for node, one in told.items() if one == digest))

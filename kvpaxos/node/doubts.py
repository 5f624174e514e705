"""Why a node does not vote, or a cluster decides nothing, when disks were lost. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.formation import EMPTY, Standing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.recall import Inquiry
from kvpaxos.paxos.rejoin import Probation

_NEW_DISK = "this node has a new disk and does not vote yet: "
_DAMAGED = "; its old journal was damaged, and is "

Standings = Mapping[NodeId, Standing | None]
"""Where the other members stand, durably; None for those that are not here."""


def outside(node: NodeId, members: Sequence[NodeId], remains: str) -> str:
    """Return why ``node`` cannot serve before it is part of a cluster that is formed.

    :param remains: where its old journal is kept, if that was damaged; else empty.
    """
    others = ", ".join(member for member in members if member != node)
    if not remains:
        return f"the cluster has not formed yet: all of {others} are needed"
    # Every quorum that this node can belong to must have one of them in it.
    needed = len(members) - Quorum(frozenset(members)).size + 1
    return f"it waits for word from {needed} of {others} whose disks are sound{_told(remains)}"


def unfit(awaited: Collection[NodeId], standings: Standings, remains: str) -> str | None:
    """Return what a node waits for that has not taken an incarnation yet, or None.

    :param remains: as above.
    """
    if not awaited:
        return None
    return f"{_NEW_DISK}it waits for word from {_named(awaited, standings)}{_told(remains)}"


def unmended(inquiry: Inquiry, standings: Standings) -> str:
    """Return what a node waits for whose journal is being mended."""
    count = len(inquiry.wanted)
    if not count:
        return "this node is mending its journal, and does not vote yet"
    first = min(wanted.slot for wanted in inquiry.wanted)
    slots = f"slot {first}" if count == 1 else f"slot {first} and {count - 1} others"
    return (
        "this node's journal is damaged, and it does not vote before that is mended: it asks what"
        f" was in {slots}, and waits for word from {_named(inquiry.awaited, standings)}"
    )


def on_probation(probation: Probation, standings: Standings, remains: str) -> str:
    """Return what a node waits for that must not vote before it has learnt enough.

    :param remains: as above.
    """
    if probation.awaited:
        what = f"it waits for word from {_named(probation.awaited, standings)}"
    else:
        what = f"it must learn what is decided through slot {probation.must_learn_through}"
    return f"{_NEW_DISK}{what}{_told(remains)}"


def without_its_state(donor: NodeId, received_bytes: int) -> str:
    """Return what a node waits for that is given another one's state."""
    return (
        f"this node lacks what no journal keeps any more: it is getting the state of {donor}, and"
        f" {received_bytes // 2**20} MiB of it have come"
    )


def left_alone(standings: Standings, quorum: Quorum, decided_through: Slot) -> str | None:
    """Return why a sound node can decide nothing, if empty disks are why; else None."""
    sound = [node for node, standing in standings.items() if standing and standing.formed]
    empty = [node for node, standing in standings.items() if standing == EMPTY]
    if not empty or len(sound) + 1 >= quorum.size:
        return None
    missing = set(standings).difference(sound)
    return (
        f"no majority can vote: {_named(missing, standings)}; this node holds every slot through"
        f" {decided_through}"
    )


def _told(remains: str) -> str:
    return f"{_DAMAGED}{remains}" if remains else ""


def _named(nodes: Collection[NodeId], standings: Standings) -> str:
    return ", ".join(f"{node} ({_how(standings.get(node))})" for node in sorted(nodes))


def _how(standing: Standing | None) -> str:
    if standing is None:
        return "not here"
    if standing == EMPTY:
        return "here with an empty disk"
    return "here"

"""What two nodes check of each other before they talk. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import FIRST_INCARNATION
from kvpaxos.wire.greeting import Identity


class Run(NamedTuple):
    """One run of one node, as far as others can tell runs apart. Later runs are greater."""

    incarnation: int
    boot: int
    process: str


class Runs:
    """Which runs of the other members were seen.

    A run below one that was seen, or another one of the same number, is that of an old
    backup or of a copy: two disks answer for one node, and each lacks votes that it cast.
    """

    def __init__(self) -> None:
        self._last: dict[NodeId, Run] = {}
        self._last_formed: dict[NodeId, Run] = {}

    def objection(self, theirs: Identity, *, alive: bool) -> str | None:
        """Say why ``theirs`` cannot be another run of the same disk, or None if it can.

        :param alive: whether a connection with the last run that was seen still stands.
        """
        run = run_of(theirs)
        if theirs.formed:
            last = self._last_formed.get(theirs.node)
        else:
            # It has voted nowhere: its disk may have been cleaned and started over. But
            # there cannot be two of them at once.
            last = self._last.get(theirs.node) if alive else None
        if last is None or run.process == last.process:
            return None
        if run[:2] == last[:2]:
            return (
                f"two processes call themselves {theirs.node} in run {run.boot} of its disk:"
                " one of them runs on a copy. Stop it, or both may contradict each other's votes"
            )
        if run < last:
            return (
                f"{theirs.node} shows run {run.boot} of its disk (incarnation {run.incarnation}),"
                f" but run {last.boot} (incarnation {last.incarnation}) was seen already: its disk"
                " is an old backup or a copy, and may lack votes that it has cast. Bring back the"
                " disk it ran on last"
            )
        return None

    def note(self, theirs: Identity) -> None:
        """Remember ``theirs``, which was found in order."""
        self._last[theirs.node] = run_of(theirs)
        if theirs.formed:
            self.formed(theirs.node)

    def formed(self, node: NodeId) -> None:
        """Remember that the last run of ``node`` that was noted is, or has become, formed."""
        run = self._last[node]
        # It may have had no incarnation yet when it introduced itself.
        self._last_formed[node] = run._replace(incarnation=max(run[0], FIRST_INCARNATION))


def run_of(identity: Identity) -> Run:
    """Return which run of its node ``identity`` belongs to."""
    return Run(identity.incarnation, identity.boot, identity.process)


def misdialed(mine: Identity, to: NodeId) -> str | None:
    """Say what is wrong if somebody dialed ``mine`` and meant ``to``."""
    if to != mine.node:
        return f"{to} was dialed, but this is {mine.node}: mend the addresses in the settings"
    return None


def answered_by_another(theirs: Identity, to: NodeId) -> str | None:
    """Say what is wrong if ``theirs`` answered when ``to`` was dialed."""
    if theirs.node != to:
        return f"{to} was dialed, but {theirs.node} answered: mend the addresses in the settings"
    return None


def mismatch(mine: Identity, theirs: Identity) -> str | None:
    """Say why ``mine`` and ``theirs`` cannot be two members of one cluster, or None."""
    if theirs.node == mine.node:
        return f"both ends call themselves {mine.node}: give each node its own name and address"
    if theirs.members != mine.members:
        return (
            f"{theirs.node} is set up for the members {_list(theirs.members)}, and {mine.node}"
            f" for {_list(mine.members)}: the settings of all nodes must name the same"
        )
    if theirs.node not in mine.members:
        return f"{theirs.node} is no member; the members are {_list(mine.members)}"
    if theirs.rules != mine.rules:
        return (
            f"{theirs.node} is set up with {theirs.rules}, and {mine.node} with {mine.rules}:"
            " these settings must be the same on all nodes"
        )
    if mine.formed and theirs.formed and mine.cluster != theirs.cluster:
        return (
            f"{theirs.node} belongs to the cluster {theirs.cluster}, and {mine.node} to"
            f" {mine.cluster}: one of them has another cluster's disk or address"
        )
    return None


def _list(members: Sequence[NodeId]) -> str:
    return ", ".join(members)

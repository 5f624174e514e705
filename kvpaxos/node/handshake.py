"""What two nodes check of each other before they talk. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import Formation
from kvpaxos.paxos.records import Seen
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.wire.greeting import Holds, Identity

_BEGINS: Final = ", begins with "
"""Stands between the rules and the state that an unformed node begins with."""

_NOTHING: Final = "an empty state"


class Runs:
    """Which runs of the other members were seen, and how much their journals held.

    A run below one that was seen, or another one of the same number, is that of an old
    backup or of a copy: two disks answer for one node, and each lacks votes that it cast.
    So does a journal that holds less than was seen of it, or something else. Only what is
    durable is ever shown of one, so neither a kill nor a power cut makes it less.

    What was seen belongs into the journal of this node: it must not be forgotten with this run.
    """

    def __init__(self, written: Iterable[Seen] = ()) -> None:
        """Go on from what the journal says was seen: ``written``."""
        self._last: dict[NodeId, Seen] = {}
        self._written = {seen.node: seen for seen in written}
        self._last_formed = dict(self._written)

    def records(self, node: NodeId) -> int:
        """Return how many durable records were seen of ``node``; 0 if it was never formed."""
        last = self._last_formed.get(node)
        return 0 if last is None else last.records

    def objection(self, theirs: Identity, *, alive: bool, floor: int = 0) -> str | None:
        """Say why ``theirs`` cannot be another run of the same disk, or None if it can.

        :param alive: whether a connection with the last run that was seen still stands.
        :param floor: the `records` of it when it was sent what it answers; 0 if it answers
            nothing: it may then have been under way for longer than what it showed since.
        """
        run = _run_of(theirs)
        if not theirs.formed:
            # It has voted nowhere: its disk may have been cleaned and started over. But
            # there cannot be two of them at once.
            last = self._last.get(theirs.node)
            return _not_after(theirs.node, run, last) if last is not None and alive else None
        last = self._last_formed.get(theirs.node)
        if last is None:
            return None
        objection = _not_after(theirs.node, run, last)
        if objection is None and run.incarnation == last.incarnation:
            if floor > last.records:
                floor = 0  # It is of an earlier disk, as in `holds`.
            if run.process != last.process:
                # Whatever an earlier run has made durable, it did before this one began.
                floor = last.records
            objection = _not_grown(theirs.node, Holds(run.records, run.head), last, floor)
        return objection

    def holds(self, node: NodeId, process: str, holds: Holds, *, floor: int) -> str | None:
        """Take what the journal of ``process`` holds, or say why that cannot be.

        :param floor: as in `objection`.
        """
        last = self._last_formed.get(node)
        if last is None or last.process != process:
            return None
        if floor > last.records:
            floor = 0  # It is of an earlier disk: nothing takes back what is seen of one.
        objection = _not_grown(node, holds, last, floor)
        if objection is None and holds.records > last.records:
            self._last_formed[node] = replace(last, records=holds.records, head=holds.head)
        return objection

    def unwritten(self, slack: int) -> list[Seen]:
        """Return what the journal of this node must be given now, and take it for written.

        :param slack: by how many records the journal of a run that is written may have grown
            since. Nodes that note each other's notes would never come to an end of it.
        """
        due = [
            seen
            for node, seen in self._last_formed.items()
            if _is_news(seen, self._written.get(node), slack)
        ]
        self._written.update((seen.node, seen) for seen in due)
        return due

    def note(self, theirs: Identity) -> None:
        """Remember ``theirs``, which was found in order."""
        self._last[theirs.node] = _run_of(theirs)
        if theirs.formed:
            self.formed(theirs.node, theirs.incarnation)

    def formed(self, node: NodeId, incarnation: int) -> None:
        """Remember that the last run of ``node`` that was noted is, or has become, formed."""
        # It may have had no incarnation yet when it introduced itself.
        run = replace(self._last[node], incarnation=incarnation)
        last = self._last_formed.get(node)
        if last is not None and last.process == run.process and last.records > run.records:
            run = replace(run, records=last.records, head=last.head)
        self._last_formed[node] = run


def _run_of(theirs: Identity) -> Seen:
    return Seen(
        theirs.node,
        theirs.incarnation,
        theirs.boot,
        theirs.process,
        theirs.records,
        theirs.head,
    )


def _is_news(seen: Seen, written: Seen | None, slack: int) -> bool:
    if written is None or (seen.run, seen.process) != (written.run, written.process):
        return True
    return seen.records > written.records + slack


def _not_after(node: NodeId, run: Seen, last: Seen) -> str | None:
    """Say why ``run`` cannot be ``last``, nor come after it, or None if it can."""
    if run.process == last.process:
        return None
    if run.run == last.run:
        return (
            f"two processes call themselves {node} in run {run.boot} of its disk: one of them runs"
            " on a copy, or ran before, and this one on an older copy. Keep the right one only, or"
            " both may contradict each other's votes"
        )
    if run.run < last.run:
        return (
            f"{node} shows run {run.boot} of its disk (incarnation {run.incarnation}),"
            f" but run {last.boot} (incarnation {last.incarnation}) was seen already: its disk"
            " is an old backup or a copy, and may lack votes that it has cast. Bring back the"
            f" disk it ran on last; if it is lost, use kvpaxos node replace {node}"
        )
    return None


def _not_grown(node: NodeId, holds: Holds, last: Seen, floor: int) -> str | None:
    """Say why ``holds`` cannot be the journal that ``last`` has shown, or None if it can."""
    if holds.records < floor:
        return (
            f"{node} shows a journal of {holds.records} records, but {last.records} were seen"
            " already, all of them durable: its disk is an older copy, and may lack votes that it"
            " has cast. Bring back the disk it ran on last; if it is lost, use kvpaxos node replace"
            f" {node}"
        )
    if holds.records == last.records and holds.head != last.head:
        return (
            f"{node} shows another journal of {holds.records} records than was seen already:"
            " one of the two is that of a copy which went its own way, and may lack votes that"
            " were cast. Bring back the disk it ran on last; if it is lost, use kvpaxos node"
            f" replace {node}"
        )
    return None


class Handshake:
    """Introduces this node to others, and examines how they introduce themselves."""

    def __init__(
        self,
        formation: Formation,
        *,
        boot: int,
        process: str,
        rules: str,
        held: Callable[[], Holds],
        origin: str = "",
        seen: Iterable[Seen] = (),
    ) -> None:
        """Make one for one run of a node.

        :param boot: which run on its disk it is, from 1; ``process`` is a random word for
            this run that no copy of the disk can know.
        :param rules: the settings that all members must share.
        :param origin: with which state the node begins, if it is not an empty one.
        :param held: returns what its journal holds that would survive a power cut.
        :param seen: which runs of other members its journal says were seen.
        """
        self.formation = formation
        self.held = held
        self.runs = Runs(seen)
        self._boot = boot
        self._process = process
        self._rules = rules
        self._origin = origin

    def identity(self) -> Identity:
        """Say who this node is."""
        formation, held = self.formation, self.held()
        return Identity(
            formation.node,
            formation.members,
            formation.standing.cluster,
            formation.standing.formed,
            formation.incarnation,
            self._boot,
            self._process,
            held.records,
            held.head,
            self._shown_rules(),
            formation.incarnations,
        )

    def _shown_rules(self) -> str:
        # Of what is formed, all members have begun with the same.
        if self.formation.standing.formed or not self._origin:
            return self._rules
        return f"{self._rules}{_BEGINS}{self._origin}"

    def examine(
        self, theirs: Identity, meant: NodeId, *, dialed: bool, alive: bool, floor: int
    ) -> str | None:
        """Say what is wrong with ``theirs``, or remember it and return None.

        :param meant: whom we dialed, or, if ``dialed`` is False, whom they did.
        :param alive: whether another connection with that node stands.
        :param floor: see `Runs.objection`.
        """
        mine = self.identity()
        objection = (
            (answered_by_another(theirs, meant) if dialed else misdialed(mine, meant))
            or mismatch(mine, theirs)
            or replaced(mine, theirs)
            or self.runs.objection(theirs, alive=alive, floor=floor)
        )
        if objection is None:
            self.runs.note(theirs)
            if theirs.formed:
                self.formation.saw(theirs.node, theirs.incarnation)
        return objection


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
    return _other_rules(mine, theirs) or _other_cluster(mine, theirs)


def _other_rules(mine: Identity, theirs: Identity) -> str | None:
    """Say what ``mine`` and ``theirs`` must share and do not, or None."""
    their_rules, _, their_origin = theirs.rules.partition(_BEGINS)
    my_rules, _, my_origin = mine.rules.partition(_BEGINS)
    if their_rules != my_rules:
        return (
            f"{theirs.node} is set up with {their_rules}, and {mine.node} with {my_rules}:"
            " these settings must be the same on all nodes"
        )
    if their_origin != my_origin and not (theirs.formed or mine.formed):
        return (
            f"{theirs.node} begins with {their_origin or _NOTHING}, and {mine.node} with"
            f" {my_origin or _NOTHING}: all members of a new cluster must be restored from the same"
            " backup, or none"
        )
    return None


def _other_cluster(mine: Identity, theirs: Identity) -> str | None:
    """Say why ``mine`` and ``theirs`` are not of one cluster, or None."""
    for one in (mine, theirs):
        # It must not come back with a state that the others have not made.
        if _BEGINS in one.rules and not one.cluster and (mine.formed or theirs.formed):
            return (
                f"{one.node} was restored from a backup, and the cluster that it meets is formed"
                " already: restore all members of a new cluster, or empty that directory"
            )
    if mine.formed and theirs.formed and mine.cluster != theirs.cluster:
        return (
            f"{theirs.node} belongs to the cluster {theirs.cluster}, and {mine.node} to"
            f" {mine.cluster}: one of them has another cluster's disk or address"
        )
    return None


def replaced(mine: Identity, theirs: Identity) -> str | None:
    """Say what is wrong if ``theirs`` is on a disk that was given up, or None."""
    newest = dict(mine.incarnations).get(theirs.node, FIRST_INCARNATION)
    if theirs.formed and theirs.incarnation < newest:
        return (
            f"{theirs.node} shows its disk number {theirs.incarnation}, but it has come back with"
            f" number {newest} since, and what it said before is void. Bring back the newer disk,"
            " or empty this one and start the node with --rejoin"
        )
    return None


def _list(members: Sequence[NodeId]) -> str:
    return ", ".join(members)

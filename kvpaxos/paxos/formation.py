"""How members become one cluster, and how a lost disk shows.

F1. A cluster forms once, out of nodes with empty journals, and only with all members there. The
    member with the least name coordinates: it makes the cluster's id, journals it as `Forming`, and
    asks the others to do the same.
F2. When every member is known to have `Forming` of that id in its journal, the coordinator journals
    `Formed` and says so; whoever hears it and is forming that same id follows.
F3. Only a formed node takes part in Paxos.

So a node that is formed proves that the journals of all members had held its id. One that then
shows an empty journal, or another id, has lost its disk and with it perhaps its votes: it must not
go on, since it might contradict what it has said. One that is still forming that id has never
voted, and may. One with an empty journal may also come back with a new incarnation, if it is
allowed to: see `kvpaxos.paxos.rejoin`; or with the journal that it had, once that is mended: see
`kvpaxos.paxos.recall`. Until then it forms, and joins, nothing. A new incarnation is greater than
any that so many others know of that none which has ever voted can be among those that they do not
know.

Nodes tell each other where they stand with every greeting, on every change, and as a reminder; a
message that is lost or repeated does no harm.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, TypeAlias

from kvpaxos.errors import StartError
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.messages import Incarnations
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Formed, Forming
from kvpaxos.paxos.rejoin import FIRST_INCARNATION, Disks


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a node's journal says that it has come into a cluster.

    :ivar cluster: the cluster's id; empty if the journal is.
    """

    cluster: str = ""
    formed: bool = False


EMPTY: Final = Standing()
"""The standing of a node whose journal is empty."""


@dataclass(frozen=True, slots=True)
class Form:
    """The coordinator asks a member to be part of the new cluster ``cluster``."""

    cluster: str
    members: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Stands:
    """A node says where it stands now, durably, and which disks it knows of, its own included."""

    standing: Standing
    incarnations: Incarnations = ()


FormationMessage: TypeAlias = Form | Stands


@dataclass(frozen=True, slots=True)
class FormationEffects:
    """What the caller of `Formation` must now do, in this order.

    1. If ``fatal`` is there, stop the node with that sentence, and do nothing else.
    2. Send ``sends``.
    3. If ``record`` is there, journal it, and call `Formation.persisted` once it would
       survive a power cut.
    """

    record: Forming | Formed | None = None
    sends: tuple[tuple[NodeId, FormationMessage], ...] = ()
    fatal: str | None = None


NOTHING: Final = FormationEffects()
"""No effects."""


class Formation:
    """One node's part in the forming of its cluster.

    :ivar standing: where this node stands, durably: what it may tell others.
    :ivar incarnation: which disk of this node this is; 0 before it agreed to any cluster.
    :ivar disks: which disks this node knows of; None before it takes part in Paxos.
    """

    def __init__(
        self,
        node: NodeId,
        members: Collection[NodeId],
        *,
        forming: Forming | None,
        formed: Formed | None,
        fresh_cluster: str,
        may_form: bool = True,
        may_rejoin: bool = False,
        is_mending: bool = False,
    ) -> None:
        """Take up where the journal ends.

        :param forming: the last such record in the journal; ``formed`` likewise.
        :param fresh_cluster: the id of the new cluster, should this node have to make one:
            32 random hexadecimal digits.
        :param may_form: an empty journal may be that of a first start.
        :param may_rejoin: it may be that of a new disk, for a cluster that is formed.
        :param is_mending: it stands in for one that is being mended: this node is part of nothing.
        :raises StartError: if the journal is another node's, or another set of members'.
        """
        self.node = node
        self.members = tuple(sorted(members))
        self.incarnation = 0
        self.standing = EMPTY
        self.disks: Disks | None = None
        self._may_form = may_form
        self._is_mending = is_mending
        self._may_rejoin = may_rejoin
        self._fresh_cluster = fresh_cluster
        self._coordinator = self.members[0]
        self._quorum = Quorum(frozenset(self.members))
        self._others = tuple(member for member in self.members if member != node)
        self._heard: dict[NodeId, Standing] = {}
        self._told: dict[NodeId, int] = {}
        self._seen: dict[NodeId, int] = {}
        self._pending: Forming | Formed | None = None
        if forming is not None:
            self._check(forming)
            self.incarnation = forming.incarnation
            agreed = formed is not None and formed.cluster == forming.cluster
            self.standing = Standing(forming.cluster, formed=agreed)

    def begin(self) -> FormationEffects:
        """Start. A cluster of one node needs nobody else in order to form."""
        return self._advance()

    @property
    def incarnations(self) -> Incarnations:
        """Which disks this node knows of, its own included, but for first ones.

        Those too that it has only seen. Nobody may count on these, but a node that comes back must
        not take the number of one: it would be taken for a copy of that disk.
        """
        known = dict(self._seen)
        noted = ((self.node, self.incarnation),) if self.disks is None else self.disks.shown
        for node, incarnation in noted:
            known[node] = max(incarnation, known.get(node, FIRST_INCARNATION))
        return tuple(sorted((node, one) for node, one in known.items() if one > FIRST_INCARNATION))

    @property
    def awaited(self) -> tuple[NodeId, ...]:
        """Whom this node, which comes back, must hear of before it takes a new incarnation.

        One more of them is enough, or some more. Empty if it does not come back, or waits for
        nobody.
        """
        formed = [peer for peer, standing in self._heard.items() if standing.formed]
        if self.standing != EMPTY or not formed or self._quorum.meets(self.node, formed):
            return ()
        return tuple(peer for peer in self._others if peer not in formed)

    def saw(self, peer: NodeId, incarnation: int) -> None:
        """Take note that ``peer``, which was formed then, has shown this disk."""
        self._seen[peer] = max(incarnation, self._seen.get(peer, FIRST_INCARNATION))

    def heard(
        self, peer: NodeId, standing: Standing, incarnations: Incarnations = ()
    ) -> FormationEffects:
        """Take what ``peer``, a member with the same list of members, says of itself."""
        self._heard[peer] = standing
        told = dict(incarnations)
        self._told[peer] = told.get(self.node, FIRST_INCARNATION)
        if standing.formed:
            self.saw(peer, told.get(peer, FIRST_INCARNATION))
        if self.standing.formed and not standing.formed:
            return FormationEffects(sends=((peer, self._news()),))
        return self._advance()

    def asked(self, peer: NodeId, form: Form) -> FormationEffects:
        """Answer ``peer``, which wants this node to be part of a new cluster."""
        if peer != self._coordinator or form.members != self.members:
            return NOTHING
        if self.standing.formed or self.standing.cluster == form.cluster:
            return FormationEffects(sends=((peer, self._news()),))
        if self._pending is not None or not self._may_form:
            # It will be reminded, and asks again.
            return NOTHING
        return self._write(self._forming(form.cluster))

    def persisted(self) -> FormationEffects:
        """Go on, now that the last record asked for would survive a power cut."""
        match self._pending:
            case Forming(cluster, incarnation=incarnation):
                self.incarnation = incarnation
                self.standing = Standing(cluster)
            case Formed(cluster):
                self.standing = Standing(cluster, formed=True)
            case None:
                raise AssertionError("no record was asked for")
        self._pending = None
        effects = self._advance()
        news = tuple((peer, self._news()) for peer in self._others)
        return FormationEffects(effects.record, news + effects.sends, effects.fatal)

    def remind(self) -> FormationEffects:
        """Say it all again, since messages get lost. To be called now and then until formed."""
        if self.standing.formed:
            return NOTHING
        effects = self._advance()
        news = tuple((peer, self._news()) for peer in self._others)
        return FormationEffects(effects.record, news + effects.sends, effects.fatal)

    def _advance(self) -> FormationEffects:
        """Do what can be done with all that has been heard."""
        if self.standing.formed or self._pending is not None:
            return NOTHING
        for peer, standing in self._heard.items():
            if standing.formed:
                return self._join(peer, standing.cluster)
        if self.node != self._coordinator or len(self._heard) < len(self._others):
            return NOTHING
        if self.standing == EMPTY:
            fresh = self._fresh_cluster
            return self._write(self._forming(fresh)) if self._may_form else NOTHING
        cluster = self.standing.cluster
        missing = [peer for peer in self._others if self._heard[peer].cluster != cluster]
        if not missing:
            return self._write(Formed(cluster))
        return FormationEffects(
            sends=tuple((peer, Form(cluster, self.members)) for peer in missing)
        )

    def _join(self, peer: NodeId, cluster: str) -> FormationEffects:
        """Follow ``peer`` into the cluster that is formed, if this node had agreed to it."""
        if self.standing.cluster == cluster:
            return self._write(Formed(cluster))
        if self._is_mending:
            return NOTHING
        if self.standing == EMPTY and self._may_rejoin:
            return self._rejoin(cluster)
        if self.standing == EMPTY:
            state = "this node's disk is empty: it was lost or swapped"
        else:
            state = (
                f"this node's journal was forming the cluster {self.standing.cluster}:"
                " its disk was swapped or restored from a copy"
            )
        return FormationEffects(
            fatal=f"the cluster {cluster} is already formed, says {peer}, but {state};"
            f" bring back the disk with which {self.node} agreed to that cluster. If it is lost"
            f" for good, use kvpaxos node replace {self.node}, or start the node with an empty"
            " directory and --rejoin"
        )

    def _rejoin(self, cluster: str) -> FormationEffects:
        """Take a new incarnation, once those are heard who know of every one that has voted."""
        if self.awaited:
            return NOTHING
        return self._write(self._forming(cluster, max(self._told.values()) + 1))

    def _forming(self, cluster: str, incarnation: int = FIRST_INCARNATION) -> Forming:
        return Forming(cluster, self.node, self.members, incarnation)

    def _news(self) -> Stands:
        return Stands(self.standing, self.incarnations)

    def _write(self, record: Forming | Formed) -> FormationEffects:
        assert self._pending is None, f"{record} while {self._pending} is on its way"
        self._pending = record
        return FormationEffects(record)

    def _check(self, forming: Forming) -> None:
        if forming.node != self.node:
            raise StartError(
                f"this journal is that of {forming.node}, and this node is {self.node}:"
                " give each node its own directory"
            )
        if tuple(sorted(forming.members)) != self.members:
            raise StartError(
                f"the settings name the members {', '.join(self.members)}, but the journal of"
                f" {self.node} those of its cluster, {', '.join(forming.members)}:"
                " the members of a cluster cannot be changed. Mend the settings, or restore a"
                " backup into a new cluster"
            )

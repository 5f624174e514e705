"""How members become one cluster, and how a lost disk shows.

F1. A cluster forms once, out of nodes with empty journals, and only with all members there.
    The member with the least name coordinates: it makes the cluster's id, journals it as
    `Forming`, and asks the others to do the same.
F2. When every member is known to have `Forming` of that id in its journal, the coordinator
    journals `Formed` and says so; whoever hears it and is forming that same id follows.
F3. Only a formed node takes part in Paxos.

So a node that is formed proves that the journals of all members had held its id. One that
then shows an empty journal, or another id, has lost its disk and with it perhaps its votes:
it must not go on, since it might contradict what it has said. One that is still forming that
id has never voted, and may.

Nodes tell each other where they stand with every greeting, on every change, and as a reminder;
a message that is lost or repeated does no harm.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, TypeAlias

from kvpaxos.errors import StartError
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.records import Formed, Forming

FIRST_INCARNATION: Final = 1
"""The incarnation of every member at formation. It rises when a member gets a new disk."""


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
    """A node says where it stands now, durably."""

    standing: Standing


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
    """

    def __init__(
        self,
        node: NodeId,
        members: Collection[NodeId],
        *,
        forming: Forming | None,
        formed: Formed | None,
        fresh_cluster: str,
    ) -> None:
        """Take up where the journal ends.

        :param forming: the last such record in the journal; ``formed`` likewise.
        :param fresh_cluster: the id of the new cluster, should this node have to make one:
            32 random hexadecimal digits.
        :raises StartError: if the journal is another node's, or another set of members'.
        """
        self.node = node
        self.members = tuple(sorted(members))
        self.incarnation = 0
        self.standing = EMPTY
        self._fresh_cluster = fresh_cluster
        self._coordinator = self.members[0]
        self._others = tuple(member for member in self.members if member != node)
        self._heard: dict[NodeId, Standing] = {}
        self._pending: Forming | Formed | None = None
        if forming is not None:
            self._check(forming)
            self.incarnation = forming.incarnation
            agreed = formed is not None and formed.cluster == forming.cluster
            self.standing = Standing(forming.cluster, formed=agreed)

    def begin(self) -> FormationEffects:
        """Start. A cluster of one node needs nobody else in order to form."""
        return self._advance()

    def heard(self, peer: NodeId, standing: Standing) -> FormationEffects:
        """Take what ``peer``, a member with the same list of members, says of itself."""
        self._heard[peer] = standing
        if self.standing.formed and not standing.formed:
            return FormationEffects(sends=((peer, Stands(self.standing)),))
        return self._advance()

    def asked(self, peer: NodeId, form: Form) -> FormationEffects:
        """Answer ``peer``, which wants this node to be part of a new cluster."""
        if peer != self._coordinator or form.members != self.members:
            return NOTHING
        if self.standing.formed or self.standing.cluster == form.cluster:
            return FormationEffects(sends=((peer, Stands(self.standing)),))
        if self._pending is not None:
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
        news = tuple((peer, Stands(self.standing)) for peer in self._others)
        return FormationEffects(effects.record, news + effects.sends, effects.fatal)

    def remind(self) -> FormationEffects:
        """Say it all again, since messages get lost. To be called now and then until formed."""
        if self.standing.formed:
            return NOTHING
        effects = self._advance()
        news = tuple((peer, Stands(self.standing)) for peer in self._others)
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
            return self._write(self._forming(self._fresh_cluster))
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
        if self.standing == EMPTY:
            state = "this node's disk is empty: it was lost or swapped"
        else:
            state = (
                f"this node's journal was forming the cluster {self.standing.cluster}:"
                " its disk was swapped or restored from a copy"
            )
        return FormationEffects(
            fatal=f"the cluster {cluster} is already formed, says {peer}, but {state};"
            f" bring back the disk with which {self.node} agreed to that cluster."
            " With any other it could contradict its own votes"
        )

    def _forming(self, cluster: str) -> Forming:
        return Forming(cluster, self.node, self.members, FIRST_INCARNATION)

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
                " the members of a cluster cannot be changed"
            )

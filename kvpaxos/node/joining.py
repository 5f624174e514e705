"""With what a node introduces itself, and as what it comes into a cluster."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IStreamClientEndpoint

from kvpaxos.config.cluster import ClusterConfig
from kvpaxos.journal.log import Journal
from kvpaxos.node.handshake import Handshake
from kvpaxos.node.recovery import formation_of, origin_of
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import NO_SLOT, NodeId
from kvpaxos.wire.greeting import Holds


def doors(
    cluster: ClusterConfig, node: str, dialing: Callable[[str], IStreamClientEndpoint]
) -> dict[NodeId, IStreamClientEndpoint]:
    """Return how ``node`` dials each of the other members."""
    return {NodeId(peer.node): dialing(peer.dial) for peer in cluster.nodes if peer.node != node}


def introduction(
    cluster: ClusterConfig,
    node: NodeId,
    journal: Journal,
    state: State,
    *,
    may_rejoin: bool,
    is_mending: bool,
    random: Random,
) -> Handshake:
    """Return the handshake for a run of ``node`` that begins.

    :param may_rejoin: its disk, if it is empty, may be a new one of an old member. Then it can
        be part of no new cluster, unless none of the members keeps anything.
    :param is_mending: the journal stands in for one that is being mended.
    """

    def held() -> Holds:
        records, digest = journal.durable_head
        return Holds(records, digest.hex())

    formation = formation_of(
        journal,
        node,
        cluster.members,
        f"{random.getrandbits(128):032x}",
        may_form=cluster.options.volatile or not (may_rejoin or is_mending),
        may_rejoin=may_rejoin and state.applied == NO_SLOT,
        is_mending=is_mending,
    )
    return Handshake(
        formation,
        boot=journal.recovered.boot + 1,
        process=f"{random.getrandbits(64):016x}",
        rules=f"value_bytes_max={cluster.limits.value_bytes_max}",
        held=held,
        origin=origin_of(journal, state),
        seen=journal.recovered.seen,
    )

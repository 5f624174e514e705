"""What a node tells of its parts, for ``/kvman/status`` and ``/kvman/limits``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from kvpaxos.config.cluster import ClusterConfig
from kvpaxos.node import doubts
from kvpaxos.node.comparer import COMPARE_SLOTS
from kvpaxos.node.disk import Disk
from kvpaxos.node.driver import INBOX_MAX, LOOKUP_BYTES_MAX, LOOKUP_COMMANDS_MAX, Driver
from kvpaxos.node.links import STRANGERS_MAX, Links
from kvpaxos.node.mender import Mender
from kvpaxos.node.outgoing import EXPRESS_BYTES_MAX, queue_bytes_max
from kvpaxos.node.persister import FLUSH_AGE_S, FLUSH_BYTES, Persister
from kvpaxos.node.repairs import Repairs
from kvpaxos.node.scanner import Scanner
from kvpaxos.node.space import Marks, Space
from kvpaxos.node.states import States
from kvpaxos.paxos.comparison import SLOTS_MAX
from kvpaxos.paxos.limits import Limits
from kvpaxos.version import VERSION
from kvpaxos.wire.framing import FRAME_BYTES_MAX


class Overview:
    """Describes the parts of one node that are there by now.

    :ivar driver: None before the cluster is formed; the others None before the node starts.
    :ivar space: stays None in a node that keeps nothing on a disk.
    """

    def __init__(
        self,
        node: str,
        cluster: ClusterConfig,
        monotonic: Callable[[], float],
        repairs: Repairs | None = None,
    ) -> None:
        self.cluster_id = ""
        self.life = 0
        self.halted = False
        self.driver: Driver | None = None
        self.links: Links | None = None
        self.disk: Disk | None = None
        self.persister: Persister | None = None
        self.space: Space | None = None
        self.states: States | None = None
        self.scanner: Scanner | None = None
        self.mender: Mender | None = None
        self._repairs = repairs
        self._node = node
        self._cluster = cluster
        self._monotonic = monotonic
        self._started_at = monotonic()

    def opened(
        self, disk: Disk, links: Links, persister: Persister, space: Space, states: States
    ) -> None:
        """Take the parts that there are from the start."""
        self.disk, self.links, self.persister = disk, links, persister
        self.space, self.states = space, states

    def formed(self, driver: Driver, cluster: str, life: int) -> None:
        """Take what there is once the cluster is formed."""
        self.driver, self.cluster_id, self.life = driver, cluster, life

    def describe(self) -> dict[str, object]:
        """Return everything as JSON can tell it."""
        return {
            "node": self._node,
            "version": VERSION,
            "cluster": self.cluster_id,
            "members": list(self._cluster.members),
            "volatile": self._cluster.options.volatile,
            "life": self.life,
            "uptime_s": round(self._monotonic() - self._started_at, 3),
            "longest_pause_ms": self._longest_pause_ms(),
            **self._describe_replica(),
            "fetching": self._describe_fetching(),
            "waits_for": self._waits_for(),
            "peers": self._describe_peers(),
            "journal": self._describe_journal(),
            "disk": {} if self.space is None else self.space.describe(),
            "scan": {} if self.scanner is None else self.scanner.describe(),
            "repair": {} if self._repairs is None else self._repairs.describe(),
        }

    def doubt(self) -> str | None:
        """Return why this node does not vote yet, or has nobody to vote with; or None."""
        recipient = None if self.states is None else self.states.recipient
        if recipient is not None and recipient.donor is not None:
            return doubts.without_its_state(recipient.donor, recipient.received_bytes)
        if self.driver is None or self.links is None:
            return self.delay()
        standings, replica = self.links.standings(), self.driver.replica
        if replica.probation is not None:
            return doubts.on_probation(replica.probation, standings, self.remains())
        quorum = replica.peers.quorum
        return doubts.left_alone(standings, quorum, replica.learner.decided_through)

    def delay(self) -> str | None:
        """Return why this node, on a new or damaged disk, is not in its cluster yet, or None."""
        if self.driver is not None or self.links is None or self.halted:
            return None
        standings = self.links.standings()
        inquiry = None if self.mender is None else self.mender.inquiry
        if inquiry is not None:
            return doubts.unmended(inquiry, standings)
        return doubts.unfit(self.links.awaited(), standings, self.remains())

    def remains(self) -> str:
        """Return where this node's old journal is kept, if that was damaged; else nothing."""
        if self._repairs is None or not self._repairs.without_journal:
            return ""
        return self._repairs.kept

    def limits(self) -> dict[str, object]:
        """Return every named limit of the parts."""
        return {
            **asdict(core_limits(self._cluster)),
            **link_limits(self._cluster.limits.message_bytes_max),
            **Marks.of(self._cluster.storage).limits(),
            **asdict(self._cluster.limits),
            **asdict(self._cluster.storage),
            "inbox_max": INBOX_MAX,
            "compare_slots": COMPARE_SLOTS,
            "compared_slots_max": SLOTS_MAX,
            "lookup_bytes_max": LOOKUP_BYTES_MAX,
            "lookup_commands_max": LOOKUP_COMMANDS_MAX,
            "flush_bytes": FLUSH_BYTES,
            "flush_age_s": FLUSH_AGE_S,
        }

    def _describe_replica(self) -> dict[str, object]:
        if self.driver is None:
            return dict(_UNFORMED)
        replica = self.driver.replica
        ballot = replica.acceptor.promised
        return {
            "role": type(replica.role).__name__.lower(),
            "ballot": f"{ballot.round}.{ballot.node}" if ballot.round else "",
            "leader": replica.leader.node,
            "decided": replica.learner.decided_through,
            "kept_from": replica.learner.kept_from,
            "steps": self.driver.steps,
        }

    def _longest_pause_ms(self) -> float:
        return 0.0 if self.driver is None else round(self.driver.longest_lag_s * 1000, 3)

    def _describe_fetching(self) -> dict[str, object]:
        recipient = None if self.states is None else self.states.recipient
        if recipient is None or recipient.donor is None:
            return {}
        return {"from": recipient.donor, "bytes": recipient.received_bytes}

    def _waits_for(self) -> list[str]:
        if self.driver is not None:
            probation = self.driver.replica.probation
            return sorted(probation.awaited) if probation is not None else []
        if self.mender is not None and self.mender.inquiry is not None:
            return list(self.mender.inquiry.awaited)
        return sorted(self.links.awaited()) if self.links is not None else []

    def _describe_peers(self) -> list[dict[str, object]]:
        links = self.links.status() if self.links is not None else []
        return [{**link, **self._describe_peer(str(link["peer"]))} for link in links]

    def _describe_peer(self, node: str) -> dict[str, object]:
        known = {} if self.driver is None else self.driver.replica.peers.known
        peer = next((peer for name, peer in known.items() if name == node), None)
        if peer is None or peer.health is None or peer.round_trip_s is None:
            return {"round_trip_ms": None, "decided": None, "durable": None}
        return {
            "round_trip_ms": round(peer.round_trip_s * 1000, 3),
            "decided": peer.health.decided_through,
            "durable": peer.health.durable_through,
        }

    def _describe_journal(self) -> dict[str, object]:
        if self.disk is None or self.persister is None:
            return {}
        journal = self.disk.journal
        return {
            "bytes": journal.bytes,
            "segments": journal.segments,
            "records": self.disk.number,
            "durable_records": self.disk.durable,
            "syncs": journal.syncs,
            "last_sync_ms": round(self.disk.last_sync_s * 1000, 3),
            "slowest_sync_ms": round(self.disk.slowest_sync_s * 1000, 3),
            "state_durable_through": self.persister.durable_through,
            "state_flushes": self.persister.flushes,
        }


_UNFORMED: Final = {
    "role": "forming",
    "ballot": "",
    "leader": "",
    "decided": 0,
    "kept_from": 1,
    "steps": 0,
}


def core_limits(cluster: ClusterConfig) -> Limits:
    """Return the bounds of a replica of ``cluster``."""
    return Limits(command_bytes_max=cluster.limits.command_bytes_max)


def link_limits(message_bytes_max: int) -> dict[str, int]:
    """Return what is bounded here, for the operator."""
    return {
        "frame_bytes_max": FRAME_BYTES_MAX,
        "peer_message_bytes_max": message_bytes_max,
        "peer_queue_bytes_max": queue_bytes_max(message_bytes_max),
        "peer_express_bytes_max": EXPRESS_BYTES_MAX,
        "strangers_max": STRANGERS_MAX,
    }

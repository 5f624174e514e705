"""What the nodes of a cluster say of themselves, put together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kvpaxos.wire.greeting import REFUSES

SERVING, DEGRADED, NOT_SERVING = 0, 1, 3
"""Exit statuses of ``kvpaxos status``; 2 says that the command itself was wrong."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The link from one node to another.

    :ivar round_trip_ms: None as long as it is not measured.
    :ivar up: messages pass both ways.
    :ivar linked: there is a connection, whichever way.
    :ivar complaint: what was wrong with it last, and has not been right since; or empty.
    """

    node: str
    up: bool
    round_trip_ms: float | None
    linked: bool = False
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node's state, as far as it is known.

    :ivar trouble: why the node does not serve; the other fields are empty if it did not answer.
    :ivar waits_for: without whom it cannot vote, since its disk is new.
    :ivar volatile: it keeps nothing on a disk.
    :ivar alarm: what it asks its operator for, while it serves all but some requests.
    :ivar described: what the node said, as it came.
    """

    node: str
    url: str
    answered: bool
    trouble: str | None
    alarm: str | None = None
    role: str = ""
    ballot: str = ""
    leader: str = ""
    decided: int | None = None
    applied: int | None = None
    keys: int | None = None
    journal_bytes: int | None = None
    state_bytes: int | None = None
    waits_for: tuple[str, ...] = ()
    volatile: bool = False
    peers: tuple[Peer, ...] = ()
    described: Mapping[str, object] = field(default_factory=dict)


def read_report(node: str, url: str, table: Mapping[str, object]) -> NodeReport:
    """Return the report of the node that answered with ``table``.

    Fields that another version of kvpaxos does not send, or sends otherwise, stay empty.
    """
    journal, state = _table(table.get("journal")), _table(table.get("state"))
    trouble = table.get("trouble")
    return NodeReport(
        node=_text(table.get("node")) or node,
        url=url,
        answered=True,
        trouble=_text(trouble) or None,
        alarm=_text(table.get("alarm")) or None,
        role=_text(table.get("role")),
        ballot=_text(table.get("ballot")),
        leader=_text(table.get("leader")),
        decided=_number(table.get("decided")),
        applied=_number(table.get("applied")),
        keys=_number(state.get("keys")),
        journal_bytes=_number(journal.get("bytes")),
        state_bytes=_sum(state, "file_bytes", "unflushed_bytes"),
        waits_for=tuple(_texts(table.get("waits_for"))),
        volatile=table.get("volatile") is True,
        peers=tuple(_peers(table.get("peers"))),
        described=table,
    )


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """The reports of all nodes, and what follows from them."""

    nodes: tuple[NodeReport, ...]

    @property
    def leader(self) -> str:
        """The node that a majority follows, or the empty string."""
        followed = Counter(report.leader for report in self.nodes if report.leader)
        for node, followers in followed.items():
            if followers > len(self.nodes) // 2:
                return node
        return ""

    @property
    def verdict(self) -> str:
        """How the cluster is, in one sentence."""
        healthy = sum(report.trouble is None for report in self.nodes)
        if not self.leader:
            return f"no majority of the {len(self.nodes)} nodes follows a leader: not serving"
        alarms = sum(report.alarm is not None for report in self.nodes)
        told = f"; {alarms} with an alarm" if alarms else ""
        if healthy < len(self.nodes):
            return f"{self.leader} leads; {healthy} of {len(self.nodes)} nodes serve{told}"
        return f"{self.leader} leads; all {len(self.nodes)} nodes serve{told}"

    @property
    def advice(self) -> str | None:
        """What is known, and may be done, while nodes with new disks wait for each other."""
        waiting = [report for report in self.nodes if report.waits_for]
        if self.leader or not waiting:
            return None
        facts = [
            f"{report.node} holds every slot through {report.decided}"
            for report in self.nodes
            if report.answered and not report.waits_for and report.role != "forming"
        ]
        facts += [f"{one.node} waits for word from {', '.join(one.waits_for)}" for one in waiting]
        known = "; ".join(facts)
        if all(report.volatile for report in waiting):
            return (
                f"{known}. They keep nothing on disks, and too few remember anything."
                ' "kvpaxos backup FILE --stale" saves what one of the others holds. Once all are'
                " stopped, and started again, they form a new, empty cluster"
            )
        missing = ", ".join(report.node for report in self.nodes if not report.answered)
        start = f"Start {missing}, on the disks they had. " if missing else ""
        return (
            f'{known}. {start}If too many disks are gone for good, "kvpaxos recover"'
            " says what can be saved"
        )

    @property
    def objections(self) -> Sequence[str]:
        """What nodes that answer have against each other, each once."""
        answering = {report.node for report in self.nodes if report.answered}
        told: dict[str, str] = {}
        for report in self.nodes:
            for peer in report.peers:
                # Who refuses says why; who is refused says so, and the same.
                why = peer.complaint.removeprefix(REFUSES.format(""))
                if why and not peer.up and peer.node in answering:
                    told.setdefault(why, f"{report.node} and {peer.node} do not talk: {why}")
        return tuple(told.values())

    @property
    def exit_status(self) -> int:
        """What a script learns from it."""
        if not self.leader:
            return NOT_SERVING
        sound = not any(report.trouble or report.alarm for report in self.nodes)
        return SERVING if sound else DEGRADED

    def as_json(self) -> dict[str, object]:
        """Return it as JSON can tell it."""
        return {
            "verdict": self.verdict,
            "leader": self.leader,
            "advice": self.advice,
            "objections": list(self.objections),
            "nodes": {
                report.node: {"url": report.url, "trouble": report.trouble, **report.described}
                for report in self.nodes
            },
        }


def _peers(value: object) -> Sequence[Peer]:
    links = [_table(link) for link in value] if isinstance(value, list) else []
    return [
        Peer(
            _text(link.get("peer")),
            link.get("dialed") is True and link.get("accepted") is True,
            _decimal(link.get("round_trip_ms")),
            linked=link.get("dialed") is True or link.get("accepted") is True,
            complaint=_text(link.get("complaint")),
        )
        for link in links
    ]


_EMPTY: Final[Mapping[str, object]] = {}


def _texts(value: object) -> Sequence[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else _EMPTY


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _decimal(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _sum(table: Mapping[str, object], *keys: str) -> int | None:
    parts = [part for key in keys if (part := _number(table.get(key))) is not None]
    return sum(parts) if parts else None

"""``kvpaxos node replace``, carried out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kvpaxos.cli.aside import in_the_way, set_aside
from kvpaxos.cli.observer import look_at
from kvpaxos.cli.output import print_json, print_line
from kvpaxos.cli.report import NodeReport
from kvpaxos.cli.statuses import NOT_APPLIED, Told, say
from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.errors import ConfigError
from kvpaxos.node.preflight import check_directory
from kvpaxos.node.replacement import MARK, mark
from kvpaxos.node.settings import read_settings
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.quorum import Quorum


def replace(name: str, data: str | None, settings: str | None, *, yes: bool, as_json: bool) -> None:
    """Mark the data directory of the node ``name`` as that of a new disk.

    :param yes: move away what is in it.
    :raises ConfigError: the node runs, or its directory is not empty.
    :raises Told: nobody says that the cluster is formed.
    """
    cluster = read_settings(settings)
    config = cluster.node(name)
    if cluster.options.volatile:
        raise ConfigError(
            f'{cluster.source} says "volatile": its nodes keep nothing on a disk, so just start'
            f" {name}."
        )
    directory = Path(data or config.data)
    check_directory(dataclasses.replace(config, data=str(directory)))
    reports = look_at([(node.node, node.url) for node in cluster.nodes])
    own = next(report for report in reports if report.node == name)
    others = [report for report in reports if report is not own]
    _check_stopped(config, own, others)
    formed = _formed(name, others)
    place = _make_empty(config, directory, yes=yes)
    mark(directory)
    where = str(directory.absolute())
    _warn(cluster, name, others)
    if as_json:
        aside = None if place is None else str(place)
        print_json(
            {
                "success": True,
                "node": name,
                "cluster": formed,
                "data": where,
                "aside": aside,
            }
        )
        return
    print_line(
        f"{name} may come back into the cluster {formed} with the empty directory {where}:"
        " start it as usual, without --rejoin"
    )
    print_line("never start it with its old disk again: what it has said on that is void then")


def _check_stopped(config: NodeConfig, own: NodeReport, others: Sequence[NodeReport]) -> None:
    """Make sure that the node does not run, as far as it or others tell.

    :raises ConfigError: it does.
    """
    name = config.node
    if own.answered:
        raise ConfigError(f"{name} runs, and answers at {own.url}; stop it first.")
    for report in others:
        if any(peer.node == name and peer.linked for peer in report.peers):
            raise ConfigError(f"{report.node} is connected with {name}, so it runs; stop it first.")


def _formed(name: str, others: Sequence[NodeReport]) -> str:
    """Return the id of the cluster that the other nodes have formed.

    :raises Told: they have not, or cannot be asked, or are not of one mind.
    """
    ids = {report.node: str(report.described.get("cluster") or "") for report in others}
    clusters = {cluster for cluster in ids.values() if cluster}
    if len(clusters) == 1:
        return clusters.pop()
    if clusters:
        told = ", ".join(f"{node} of {cluster}" for node, cluster in ids.items() if cluster)
        raise Told(f"the nodes are not of one cluster ({told}): mend that first.", NOT_APPLIED)
    if not others:
        raise Told(f"{name} is alone: only a backup can bring its data back.", NOT_APPLIED)
    troubles = "; ".join(f"{report.node}: {report.trouble}" for report in others if report.trouble)
    raise Told(
        f"no other node says that the cluster is formed ({troubles}); start the others first."
        " Nothing was changed.",
        NOT_APPLIED,
    )


def _make_empty(config: NodeConfig, directory: Path, *, yes: bool) -> Path | None:
    """Move away what is in the directory; return where it is now, if there was anything."""
    names = in_the_way(directory) - {MARK}
    if not names:
        return None
    if not yes:
        raise ConfigError(
            f"{directory} is not empty ({', '.join(sorted(names))}). If that is the disk of"
            f" {config.node}, start it as it is: nothing needs to be replaced. If it is to be given"
            " up, say --yes: it is moved aside, and not deleted."
        )
    place = set_aside(directory)
    say(f"what was in {directory} is in {place} now")
    return place


def _warn(cluster: ClusterConfig, name: str, others: Sequence[NodeReport]) -> None:
    """Say who is missing without whom the node cannot vote."""
    sound = [
        NodeId(report.node)
        for report in others
        if report.answered and not report.waits_for and report.role != "forming"
    ]
    if not Quorum(frozenset(map(NodeId, cluster.members))).meets(NodeId(name), sound):
        missing = [report.node for report in others if report.node not in sound]
        say(
            f"until enough of {', '.join(missing)} are up on their own disks, {name} will wait, and"
            " not vote"
        )

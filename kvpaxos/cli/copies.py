"""``kvpaxos backup``, ``restore``, ``recover`` and ``verify``: copies of all there is."""

from __future__ import annotations

import sys

import click

from kvpaxos.cli.arguments import Asked, asks
from kvpaxos.cli.command import Command
from kvpaxos.cli.nodes import settings_option


@click.command(
    cls=Command,
    statuses={
        0: "the backup is whole and on the disk",
        2: "the file is there already or cannot be written, or the arguments or settings are wrong",
        3: "no node on this machine could give a backup, or it broke off; there is no file",
    },
    examples=[
        "kvpaxos backup monday.kvb",
        "kvpaxos backup --nodes 127.0.0.1:8802 monday.kvb",
        "kvpaxos backup monday.kvb --force --json",
    ],
)
@asks(timeout_s=30.0)
@click.argument("file", type=click.Path())
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--stale", is_flag=True, help="Take what the node knows, even if it is cut off.")
def backup(asked: Asked, file: str, *, force: bool, stale: bool) -> None:
    """Write all that the cluster holds into FILE.

    It goes on serving. It is the state of one moment, whatever is written meanwhile: all keys with
    their revisions, and what is remembered of requests. Nothing that was acknowledged before is
    missing, unless --stale.

    Of several nodes the first that can gives it. Nodes give backups to callers on their own machine
    only. FILE appears when it is whole, checked and on the disk; before that it is FILE.part.
    """
    # Not at the top, here and below: help and completion must not wait for it.
    from kvpaxos.cli import receiving  # noqa: PLC0415

    receiving.backup(asked, file, force=force, stale=stale)


@click.command(
    cls=Command,
    statuses={
        0: "the nodes can be started",
        1: "the backup is damaged, or a disk refused; nothing is left of the new nodes",
        2: "a data directory is not empty, or the file, the arguments or the settings are wrong",
    },
    examples=[
        "kvpaxos restore monday.kvb",
        "kvpaxos restore monday.kvb --settings five.conf",
        "kvpaxos restore monday.kvb --node n01 --settings five.conf",
    ],
)
@click.argument("file", type=click.Path())
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="Only this node, such as n01.")
@settings_option("The settings of the new cluster.")
@click.option("--set-aside", "aside", is_flag=True, help="Move away what is there: to aside-1.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def restore(
    file: str, nodes: tuple[str, ...], settings: str | None, *, aside: bool, as_json: bool
) -> None:
    """Make the nodes of a new cluster out of FILE.

    It begins with the state that is in the backup FILE. It may have other nodes than the old one,
    and another number of them. The data directory of each node in the settings is made; those that
    are there must be empty, or --set-aside moves what is in them away, and deletes nothing. If the
    nodes are on several machines, restore the same FILE on each of them, with --node. Then start
    all nodes.

    All members must begin with the same backup: others refuse each other. Never start a node of the
    old cluster again beside the new one: clients could not tell them apart.
    """
    from kvpaxos.cli import restoring  # noqa: PLC0415

    restoring.restore(file, nodes, settings, aside=aside, as_json=as_json)


@click.command(
    cls=Command,
    statuses={
        0: "the backup is whole and on the disk; or, without --accept-data-loss, all was said",
        1: "what is left is damaged, or a disk refused; there is no file",
        2: "the cluster needs no recovery, the node runs, or the arguments or settings are wrong",
    },
    examples=[
        "kvpaxos recover --node n01",
        "kvpaxos recover --node n01 --accept-data-loss",
        "kvpaxos recover --node n01 --accept-data-loss --output saved.kvb --settings five.conf",
    ],
)
@click.option("--node", required=True, metavar="NAME", help="Whose disk is left, such as n01.")
@click.option(
    "--accept-data-loss",
    "accepted",
    is_flag=True,
    help="Do it: what only the lost disks held is given up.",
)
@click.option("--data", metavar="DIR", type=click.Path(), help="Where its data is, if elsewhere.")
@click.option("--output", metavar="FILE", type=click.Path(), help="[default: recovered-NAME.kvb]")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--decided-only", is_flag=True, help="Leave out votes that may not have been decided."
)
@settings_option("The settings of the cluster.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def recover(
    node: str,
    data: str | None,
    output: str | None,
    settings: str | None,
    *,
    accepted: bool,
    force: bool,
    decided_only: bool,
    as_json: bool,
) -> None:
    """Save what is left of a cluster that lost too many disks.

    If so many are gone for good that the others can never be sure what was decided, the cluster
    serves no more. This reads the disk of one node that is left, which must be stopped, and changes
    nothing on it. Without --accept-data-loss it says what there is, and what may be lost. With it,
    all of that becomes a backup, of which "kvpaxos restore" makes a new cluster.

    Look at every node that is left, and take the one with the greatest slot.
    """
    from kvpaxos.cli import recovering  # noqa: PLC0415

    wanted = recovering.Wanted(node, data, output, settings, accepted, force, not decided_only)
    recovering.recover(wanted, as_json=as_json)


@click.command(
    cls=Command,
    statuses={
        0: "all of it is whole",
        1: "it is damaged; each place is named",
        2: "there is nothing of the kind, it is in use, or another version must read it",
    },
    examples=[
        "kvpaxos verify monday.kvb",
        "kvpaxos verify data/n01",
        "kvpaxos verify data/n01 --json",
    ],
)
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(path: str, *, as_json: bool) -> None:
    """Check a backup, or the directory of a stopped node.

    All of it is read, its checksums are compared, and the digest of the state is made anew. Nothing
    is changed.
    """
    from kvpaxos.cli import verifying  # noqa: PLC0415

    sys.exit(verifying.verify(path, as_json=as_json))

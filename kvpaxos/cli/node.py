"""``kvpaxos node``: what is done with one node."""

from __future__ import annotations

import click

from kvpaxos.cli.command import Command
from kvpaxos.cli.nodes import settings_option


@click.group()
def node() -> None:
    """Replace the disk of a node."""


@node.command(
    cls=Command,
    statuses={
        0: "the node can be started, and will come back",
        1: "the disk refused",
        2: "the node runs, or there is data in its directory, or the settings are wrong",
        3: "no other node says that the cluster is formed; nothing was changed",
    },
    examples=[
        "kvpaxos node replace n02",
        "kvpaxos node replace n02 --yes --settings conf/settings.conf",
    ],
)
@click.argument("name", metavar="NODE")
@click.option("--data", metavar="DIR", type=click.Path(), help="Where its data goes, if elsewhere.")
@click.option("--yes", is_flag=True, help="Give up the data that is there: move it to aside-1.")
@settings_option("The settings of the cluster.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replace(name: str, data: str | None, settings: str | None, *, yes: bool, as_json: bool) -> None:
    """Let NODE, whose disk is lost, come back with an empty one.

    Run it on the machine of NODE. It makes sure that the others are a cluster that has formed, that
    NODE does not run, and that its data directory is empty. Then it leaves a mark there, and the
    next start of NODE, without any option, takes the directory for its new disk: it learns from the
    others what it may have promised, gets the state, and votes again.

    Data that is there is kept, unless --yes: with its own disk a node needs no replacing.
    """
    # Not at the top: help and completion must not wait for it.
    from kvpaxos.cli.replacing import replace as carry_out  # noqa: PLC0415

    carry_out(name, data, settings, yes=yes, as_json=as_json)

"""``kvpaxos status``: what every node of a cluster says of itself."""

from __future__ import annotations

import sys

import click

from kvpaxos.cli.command import Command
from kvpaxos.cli.nodes import named_nodes, node_options


@click.command(
    cls=Command,
    statuses={
        0: "all nodes serve",
        1: "some do not, or have an alarm",
        2: "the options or the settings are wrong",
        3: "no majority follows a leader",
    },
    examples=[
        "kvpaxos status",
        "kvpaxos status --watch --nodes 10.0.0.1:8801,10.0.0.2:8801",
        "kvpaxos status --json | jq -r .leader",
    ],
)
@node_options
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a look.")
def status(nodes: tuple[str, ...], settings: str | None, *, watch: bool, as_json: bool) -> None:
    """Show how every node is.

    That is its role, ballot, progress, links and sizes.

    Without options it asks the cluster of data/settings.conf, where "kvpaxos up" leaves its own,
    or else the one of conf/settings.conf, or else three nodes on 127.0.0.1.
    """
    named = named_nodes(nodes, settings)
    # Not at the top: help and completion must not wait for it.
    from kvpaxos.cli.observer import observe  # noqa: PLC0415

    sys.exit(observe(named, watch=watch, as_json=as_json))

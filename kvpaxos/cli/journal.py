"""``kvpaxos journal``: the decided log, from the disk or from a node."""

from __future__ import annotations

import sys

import click

from kvpaxos.cli.command import Command
from kvpaxos.cli.nodes import settings_option
from kvpaxos.errors import ConfigError


@click.command(
    cls=Command,
    statuses={
        0: "all is well",
        1: "the journal is damaged; each place is named, and what can be known is printed",
        2: "there is no journal, or the arguments are wrong",
        3: "the node does not answer",
    },
    examples=[
        "kvpaxos journal data/n01",
        "kvpaxos journal data/n01 --from 1000 --limit 10 | jq .commands",
        "kvpaxos journal --node 127.0.0.1:8801",
    ],
)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path())
@click.option("--node", metavar="URL", help="Ask this node, such as 127.0.0.1:8801 or n01.")
@settings_option("Where --node n01 is looked up.")
@click.option(
    "--from", "from_slot", type=click.IntRange(1), metavar="SLOT", help="Begin with this slot."
)
@click.option("--limit", type=click.IntRange(1), metavar="SLOTS", help="End after so many.")
def journal(
    directory: str | None,
    node: str | None,
    settings: str | None,
    from_slot: int | None,
    limit: int | None,
) -> None:
    """Print the decided log as JSON lines.

    Each line is a slot, with its ballot, commands and digest.

    DIR is the data directory of a node, or its journal. It is read and left as it is, whether it is
    whole or damaged. The node should be stopped: what it is writing just now may look damaged.

    With --node a running node is asked instead. The slots that nobody needs any more are not kept,
    so the log may begin late. The ballot is null where a node has learned a slot from others.
    """
    if (directory is None) == (node is None):
        raise ConfigError("Name the directory of a journal, or a node with --node: one of them.")
    # Not at the top: help and completion must not wait for it.
    from kvpaxos.cli.decided import ask, inspect  # noqa: PLC0415

    if directory is not None:
        sys.exit(inspect(directory, from_slot or 1, limit))
    assert node is not None, "one of them is named"
    ask(node, settings, from_slot or 1, limit)

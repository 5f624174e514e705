"""``kvpaxos config``: what settings say, and whether they are sound."""

from __future__ import annotations

from typing import Final

import click

from kvpaxos.cli.command import Command

_STATUSES: Final = {0: "the settings are sound", 2: "they are not, or cannot be read"}


@click.group()
def config() -> None:
    """Check and show settings."""


@config.command(
    cls=Command,
    statuses=_STATUSES,
    examples=["kvpaxos config check", "kvpaxos config check /etc/kvpaxos/settings.conf"],
)
@click.argument("file", required=False, type=click.Path())
def check(file: str | None) -> None:
    """Say whether a settings file is sound, and where its nodes will be.

    Without FILE it is the one that a node in this directory would read: conf/settings.conf, or
    else the built-in settings. A mistake is told with the file, the key and the mend.
    """
    # Not at the top, here and below: help and completion must not wait for it.
    from kvpaxos.cli.plan import Plan  # noqa: PLC0415

    Plan.read(file).show_addresses()


@config.command(
    cls=Command,
    statuses=_STATUSES,
    examples=[
        "kvpaxos config show",
        "kvpaxos config show course.conf --json > conf/settings.conf",
    ],
)
@click.argument("file", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print a settings file in the full form.")
def show(file: str | None, *, as_json: bool) -> None:
    """Show settings as they are understood, with all that they leave open filled in.

    FILE may have any of the shapes that settings can have, and may be left out as with "check".
    What --json prints is a settings file again.
    """
    from kvpaxos.cli.plan import Plan  # noqa: PLC0415

    plan = Plan.read(file)
    if as_json:
        click.echo(plan.as_json())
    else:
        plan.show_all()

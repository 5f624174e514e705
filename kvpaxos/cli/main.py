"""The command ``kvpaxos`` itself: it finds the sub-command, and imports no other."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

import click
from typing_extensions import override

from kvpaxos.errors import KvPaxosError
from kvpaxos.version import VERSION

_COMMANDS: Final = ("status", "up")
"""Each is a function of its own name in a module of its own name."""


class Refused(click.ClickException):
    """Says in one sentence why a command cannot do what it was told; exit status 2."""

    exit_code = 2

    @override
    def show(self, file: object = None) -> None:
        click.echo(f"kvpaxos: {self.message}", err=True)


class _Commands(click.Group):
    """Sub-commands that are imported when they are asked for, since Twisted takes its time."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"kvpaxos.cli.{cmd_name}")
        return cast("click.Command", getattr(module, cmd_name))

    @override
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KvPaxosError as error:
            raise Refused(str(error)) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="kvpaxos", message="%(prog)s %(version)s")
def main() -> None:
    """Run and observe kvpaxos, a key-value store replicated with Paxos."""

"""The command ``kvpaxos`` itself: it finds the sub-command, and lets no traceback out."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Final, NoReturn, cast

import click
from typing_extensions import override

from kvpaxos.cli.statuses import (
    BROKEN_PIPE,
    FAILED,
    SIGNALED,
    UNKNOWN,
    Interrupted,
    Told,
    say,
    status_of,
    tell_unforeseen,
)
from kvpaxos.errors import KvPaxosError
from kvpaxos.version import VERSION

_KEYS: Final = "kvpaxos.cli.keys"
_COPIES: Final = "kvpaxos.cli.copies"

_SECTIONS: Final = {
    "Keys and values": {
        "get": (_KEYS, "get"),
        "insert": (_KEYS, "insert"),
        "set": (_KEYS, "set_"),
        "update": (_KEYS, "update"),
        "delete": (_KEYS, "delete"),
        "append": (_KEYS, "append"),
        "cas": (_KEYS, "cas"),
        "count": (_KEYS, "count"),
        "dump": ("kvpaxos.cli.transfer", "dump"),
        "load": ("kvpaxos.cli.transfer", "load"),
    },
    "Clusters": {
        "up": ("kvpaxos.cli.up", "up"),
        "status": ("kvpaxos.cli.status", "status"),
        "config": ("kvpaxos.cli.config", "config"),
        "journal": ("kvpaxos.cli.journal", "journal"),
        "backup": (_COPIES, "backup"),
        "restore": (_COPIES, "restore"),
        "recover": (_COPIES, "recover"),
        "verify": (_COPIES, "verify"),
        "check": ("kvpaxos.cli.check", "check"),
        "node": ("kvpaxos.cli.node", "node"),
    },
    "Trust": {
        "simulate": ("kvpaxos.cli.simulate", "simulate"),
    },
    "This command": {
        "completion": ("kvpaxos.cli.completion", "completion"),
    },
}
"""Where each command is.

These modules say what their commands take, and import what carries them out only when it is time
to: help and completion must not wait for Twisted."""

_COMMANDS: Final = {name: place for places in _SECTIONS.values() for name, place in places.items()}


class _Commands(click.Group):
    """Sub-commands that are imported when they are asked for."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        return cast("click.Command", getattr(import_module(module), name))

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in _SECTIONS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (name, found.get_short_help_str(60))
                        for name, found in commands.items()
                        if found
                    ]
                )

    @override
    def invoke(self, ctx: click.Context) -> object:
        try:
            return self._invoke(ctx)
        except KvPaxosError as error:
            _end(ctx, str(error), status_of(error))
        except Told as end:
            _end(ctx, str(end), end.status)
        except OSError as error:
            # If it was the output, what is still in its buffer must not fail again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                ctx.exit(BROKEN_PIPE)
            what = error.strerror or error
            if error.filename is not None:
                _end(ctx, f"{error.filename}: {what}.", FAILED)
            _end(
                ctx,
                f"the output: {what}; what is printed is not all, but what was to be changed may"
                " be.",
                UNKNOWN,
            )
        except KeyboardInterrupt:
            ctx.exit(SIGNALED + signal.SIGINT)
        except Interrupted as interrupted:
            ctx.exit(SIGNALED + interrupted.number)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 -- users must see no traceback
            tell_unforeseen(error)
            ctx.exit(FAILED)

    def _invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        finally:
            sys.stdout.flush()


def _end(ctx: click.Context, sentence: str, status: int) -> NoReturn:
    say(sentence)
    ctx.exit(status)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="kvpaxos", message="%(prog)s %(version)s")
def main() -> None:
    """Run, use and observe kvpaxos, a key-value store replicated with Paxos.

    docs/commands.md has an example of every command.
    """

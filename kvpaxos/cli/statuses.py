"""What the commands end with: exit statuses, and the sentence of an end that is no good news."""

from __future__ import annotations

import os
import traceback
from typing import Final

import click

from kvpaxos.errors import (
    BackupDamaged,
    ConditionFailed,
    DiskError,
    DumpBroken,
    JournalDamaged,
    KvPaxosError,
    OutcomeUnknown,
    StateDamaged,
    Unavailable,
)

DONE: Final = 0
"""All is well, and what was asked for was carried out."""

FAILED: Final = 1
"""It was carried out, and the answer is no: the key is missing, there, or holds another value."""

REFUSED: Final = 2
"""The command, its input or its settings are wrong. Nothing was changed by what was wrong."""

NOT_APPLIED: Final = 3
"""The cluster could not be asked, or could not do it; nothing was changed."""

UNKNOWN: Final = 4
"""The request may have been carried out, or may be yet."""

BROKEN_PIPE: Final = 141
"""Whoever read the output has gone away; as if the signal SIGPIPE had ended the command."""

SIGNALED: Final = 128
"""A signal ended the command: this plus its number. Ctrl-C makes 130."""


DEBUG: Final = "KVPAXOS_DEBUG"
"""An environment variable; set, it shows the traceback of an error that was not foreseen."""


class Told(Exception):
    """Ends a command with a sentence on standard error, and an exit status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Interrupted(BaseException):
    """A signal ended the command in good order.

    :ivar number: which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def status_of(error: KvPaxosError) -> int:
    """Return the exit status of a command that ``error`` ends."""
    match error:
        case Unavailable() | DumpBroken():
            return NOT_APPLIED
        case OutcomeUnknown():
            return UNKNOWN
        case ConditionFailed() | JournalDamaged() | StateDamaged() | BackupDamaged() | DiskError():
            return FAILED
        case _:
            return REFUSED


def tell_unforeseen(error: BaseException) -> None:
    """Tell an error that should not be possible; its traceback only to those who want it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    say(
        f"an error that was not foreseen: {error!r}. Please report it, with what the same command"
        f" shows after {DEBUG}=1."
    )


def say(sentence: str) -> None:
    """Write a sentence to standard error."""
    click.echo(f"kvpaxos: {sentence}", err=True)

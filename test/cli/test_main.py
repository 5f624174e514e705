"""The command itself: what it says of itself, what it does not import, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kvpaxos.cli import main as module
from kvpaxos.cli.command import Command
from kvpaxos.cli.main import main
from kvpaxos.cli.statuses import Interrupted, Told
from kvpaxos.errors import (
    BadRequest,
    ConfigError,
    DiskError,
    DumpBroken,
    Forbidden,
    JournalDamaged,
    KeyMissing,
    OutcomeUnknown,
    StartError,
    TooLarge,
    Unavailable,
)
from kvpaxos.version import VERSION

pytestmark = pytest.mark.timeout(60)

KVPAXOS = [sys.executable, "-m", "kvpaxos"]


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command below ``group`` that does something, with its name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


ALL = dict(commands(main))


def test_the_version() -> None:
    done = CliRunner().invoke(main, ["--version"])
    assert (done.exit_code, done.output) == (0, f"kvpaxos {VERSION}\n")


def test_help_lists_the_commands_in_whole_sentences() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    for name in {name.split()[0] for name in ALL}:
        (line,) = (x for x in done.output.splitlines() if x.startswith(f"  {name} "))
        assert line.endswith("."), line
        assert not line.endswith("..."), line


@pytest.mark.parametrize("name", ALL)
def test_the_help_of_a_command_ends_with_exit_statuses_and_examples(name: str) -> None:
    command = ALL[name]
    assert isinstance(command, Command)
    done = CliRunner().invoke(main, [*name.split(), "--help"])
    assert done.exit_code == 0
    _, _, end = done.output.partition("\nExit status:\n")
    statuses, _, examples = end.partition("\nExamples:\n")
    assert [int(x.split()[0]) for x in statuses.splitlines() if x[2:3].isdigit()] == list(
        command.statuses
    )
    assert [x.strip() for x in examples.splitlines()] == list(command.examples)
    assert all(f"kvpaxos {name}" in example for example in command.examples)


def test_a_command_that_does_not_exist() -> None:
    done = CliRunner().invoke(main, ["upp"])
    assert done.exit_code == 2
    assert "No such command 'upp'" in done.output


def test_nothing_slow_is_imported_for_help() -> None:
    runs = [["--version"], ["--help"], *([*name.split(), "--help"] for name in ALL)]
    program = f"""
import sys
from kvpaxos.cli.main import main
for arguments in {runs}:
    main(arguments, standalone_mode=False)
    slow = {{"rich", "rocksdict", "treq", "twisted"}} & set(sys.modules)
    assert not slow, (arguments, slow)
"""
    done = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Exit status:") == len(ALL)


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run(  # noqa: S603 -- our own command
        [*KVPAXOS, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"kvpaxos {VERSION}\n"


# How it ends.


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> tuple[int, str]:
    """Return status and standard error of a command that raises ``error``."""

    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(module._Commands, "get_command", lambda *_: broken)
    done = CliRunner().invoke(main, ["broken"])
    assert done.stdout == ""
    return done.exit_code, done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyMissing("A sentence.", b"k"), 1),
        (JournalDamaged("file", 7, "a record"), 1),
        (DiskError("A sentence."), 1),
        (ConfigError("A sentence."), 2),
        (StartError("A sentence."), 2),
        (BadRequest("A sentence."), 2),
        (TooLarge("A sentence."), 2),
        (Forbidden("A sentence."), 2),
        (Unavailable("A sentence."), 3),
        (DumpBroken("A sentence.", None), 3),
        (OutcomeUnknown("A sentence."), 4),
        (Told("A sentence.", 17), 17),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_ends_it_with_its_sentence_and_a_status_that_means_something(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert raising(monkeypatch, error) == (status, f"kvpaxos: {error}\n")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (Interrupted(2), 130), (Interrupted(15), 143)]
)
def test_a_signal_ends_it_without_a_word(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert raising(monkeypatch, error) == (status, "")


def test_what_was_not_foreseen_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KVPAXOS_DEBUG", raising=False)
    status, told = raising(monkeypatch, ZeroDivisionError("oh"))
    assert status == 1
    assert told == (
        "kvpaxos: an error that was not foreseen: ZeroDivisionError('oh'). Please report it, with"
        " what the same command shows after KVPAXOS_DEBUG=1.\n"
    )


def test_whoever_wants_to_see_a_traceback_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVPAXOS_DEBUG", "1")
    status, told = raising(monkeypatch, ZeroDivisionError("oh"))
    assert status == 1
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.count("kvpaxos: an error that was not foreseen: ") == 1


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "show", "--json"]])
def test_a_reader_who_goes_away_ends_it_without_a_word(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(  # noqa: S603 -- our own command
        [*KVPAXOS, *arguments], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full of Linux")
def test_output_that_cannot_be_written_is_said() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(  # noqa: S603 -- our own command
            [*KVPAXOS, "config", "show"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 4
    assert done.stderr == (
        b"kvpaxos: the output: No space left on device; what is printed is not all, but what was to"
        b" be changed may be.\n"
    )


def test_a_file_whose_name_is_no_text_is_named_all_the_same() -> None:
    done = subprocess.run(  # noqa: S603 -- our own command
        [*KVPAXOS, "config", "check", b"\xff"], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.endswith(
        b": No such file or directory; name a settings file that can be read.\n"
    )

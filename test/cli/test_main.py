"""The command itself: what it says of itself, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from kvpaxos.cli.main import main
from kvpaxos.version import VERSION


def test_the_version() -> None:
    done = CliRunner().invoke(main, ["--version"])
    assert (done.exit_code, done.output) == (0, f"kvpaxos {VERSION}\n")


def test_help_lists_the_commands() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    assert "status" in done.output
    assert "up" in done.output


def test_a_command_that_does_not_exist() -> None:
    done = CliRunner().invoke(main, ["upp"])
    assert done.exit_code == 2
    assert "No such command 'upp'" in done.output


def test_nothing_slow_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys\n"
        "from kvpaxos.cli.main import main\n"
        "try:\n"
        "    main(['--version'])\n"
        "finally:\n"
        "    print(sorted({'twisted', 'rich', 'treq', 'rocksdict'} & set(sys.modules)))\n"
    )
    done = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"kvpaxos {VERSION}", "[]"]


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvpaxos", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"kvpaxos {VERSION}\n"

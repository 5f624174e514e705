"""Completion, as a shell asks for it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from click.testing import CliRunner

from kvpaxos.cli.main import main


def completions(words: str) -> list[str]:
    """Return what may follow: the last word is being written, or is empty."""
    asked = {
        "_KVPAXOS_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = CliRunner().invoke(main, [], env=asked, prog_name="kvpaxos")
    assert done.exit_code == 0
    return [line.partition(",")[2] for line in done.output.splitlines()]


def test_commands_and_options_are_completed() -> None:
    assert completions("kvpaxos c") == ["cas", "count", "config", "check", "completion"]
    assert completions("kvpaxos config ") == ["check", "show"]
    assert completions("kvpaxos dump --") == [
        *("--nodes", "--url", "--settings", "--config", "--timeout"),
        *("--after", "--limit", "--page", "--help"),
    ]
    assert completions("kvpaxos completion z") == ["zsh"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_the_command_itself(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert f"_KVPAXOS_COMPLETE={shell}_complete" in done.output
    assert "kvpaxos" in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_its_shell_reads(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    script = CliRunner().invoke(main, ["completion", shell]).output
    done = subprocess.run(  # noqa: S603 -- a shell that only reads
        [program, "-n"], input=script, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_answered_with_those_that_there_are() -> None:
    done = CliRunner().invoke(main, ["completion", "tcsh"])
    assert done.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.stderr

"""docs/commands.md is held against the commands."""

from __future__ import annotations

import re

import click
import pytest

from kvpaxos.cli import statuses
from test.cli.test_main import ALL
from test.processes.cluster import ROOT

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")

SECTIONS = {
    match[1]: match[2]
    for match in re.finditer(
        r"^### kvpaxos ([a-z ]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
}

COMMON = {"--nodes", "--url", "--settings", "--config", "--timeout", "--json"}
"""Options that the page explains for all commands at once."""


def test_every_command_has_its_section_and_there_is_no_other() -> None:
    assert sorted(SECTIONS) == sorted(ALL)


@pytest.mark.parametrize("name", ALL)
def test_the_section_of_a_command_has_an_example_and_every_option(name: str) -> None:
    section = SECTIONS[name]
    examples = [line for line in section.splitlines() if line.startswith("    ")]
    assert any(f"kvpaxos {name}" in line for line in examples)
    options = {
        option
        for parameter in ALL[name].params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    wanted = options - COMMON - {"--color"}
    assert {x for x in wanted if not re.search(rf"{x}(?![a-z-])", section)} == set()


def test_the_options_of_all_are_explained_at_the_top() -> None:
    top = PAGE.partition("\n## Keys and values\n")[0]
    assert {option for option in COMMON if f"`{option}" not in top} == set()


def test_every_exit_status_is_explained() -> None:
    section = PAGE.partition("\n## Exit statuses\n")[2].partition("\n## ")[0]
    explained = {int(number) for number in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert explained == {
        *(statuses.DONE, statuses.FAILED, statuses.REFUSED, statuses.NOT_APPLIED),
        *(statuses.UNKNOWN, statuses.BROKEN_PIPE, statuses.SIGNALED + 2),
    }
    used = {status for command in ALL.values() for status in command.statuses}  # type: ignore[attr-defined]
    assert used <= explained

"""What docs/http.md shows is what a node says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import pytest

from kvpaxos.node.http.dialects import DIALECTS, VERBS
from test.node.http.harness import Node, Reply
from test.node.http.test_dialects import CASES

PAGE = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")

BASE = "http://127.0.0.1:8801"


class Example(NamedTuple):
    """One command of the page.

    :ivar shown: the reply that stands below it, if one does.
    """

    command: str
    shown: str | None


def examples() -> Iterator[Example]:
    lines = PAGE.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("    curl "):
            shown = below.strip() if below.startswith("    {") else None
            yield Example(line.strip(), shown)


def run(node: Node, command: str) -> Reply:
    """Do what curl would do."""
    words = iter(shlex.split(command)[1:])
    method, content_type, fields, parts, target = "", None, [], [], ""
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                name, _, content_type = next(words).partition(": ")
                assert name == "Content-Type"
            case "-o":
                next(words)
            case "-d":
                fields.append(next(words))
            case "--data-urlencode":
                name, _, value = next(words).partition("=")
                fields.append(f"{name}={quote_plus(value)}")
            case "-F":
                name, _, value = next(words).partition("=")
                head = f'Content-Disposition: form-data; name="{name}"'
                parts.append(f"--cut\r\n{head}\r\n\r\n{value}\r\n")
            case _:
                assert word.startswith(BASE)
                target = word.removeprefix(BASE)
    body = "&".join(fields)
    if parts:
        content_type, body = "multipart/form-data; boundary=cut", "".join([*parts, "--cut--"])
    client = node.connect()
    client.begin(method or ("POST" if body else "GET"), target, body.encode(), content_type)
    node.turn(3)
    return client.reply()


def test_every_command_of_the_page_works_and_says_what_stands_below_it() -> None:
    node = Node()
    shown = 0
    for example in examples():
        reply = run(node, example.command)
        assert reply.status == 200, (example.command, reply.body)
        if example.shown is not None:
            shown += 1
            assert reply.body.decode() == example.shown, example.command
    assert shown == 4


def test_every_way_to_write_the_same_does_the_same() -> None:
    commands = [example.command for example in examples() if "a b" in example.command]
    commands += [example.command for example in examples() if "a%20b" in example.command]
    assert len(commands) == 4
    for command in commands:
        node = Node()
        assert run(node, command).status == 200
        assert node.store.value_of(b"a b") == b"1&2"


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    _, _, rest = PAGE.partition(f"\n### {heading}\n")
    lines = re.search(r"(?:^\|.*\|\n)+", rest, re.MULTILINE)
    assert lines is not None
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows[:1] + rows[2:]]


def test_the_table_of_dialects_names_those_that_there_are() -> None:
    head, *_ = table("Dialects")

    assert [cell.strip("`") for cell in head[1:]] == list(DIALECTS)


ROWS = {
    "insert, set, cas": ("insert", "set", "cas"),
    "update": ("update",),
    "delete": ("delete",),
    "append": ("append",),
    "get": ("get",),
}


@pytest.mark.parametrize(("row", "verbs"), ROWS.items(), ids=ROWS)
def test_the_table_of_dialects_says_when_a_value_is_shown(row: str, verbs: tuple[Any, ...]) -> None:
    [cells] = [cells[1:] for cells in table("Dialects") if cells[0] == row]

    for cell, dialect in zip(cells, DIALECTS.values(), strict=True):
        for verb in verbs:
            assert ("`value`" in cell) == ("value" in dialect.done[verb])


def test_the_table_of_dialects_has_the_statuses_and_the_counts() -> None:
    rows = {cells[0]: cells[1:] for cells in table("Dialects")}
    denials = {
        "the key exists, or holds another value": ("exists", "differs"),
        "the key does not exist": ("missing",),
        "the opid is stale": ("stale",),
    }
    for what, reasons in denials.items():
        for cell, dialect in zip(rows[what], DIALECTS.values(), strict=True):
            status = "200" if not cell[0].isdigit() else cell[:3]
            assert {str(dialect.statuses[reason]) for reason in reasons} == {status}  # type: ignore[index]
    for cell, dialect in zip(rows["countkey"], DIALECTS.values(), strict=True):
        assert json.loads(cell.strip("`")) == {"result": dialect.number(3)}


def test_every_path_of_a_key_is_one_that_has_a_verb() -> None:
    assert {path.encode() for path in re.findall(r"`(/kv/\w+)`", PAGE)} == {
        path for path in VERBS if path.startswith(b"/kv/")
    }
    assert {case.target.partition("?")[0].encode() for case in CASES} >= set(VERBS)

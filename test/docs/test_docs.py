"""The docs name what the code has, and nothing that it has not, where that is cheap to see."""

import ast
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import pytest

from kvpaxos.config.cluster import ClusterConfig, default_cluster
from kvpaxos.node.face import Face
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.overview import Overview
from kvpaxos.simulator.faults import FAULTS, STEADY
from kvpaxos.wire.codec import MESSAGES, RECORDS
from kvpaxos.wire.greeting import GREETINGS
from kvpaxos.wire.table import Kind
from test.processes.cluster import ROOT, cluster

DOCS = ROOT / "docs"
PACKAGE = ROOT / "kvpaxos"
MODULES = {
    str(path.relative_to(PACKAGE).with_suffix("")): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}

UNITS = {"KiB": 1024, "MiB": 1024 * 1024, "": 1}


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(page: str, section: str = "") -> list[list[str]]:
    """Return the cells of all rows of the tables of a page, or of one section of it."""
    _, _, rest = text(page).partition(f"\n## {section}\n" if section else "\n")
    part = rest.partition("\n## ")[0] if section else rest
    lines = (line.strip() for line in part.splitlines())
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if line.startswith("|") and line.endswith("|")
    ]


def coded(cell: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


# Protocol.


@pytest.mark.parametrize(
    "kind", [*MESSAGES, *GREETINGS, *RECORDS], ids=lambda kind: kind.make.__name__
)
def test_the_protocol_names_every_message_and_record_with_its_fields(kind: Kind) -> None:
    names = ", ".join(field.name for field in fields(kind.make))
    assert [str(kind.tag), f"`{kind.make.__name__}`", names] in [
        row[:3] for row in rows("protocol.md")
    ]


# Architecture.


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the modules of kvpaxos that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kvpaxos"):
            base = str(node.module).replace(".", "/").removeprefix("kvpaxos").lstrip("/")
            for alias in node.names:
                inner = f"{base}/{alias.name}".lstrip("/")
                yield inner if inner in MODULES else base


def reading_order() -> list[str]:
    section = [row for row in rows("architecture.md") if len(row) == 2]
    return [name for row in section for name in coded(row[0])[:1] if name in MODULES]


def test_every_module_stands_once_in_the_reading_order() -> None:
    assert sorted(reading_order()) == sorted(MODULES)


def test_no_module_needs_one_that_stands_further_down_in_the_reading_order() -> None:
    seen: set[str] = {""}
    for module in reading_order():
        ahead = set(imports(MODULES[module])) - seen
        assert not ahead, f"{module} needs {ahead}"
        seen.add(module)


# Glossary.


def members(tree: ast.AST) -> set[str]:
    """Return every name that a class or a module defines."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
            case _:
                pass
    return names


def classes() -> dict[str, set[str]]:
    """Return what each class defines; those of one name count as one."""
    found: dict[str, set[str]] = {}
    for tree in MODULES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(members(node))
    return found


CLASSES = classes()
DEFINED = set.union(*map(members, MODULES.values()))


def test_every_word_of_the_glossary_that_is_said_to_be_in_the_code_is_there() -> None:
    words = [word for row in rows("glossary.md") if len(row) == 4 for word in coded(row[2])]
    assert len(words) > 50
    for word in words:
        owner, _, member = word.rpartition(".")
        assert member in (CLASSES.get(owner, set()) if owner else DEFINED), word


# Operating.


def limits() -> dict[str, object]:
    """Return what ``/kvman/limits`` says in a cluster with the default settings."""
    config: ClusterConfig = default_cluster()
    overview = Overview("n01", config, lambda: 0.0)
    face = Face(cast("Any", None), cast("Any", None), cast("Any", overview), monotonic=lambda: 0.0)
    return {**asdict(HttpLimits.of(config.limits)), **face.limits()}


def test_every_limit_is_listed_with_its_value() -> None:
    listed = {}
    for name, value, _ in rows("operating.md", section="Limits"):
        if number := re.fullmatch(r"(\d+)( [KM]iB)?", value):
            size = int(number[1]) * UNITS[(number[2] or "").strip()]
            listed[coded(name)[0]] = float(size)
    assert listed == {name: float(cast("float", value)) for name, value in limits().items()}


def test_every_field_of_the_status_is_explained(tmp_path: Path) -> None:
    with cluster(tmp_path) as three:
        three.start()
        status = three.nodes[0].ask("GET", "/kvman/status").body
    explained = {name for row in rows("operating.md") for name in coded(row[0])}
    sections = ("journal", "disk", "repair", "scan", "state")
    tables = [status, status["peers"][0], *(status[name] for name in sections)]
    sent = {name for table in tables for name in table}.difference(sections, {"peers"})
    assert sent - explained == set()


def said(node: ast.AST) -> str:
    """Return the text of a string in the code, with dots for what is put into it."""
    match node:
        case ast.Constant(value=str(value)):
            return value.replace("{}", "…")
        case ast.JoinedStr(values=values):
            return "".join(said(value) for value in values)
        case _:
            return "…"


STRINGS = [
    said(node)
    for tree in MODULES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.JoinedStr | ast.Constant)
]
RAISED = [
    said(node.args[0])
    for tree in MODULES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.Call)
    and isinstance(node.func, ast.Name)
    and node.func.id in {"DiskError", "StartError"}
    and node.args
    and re.search(r"\w", said(node.args[0]))
]


def sentences() -> list[str]:
    """Return the sentences that the page for operators explains."""
    sections = ("What the sentences mean", "What clients see")
    found = [row[0] for section in sections for row in rows("operating.md", section=section)]
    return [sentence for cell in found for sentence in coded(cell)]


def test_every_sentence_that_is_explained_is_one_that_the_code_says() -> None:
    assert len(sentences()) > 50
    for sentence in sentences():
        assert any(sentence in spoken for spoken in STRINGS), sentence


def test_every_sentence_with_which_a_node_stops_is_explained() -> None:
    explained = sentences()
    assert len(RAISED) > 20
    for spoken in RAISED:
        assert any(sentence in spoken for sentence in explained), spoken


# Links.


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text(page)):
        if target.startswith("http"):
            continue
        path, _, heading = target.partition("#")
        where = DOCS / (path or page)
        assert where.exists(), target
        if heading:
            assert heading in anchors(where.name), target


def anchors(page: str) -> set[str]:
    """Return the names under which GitHub finds the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# The simulator.


def test_the_page_of_the_simulator_has_every_fault_with_what_it_does() -> None:
    said = {**{name: fault.__doc__ for name, fault in FAULTS.items()}, **STEADY}
    told = [(name, what) for [cell, what] in rows("simulator.md") for name in coded(cell)]
    assert told == sorted(said.items())

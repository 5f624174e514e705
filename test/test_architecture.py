"""The shape of the code: who may import whom, and how large things may become."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "kvpaxos").rglob("*.py"))

PURE: Mapping[str, frozenset[str]] = {
    "checking": frozenset({"base64", "binascii", "contextlib", "html", "json"}),
    "config": frozenset({"codecs", "difflib", "ipaddress", "json", "re", "tomllib"}),
    "paxos": frozenset({"random.Random"}),
    "store": frozenset(),
    "wire": frozenset({"google_crc32c", "msgpack"}),
}
"""The packages that compute and do nothing else, with what each of them may import for it."""

HARMLESS = frozenset(
    {
        *("__future__", "bisect", "collections", "dataclasses", "enum", "functools", "hashlib"),
        *("heapq", "itertools", "kvpaxos", "math", "operator", "struct", "types", "typing"),
        "typing_extensions",
    }
)
"""What every package may import."""

DOORS = frozenset({"client", "testing"})
"""The packages that users import from by their short names."""

MODULE_LINES_MAX = 420
"""A module that grows past this asks for a second idea of its own."""

FUNCTION_LINES_MAX = 40
"""A function that grows past this, its signature and docstring aside, asks for a name within."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(path: Path) -> Iterator[str]:
    """Yield what is imported, by its module; of ``random`` by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "an import that is relative"
            if node.module == "random":
                yield from (f"random.{alias.name}" for alias in node.names)
            else:
                yield node.module


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_nothing_imports_what_stands_above_it_and_the_core_is_pure() -> None:
    checked = subprocess.run(  # noqa: S603 -- our own command
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert " 0 broken" in checked.stdout


@pytest.mark.parametrize("path", [path for path in MODULES if "__init__" in path.name], ids=named)
def test_a_package_says_what_it_is_for_and_no_more(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "it has no docstring"
    rest = tree.body[1:]
    if path.parent.name in DOORS:
        *rest, offered = rest
        assert ast.unparse(offered).startswith("__all__ = ["), "it does not say what it offers"
        rest = [node for node in rest if not isinstance(node, ast.ImportFrom)]
    assert rest == [], "it holds more than a docstring"


def test_no_module_and_no_function_is_too_long() -> None:
    long_modules = {
        named(path): lines
        for path in MODULES
        if (lines := path.read_text().count("\n")) > MODULE_LINES_MAX
    }
    long_functions = {
        f"{named(path)}: {function.name}": lines
        for path in MODULES
        for function in functions(path)
        if (lines := body_lines(function)) > FUNCTION_LINES_MAX
    }
    assert (long_modules, long_functions) == ({}, {})


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_reads_no_clock_no_file_and_no_chance_of_its_own(package: str) -> None:
    foreign = {
        f"{named(path)}: {module}"
        for path in (ROOT / "kvpaxos" / package).rglob("*.py")
        for module in imports(path)
        if {module, module.split(".")[0]}.isdisjoint(HARMLESS | PURE[package])
    }
    assert foreign == set()


def test_the_folder_of_plugins_is_no_package() -> None:
    """With an ``__init__.py`` the folder would hide the Twisted that is installed."""
    assert sorted(path.name for path in (ROOT / "twisted").rglob("*.py")) == ["kvpaxos_plugin.py"]

"""A cluster in which any sector of a journal is damaged loses nothing, and repairs itself."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kvpaxos.simulator.tallies import table, write_between_markers

SLICE = ["--segment-bytes", "32768", "--node", "n02", "--every", "33"]
"""Some headers and records."""

SWEEP = "import sys; from kvpaxos.simulator.corruption import main; sys.exit(main(sys.argv[1:]))"

HELIX = "import sys; from kvpaxos.simulator.helical import main; sys.exit(main(sys.argv[1:]))"

BELIEVES_ALL = """
from kvpaxos.journal import scan
scan._Scan._damage = lambda *_: None
"""
"""A bug: what is damaged is stepped over, and nobody is told."""


NOBODY_TELLS = """
from kvpaxos.node import mender
mender.recollect = lambda *_: {}
"""
"""A bug: whoever is asked for what was lost has forgotten it."""


def swept(*arguments: str, bug: str = "", program: str = SWEEP) -> subprocess.CompletedProcess[str]:
    """Run a slice of a sweep in a process of its own, which is copied for each case."""
    return subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", bug + program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_every_damage_is_survived_with_nobodys_help(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- corruption: begin -->\nold\n<!-- corruption: end -->\nz\n")
    done = swept(*SLICE, "--write", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    first, *rest = done.stdout.splitlines()
    count = 2 * 5 * 2 * 5  # moments, files, sectors of each, ways
    assert first.startswith(f"{count} of {count} sectors, struck one at a time, were survived")
    assert any("running: unreadable" in line for line in rest)
    assert page.read_text() == (
        f"a\n<!-- corruption: begin -->\n{done.stdout}<!-- corruption: end -->\nz\n"
    )


def test_damage_that_is_believed_is_found_out() -> None:
    done = swept(*SLICE, bug=BELIEVES_ALL)
    assert done.returncode == 1
    assert "not repaired" in done.stdout


def test_all_journals_damaged_at_once_in_different_slots_are_survived_too(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- helical: begin -->\n<!-- helical: end -->\n")
    done = swept("--every", "163", "--write", str(page), program=HELIX)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("10 of 10 times, all three journals were struck at once")
    assert "mended in place" in rest[1]
    assert page.read_text() == f"<!-- helical: begin -->\n{done.stdout}<!-- helical: end -->\n"


def test_without_what_others_tell_damage_to_all_journals_would_leave_nobody_who_serves() -> None:
    done = swept("--every", "997", program=HELIX, bug=NOBODY_TELLS)
    assert done.returncode == 1
    assert "not repaired" in done.stdout


def test_a_table_shows_what_there_was_and_its_sums() -> None:
    counts = Counter({("a", "good"): 1000, ("b", "bad"): 2, ("b", "good"): 3})
    assert table(counts, "what", ["a", "b"]) == [
        "| what | good | bad |",
        "| --- | ---: | ---: |",
        "| a | 1,000 | 0 |",
        "| b | 3 | 2 |",
        "| all | 1,003 | 2 |",
    ]


def test_counts_have_one_place_in_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="must be there once"):
        write_between_markers(page, "corruption", ["x"])

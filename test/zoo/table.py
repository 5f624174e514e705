"""What the last hunts have found: kept in ``table.json``, shown in ``docs/assurance.md``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from test.zoo.bug import Bug
from test.zoo.hunting import Catch

ROOT: Final = Path(__file__).parents[2]

TABLE: Final = Path(__file__).with_name("table.json")

PAGE: Final = ROOT / "docs" / "assurance.md"

BEGIN: Final = "<!-- The table is written by make zoo. -->\n"

END: Final = "<!-- End of the table. -->\n"


@dataclass(frozen=True, slots=True)
class Row:
    """What the last hunts for one bug have found.

    :ivar rule: which rule notices it, as a rule; empty if none has.
    :ivar starts: how many hunts there were, each from another first seed.
    :ivar found: how many of them found it.
    :ivar seeds: how many seeds that took, in the middle; or, in vain, all of them together.
    :ivar seconds: how many seconds of CPU time, in the middle.
    :ivar seed: one that shows it, and is quick at it.
    :ivar cost_s: how much CPU time that one takes.
    :ivar test: if none has found it, a test that was seen to fail with it; empty if there is none.
    """

    rule: str
    starts: int
    found: int
    seeds: float
    seconds: float
    seed: int
    cost_s: float
    test: str = ""

    @classmethod
    def of(cls, hunts: Collection[Catch | None], seeds_max: int) -> Row:
        """Return what ``hunts`` for one bug come to, each of so many seeds at most."""
        catches = [catch for catch in hunts if catch is not None]
        if not catches:
            return cls("", len(hunts), 0, seeds_max * len(hunts), 0.0, 0, 0.0)
        rules = [catch.rule for catch in catches]
        quickest = min(catches, key=lambda catch: (catch.last_s, catch.seed))
        return cls(
            max(sorted(set(rules)), key=rules.count),
            len(hunts),
            len(catches),
            median(catch.seeds for catch in catches),
            round(median(catch.seconds for catch in catches), 1),
            quickest.seed,
            round(quickest.last_s, 2),
        )

    @property
    def seeds_shown(self) -> str:
        """How many seeds it took, and whether some hunt was in vain."""
        missed = self.starts - self.found
        return f"{self.seeds:g}" + (f", missed {missed} of {self.starts} times" if missed else "")


def read() -> dict[str, Row]:
    """Return all rows, by the names of their bugs."""
    return {name: Row(**row) for name, row in json.loads(TABLE.read_text()).items()}


def write(rows: Mapping[str, Row], bugs: Mapping[str, Bug]) -> None:
    """Keep ``rows``, and show them in the docs."""
    # In the order of the bugs, and of none that is no more.
    kept = {name: asdict(rows[name]) for name in bugs if name in rows}
    TABLE.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(), rows, bugs))


def page(text: str, rows: Mapping[str, Row], bugs: Mapping[str, Bug]) -> str:
    """Return the page ``text`` with ``rows`` in it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n".join(lines(rows, bugs)) + "\n" + END + after


def lines(rows: Mapping[str, Row], bugs: Mapping[str, Bug]) -> list[str]:
    """Return a table in Markdown, and what is not in it."""
    found = {name: row for name, row in rows.items() if row.found}
    return [
        "| bug | where it is from | noticed by | seeds | seconds |",
        "|---|---|---|---|---|",
        *(
            f"| {bug.what} | {bug.origin} | {row.rule} | {row.seeds_shown} | {row.seconds:g} |"
            for bug in bugs.values()
            if (row := found.get(bug.name))
        ),
        "",
        *_summary(found),
        *_rest(rows, bugs),
    ]


def _summary(found: Mapping[str, Row]) -> list[str]:
    """Say what the rows come to."""
    if not found:
        return []
    seeds = [row.seeds for row in found.values()]
    always = sum(row.found == row.starts for row in found.values())
    starts = Counter(row.starts for row in found.values())
    hunts = " and ".join(
        f"{count} were hunted {'once' if times == 1 else f'from {times} seeds'}"
        for times, count in starts.items()
    )
    return [
        f"{len(found)} bugs were found, {always} of them in every hunt; {hunts}. Half of them",
        f"took {median(seeds):g} seeds at most, and all {max(seeds):g}, as a rule.",
    ]


def _rest(rows: Mapping[str, Row], bugs: Mapping[str, Bug]) -> list[str]:
    """Name the bugs that no world has shown, and what shows them, and those not hunted."""
    vain = [(bug, row) for name, bug in bugs.items() if (row := rows.get(name)) and not row.found]
    lines = _tested([(bug, row) for bug, row in vain if row.test])
    missed = [f"* {bug.what} (in {row.seeds:g} worlds)." for bug, row in vain if not row.test]
    if missed:
        lines += ["", "Not found yet, and in how many worlds:", "", *missed]
    unhunted = [f"`{name}`" for name in bugs if name not in rows]
    if unhunted:
        lines += ["", f"Not hunted yet: {', '.join(unhunted)}."]
    return lines


def _tested(vain: Collection[tuple[Bug, Row]]) -> list[str]:
    """Name those that no world has shown, and a test has."""
    if not vain:
        return []
    return [
        "",
        f"{len(vain)} more were found in no world, and each by a test, which fails with it:",
        "",
        "| bug | where it is from | why hardly a world shows it | worlds tried | noticed by |",
        "|---|---|---|---|---|",
        *(
            f"| {bug.what} | {bug.origin} | {bug.rare} | {row.seeds:g} | {_short(row.test)} |"
            for bug, row in vain
        ),
    ]


def _short(test: str) -> str:
    """Return the name of a test without the places where it stands in its file."""
    file, *_, name = test.split("::")
    return f"`{name}` in `{file}`"

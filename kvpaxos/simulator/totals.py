"""What many runs have come to, together: numbers that add up, however many sittings it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any, Final

import kvpaxos
from kvpaxos.simulator.run import Report
from kvpaxos.version import VERSION

MEASURES: Final = (
    "slots",
    "leaders",
    "simulated seconds",
    "faults",
    "acknowledged requests",
    "acknowledged before the calm",
    "unknown outcomes",
    "milliseconds until a majority served",
)
"""What is told of all runs by its least, its median and its most."""


@dataclass(slots=True)
class Struck:
    """How often faults of one kind happened.

    :ivar times: in all runs together.
    :ivar runs: in how many runs at all.
    """

    times: int = 0
    runs: int = 0


@dataclass(slots=True)
class Totals:
    """What all runs together have come to.

    :ivar seeds: which runs there were.
    :ivar seconds: how long they took, on the clocks of their worlds.
    :ivar elapsed_s: how long that took here.
    :ivar spreads: of each of `MEASURES`, how many runs had which number.
    :ivar wrong: the seeds of runs that broke a rule, with a sentence.
    :ivar unfit: the seeds of runs that tried nothing, with a sentence.
    """

    seeds: set[int] = field(default_factory=set)
    seconds: float = 0.0
    elapsed_s: float = 0.0
    faults: dict[str, Struck] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    spreads: dict[str, Counter[int]] = field(
        default_factory=lambda: {name: Counter() for name in MEASURES}
    )
    wrong: dict[int, str] = field(default_factory=dict)
    unfit: dict[int, str] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """How many runs there were."""
        return len(self.seeds)

    def add(self, report: Report) -> None:
        """Take a run into account."""
        assert report.seed not in self.seeds, f"seed {report.seed} is there already"
        self.seeds.add(report.seed)
        self.seconds += report.seconds
        for kind, times in report.faults.items():
            struck = self.faults.setdefault(kind, Struck())
            struck.times += times
            struck.runs += times > 0
        self.counts.update(report.counts)
        for name, number in _measured(report).items():
            self.spreads[name][number] += 1
        if report.wrong is not None:
            self.wrong[report.seed] = report.wrong
        elif report.unfit is not None:
            self.unfit[report.seed] = report.unfit

    def describe(self) -> list[str]:
        """Say in some lines what happened."""
        if not self.runs:
            return ["no run has ended"]
        hours = self.seconds / 3600
        lines = [
            f"{self.runs} runs, {hours:.2f} simulated hours",
            *(f"{name} in a run: {_spread(self.spreads[name])}" for name in MEASURES),
            "faults, how often and in how many runs:",
        ]
        lines += [
            f"  {one.times:9} {one.runs:7} {kind}" for kind, one in sorted(self.faults.items())
        ]
        lines += ["what else happened:"]
        lines += [f"  {count:9} {name}" for name, count in sorted(self.counts.items())]
        return lines

    def rows(self) -> list[tuple[str, int, float, int]]:
        """Return of each of `MEASURES` the least, the median and the most."""
        return [(name, *_bounds(self.spreads[name])) for name in MEASURES]

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` makes the same totals of."""
        return {
            "seeds": ranges(self.seeds),
            "seconds": self.seconds,
            "elapsed_s": self.elapsed_s,
            "faults": {
                kind: {"times": one.times, "runs": one.runs}
                for kind, one in sorted(self.faults.items())
            },
            "counts": dict(sorted(self.counts.items())),
            "spreads": {
                name: dict(sorted(spread.items())) for name, spread in self.spreads.items()
            },
            "wrong": dict(sorted(self.wrong.items())),
            "unfit": dict(sorted(self.unfit.items())),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Totals:
        """Return the totals of which `as_json` has made ``found``.

        :raises (KeyError, TypeError, ValueError, AttributeError): it has made nothing of the kind.
        """
        return cls(
            seeds={seed for first, end in found["seeds"] for seed in range(first, end)},
            seconds=float(found["seconds"]),
            elapsed_s=float(found["elapsed_s"]),
            faults={
                kind: Struck(one["times"], one["runs"]) for kind, one in found["faults"].items()
            },
            counts=Counter(found["counts"]),
            spreads={name: Counter(_by_number(found["spreads"][name])) for name in MEASURES},
            wrong=_by_number(found["wrong"]),
            unfit=_by_number(found["unfit"]),
        )


def source() -> str:
    """Return a word for all of kvpaxos's code: runs of another one are runs of another world."""
    root = Path(kvpaxos.__file__).parent
    digest = blake2b(digest_size=8)
    for path in sorted(root.rglob("*.py")):
        digest.update(
            path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
        )
    return f"{VERSION}+{digest.hexdigest()}"


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return ``numbers`` as ranges: of each the first, and the one that follows the last."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1][1] += 1
        else:
            found.append([number, number + 1])
    return found


def _measured(report: Report) -> dict[str, int]:
    counts = report.counts
    numbers = (
        counts["slots"],
        counts["leaders"],
        round(report.seconds),
        sum(report.faults.values()),
        counts["done"],
        counts["done before the calm"],
        counts["unknown"],
        round((report.alive_s or 0.0) * 1000),
    )
    return dict(zip(MEASURES, numbers, strict=True))


def _by_number(found: Mapping[str, Any]) -> dict[int, Any]:
    return {int(number): value for number, value in found.items()}


def _bounds(spread: Counter[int]) -> tuple[int, float, int]:
    return min(spread), _median(spread), max(spread)


def _spread(spread: Counter[int]) -> str:
    least, middle, most = _bounds(spread)
    return f"{least} to {most}, {middle:g} in the middle"


def _median(spread: Counter[int]) -> float:
    return median(spread.elements())

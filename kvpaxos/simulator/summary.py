"""Writes what a sweep has come to into a page: ``python -m kvpaxos.simulator.summary FILE PAGE``.

FILE is what ``kvpaxos simulate --report FILE`` wrote. What stands in the page between the two
markers is replaced, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kvpaxos.simulator.ledger import LedgerError, read
from kvpaxos.simulator.totals import Totals, ranges

BEGIN: Final = "<!-- simulated: what follows is written by make sweep -->"
END: Final = "<!-- simulated: end -->"


def summary(kind: Mapping[str, Any], totals: Totals) -> str:
    """Return what there is to say of ``totals``, as Markdown."""
    return "\n".join([*_about(kind, totals), "", *_spreads(totals), "", *_faults(totals)])


def inserted(page: str, text: str) -> str:
    """Return ``page`` with ``text`` between its markers.

    :raises ValueError: it has not both markers, once each and in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before or END in after:
        raise ValueError(f"there must be one {BEGIN} and, after it, one {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Write the summary of the totals in one file into another, and return the exit status."""
    match arguments:
        case [report, page]:
            pass
        case _:
            print("usage: python -m kvpaxos.simulator.summary FILE PAGE", file=sys.stderr)  # noqa: T201
            return 2
    try:
        kind, totals = read(Path(report))
        written = inserted(Path(page).read_text(), summary(kind, totals))
    except (LedgerError, OSError, ValueError) as error:
        print(f"summary: {error}; {page} was not changed", file=sys.stderr)  # noqa: T201
        return 1
    Path(page).write_text(written)
    print(f"{page}: {totals.runs} runs")  # noqa: T201
    return 0


def _about(kind: Mapping[str, Any], totals: Totals) -> Iterator[str]:
    seeds = ", ".join(f"{first}..{end}" for first, end in ranges(totals.seeds))
    hours, minutes = totals.seconds / 3600, totals.elapsed_s / 60
    per_minute = totals.runs / max(minutes, 1 / 60)
    yield f"kvpaxos {kind['source']}, seeds {seeds}: {totals.runs} runs,"
    yield f"{hours:.1f} simulated hours, {per_minute:.0f} runs a minute."
    for what, found in (("a rule was broken", totals.wrong), ("nothing was tried", totals.unfit)):
        yield ""
        yield f"Runs in which {what}: {len(found)}."
        yield from (f"Seed {seed}: {sentence}." for seed, sentence in sorted(found.items()))


def _spreads(totals: Totals) -> Iterator[str]:
    yield "| in a run | least | median | most |"
    yield "|---|---:|---:|---:|"
    if totals.runs:
        for name, least, middle, most in totals.rows():
            yield f"| {name} | {least} | {middle:g} | {most} |"


def _faults(totals: Totals) -> Iterator[str]:
    yield "| fault | times | in runs |"
    yield "|---|---:|---:|"
    for kind, struck in sorted(totals.faults.items()):
        yield f"| {kind} | {struck.times} | {struck.runs} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

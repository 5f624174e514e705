"""Whether runs were neither too gentle nor too harsh: else that no rule was broken says little.

Where hardly anything goes wrong nothing is tried, and where everything does nothing is decided.
One run must show only what cannot fail by chance (`kvpaxos.simulator.run.Report.unfit`); the rest
is asked here, of many together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from kvpaxos.simulator.faults import ALL_FAULTS, FAULTS
from kvpaxos.simulator.totals import Totals

RUNS_MIN: Final = 200
"""Fewer runs are not judged together: chance would have too much to say."""

SLOTS_MEDIAN_MIN: Final = 8
"""Half of the runs decide at least so many slots."""

STARVED_MAX: Final = 0.15
"""In at most this share of the runs nobody is told that anything was done before the calm."""

DEPOSED_MIN: Final = 0.25
"""In at least this share leaders change; the end of a run changes them at most once."""

HAPPENS: Final = {
    "unsynced files": "no power cut has found anything that was not synced",
    "deaths at the disk": "no process has died in the middle of a call to its disk",
    "refused calls": "no disk has refused anything",
    "sent again": "no client had to ask again",
    "unknown": "no client was left without an answer",
    "states installed": "no node has needed the state of another one",
    "disks rejoined": "no node has come to vote again on a new disk",
}
"""What happens now and then where all faults are at work, by its name among a report's counts."""

_FIVE_ONLY: Final = frozenset({"ring"})
"""Faults that are none where there are three nodes."""


def misses(totals: Totals, *, nodes: int | None, faults: Collection[str] | None) -> list[str]:
    """Say in what ways many runs together were too gentle or too harsh.

    :param nodes: how many nodes each had, if not chance decided.
    :param faults: the faults that somebody has asked for, if anybody has.
    """
    if totals.runs < RUNS_MIN:
        return []
    kinds = ALL_FAULTS if faults is None else frozenset(faults)
    if nodes == 3:  # noqa: PLR2004
        kinds -= _FIVE_ONLY
    gentle = [
        f"too gentle: {kind!r} has never happened"
        for kind in sorted(kinds & (FAULTS.keys() | totals.faults.keys()))
        if kind not in totals.faults or not totals.faults[kind].times
    ]
    # Whoever asks for some faults only has reasons to.
    return gentle if faults is not None else [*gentle, *_of_all_faults(totals)]


def _of_all_faults(totals: Totals) -> Iterator[str]:
    for name, sentence in HAPPENS.items():
        if not totals.counts[name]:
            yield f"too gentle: {sentence}"
    leaders = totals.spreads["leaders"]
    deposed = sum(runs for number, runs in leaders.items() if number > 2) / totals.runs  # noqa: PLR2004
    if deposed < DEPOSED_MIN:
        yield f"too gentle: leaders have changed in {deposed:.0%} of the runs only"
    starved = totals.spreads["acknowledged before the calm"][0] / totals.runs
    if starved > STARVED_MAX:
        yield f"too harsh: in {starved:.0%} of the runs nothing was acknowledged before the calm"
    middle = sorted(totals.spreads["slots"].elements())[totals.runs // 2]
    if middle < SLOTS_MEDIAN_MIN:
        yield f"too harsh: half of the runs have decided at most {middle} slots"

"""Makes the script of a run that breaks a rule shorter, as long as it breaks that rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from kvpaxos.simulator.faults import STEADY
from kvpaxos.simulator.run import Report
from kvpaxos.simulator.script import Script, Strike

_PARTICULARS: Final = re.compile(r"[0-9]+|'.*'")


def shrink(
    script: Script, report: Report, run: Callable[[Script], Report]
) -> tuple[Script, Report]:
    """Return a script that breaks the rule that ``report`` says was broken, and its report.

    No strike can be left out of it, and nothing that goes on all the time. What is tried first
    is to leave out many at once (Zeller and Hildebrandt, "Simplifying and Isolating
    Failure-Inducing Input", 2002, section 3).

    :param report: what came of ``script``.
    :param run: runs a script.
    """
    return _Shrinking(script, report, run).result()


class _Shrinking:
    def __init__(self, script: Script, report: Report, run: Callable[[Script], Report]) -> None:
        assert report.wrong is not None, "no rule was broken"
        self._rule = rule_of(report.wrong)
        self._run = run
        self._script, self._report = script, report

    def result(self) -> tuple[Script, Report]:
        self._try(replace(self._script, strikes=self._report.strikes))
        self._leave_out_strikes()
        for kind in sorted(STEADY):
            self._try(replace(self._script, without=self._script.without | {kind}))
        for clients in (1, 2):
            if self._try(replace(self._script, clients=clients)):
                break
        # With less around them fewer strikes may do.
        self._leave_out_strikes()
        return self._script, self._report

    def _try(self, script: Script) -> bool:
        """Run ``script``, take it if it breaks the rule, and say whether it did."""
        report = self._run(script)
        broken = report.wrong is not None and rule_of(report.wrong) == self._rule
        if broken:
            # What would have come after the end has no part in it.
            self._script = replace(script, strikes=report.strikes)
            self._report = report
        return broken

    def _leave_out_strikes(self) -> None:
        parts = 2
        while strikes := self._script.strikes:
            for rest in _rests(strikes, parts):
                if self._try(replace(self._script, strikes=rest)):
                    parts = max(2, parts - 1)
                    break
            else:
                if parts >= len(strikes):
                    return
                parts = min(2 * parts, len(strikes))


def _rests(strikes: Sequence[Strike], parts: int) -> Iterator[tuple[Strike, ...]]:
    """Yield ``strikes`` without the first part of them, without the second, and so on."""
    parts = min(parts, len(strikes))
    bounds = [len(strikes) * number // parts for number in range(parts + 1)]
    for begin, end in pairwise(bounds):
        yield (*strikes[:begin], *strikes[end:])


def rule_of(wrong: str) -> str:
    """Return which rule a sentence is about: it, without its numbers and names."""
    return _PARTICULARS.sub("#", wrong)

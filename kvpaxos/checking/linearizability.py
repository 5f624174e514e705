"""Judges whether a history is linearizable: as if one machine had answered, asked in some order.

The order must keep to time: what was over before something else began comes before it. Keys are
judged one by one, since a history is linearizable if and only if its part on each key is (Herlihy
and Wing, 1990). Operations that span keys, stale reads, which promise less, and calls that failed
are left out and counted; for the first of these there is `kvpaxos.checking.oracle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kvpaxos.checking.claims import claims_of
from kvpaxos.checking.explanation import Break, explain
from kvpaxos.checking.history import Call, WholeOperation
from kvpaxos.checking.search import STEPS_MAX, Budget, Exhausted, Search


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a history.

    :ivar keys: how many keys were judged.
    :ivar calls: how many calls on them.
    :ivar left_out: how many calls were not judged: stale reads, and what spans keys.
    :ivar visited: how many situations were looked into.
    :ivar steps: how often a call was tried.
    :ivar breaks: one for each key whose calls no order explains.
    :ivar undecided: keys of which nothing is known, since the budget was used up.
    """

    keys: int
    calls: int
    left_out: int
    visited: int
    steps: int
    breaks: tuple[Break, ...]
    undecided: tuple[bytes, ...]

    @property
    def outcome(self) -> Literal["linearizable", "broken", "undecided"]:
        """The worst that is certain."""
        if self.breaks:
            return "broken"
        return "undecided" if self.undecided else "linearizable"


def check(history: Iterable[Call], *, steps_max: int = STEPS_MAX) -> Verdict:
    """Judge ``history``, whose calls may come in any order.

    :param steps_max: so many calls are tried at most, not counting those that explain a break.
    """
    keys, left_out = by_key(history)
    budget = Budget(steps_max)
    visited = 0
    broken: list[bytes] = []
    undecided: list[bytes] = []
    for key, calls in keys.items():
        search = Search(claims_of(calls), budget)
        try:
            if not search.finds_order():
                broken.append(key)
        except Exhausted:
            undecided.append(key)
        visited += search.visited
    return Verdict(
        keys=len(keys),
        calls=sum(map(len, keys.values())),
        left_out=left_out,
        visited=visited,
        steps=budget.steps,
        breaks=tuple(explain(key, keys[key]) for key in broken),
        undecided=tuple(undecided),
    )


def by_key(history: Iterable[Call]) -> tuple[dict[bytes, Sequence[Call]], int]:
    """Return the calls on each key, and how many are on none, or promise less than to be fresh."""
    keys: dict[bytes, list[Call]] = {}
    left_out = 0
    for call in history:
        if isinstance(call.operation, WholeOperation) or call.read == "stale":
            left_out += 1
        else:
            keys.setdefault(call.operation.key, []).append(call)
    return {**keys}, left_out

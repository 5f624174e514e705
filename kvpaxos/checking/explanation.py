"""Where and why no order explains a key's calls, for people.

Up to some answer all can be explained, and with it no more: that answer is the *offending* one. Of
the calls before it most have nothing to do with it. Left is a *core*: calls that contradict each
other, whatever came of all the others.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from kvpaxos.checking.claims import claims_of, relaxed
from kvpaxos.checking.history import Call
from kvpaxos.checking.search import Budget, Exhausted, Search

ENDINGS_MAX: Final = 8
"""Nobody wants to read of more values that a key may have held."""

STEPS_MAX: Final = 500_000
"""So many calls are tried to explain one break, in all trials together."""

TRIAL_STEPS_MAX: Final = 50_000
"""So many are tried to see whether a smaller part is a contradiction too, each time."""


@dataclass(frozen=True, slots=True)
class Break:
    """One key's calls that no order explains.

    :ivar calls: all calls on the key, by when they began.
    :ivar offending: the call whose answer nothing explains any more; all that were answered before
        it can be explained.
    :ivar core: calls that contradict each other, the offending one among them, by when they began.
    :ivar held: what the key may have held when everything else that was answered by then had
        happened; None stands for nothing. Empty if that was too much to find out.
    :ivar explained: how many calls were answered before the offending one.
    """

    key: bytes
    calls: tuple[Call, ...]
    offending: Call
    core: tuple[Call, ...]
    held: tuple[bytes | None, ...]
    explained: int


def explain(key: bytes, calls: Sequence[Call]) -> Break:
    """Return what is wrong with ``calls``, which no order explains.

    It is as small as could be found within the limits: a core is a contradiction in any case, but
    perhaps there is a smaller one, or an offending answer before this one.
    """
    budget = Budget(STEPS_MAX)
    ended = sorted((call for call in calls if _answered(call)), key=_end)
    # The least prefix that no order explains ends here. Longer ones are none the better for it.
    places = range(len(ended) - 1)
    place = bisect_left(places, 1, key=lambda place: _breaks(calls, ended[: place + 1], budget))
    prefix = ended[: place + 1]
    core = _core(calls, prefix, budget)
    return Break(
        key=key,
        calls=tuple(sorted(calls, key=lambda call: call.began)),
        offending=prefix[-1],
        core=tuple(sorted(core, key=lambda call: call.began)),
        held=_held_before(calls, prefix, budget),
        explained=place,
    )


def _answered(call: Call) -> bool:
    return call.outcome in {"done", "refused"}


def _end(call: Call) -> float:
    return inf if call.ended is None else call.ended


def _breaks(calls: Sequence[Call], known: Sequence[Call], budget: Budget) -> bool:
    """Whether certainly no order explains ``known``, whatever came of the other ``calls``."""
    trial = Budget(min(budget.left, TRIAL_STEPS_MAX))
    try:
        return not Search(claims_of(_with_relaxed(calls, known)), trial).finds_order()
    except Exhausted:
        return False
    finally:
        budget.steps += trial.steps


def _with_relaxed(calls: Sequence[Call], known: Sequence[Call]) -> list[Call]:
    """Return ``calls`` as they looked when of all of them only ``known`` had been answered."""
    kept = set(map(id, known))
    now = max(map(_end, known), default=-inf)
    return [call if id(call) in kept else relaxed(call) for call in calls if call.began <= now]


def _core(calls: Sequence[Call], prefix: Sequence[Call], budget: Budget) -> list[Call]:
    """Return a part of ``prefix`` that no order explains either, and of which all is needed.

    It is mostly among the last answers. Of these, larger pieces are left out first.
    """
    size = 1
    while size < len(prefix) and not _breaks(calls, prefix[-size:], budget):
        size *= 2
    kept = list(prefix[-size:])
    size = len(kept) // 2
    while size:
        place = 0
        while place < len(kept) and budget.left:
            fewer = kept[:place] + kept[place + size :]
            if _breaks(calls, fewer, budget):
                kept = fewer
            else:
                place += size
        size //= 2
    return kept


def _held_before(
    calls: Sequence[Call], prefix: Sequence[Call], budget: Budget
) -> tuple[bytes | None, ...]:
    before = _with_relaxed([call for call in calls if call is not prefix[-1]], prefix[:-1])
    trial = Budget(min(budget.left, TRIAL_STEPS_MAX))
    try:
        return tuple(Search(claims_of(before, all_seen=True), trial).endings(ENDINGS_MAX))
    except Exhausted:
        return ()

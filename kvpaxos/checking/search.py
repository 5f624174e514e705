"""Looks for an order of one key's calls that explains every answer.

This is the search of Wing and Gong ("Testing and verifying concurrent objects", 1993), with the
memory of Lowe ("Testing for linearizability", 2017): calls are put in order one after another, each
only if no call that is still missing was over before it began; whoever gets into a dead end takes a
step back, and a situation that was met before is not looked into again.

Besides what `kvpaxos.checking.claims` leaves out, four rules keep it short. Each of them only skips
what could not lead to an order, or has led nowhere, or is as good as something else:

* A read or a refusal that may come next, and is true of what the key holds, comes at once: it
  changes nothing wherever it stands, so here it is in nobody's way.
* A call of unknown outcome is put in only where it changes something.
* Of unknown calls that do the same, the one that began first is the first to be put in.
* Of two situations that differ only in which unknown calls were put in, one whose calls are among
  those of the other is as good: what is not used may be used later.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final, NamedTuple

from kvpaxos.checking.claims import IMPOSSIBLE, Claim, Claims

STEPS_MAX: Final = 5_000_000
"""So many calls are tried before a history counts as undecided: that takes a minute or two."""


class Budget:
    """How much may be tried, by all searches together.

    :ivar steps: how often a call was tried so far.
    """

    def __init__(self, steps_max: int = STEPS_MAX) -> None:
        self.steps = 0
        self._steps_max = steps_max

    @property
    def left(self) -> int:
        """How often more; 0 if it is used up."""
        return max(0, self._steps_max - self.steps)


class Exhausted(Exception):
    """The budget was used up before there was an answer."""


class Situation(NamedTuple):
    """Some calls are in order.

    :ivar base: all known calls before this place are among them.
    :ivar mask: which known calls from there on; its lowest bit, that of ``base``, is 0.
    :ivar held: what the key holds now.
    :ivar used: which unknown calls are among them.
    """

    base: int
    mask: int
    held: bytes | None
    used: int


class Search:
    """One key's search.

    :ivar visited: how many situations were looked into.
    """

    def __init__(self, claims: Claims, budget: Budget) -> None:
        self.visited = 0
        self._known = claims.known
        self._kinds: list[tuple[int, tuple[Claim, ...]]] = []
        self._budget = budget
        self._met: dict[tuple[int, int, bytes | None], list[int]] = {}
        shift = 0
        for kind in claims.kinds:
            self._kinds.append((shift, kind))
            shift += len(kind)

    def finds_order(self) -> bool:
        """Return whether there is an order.

        :raises Exhausted: it is not known.
        """
        return next(self._orders(), None) is not None

    def endings(self, most: int) -> list[bytes | None]:
        """Return what the key may hold once all known calls are in order: not more than ``most``.

        :raises Exhausted: there may be others.
        """
        found: dict[bytes | None, None] = {}
        for situation in self._orders():
            found[situation.held] = None
            if len(found) == most:
                break
        return list(found)

    def _orders(self) -> Iterator[Situation]:
        """Yield every situation that has all known calls in order."""
        stack = [iter([self._settled(0, 0, None, 0)])]
        while stack:
            situation = next(stack[-1], None)
            if situation is None:
                stack.pop()
            elif self._is_new(situation):
                self.visited += 1
                if situation.base == len(self._known):
                    yield situation
                stack.append(self._following(situation))

    def _is_new(self, situation: Situation) -> bool:
        place = situation[:3]
        met = self._met.setdefault(place, [])
        used = situation.used
        if any(other & used == other for other in met):
            return False
        met[:] = [other for other in met if used & other != used]
        met.append(used)
        return True

    def _following(self, situation: Situation) -> Iterator[Situation]:
        """Yield what may come of one more call: known ones first, the next to be over first."""
        base, mask, held, used = situation
        ready, horizon = self._ready(base, mask)
        for place in sorted(ready, key=lambda place: self._known[place].until):
            self._step()
            after = self._known[place].after(held)
            if after is not IMPOSSIBLE:
                yield self._settled(base, mask | 1 << (place - base), after, used)
        for shift, kind in self._kinds:
            spent = (used >> shift & ((1 << len(kind)) - 1)).bit_count()
            if spent == len(kind) or kind[spent].began > horizon:
                continue
            self._step()
            after = kind[spent].after(held)
            assert after is not IMPOSSIBLE, "an unknown outcome claims nothing"
            if after != held:
                yield self._settled(base, mask, after, used | 1 << (shift + spent))

    def _ready(self, base: int, mask: int) -> tuple[list[int], float]:
        """Return the known calls that may come next, and when the first of them is over."""
        ready: list[int] = []
        horizon = inf
        for place in range(base, len(self._known)):
            claim = self._known[place]
            if claim.began > horizon:
                break
            if not mask >> (place - base) & 1:
                ready.append(place)
                horizon = min(horizon, claim.until)
        return ready, horizon

    def _settled(self, base: int, mask: int, held: bytes | None, used: int) -> Situation:
        """Return a situation after all reads and refusals that may come next and are true."""
        settled = False
        while not settled:
            settled = True
            while mask & 1:
                base, mask = base + 1, mask >> 1
            for place in self._ready(base, mask)[0]:
                claim = self._known[place]
                if not claim.looks_only:
                    continue
                self._step()
                if claim.after(held) is not IMPOSSIBLE:
                    mask |= 1 << (place - base)
                    settled = False
        return Situation(base, mask, held, used)

    def _step(self) -> None:
        if not self._budget.left:
            raise Exhausted
        self._budget.steps += 1

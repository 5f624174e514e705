"""One key's calls, brought into the shape in which they are ordered.

Two things make an order cheap to find where many outcomes are unknown. Both are sound, that is,
neither makes an order possible that is not, nor the other way round:

* **Values that nobody sees are one value.** What a key holds matters only through what somebody
  was shown, or compares with. A value that is none of these, nor the beginning of one where there
  are appends, allows exactly the same answers as any other such value. So all of them are replaced
  by one, the *unseen* value.
* **Reads and refusals of unknown outcome, and calls that failed, are left out.** They changed
  nothing and nobody was told anything.
* **Unknown writes of unseen values are left out**, if every known call either shows what it found
  or cares for nothing, and no unknown update could need them. Behind such a write nothing but a
  write that cares for nothing can come: without it the order is as good.

More is left out while an order is looked for; see `kvpaxos.checking.search`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise
from math import inf
from typing import Final, TypeAlias

from kvpaxos.checking.history import UNTOLD, Call, KeyOperation, Outcome, WholeOperation
from kvpaxos.checking.model import agrees, effect_of
from kvpaxos.store.commands import Append, CompareAndSet, Delete, Get, Insert, Set, Update


class Impossible(Enum):
    """Stands for what comes of a claim that cannot be true of what the key holds."""

    IMPOSSIBLE = "no client would be told so"


IMPOSSIBLE: Final = Impossible.IMPOSSIBLE

After: TypeAlias = bytes | Impossible | None


@dataclass(slots=True)
class Claim:
    """What one call says of its key.

    :ivar operation: with the unseen value in the place of values that nobody sees.
    :ivar until: when it was over; infinity if its outcome is unknown.
    """

    call: Call
    operation: KeyOperation
    began: float
    until: float
    values: Values
    _known: dict[bytes | None, After] = field(default_factory=dict)

    @property
    def looks_only(self) -> bool:
        """Whether it changes nothing, whatever the key holds."""
        return self.call.outcome == "refused" or isinstance(self.operation, Get)

    def after(self, held: bytes | None) -> After:
        """Return what the key holds afterwards, or `IMPOSSIBLE`."""
        try:
            return self._known[held]
        except KeyError:
            effect = effect_of(self.operation, held)
            right = agrees(effect, self.call.outcome, self.call.told)
            after = self.values.canonical(effect.after) if right else IMPOSSIBLE
            self._known[held] = after
            return after


class Values:
    """The values of one key that somebody is shown, or compares with.

    :ivar unseen: a value that stands for all others. It is longer than all that are seen, so that
        whatever is appended to it is unseen too.
    """

    def __init__(self, calls: Sequence[Call], *, all_seen: bool = False) -> None:
        self._all_seen = all_seen
        self._appended = any(isinstance(call.operation, Append) for call in calls)
        self._seen = set(_seen(calls))
        self._sorted = sorted(self._seen) if self._appended else []
        self._longest = [
            value for value, next_ in pairwise(self._sorted) if not next_.startswith(value)
        ] + self._sorted[-1:]
        self.unseen = bytes(1 + max(map(len, self._seen), default=0))

    def canonical(self, value: bytes | None) -> bytes | None:
        """Return ``value``, or the unseen one if nobody can tell the two apart."""
        if value is None or self._all_seen or self.sees(value):
            return value
        return self.unseen

    def sees(self, value: bytes) -> bool:
        """Whether anybody can tell ``value`` from the unseen one."""
        if not self._appended:
            return value in self._seen
        place = bisect_left(self._sorted, value)
        return place < len(self._sorted) and self._sorted[place].startswith(value)

    def canonical_operation(self, operation: KeyOperation) -> KeyOperation:
        """Return ``operation``, writing the unseen value if that makes no difference."""
        match operation:
            case Append(key, value):
                # At the end of anything it can only make what somebody sees a part of.
                seen = self._all_seen or any(value in whole for whole in self._longest)
                return operation if seen else Append(key, self.unseen)
            case Set() | Insert() | Update() | CompareAndSet():
                after = self.canonical(operation.value)
                assert after is not None, "a value stays one"
                return operation if after is operation.value else replace(operation, value=after)
            case Delete() | Get():
                return operation


@dataclass(frozen=True, slots=True)
class Claims:
    """All that is claimed of one key.

    :ivar known: the claims of known outcome, by when they began.
    :ivar kinds: those of unknown outcome; equal ones together, by when they began. Of two equal
        ones the later can do nothing that the earlier cannot.
    """

    known: tuple[Claim, ...]
    kinds: tuple[tuple[Claim, ...], ...]


def claims_of(calls: Sequence[Call], *, all_seen: bool = False) -> Claims:
    """Return what ``calls``, all on one key, come to.

    :param all_seen: keep every value as it is, for people to read.
    """
    relevant = [call for call in calls if _matters(call)]
    values = Values(relevant, all_seen=all_seen)
    claims = [_claim(call, values) for call in relevant]
    known = sorted(
        (claim for claim in claims if claim.call.outcome != "unknown"),
        key=lambda claim: (claim.began, claim.until),
    )
    unknown = [claim for claim in claims if claim.call.outcome == "unknown"]
    if not all_seen and not _needed(known, unknown, values.unseen):
        unknown = [claim for claim in unknown if not _writes(claim.operation, values.unseen)]
    return Claims(tuple(known), tuple(_kinds(unknown)))


def relaxed(call: Call) -> Call:
    """Return ``call`` as if its client had not heard of its outcome, or will not hear of it.

    What is possible with the call is possible without its answer: so calls that contradict each
    other while all others are relaxed do so with them as well.
    """
    outcome: Outcome = "failed" if call.outcome in {"refused", "failed"} else "unknown"
    return replace(call, outcome=outcome, told=UNTOLD, ended=None)


def _seen(calls: Iterable[Call]) -> Iterable[bytes]:
    for call in calls:
        if isinstance(call.told, bytes):
            yield call.told
        if isinstance(call.operation, CompareAndSet) and call.operation.expect is not None:
            yield call.operation.expect


def _matters(call: Call) -> bool:
    if call.outcome == "failed":
        return False
    return call.outcome != "unknown" or not isinstance(call.operation, Get)


def _claim(call: Call, values: Values) -> Claim:
    operation = call.operation
    assert not isinstance(operation, WholeOperation), "what spans keys claims nothing of one"
    until = inf if call.outcome == "unknown" or call.ended is None else call.ended
    return Claim(call, values.canonical_operation(operation), call.began, until, values)


def _needed(known: Sequence[Claim], unknown: Sequence[Claim], unseen: bytes) -> bool:
    """Whether an unknown write of the unseen value may be needed: because the key must hold it."""
    cared_for = any(
        claim.after(unseen) is not IMPOSSIBLE and not isinstance(claim.operation, Set)
        for claim in known
    )
    return cared_for or any(
        isinstance(claim.operation, Update) and claim.operation.value != unseen for claim in unknown
    )


def _writes(operation: KeyOperation, value: bytes) -> bool:
    return not isinstance(operation, Delete | Get) and operation.value == value


def _kinds(unknown: Sequence[Claim]) -> Iterable[tuple[Claim, ...]]:
    kinds: dict[KeyOperation, list[Claim]] = {}
    for claim in sorted(unknown, key=lambda claim: claim.began):
        kinds.setdefault(claim.operation, []).append(claim)
    return map(tuple, kinds.values())

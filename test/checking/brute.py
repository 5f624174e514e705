"""Judges tiny histories by trying every order of every choice of calls; and makes such histories.

What operations do is asked of the state machine itself here, and not of the checker's model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from random import Random

from kvpaxos.checking.history import UNTOLD, Call, KeyOperation, Outcome, Told, WholeOperation
from kvpaxos.store.commands import Append, CompareAndSet, Delete, Get, Insert, Set, Update
from kvpaxos.store.keyspace import judge

KEY = b"k"


def carry_out(operation: KeyOperation, held: bytes | None) -> tuple[bool, bytes | None, Told]:
    """Return whether the state machine does it, what the key holds then, and what is shown."""
    if isinstance(operation, Get):
        return (False, None, UNTOLD) if held is None else (True, held, held)
    outcome, after, shown = judge(operation, held, 1000)
    if outcome == "ok":
        return True, after, UNTOLD if shown is None else shown
    return False, held, shown if isinstance(operation, CompareAndSet) else UNTOLD


def linearizable(calls: Sequence[Call]) -> bool:
    """Whether any order of any choice of ``calls`` explains them all."""
    known = [call for call in calls if call.outcome in {"done", "refused"}]
    unknown = [call for call in calls if call.outcome == "unknown"]
    return any(
        _explains(order)
        for count in range(len(unknown) + 1)
        for chosen in combinations(unknown, count)
        for order in permutations([*known, *chosen])
    )


def _explains(order: Sequence[Call]) -> bool:
    latest = float("-inf")
    held: bytes | None = None
    for call in order:
        latest = max(latest, call.began)
        # What was over before something that precedes it here began cannot follow that.
        if call.ended is not None and call.outcome != "unknown" and call.ended < latest:
            return False
        assert not isinstance(call.operation, WholeOperation)
        done, after, shown = carry_out(call.operation, held)
        right = done == (call.outcome == "done") and call.told in (UNTOLD, shown)
        if call.outcome != "unknown" and not right:
            return False
        held = after if done else held
    return True


VALUES = (b"", b"a", b"b", b"ab", b"ba")


def any_operation(random: Random) -> KeyOperation:
    value, expect = random.choice(VALUES), random.choice((None, *VALUES))
    return random.choice(
        (
            Set(KEY, value),
            Insert(KEY, value),
            Update(KEY, value),
            Append(KEY, random.choice((b"a", b"b"))),
            Delete(KEY),
            CompareAndSet(KEY, expect, value),
            Get(KEY),
            Get(KEY),
        )
    )


def true_history(random: Random, count: int) -> list[Call]:
    """Return calls that were carried out one after another, at some moment between their ends."""
    held: bytes | None = None
    calls = []
    for moment in range(count):
        operation = any_operation(random)
        outcome: Outcome = "unknown" if random.random() < 0.3 else "done"
        told: Told = UNTOLD
        if outcome == "done" or random.random() < 0.6:
            done, after, shown = carry_out(operation, held)
            held = after if done else held
            if outcome == "done":
                outcome = "done" if done else "refused"
                told = shown if isinstance(operation, Get) or random.random() < 0.8 else UNTOLD
        began, ended = moment - random.random() * 3, moment + random.random() * 3
        calls.append(Call(f"c{moment}", operation, began, ended, outcome, told))
    return calls


def changed(random: Random, calls: Sequence[Call]) -> Iterator[Call]:
    """Yield ``calls``, one of which has another answer."""
    place = random.randrange(len(calls))
    for number, call in enumerate(calls):
        yield _changed(random, call) if number == place else call


def _changed(random: Random, call: Call) -> Call:
    if call.told is not UNTOLD and random.random() < 0.7:
        return replace(call, told=random.choice(VALUES))
    outcome: Outcome = "refused" if call.outcome == "done" else "done"
    if isinstance(call.operation, Set | Append) or (
        outcome == "done" and isinstance(call.operation, Get)
    ):
        return replace(
            call,
            outcome="done",
            told=UNTOLD if isinstance(call.operation, Set) else random.choice(VALUES),
        )
    return replace(call, outcome=outcome, told=UNTOLD)

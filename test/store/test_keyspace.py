"""What operations do to keys: the tables."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Delete,
    Insert,
    Set,
    Update,
    Write,
)
from kvpaxos.store.keyspace import Verdict, judge
from kvpaxos.store.limits import KEY_BYTES_MAX

K = b"key"
OLD = b"old"
NEW = b"new"
VALUE_BYTES_MAX = 8
FULL = b"x" * VALUE_BYTES_MAX
LONG = b"x" * (VALUE_BYTES_MAX + 1)
FULL_KEY = b"k" * KEY_BYTES_MAX
LONG_KEY = b"k" * (KEY_BYTES_MAX + 1)

MISSING = Verdict("missing", None, None)
EXISTS = Verdict("exists", None, None)
TOO_LARGE = Verdict("too_large", None, None)


@dataclass(frozen=True)
class Case:
    rule: str
    operation: Write
    current: bytes | None
    verdict: Verdict


OUTCOMES = [
    Case("insert creates a key", Insert(K, NEW), None, Verdict("ok", NEW, None)),
    Case("insert spares a key that is there", Insert(K, NEW), OLD, EXISTS),
    Case("insert spares an empty value", Insert(K, NEW), b"", EXISTS),
    Case("insert spares an equal value", Insert(K, OLD), OLD, EXISTS),
    Case("update creates nothing", Update(K, NEW), None, MISSING),
    Case("update shows the old value", Update(K, NEW), OLD, Verdict("ok", NEW, OLD)),
    Case("update shows an empty old value", Update(K, NEW), b"", Verdict("ok", NEW, b"")),
    Case("update to an equal value is a write", Update(K, OLD), OLD, Verdict("ok", OLD, OLD)),
    Case("delete needs a key", Delete(K), None, MISSING),
    Case("delete shows the old value", Delete(K), OLD, Verdict("ok", None, OLD)),
    Case("delete removes an empty value", Delete(K), b"", Verdict("ok", None, b"")),
    Case("set creates a key", Set(K, NEW), None, Verdict("ok", NEW, None)),
    Case("set replaces and shows nothing", Set(K, NEW), OLD, Verdict("ok", NEW, None)),
    Case("set to an equal value is a write", Set(K, OLD), OLD, Verdict("ok", OLD, None)),
    Case("append creates a key", Append(K, NEW), None, Verdict("ok", NEW, NEW)),
    Case("append shows the whole", Append(K, NEW), OLD, Verdict("ok", OLD + NEW, OLD + NEW)),
    Case("append of nothing is a write", Append(K, b""), OLD, Verdict("ok", OLD, OLD)),
    Case("append of nothing creates", Append(K, b""), None, Verdict("ok", b"", b"")),
    Case(
        "a comparison with nothing creates a key",
        CompareAndSet(K, None, NEW),
        None,
        Verdict("ok", NEW, None),
    ),
    Case(
        "a comparison with nothing shows what is there",
        CompareAndSet(K, None, NEW),
        OLD,
        Verdict("exists", None, OLD),
    ),
    Case(
        "an empty value is not nothing",
        CompareAndSet(K, None, NEW),
        b"",
        Verdict("exists", None, b""),
    ),
    Case(
        "a comparison with the current value replaces it",
        CompareAndSet(K, OLD, NEW),
        OLD,
        Verdict("ok", NEW, None),
    ),
    Case(
        "a comparison with another value shows the current one",
        CompareAndSet(K, OLD, NEW),
        NEW,
        Verdict("differs", None, NEW),
    ),
    Case("a comparison with a value needs a key", CompareAndSet(K, OLD, NEW), None, MISSING),
    Case("nothing is not an empty value", CompareAndSet(K, b"", NEW), None, MISSING),
]

SIZES = [
    Case("insert takes a full value", Insert(K, FULL), None, Verdict("ok", FULL, None)),
    Case("insert refuses a long value", Insert(K, LONG), None, TOO_LARGE),
    Case("insert refuses a long value first", Insert(K, LONG), OLD, TOO_LARGE),
    Case("insert refuses a long key", Insert(LONG_KEY, NEW), None, TOO_LARGE),
    Case("update takes a full value", Update(K, FULL), OLD, Verdict("ok", FULL, OLD)),
    Case("update refuses a long value", Update(K, LONG), OLD, TOO_LARGE),
    Case("update refuses a long value first", Update(K, LONG), None, TOO_LARGE),
    Case("update refuses a long key", Update(LONG_KEY, NEW), None, TOO_LARGE),
    Case("delete refuses a long key", Delete(LONG_KEY), None, TOO_LARGE),
    Case("delete takes a full key", Delete(FULL_KEY), OLD, Verdict("ok", None, OLD)),
    Case("set takes a full key and value", Set(FULL_KEY, FULL), None, Verdict("ok", FULL, None)),
    Case("set refuses a long value", Set(K, LONG), OLD, TOO_LARGE),
    Case("set refuses a long key", Set(LONG_KEY, NEW), None, TOO_LARGE),
    Case("append makes a full value", Append(K, b"x"), FULL[1:], Verdict("ok", FULL, FULL)),
    Case("append makes no long value", Append(K, b"x"), FULL, TOO_LARGE),
    Case("append creates no long value", Append(K, LONG), None, TOO_LARGE),
    Case("append refuses a long key", Append(LONG_KEY, NEW), None, TOO_LARGE),
    Case(
        "a comparison refuses a long value",
        CompareAndSet(K, OLD, LONG),
        OLD,
        TOO_LARGE,
    ),
    Case("a comparison refuses a long key", CompareAndSet(LONG_KEY, None, NEW), None, TOO_LARGE),
    Case(
        "a long expected value merely differs",
        CompareAndSet(K, LONG, NEW),
        OLD,
        Verdict("differs", None, OLD),
    ),
]


@pytest.mark.parametrize("case", OUTCOMES, ids=lambda case: case.rule)
def test_outcomes(case: Case) -> None:
    assert judge(case.operation, case.current, VALUE_BYTES_MAX) == case.verdict


@pytest.mark.parametrize("case", SIZES, ids=lambda case: case.rule)
def test_sizes(case: Case) -> None:
    assert judge(case.operation, case.current, VALUE_BYTES_MAX) == case.verdict

"""What operations do to keys."""

from __future__ import annotations

from typing import Final, NamedTuple, assert_never

from kvpaxos.store.changes import Changes
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    Update,
    Write,
)
from kvpaxos.store.entry import Entry, decode_entry, encode_entry
from kvpaxos.store.layout import Layout
from kvpaxos.store.limits import KEY_BYTES_MAX
from kvpaxos.store.results import Outcome, Result


class Verdict(NamedTuple):
    """What an operation comes to, given what its key holds.

    :ivar after: what the key shall hold if the outcome is ``ok``: a value, or None for nothing.
    :ivar shown: what the client gets to see.
    """

    outcome: Outcome
    after: bytes | None
    shown: bytes | None


def judge(operation: Write, current: bytes | None, value_bytes_max: int) -> Verdict:
    """Say what comes of ``operation`` if its key holds ``current``, None being nothing.

    Sizes come first: what is too large is so whatever the key holds.
    """
    if len(operation.key) > KEY_BYTES_MAX:
        return _TOO_LARGE
    match operation:
        case Delete():
            return _MISSING if current is None else Verdict("ok", None, current)
        case Append(_, value):
            return _append(current, value, value_bytes_max)
        case _ if len(operation.value) > value_bytes_max:
            return _TOO_LARGE
        case _:
            return _store(operation, current)


class Keyspace:
    """The clients' keys of one group.

    :ivar count: how many there are.
    :ivar revision: how many operations have changed the state so far. It never goes back.
    """

    def __init__(
        self, changes: Changes, layout: Layout, *, count: int, revision: int, value_bytes_max: int
    ) -> None:
        self.count = count
        self.revision = revision
        self._changes = changes
        self._layout = layout
        self._value_bytes_max = value_bytes_max

    def get(self, key: bytes) -> Entry | None:
        """Return what ``key`` holds, or None."""
        place = self._layout.user(key)
        record = self._changes.get(place)
        return None if record is None else decode_entry(place, record)

    def execute(self, operation: Operation) -> Result:
        """Carry out ``operation``. Only a write with the outcome ``ok`` changes anything."""
        match operation:
            case Get(key):
                return self._show(key)
            case Count():
                return Result("ok", b"%d" % self.count, self.revision)
            case _:
                return self._write(operation)

    def _show(self, key: bytes) -> Result:
        if len(key) > KEY_BYTES_MAX:
            return Result("too_large", None, self.revision)
        entry = self.get(key)
        if entry is None:
            return Result("missing", None, self.revision)
        return Result("ok", entry.value, self.revision)

    def _write(self, operation: Write) -> Result:
        changes = self._changes
        place = self._layout.user(operation.key)
        record = changes.get(place)
        entry = None if record is None else decode_entry(place, record)
        current = None if entry is None else entry.value

        outcome, after, shown = judge(operation, current, self._value_bytes_max)
        if outcome == "ok":
            self.revision += 1
            self.count += (after is not None) - (entry is not None)
            before = changes.digest(place, record)
            changes.replace(place, before, self._record(entry, after))
        return Result(outcome, shown, self.revision)

    def _record(self, entry: Entry | None, value: bytes | None) -> bytes | None:
        if value is None:
            return None
        revision = self.revision
        if entry is None:
            return encode_entry(Entry(value, revision, revision, 1))
        return encode_entry(Entry(value, entry.create_revision, revision, entry.version + 1))


_MISSING: Final = Verdict("missing", None, None)
_EXISTS: Final = Verdict("exists", None, None)
_TOO_LARGE: Final = Verdict("too_large", None, None)


def _store(operation: Set | Insert | Update | CompareAndSet, current: bytes | None) -> Verdict:
    match operation:
        case Set(_, value):
            return Verdict("ok", value, None)
        case Insert(_, value):
            return _EXISTS if current is not None else Verdict("ok", value, None)
        case Update(_, value):
            return _MISSING if current is None else Verdict("ok", value, current)
        case CompareAndSet(_, expect, value):
            return _compare(current, expect, value)
        case _:
            assert_never(operation)


def _append(current: bytes | None, value: bytes, value_bytes_max: int) -> Verdict:
    before = current or b""
    # Its size is known before it is made: a refusal costs no copy.
    if len(before) + len(value) > value_bytes_max:
        return _TOO_LARGE
    whole = before + value
    return Verdict("ok", whole, whole)


def _compare(current: bytes | None, expect: bytes | None, value: bytes) -> Verdict:
    if current == expect:
        return Verdict("ok", value, None)
    if current is None:
        return _MISSING
    return Verdict("exists" if expect is None else "differs", None, current)

"""The state machine: it executes commands one after another, in the order of the log.

It is deterministic: replicas that were given the same submissions hold equal states, on whatever
engine, and however the submissions were cut into batches. It writes nothing by itself: the caller
takes the changes of a whole batch and writes them to the engine at once, with its own applied slot
among them. The order of duties, all of it before anything else is done with the machine or the
engine::

    results = [machine.apply(submission) for submission in batch]
    engine.write({**machine.take_changes(), applied_key(group): slot})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from kvpaxos.errors import CommandError, StateDamaged
from kvpaxos.store.changes import Changes
from kvpaxos.store.commands import decode_operation
from kvpaxos.store.engine import Engine, Snapshot
from kvpaxos.store.entry import Entry
from kvpaxos.store.keyspace import Keyspace
from kvpaxos.store.layout import Layout
from kvpaxos.store.limits import VALUE_BYTES_MAX, IdentityLimits
from kvpaxos.store.meta import Meta, decode_meta
from kvpaxos.store.repeats import Repeats, fingerprint_of
from kvpaxos.store.requests import split_request
from kvpaxos.store.results import Refusal, Result
from kvpaxos.store.sessions import Sessions
from kvpaxos.store.view import View

Submission: TypeAlias = tuple[str, int, int, int, bytes]
"""A command: node, life, sequence, settled_through, body."""

_IDENTITY_LIMITS: Final = IdentityLimits()


class Machine:
    """One group's state, on the engine that holds it.

    :param value_bytes_max: the largest value; it must be equal on all replicas, for ever.
    :param identity_limits: likewise equal for ever; others than the default are for tests.
    :raises StartError: the engine holds a state of another format.
    :raises StateDamaged: the engine holds something that is not a state.
    """

    def __init__(
        self,
        engine: Engine,
        group: int,
        *,
        value_bytes_max: int = VALUE_BYTES_MAX,
        identity_limits: IdentityLimits = _IDENTITY_LIMITS,
    ) -> None:
        self._engine = engine
        self._layout = Layout(group)
        snapshot = engine.snapshot()
        try:
            meta = _load_meta(snapshot, self._layout)
            self._changes = Changes(engine, meta.total)
            self._sessions = Sessions(self._changes, self._layout, snapshot)
            self._repeats = Repeats(self._changes, self._layout, snapshot, identity_limits)
        finally:
            snapshot.close()
        self._keyspace = Keyspace(
            self._changes,
            self._layout,
            count=meta.count,
            revision=meta.revision,
            value_bytes_max=value_bytes_max,
        )

    @property
    def count(self) -> int:
        """How many keys there are."""
        return self._keyspace.count

    @property
    def revision(self) -> int:
        """How many operations have changed the state so far."""
        return self._keyspace.revision

    @property
    def remembered(self) -> Mapping[str, int]:
        """How much is kept for requests that come again. See `Repeats.usage`."""
        return self._repeats.usage

    @property
    def digest(self) -> int:
        """The digest of the state: equal, below 2**128, on replicas whose states are equal."""
        self._write_sessions()
        return self._meta().digest(self._layout)

    def apply(self, submission: Submission) -> Result | Refusal:
        """Execute a command, if its node's session says that it is the next one.

        It never raises for what a client or a node sent.

        :raises StateDamaged: the node must stop.
        """
        node, life, sequence, settled_through, body = submission
        refusal = self._sessions.admit(node, life, sequence, settled_through)
        if refusal is not None:
            return refusal
        result = self._perform(body)
        self._sessions.keep(node, sequence, result)
        return result

    def answer(self, node: str, life: int, sequence: int) -> Result | None:
        """Return what came of a node's command, for as long as the node waits for it."""
        return self._sessions.answer(node, life, sequence)

    def get(self, key: bytes) -> Entry | None:
        """Return what ``key`` holds, or None.

        :raises StateDamaged: the node must stop.
        """
        return self._keyspace.get(key)

    def take_changes(self) -> dict[bytes, bytes | None]:
        """Return what `apply` has changed since the last time, for one `Engine.write`.

        The caller may add keys of its own, such as `applied_key`, and must write at once.
        It is empty if nothing changed.
        """
        self._write_sessions()
        if not self._changes:
            return {}
        changes = self._changes.take()
        changes[self._layout.meta] = self._meta().encode()
        return changes

    def view(self, *, once: bool = False) -> View:
        """Return the state as it is now. All changes must have been taken and written.

        :param once: see `Engine.snapshot`.
        """
        assert not self._changes, "the engine does not hold the last changes yet"
        assert not self._sessions, "the engine does not hold the last changes yet"
        assert not self._repeats, "the engine does not hold the last changes yet"
        return View(self._engine.snapshot(once=once), self._layout, self._meta())

    def _perform(self, body: bytes) -> Result:
        """Execute a request, unless its identity says that this was done before."""
        try:
            identity, encoded = split_request(body)
            operation = decode_operation(encoded)
        except CommandError:
            return Result("invalid", None, self._keyspace.revision)
        if identity is None:
            return self._keyspace.execute(operation)

        fingerprint = fingerprint_of(encoded)
        known = self._repeats.recall(identity, fingerprint)
        if isinstance(known, Result):
            return known
        if known is not None:
            return Result(known, None, self._keyspace.revision)
        result = self._keyspace.execute(operation)
        self._repeats.keep(identity, fingerprint, result)
        return result

    def _write_sessions(self) -> None:
        self._sessions.write()
        self._repeats.write()

    def _meta(self) -> Meta:
        return Meta(self._keyspace.count, self._keyspace.revision, self._changes.total)


def _load_meta(snapshot: Snapshot, layout: Layout) -> Meta:
    record = snapshot.get(layout.meta)
    if record is not None:
        return decode_meta(record)
    for place, _ in snapshot.scan(*layout.replicated):
        raise StateDamaged("the meta record", f"it is missing, and key {place.hex()} is there")
    return Meta()

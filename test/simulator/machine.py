"""A node's state: the real state machine, on an engine whose content can be set aside."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.messages import Batch, Command
from kvpaxos.store.limits import VALUE_BYTES_MAX
from kvpaxos.store.results import Refusal, Result

EVERYTHING = b"", b"\xff" * 16
"""All keys that an engine can hold here lie between these."""

Saved = Mapping[bytes, bytes]
"""All records of an engine."""

NOTHING_SAVED: Saved = MappingProxyType({})


class Machine:
    """A state that begins with what was saved of an earlier one."""

    def __init__(self, saved: Saved = NOTHING_SAVED) -> None:
        self._engine = MemoryEngine()
        self._engine.write(saved)
        self._state = State(self._engine, 0, value_bytes_max=VALUE_BYTES_MAX)

    @property
    def applied(self) -> Slot:
        """The slot through which everything was executed."""
        return self._state.applied

    @property
    def revision(self) -> int:
        """How many operations have changed something."""
        return self._state.machine.revision

    @property
    def digest(self) -> int:
        """The digest of the state, sessions and all."""
        return self._state.machine.digest

    def apply(self, slot: Slot, batch: Batch) -> list[tuple[Command, Result | None]]:
        """Execute a slot: each command with its result, None for one that is refused."""
        assert slot == self.applied + 1, "slots are applied in order"
        outcomes = [(command, self._state.apply(command)) for command in batch]
        self._state.commit(slot)
        return [
            (command, None if isinstance(outcome, Refusal) else outcome)
            for command, outcome in outcomes
        ]

    def value(self, key: bytes) -> bytes | None:
        """Return what ``key`` holds."""
        entry = self._state.machine.get(key)
        return None if entry is None else entry.value

    def save(self) -> Saved:
        """Return all that an engine would have to hold to go on from here."""
        snapshot = self._engine.snapshot()
        try:
            return dict(snapshot.scan(*EVERYTHING))
        finally:
            snapshot.close()

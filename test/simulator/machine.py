"""A node's state: the real state machine, on an engine that a shelf has opened."""

from __future__ import annotations

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.messages import Batch, Command
from kvpaxos.store.engine import Engine
from kvpaxos.store.limits import VALUE_BYTES_MAX
from kvpaxos.store.results import Refusal, Result


class Machine:
    """A state that begins with what ``engine`` holds.

    :ivar state: what it is made of.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self.state = State(engine or MemoryEngine(), 0, value_bytes_max=VALUE_BYTES_MAX)

    @property
    def applied(self) -> Slot:
        """The slot through which everything was executed."""
        return self.state.applied

    @property
    def revision(self) -> int:
        """How many operations have changed something."""
        return self.state.machine.revision

    @property
    def digest(self) -> int:
        """The digest of the state, sessions and all."""
        return self.state.machine.digest

    def apply(self, slot: Slot, batch: Batch) -> list[tuple[Command, Result | None]]:
        """Execute a slot: each command with its result, None for one that is refused."""
        assert slot == self.applied + 1, "slots are applied in order"
        outcomes = [(command, self.state.apply(command)) for command in batch]
        self.state.commit(slot)
        return [
            (command, None if isinstance(outcome, Refusal) else outcome)
            for command, outcome in outcomes
        ]

    def value(self, key: bytes) -> bytes | None:
        """Return what ``key`` holds."""
        entry = self.state.machine.get(key)
        return None if entry is None else entry.value

"""The state of one group: its machine, the engine that holds it, and how far it was applied."""

from __future__ import annotations

import struct
from typing import Final

from kvpaxos.errors import StateDamaged
from kvpaxos.paxos.ballot import NO_SLOT, Slot
from kvpaxos.paxos.messages import Command
from kvpaxos.store.engine import Engine
from kvpaxos.store.layout import applied_key
from kvpaxos.store.machine import Machine
from kvpaxos.store.results import Refusal, Result

_SLOT: Final = struct.Struct(">Q")


class State:
    """Executes commands, and writes what they changed together with the applied slot.

    After a crash the engine holds the state as it was after some slot, and knows which.

    :ivar applied: the slot through which everything was executed and written.
    :ivar decided: the slot through which this life of the node knows what is decided, and has told
        its journal. It may be less than what an earlier life has executed.
    :ivar written_bytes: how much was written to the engine since this object was made, or how much
        there was to execute, if that is more: a value that another one of the same batch has
        replaced is in the journal all the same.
    :raises StartError: the engine holds a state of another format.
    :raises StateDamaged: the engine holds something that is not a state.
    """

    def __init__(self, engine: Engine, group: int, *, value_bytes_max: int) -> None:
        self.written_bytes = 0
        self._executed_bytes = 0
        self.decided = NO_SLOT
        self._group = group
        self._value_bytes_max = value_bytes_max
        self._key = applied_key(group)
        self.install(engine)

    def install(self, engine: Engine) -> None:
        """Go on with what ``engine`` holds."""
        self.engine = engine
        self.machine = Machine(engine, self._group, value_bytes_max=self._value_bytes_max)
        self.applied = self._load()

    def apply(self, submission: Command) -> Result | Refusal:
        """Execute one command."""
        self._executed_bytes += len(submission.body)
        return self.machine.apply(submission)

    def answer(self, node: str, life: int, sequence: int) -> Result | None:
        """Return what came of a command that was executed and is not settled."""
        return self.machine.answer(node, life, sequence)

    def commit(self, slot: Slot) -> None:
        """Write, in one batch, what was executed since the last call and that it was ``slot``.

        :raises DiskError: the node must stop.
        """
        changes = self.machine.take_changes()
        changes[self._key] = _SLOT.pack(slot)
        self.engine.write(changes)
        size = sum(len(key) + len(value or b"") for key, value in changes.items())
        self.written_bytes += max(size, self._executed_bytes)
        self._executed_bytes = 0
        self.applied = slot

    def _load(self) -> Slot:
        record = self.engine.get(self._key)
        if record is None:
            return NO_SLOT
        if len(record) != _SLOT.size:
            raise StateDamaged("the applied slot", "it is not 8 bytes long")
        (slot,) = _SLOT.unpack(record)
        return Slot(slot)

"""A state machine small enough to be copied: registers, and the rule of order of the store."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from zlib import crc32

from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.messages import Batch, Command


@dataclass
class Machine:
    """Registers that are set by ``key=value``.

    A node's commands are executed in the order of their numbers, and never twice.

    :ivar applied: the slot through which everything was executed.
    :ivar registers: what each key holds.
    :ivar digest: a checksum of everything that ever happened to it.
    """

    applied: Slot = NO_SLOT
    registers: dict[str, str] = field(default_factory=dict)
    digest: int = 0
    sessions: dict[NodeId, tuple[int, int]] = field(default_factory=dict)

    def apply(self, slot: Slot, batch: Batch) -> list[tuple[Command, str | None]]:
        """Execute a slot: each command with its result, None for one that is refused."""
        assert slot == self.applied + 1, "slots are applied in order"
        self.applied = slot
        return [(command, self._execute(command)) for command in batch]

    def copy(self) -> Machine:
        """Return a copy that shares nothing with this machine."""
        return deepcopy(self)

    def _execute(self, command: Command) -> str | None:
        life, passed = self.sessions.get(command.node, (0, 0))
        if command.life > life:
            life, passed = command.life, 0
        if command.life < life:
            return None
        passed = max(passed, command.settled_through)
        result = None
        if command.sequence == passed + 1:
            passed += 1
            key, _, value = command.body.decode().partition("=")
            result = f"was {self.registers.get(key)}"
            self.registers[key] = value
            self.digest = crc32(command.body, self.digest)
        self.sessions[command.node] = life, passed
        self.digest = crc32(b"%d %d" % (life, passed), self.digest)
        return result

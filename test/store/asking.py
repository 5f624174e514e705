"""A client that asks a machine, and sees whether its request was executed now."""

from __future__ import annotations

from typing import Final

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.store.commands import Append, Operation
from kvpaxos.store.limits import IdentityLimits
from kvpaxos.store.machine import Machine
from kvpaxos.store.requests import Identity, Named, Numbered, encode_request
from kvpaxos.store.results import Result
from test.store.building import GROUP, submission, write

EXECUTED: Final = "executed"
AGAIN: Final = "again"

K = b"key"
X = Append(K, b"x")
Y = Append(K, b"y")


def me(opid: int) -> Numbered:
    return Numbered(b"me", opid)


def you(opid: int) -> Numbered:
    return Numbered(b"you", opid)


def anonymous(opid: int) -> Numbered:
    return Numbered(b"", opid)


ONE = Named(b"one")
TWO = Named(b"two")
THREE = Named(b"three")


class Asker:
    """A machine, restarted after each request if so wished, and what it has answered so far."""

    def __init__(self, limits: IdentityLimits | None = None, *, restarts: bool = False) -> None:
        self.engine = MemoryEngine()
        self.restarts = restarts
        self.limits = limits or IdentityLimits()
        self.machine = self.start()
        self.sequence = 0
        self.answers: dict[tuple[Identity, Operation], Result] = {}

    def start(self) -> Machine:
        return Machine(self.engine, GROUP, identity_limits=self.limits)

    def ask(self, identity: Identity, operation: Operation = X) -> str:
        """Submit an append, and tell whether it was executed, answered again, or refused."""
        revision = self.machine.revision
        self.sequence += 1
        body = encode_request(operation, identity)
        result = self.machine.apply(
            submission(body, self.sequence, settled=max(0, self.sequence - 1))
        )
        assert isinstance(result, Result)
        write(self.machine, self.engine)
        if self.restarts:
            self.machine = self.start()
        if self.machine.revision > revision:
            self.answers[identity, operation] = result
            assert result.outcome == "ok"
            return EXECUTED
        if result.outcome != "ok":
            assert (result.value, result.revision) == (None, revision)
            return result.outcome
        assert result == self.answers[identity, operation]
        return AGAIN

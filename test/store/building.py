"""Short ways to make machines and submissions."""

from __future__ import annotations

from collections.abc import Iterable

from kvpaxos.store.commands import Operation
from kvpaxos.store.engine import Engine
from kvpaxos.store.machine import Machine, Submission
from kvpaxos.store.requests import Identity, encode_request
from kvpaxos.store.results import Refusal, Result

NODE = "n01"
LIFE = 2**32 + 1
GROUP = 0


class Caller:
    """A node that submits operations in order, and settles each at once."""

    def __init__(self, machine: Machine, node: str = NODE) -> None:
        self._machine = machine
        self._node = node
        self._sequence = 0

    def __call__(self, operation: Operation, identity: Identity | None = None) -> Result:
        self._sequence += 1
        body = encode_request(operation, identity)
        result = self._machine.apply(
            submission(body, self._sequence, node=self._node, settled=self._sequence - 1)
        )
        assert isinstance(result, Result)
        return result


def submission(
    operation: Operation | bytes,
    sequence: int,
    *,
    node: str = NODE,
    life: int = LIFE,
    settled: int = 0,
) -> Submission:
    body = operation if isinstance(operation, bytes) else encode_request(operation)
    return (node, life, sequence, settled, body)


def apply_all(machine: Machine, batch: Iterable[Submission]) -> list[Result | Refusal]:
    return [machine.apply(one) for one in batch]


def write(machine: Machine, engine: Engine) -> None:
    """Write what the machine has changed, as its driver would."""
    engine.write(machine.take_changes())

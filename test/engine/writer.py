"""A process that writes until it is killed: ``python -m test.engine.writer DIRECTORY SEED``.

It applies batch after batch, flushes now and then, and prints after each flush the number of the
last batch before it.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from kvpaxos.engine.rocks import MEMORY_BYTES_MIN, RocksEngine
from kvpaxos.store.commands import Append, Delete, Operation, Set
from kvpaxos.store.layout import applied_key
from kvpaxos.store.limits import IdentityLimits
from kvpaxos.store.machine import Machine, Submission
from kvpaxos.store.requests import Identity, Named, Numbered, encode_request

GROUP = 0
APPLIED = applied_key(GROUP)
COMMANDS = 5

# Few enough that sessions and request ids come and go all the time.
LIMITS = IdentityLimits(
    client_sessions_max=20,
    client_sessions_bytes_max=2_000,
    request_ids_max=20,
    request_ids_bytes_max=2_000,
)


def batch(seed: int, number: int) -> list[Submission]:
    """Return the ``number``-th batch, counted from 1. It depends on nothing else."""
    dice = random.Random(f"{seed} {number}")
    first = (number - 1) * COMMANDS + 1
    submissions = []
    for sequence in range(first, first + COMMANDS):
        key = b"%d" % dice.randrange(200)
        choices: list[Operation] = [Set(key, dice.randbytes(300)), Append(key, b"x"), Delete(key)]
        operation = dice.choice(choices)
        identities: list[Identity | None] = [
            None,
            Numbered(b"%d" % dice.randrange(30), sequence // 10),
            Named(b"%d" % dice.randrange(30)),
        ]
        body = encode_request(operation, dice.choice(identities))
        settled = max(0, sequence - dice.randrange(1, 20))
        submissions.append(("n01", 1, sequence, settled, body))
    return submissions


def main(directory: Path, seed: int) -> None:
    """Write for ever."""
    engine = RocksEngine(directory, memory_bytes=MEMORY_BYTES_MIN)
    machine = Machine(engine, GROUP, identity_limits=LIMITS)
    dice = random.Random(seed)
    number = int(engine.get(APPLIED) or 0)
    while True:
        number += 1
        for submission in batch(seed, number):
            machine.apply(submission)
        engine.write({**machine.take_changes(), APPLIED: b"%d" % number})
        if dice.random() < 0.02:
            engine.flush()
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

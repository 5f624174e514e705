"""What is left of the state when its process is killed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.store.machine import Machine
from test.engine.writer import APPLIED, GROUP, LIMITS, batch

ROOT = Path(__file__).parents[2]
KILLS = 3


def write_until_killed(directory: Path, seed: int, flushes: int) -> int:
    """Kill a writer after so many flushes; return the last batch that it says is durable."""
    arguments = [sys.executable, "-m", "test.engine.writer", str(directory), str(seed)]
    with subprocess.Popen(  # noqa: S603  # our own interpreter
        arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(flushes):
            assert process.stdout.readline()
        process.kill()
        said = process.stdout.read().split()
        return int(said[-1]) if said else 0


def state_after(seed: int, number: int) -> Machine:
    """Return a machine that has executed the first ``number`` batches."""
    engine = MemoryEngine()
    machine = Machine(engine, GROUP, identity_limits=LIMITS)
    for one in range(1, number + 1):
        for submission in batch(seed, one):
            machine.apply(submission)
        engine.write(machine.take_changes())
    return machine


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_leaves_a_whole_prefix_with_all_that_was_flushed(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    reached = 0
    for _ in range(KILLS):
        durable = write_until_killed(tmp_path, seed, flushes=dice.randrange(1, 6))

        engine = RocksEngine(tmp_path)
        applied = int(engine.get(APPLIED) or 0)
        assert applied >= durable
        assert applied > reached
        reached = applied

        machine = Machine(engine, GROUP, identity_limits=LIMITS)
        expected = state_after(seed, applied)
        assert (machine.count, machine.revision) == (expected.count, expected.revision)
        assert machine.remembered == expected.remembered
        view = machine.view()
        assert view.recompute_digest() == machine.digest == expected.digest
        engine.close()

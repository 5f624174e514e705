"""A coroutine on the reactor: how it ends, and how signals end it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

pytestmark = pytest.mark.timeout(60)

HEAD = """
import sys
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from kvpaxos.cli.running import run
from kvpaxos.cli.statuses import Interrupted

def tell(word):
    print(word, flush=True)
"""


def started(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 -- our own program
        [sys.executable, "-c", HEAD + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(program: str, *signals: tuple[str, signal.Signals]) -> tuple[int, list[str], str]:
    """Run ``program`` and send it each signal once it has said the word; say how it ended."""
    with started(program) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = []
        for word, number in signals:
            while word not in said:
                said.append(process.stdout.readline().strip())
            process.send_signal(number)
        said += process.stdout.read().split()
        errors = process.stderr.read()
    return process.returncode, said, errors


def test_the_result_is_handed_on() -> None:
    program = """
async def main(reactor):
    await deferLater(reactor, 0)
    return "result"
tell(run(main))
"""
    assert ended(program) == (0, ["result"], "")


def test_an_exception_is_raised_where_the_coroutine_was_run() -> None:
    program = """
async def main(reactor):
    raise ValueError("no")
try:
    run(main)
except ValueError as error:
    tell(error)
"""
    assert ended(program) == (0, ["no"], "")


WAITING = """
async def main(reactor):
    try:
        tell("waiting")
        await {awaited}
    finally:
        await deferLater(reactor, 0)
        tell("cleaned")
try:
    run(main)
except Interrupted as interrupted:
    tell(interrupted.number)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("awaited", ["Deferred()", "gatherResults([Deferred(), Deferred()])"])
def test_a_signal_ends_it_after_it_has_cleaned_up(number: signal.Signals, awaited: str) -> None:
    outcome = ended(WAITING.format(awaited=awaited), ("waiting", number))
    assert outcome == (0, ["waiting", "cleaned", f"{number:d}"], "")


def test_a_second_signal_ends_it_at_once() -> None:
    program = """
async def main(reactor):
    try:
        tell("waiting")
        await Deferred()
    finally:
        tell("cleaning")
        await Deferred()
run(main)
"""
    signals: Sequence[tuple[str, signal.Signals]] = [
        ("waiting", signal.SIGINT),
        ("cleaning", signal.SIGINT),
    ]
    assert ended(program, *signals) == (-signal.SIGINT, ["waiting", "cleaning"], "")


def test_a_result_that_is_there_in_spite_of_a_signal_counts() -> None:
    program = """
async def main(reactor):
    try:
        tell("waiting")
        await Deferred()
    except CancelledError:
        return "result"
tell(run(main))
"""
    assert ended(program, ("waiting", signal.SIGINT)) == (0, ["waiting", "result"], "")


def test_an_error_that_nobody_waited_for_is_told_in_a_sentence_beside_the_result() -> None:
    program = """
async def main(reactor):
    async def lost():
        raise ValueError("lost")
    Deferred.fromCoroutine(lost())
    import gc
    gc.collect()
    return "result"
tell(run(main))
"""
    status, said, errors = ended(program)
    assert (status, said) == (0, ["result"])
    assert errors == (
        "kvpaxos: an error that was not foreseen: ValueError('lost'). Please report it, with what"
        " the same command shows after KVPAXOS_DEBUG=1.\n"
    )

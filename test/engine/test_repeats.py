"""What is remembered of requests depends on the log alone: not on engines, batches or restarts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.rocks import MEMORY_BYTES_MIN, RocksEngine
from kvpaxos.store.engine import Engine
from kvpaxos.store.limits import IdentityLimits
from kvpaxos.store.machine import Machine, Submission
from kvpaxos.store.requests import Named, Numbered, encode_request
from kvpaxos.store.results import Refusal, Result
from test.engine.test_model import LIMITS, VALUE_BYTES_MAX, Request, requests
from test.store.asking import X
from test.store.building import GROUP, Caller, submission

kinds = st.sampled_from(["memory", "rocks"])
logs = st.lists(requests, min_size=20, max_size=60)

EVERYTHING = (b"", b"\xff" * 8)


def numbered(log: list[Request]) -> list[Submission]:
    """Return the log as a node submits it that waits for its last three answers."""
    return [
        submission(request.encode(), number, settled=max(0, number - 3))
        for number, request in enumerate(log, start=1)
    ]


def start(engine: Engine) -> Machine:
    return Machine(engine, GROUP, value_bytes_max=VALUE_BYTES_MAX, identity_limits=LIMITS)


def apply_batch(machine: Machine, engine: Engine, batch: list[Submission]) -> list[object]:
    results: list[object] = [machine.apply(one) for one in batch]
    engine.write(machine.take_changes())
    return results


def copy_of(engine: Engine) -> MemoryEngine:
    """Return an engine with the same records."""
    copy = MemoryEngine()
    with closing(engine.snapshot()) as snapshot:
        copy.write(dict(snapshot.scan(*EVERYTHING)))
    return copy


def replicated(machine: Machine) -> list[tuple[bytes, bytes]]:
    """Return all records that must be equal on all replicas, after checking their digest."""
    view = machine.view()
    try:
        assert view.recompute_digest() == view.digest == machine.digest
        return list(view.records())
    finally:
        view.close()


@contextmanager
def engine_of(kind: str) -> Iterator[Engine]:
    if kind == "memory":
        yield MemoryEngine()
        return
    with (
        tempfile.TemporaryDirectory(prefix="kvpaxos-") as directory,
        closing(RocksEngine(Path(directory), memory_bytes=MEMORY_BYTES_MIN)) as engine,
    ):
        yield engine


def cuts(draw_from: st.DataObject, length: int) -> list[int]:
    """Draw where a log is cut into batches; the first is 0, the last is its length."""
    inner = draw_from.draw(st.sets(st.integers(1, length)))
    return sorted({0, *inner, length})


@settings(max_examples=40, database=None)
@given(kind=kinds, log=logs, data=st.data())
def test_batches_and_restarts_change_no_answer_and_no_record(
    kind: str, log: list[Request], data: st.DataObject
) -> None:
    submissions = numbered(log)
    whole = MemoryEngine()
    reference = start(whole)
    answers = apply_batch(reference, whole, submissions)

    with engine_of(kind) as engine:
        machine = start(engine)
        given_answers: list[object] = []
        for begin, end in pairwise(cuts(data, len(log))):
            given_answers += apply_batch(machine, engine, submissions[begin:end])
            if data.draw(st.booleans()):
                machine = start(engine)
        assert given_answers == answers
        assert replicated(machine) == replicated(reference)
        assert machine.remembered == reference.remembered


@settings(max_examples=40, database=None)
@given(log=logs)
def test_a_restart_at_any_point_changes_no_answer_and_no_record(log: list[Request]) -> None:
    submissions = numbered(log)
    engine = MemoryEngine()
    machine = start(engine)
    results: list[object] = []
    kept = [copy_of(engine)]
    for one in submissions:
        results += apply_batch(machine, engine, [one])
        kept.append(copy_of(engine))

    for applied, earlier in enumerate(kept):
        restarted = start(earlier)
        replayed = apply_batch(restarted, earlier, submissions[applied:])
        assert replayed == results[applied:]
        assert replicated(restarted) == replicated(machine)


@settings(max_examples=40, database=None)
@given(kind=kinds, log=logs, data=st.data())
def test_a_state_that_is_ahead_of_the_journal_executes_and_uses_nothing_twice(
    kind: str, log: list[Request], data: st.DataObject
) -> None:
    submissions = numbered(log)
    with engine_of(kind) as engine:
        machine = start(engine)
        apply_batch(machine, engine, submissions)
        before = replicated(machine)
        machine = start(engine)
        behind = data.draw(st.integers(0, len(log)))
        again = apply_batch(machine, engine, submissions[behind:])
        assert again == [Refusal.DUPLICATE] * (len(log) - behind)
        assert replicated(machine) == before
        for number in range(max(1, len(log) - 2), len(log) + 1):
            node, life, sequence, _, _ = submissions[number - 1]
            assert isinstance(machine.answer(node, life, sequence), Result)


def test_answers_are_there_again_once_rocksdb_was_closed(tmp_path: Path) -> None:
    engine = RocksEngine(tmp_path)
    machine = Machine(engine, GROUP)
    call = Caller(machine)
    first = [call(X, Numbered(b"me", 1)), call(X, Named(b"id"))]
    engine.write(machine.take_changes())
    engine.close()

    with closing(RocksEngine(tmp_path)) as reopened:
        again = Caller(Machine(reopened, GROUP), "n02")
        assert [again(X, Numbered(b"me", 1)), again(X, Named(b"id"))] == first


def test_replicas_forget_alike_though_one_was_restarted_midway(engine: Engine) -> None:
    limits = IdentityLimits(client_sessions_max=5, request_ids_max=7)
    other = MemoryEngine()
    steady = Machine(other, GROUP, identity_limits=limits)
    restarted = Machine(engine, GROUP, identity_limits=limits)
    sequence = 0
    for number in range(200):
        bodies = [
            encode_request(X, Numbered(b"%d" % (number * 7 % 9), number)),
            encode_request(X, Named(b"%d" % (number * 5 % 11))),
        ]
        for body in bodies:
            sequence += 1
            one = submission(body, sequence, settled=sequence - 1)
            assert restarted.apply(one) == steady.apply(one)
        engine.write(restarted.take_changes())
        other.write(steady.take_changes())
        if number % 17 == 0:
            restarted = Machine(engine, GROUP, identity_limits=limits)
        assert restarted.digest == steady.digest
    assert restarted.remembered["client_sessions"] == 5
    assert restarted.remembered["request_ids"] == 7
    assert replicated(restarted) == replicated(steady)

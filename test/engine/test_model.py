"""Machines on both engines against a model of plain dictionaries.

Each machine writes its batches when it likes, and the one on RocksDB is restarted in between:
what all of them say must always be what the model says.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.rocks import MEMORY_BYTES_MIN, RocksEngine
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    Update,
    Write,
)
from kvpaxos.store.entry import Entry
from kvpaxos.store.limits import IdentityLimits
from kvpaxos.store.machine import Machine, Submission
from kvpaxos.store.requests import Identity, Named, Numbered, encode_request
from kvpaxos.store.results import Outcome, Refusal, Result
from kvpaxos.store.view import View

GROUP = 3
VALUE_BYTES_MAX = 8
NODES = ["n01", "n02"]
KEYS = [b"", b"a", b"a\0", b"b", b"\xff"]
# An answer has 11 bytes without its value, so that either bound is the narrower one at times.
LIMITS = IdentityLimits(
    client_sessions_max=3,
    client_sessions_bytes_max=45,
    request_ids_max=4,
    request_ids_bytes_max=60,
)

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"1", b"12345", b"123456789"])
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Insert, keys, values),
    st.builds(Update, keys, values),
    st.builds(Delete, keys),
    st.builds(Set, keys, values),
    st.builds(Append, keys, values),
    st.builds(CompareAndSet, keys, st.none() | values, values),
    st.builds(Get, keys),
    st.just(Count()),
)
identities: st.SearchStrategy[Identity | None] = st.one_of(
    st.none(),
    st.builds(Numbered, st.sampled_from([b"", b"a", b"b", b"c"]), st.integers(0, 3)),
    st.builds(Named, st.sampled_from([b"", b"1", b"2", b"3", b"4"])),
)


@dataclass(frozen=True)
class Request:
    """What a client asks for; None is an operation that came out damaged."""

    operation: Operation | None
    identity: Identity | None

    def encode(self) -> bytes:
        if self.operation is None:
            return encode_request(Delete(b"key"), self.identity)[:-1]
        return encode_request(self.operation, self.identity)


requests = st.builds(Request, st.none() | operations, identities)


@dataclass
class NodeModel:
    life: int = 0
    passed: int = 0
    settled: int = 0
    answers: dict[int, Result] = field(default_factory=dict)


@dataclass
class Remembered:
    """The answers under names, the least recently used first."""

    count_max: int
    bytes_max: int
    answers: dict[bytes, tuple[int, Operation, Result]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(
            len(name) + 11 + len(result.value or b"")
            for name, (_, _, result) in self.answers.items()
        )

    def use(self, name: bytes, number: int, operation: Operation, result: Result) -> None:
        self.answers.pop(name, None)
        self.answers[name] = (number, operation, result)
        while len(self.answers) > 1 and (
            len(self.answers) > self.count_max or self.size > self.bytes_max
        ):
            del self.answers[next(iter(self.answers))]


@dataclass
class Model:
    """What a machine should do, said as plainly as possible and with no regard to cost."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    nodes: dict[str, NodeModel] = field(default_factory=dict)
    revision: int = 0
    sessions: Remembered = field(
        default_factory=lambda: Remembered(
            LIMITS.client_sessions_max, LIMITS.client_sessions_bytes_max
        )
    )
    request_ids: Remembered = field(
        default_factory=lambda: Remembered(LIMITS.request_ids_max, LIMITS.request_ids_bytes_max)
    )

    def apply(
        self, node: str, life: int, sequence: int, settled: int, request: Request
    ) -> Result | Refusal:
        one = self.nodes.setdefault(node, NodeModel())
        if life < one.life:
            return Refusal.OLD_LIFE
        if life > one.life:
            one = self.nodes[node] = NodeModel(life)
        one.settled = max(one.settled, settled)
        one.passed = max(one.passed, one.settled)
        one.answers = {key: kept for key, kept in one.answers.items() if key > one.settled}
        if sequence != one.passed + 1:
            return Refusal.GAP if sequence > one.passed else Refusal.DUPLICATE
        one.passed = sequence
        one.answers[sequence] = self.perform(request)
        return one.answers[sequence]

    def perform(self, request: Request) -> Result:
        operation = request.operation
        if operation is None:
            return Result("invalid", None, self.revision)
        match request.identity:
            case Numbered(client, opid):
                return self.once(self.sessions, client, opid, operation)
            case Named(requestid):
                return self.once(self.request_ids, requestid, 0, operation)
            case None:
                return self.execute(operation)

    def once(
        self, remembered: Remembered, name: bytes, number: int, operation: Operation
    ) -> Result:
        newest, asked, answer = remembered.answers.get(name, (-1, None, None))
        if number > newest:
            result = self.execute(operation)
            remembered.use(name, number, operation, result)
            return result
        assert asked is not None
        assert answer is not None
        remembered.use(name, newest, asked, answer)
        if number < newest:
            return Result("stale", None, self.revision)
        return answer if operation == asked else Result("reused", None, self.revision)

    def execute(self, operation: Operation) -> Result:
        match operation:
            case Count():
                return Result("ok", str(len(self.entries)).encode(), self.revision)
            case Get(key):
                found = self.entries.get(key)
                if found is None:
                    return Result("missing", None, self.revision)
                return Result("ok", found.value, self.revision)
            case _:
                return self.write(operation)

    def write(self, operation: Write) -> Result:
        entry = self.entries.get(operation.key)
        current = None if entry is None else entry.value
        if isinstance(operation, Append):
            written = (current or b"") + operation.value
        else:
            written = b"" if isinstance(operation, Delete) else operation.value
        if len(written) > VALUE_BYTES_MAX:
            return Result("too_large", None, self.revision)

        outcome, shown = self.outcome(operation, current)
        if outcome == "ok":
            self.revision += 1
            old = self.entries.pop(operation.key, None)
            if not isinstance(operation, Delete):
                created, version = (old[1], old[3]) if old else (self.revision, 0)
                self.entries[operation.key] = Entry(written, created, self.revision, version + 1)
            if isinstance(operation, Append):
                shown = written
        return Result(outcome, shown, self.revision)

    def outcome(self, operation: Write, current: bytes | None) -> tuple[Outcome, bytes | None]:
        if isinstance(operation, Insert):
            return ("ok" if current is None else "exists"), None
        if isinstance(operation, Update | Delete):
            return ("missing" if current is None else "ok"), current
        if isinstance(operation, CompareAndSet) and current != operation.expect:
            if current is None:
                return "missing", None
            return ("exists" if operation.expect is None else "differs"), current
        return "ok", None


class Machines(RuleBasedStateMachine):
    """The machines, the model, and one view of each engine that is kept open for a while."""

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kvpaxos-"))
        self.model = Model()
        self.memory_engine = MemoryEngine()
        self.memory = self.machine(self.memory_engine)
        self.open_rocks()
        self.views: list[View] = []
        self.seen: list[tuple[bytes, Entry]] = []
        self.life = 1
        self.executed: list[Submission] = []
        self.asked: list[Request] = []

    @override
    def teardown(self) -> None:
        self.rocks_engine.close()
        shutil.rmtree(self.directory)

    def machine(self, engine: MemoryEngine | RocksEngine) -> Machine:
        return Machine(engine, GROUP, value_bytes_max=VALUE_BYTES_MAX, identity_limits=LIMITS)

    def open_rocks(self) -> None:
        self.rocks_engine = RocksEngine(self.directory, memory_bytes=MEMORY_BYTES_MIN)
        self.rocks = self.machine(self.rocks_engine)

    @rule(node=st.sampled_from(NODES), request=requests, waiting=st.integers(0, 3))
    def execute(self, node: str, request: Request, waiting: int) -> None:
        known = self.model.nodes.get(node, NodeModel())
        passed = known.passed if known.life == self.life else 0
        self.submit(node, self.life, passed + 1, max(0, passed - waiting), request)

    @rule(
        node=st.sampled_from(NODES),
        ago=st.integers(0, 1),
        sequence=st.integers(-1, 8),
        settled=st.integers(0, 8),
        request=requests,
    )
    def disorder(self, node: str, ago: int, sequence: int, settled: int, request: Request) -> None:
        self.submit(node, self.life - ago, sequence, settled, request)

    @precondition(lambda self: self.asked)
    @rule(node=st.sampled_from(NODES), data=st.data())
    def ask_again(self, node: str, data: st.DataObject) -> None:
        """Ask by any node what a client has asked before."""
        self.execute(node, data.draw(st.sampled_from(self.asked)), 0)

    @rule()
    def begin_new_life(self) -> None:
        self.life += 1

    def submit(self, node: str, life: int, sequence: int, settled: int, request: Request) -> None:
        if request.identity is not None:
            self.asked.append(request)
        body = request.encode()
        expected = self.model.apply(node, life, sequence, settled, request)
        submission = (node, life, sequence, settled, body)
        if isinstance(expected, Result):
            self.executed.append(submission)
        assert self.memory.apply(submission) == expected
        assert self.rocks.apply(submission) == expected

    @rule()
    def write_memory(self) -> None:
        self.memory_engine.write(self.memory.take_changes())

    @rule()
    def write_rocks(self) -> None:
        self.rocks_engine.write(self.rocks.take_changes())

    @rule()
    def flush_rocks(self) -> None:
        self.rocks_engine.flush()

    @rule()
    def restart_rocks(self) -> None:
        self.write_rocks()
        self.close_views()
        self.rocks_engine.close()
        self.open_rocks()

    @rule()
    def restart_memory(self) -> None:
        self.write_memory()
        self.memory = self.machine(self.memory_engine)

    @rule()
    def open_views(self) -> None:
        self.close_views()
        self.write_memory()
        self.write_rocks()
        self.views = [self.memory.view(), self.rocks.view()]
        self.seen = sorted(self.model.entries.items())
        for view in self.views:
            assert (view.count, view.revision) == (len(self.seen), self.model.revision)

    @precondition(lambda self: self.views)
    @rule(limit=st.integers(1, 3), bytes_max=st.integers(0, 40))
    def read_views(self, limit: int, bytes_max: int) -> None:
        for view in self.views:
            found: list[tuple[bytes, Entry]] = []
            while page := view.page(found[-1][0] if found else None, limit, bytes_max):
                found += page
            assert found == self.seen
            assert view.recompute_digest() == view.digest

    @rule()
    def close_views(self) -> None:
        for view in self.views:
            view.close()
        self.views = []

    @rule()
    def repeat(self) -> None:
        """Submit again all that was executed: it is refused, and changes nothing."""
        self.write_rocks()
        digest = self.rocks.digest
        for submission in self.executed:
            assert isinstance(self.rocks.apply(submission), Refusal)
        assert self.rocks.take_changes() == {}
        assert self.rocks.digest == digest

    @invariant()
    def machines_agree_with_the_model(self) -> None:
        for machine in (self.memory, self.rocks):
            assert machine.count == len(self.model.entries)
            assert machine.revision == self.model.revision
            assert {key: machine.get(key) for key in KEYS} == {
                key: self.model.entries.get(key) for key in KEYS
            }
            for node, one in self.model.nodes.items():
                for sequence in range(10):
                    kept = one.answers.get(sequence)
                    assert machine.answer(node, one.life, sequence) == kept
            assert machine.remembered == {
                "client_sessions": len(self.model.sessions.answers),
                "client_sessions_bytes": self.model.sessions.size,
                "request_ids": len(self.model.request_ids.answers),
                "request_ids_bytes": self.model.request_ids.size,
            }
        assert self.memory.digest == self.rocks.digest


Machines.TestCase.settings = settings(max_examples=50, stateful_step_count=40, database=None)
TestMachines = Machines.TestCase

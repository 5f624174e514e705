"""Every answer held against a replay of the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from kvpaxos.checking.history import UNTOLD, Call, Dump, KeyOperation, Outcome, Told
from kvpaxos.checking.lines import BadLine
from kvpaxos.checking.log import Logged, LoggedSlot, logged, read_log, read_slot
from kvpaxos.checking.oracle import COMPLAINTS_MAX, replay
from kvpaxos.cli.output import json_line
from kvpaxos.node.face import describe_decision
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.messages import Command
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
)
from kvpaxos.store.requests import Identity, Named, Numbered, encode_request

A, B = b"a", b"b"


class Log:
    """Slots, as one node that takes all requests makes them."""

    def __init__(self) -> None:
        self.slots: list[LoggedSlot] = []
        self._sequence = 0

    def decide(self, *requests: Operation | tuple[Operation, Identity]) -> int:
        """Put requests into the next slot, and return it."""
        commands = []
        for request in requests:
            self._sequence += 1
            operation, identity = request if isinstance(request, tuple) else (request, None)
            commands.append(Logged("n01", 1, self._sequence, 0, operation, identity))
        return self.put(*commands)

    def put(self, *commands: Logged) -> int:
        self.slots.append(LoggedSlot(len(self.slots) + 1, commands))
        return len(self.slots)


def call(
    operation: KeyOperation | Count | Dump,
    slot: int,
    told: Told = UNTOLD,
    *,
    outcome: Outcome = "done",
    read: str = "logged",
    identity: Identity | None = None,
    at: float | None = None,
) -> Call:
    began = slot if at is None else at
    return Call("c", operation, began, began + 0.5, outcome, told, (), slot, read, identity)


def history() -> tuple[Log, list[Call]]:
    """Return a log of everything that there is, and the right answers."""
    log = Log()
    once, twice = Numbered(b"c", 1), Named(b"once")
    calls = [
        call(Insert(A, b"1"), log.decide(Insert(A, b"1"))),
        call(Insert(A, b"2"), log.decide(Insert(A, b"2")), outcome="refused"),
        call(Update(A, b"3"), log.decide(Update(A, b"3")), b"1"),
        call(Append(B, b"x"), log.decide((Append(B, b"x"), once)), b"x", identity=once),
        call(Append(B, b"y"), log.decide((Append(B, b"y"), twice)), b"xy", identity=twice),
        call(
            CompareAndSet(A, b"9", b"8"),
            log.decide(CompareAndSet(A, b"9", b"8")),
            b"3",
            outcome="refused",
        ),
        call(Get(A), 6, b"3", read="quorum", at=6.5),
        call(Count(), 6, b"2", read="quorum", at=6.5),
        replace(call(Dump(), 6, read="quorum", at=6.5), pairs=((A, b"3"), (B, b"xy"))),
    ]
    # The same two requests again: they get their answers again, and nothing is appended.
    log.decide((Append(B, b"x"), once), (Append(B, b"y"), twice))
    calls += [
        call(Get(B), 7, b"xy", read="quorum"),
        call(Delete(A), log.decide(Delete(A), Set(B, b"z")), b"3"),
        call(Set(B, b"z"), 8),
        call(Get(A), 8, outcome="refused", read="quorum", at=9),
        call(Get(A), 2, b"1", read="stale", at=20),
        Call("c", Set(B, b"lost"), 30, None, "unknown"),
        Call("c", Set(B, b"no"), 30, 31, "failed"),
    ]
    return log, calls


def test_right_answers_are_right() -> None:
    log, calls = history()
    assert replay(log.slots, calls) == ()


def changed(calls: Sequence[Call], place: int, **changes: object) -> list[Call]:
    return [
        replace(call, **changes) if number == place else call  # type: ignore[arg-type]
        for number, call in enumerate(calls)
    ]


@pytest.mark.parametrize(
    ("place", "changes", "complaint"),
    [
        (0, {"outcome": "refused"}, "in slot 1 it should be done, nothing shown"),
        (1, {"outcome": "done"}, "in slot 2 it should be refused"),
        (2, {"told": b"3"}, 'in slot 3 it should be done, "1"'),
        (3, {"told": b"xx"}, 'in slot 4 it should be done, "x"'),
        (4, {"identity": None}, "slot 5 executes no such request"),
        (5, {"told": None}, 'in slot 6 it should be refused, "3"'),
        (6, {"told": b"1"}, 'in slot 6 it should be done, "3"'),
        (7, {"told": b"1"}, 'in slot 6 it should be done, "2"'),
        (8, {"pairs": ((A, b"3"),)}, 'in slot 6 other pairs are there, as of "b"'),
        (9, {"told": b"xyx"}, 'in slot 7 it should be done, "xy"'),
        (12, {"outcome": "done", "told": b"3"}, "in slot 8 it should be refused"),
        (13, {"told": b"3"}, 'in slot 2 it should be done, "1"'),
        (6, {"slot": 99, "read": "quorum"}, "it names slot 99, and the log ends with 8"),
    ],
)
def test_a_wrong_answer_is_told(place: int, changes: dict[str, object], complaint: str) -> None:
    log, calls = history()
    complaints = replay(log.slots, changed(calls, place, **changes))
    assert any(complaint in told for told in complaints), complaints


def test_what_came_with_a_whole_state_may_be_known_by_the_slot_of_that_only() -> None:
    log, calls = history()
    (place,) = [at for at, one in enumerate(calls) if one.operation == Set(B, b"z")]
    late = changed(calls, place, slot=log.decide(), began=40, ended=41)
    assert replay(log.slots, late) == replay(log.slots, late, states={9}) == ()
    [told] = replay(log.slots, late, states={8})
    assert "slot 9 executes no such request" in told


def test_a_read_that_promises_to_be_fresh_and_is_not_is_told() -> None:
    log, calls = history()
    late = call(Get(A), 2, b"1", read="quorum", at=20)
    [told] = replay(log.slots, [*calls, late])
    assert "it names slot 2, and slot 8 was over before" in told


def test_a_write_in_a_slot_that_was_over_before_it_began_is_told() -> None:
    log, calls = history()
    [told] = replay(log.slots, changed(calls, 0, began=2.9, ended=2.95))
    assert "it names slot 1, and slot 2 was over before" in told


def test_what_was_executed_more_often_than_asked_for_is_told() -> None:
    log, calls = history()
    log.decide(Append(B, b"again"), Append(B, b"again"))
    [told] = replay(log.slots, [*calls, call(Append(B, b"again"), 9, b"zagain")])
    assert "was executed 2 times, and asked for 1 times" in told


def test_what_failed_and_was_executed_is_told() -> None:
    log, calls = history()
    log.decide(Set(B, b"no"))
    [told] = replay(log.slots, calls)
    assert "was executed 1 times, and asked for 0 times" in told


def test_a_command_that_comes_again_or_out_of_turn_is_not_executed() -> None:
    log = Log()
    append = Logged("n01", 1, 1, 0, Append(A, b"x"), None)
    log.put(append, append, append._replace(sequence=3))
    log.put(append._replace(sequence=3, settled_through=2))
    log.put(append._replace(life=2), append._replace(sequence=4))
    asked = [call(Append(A, b"x"), slot, b"x" * slot) for slot in (1, 2, 3)]
    read = call(Get(A), 3, b"xxx", read="quorum", at=9)
    assert replay(log.slots, [*asked, read]) == ()


def test_an_older_opid_and_another_request_under_the_same_identity_change_nothing() -> None:
    log = Log()
    first, second = Numbered(b"c", 1), Numbered(b"c", 2)
    asked = [call(Set(A, b"2"), log.decide((Set(A, b"2"), second)), identity=second)]
    log.decide((Set(A, b"1"), first))
    log.decide((Set(A, b"3"), second))
    log.decide(Logged("", 0, 0, 0, None, None).operation or Get(A))
    asked += [call(Get(A), 3, b"2", read="quorum"), call(Get(A), 4, b"2")]
    assert replay(log.slots, asked) == ()


def test_what_is_too_large_changes_nothing() -> None:
    log = Log()
    log.decide(Set(A, b"12345"), Append(A, b"6"), Set(B, b"123456"))
    asked = [
        call(Set(A, b"12345"), 1),
        call(Get(A), 1, b"12345", read="quorum", at=5),
        call(Get(B), 1, outcome="refused", read="quorum", at=5),
        *(
            Call("c", operation, 0, 9, "unknown")
            for operation in (Append(A, b"6"), Set(B, b"123456"))
        ),
    ]
    assert replay(log.slots, asked, value_bytes_max=5) == ()


def test_a_log_with_a_gap_says_nothing() -> None:
    log, calls = history()
    [told] = replay(log.slots[3:], calls)
    assert told == "the log lacks the slots from 1 to 3: it says nothing"


def test_complaints_are_bounded() -> None:
    wrong = [call(Get(A), 0, b"x", read="quorum", at=n) for n in range(100)]
    assert len(replay([], wrong)) == COMPLAINTS_MAX


OPERATIONS: list[Operation] = [
    *(Insert(A, b"\xff"), Update(A, b""), Set("键".encode(), b"v"), Append(A, b"x")),
    *(Delete(A), Get(A), Count(), CompareAndSet(A, None, B), CompareAndSet(A, b"\xff", B)),
]


def decision() -> Decision:
    identities = [None, Numbered(b"\xff", 7), Named(b"once")]
    bodies = [encode_request(one, identity) for one in OPERATIONS for identity in identities]
    batch = [
        Command(NodeId("n01"), 7, number, 3, body)
        for number, body in enumerate([*bodies, b"nonsense"], start=1)
    ]
    return Decision(Slot(5), Ballot(2, NodeId("n02")), tuple(batch))


def test_a_slot_comes_back_from_what_the_journal_prints() -> None:
    line = json_line(describe_decision(decision()))
    assert list(read_log("log", [line, b"\n"])) == [logged(decision())]
    assert [one.operation for one in logged(decision()).commands[::3]] == [*OPERATIONS, None]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"slot": None}, '"slot" is null; give a whole number'),
        ({"slots": 1}, '"slots" is no member of a call'),
        ({"commands": [1]}, "a command is no object"),
        ({"commands": [{"node": "n01", "life": 1, "sequence": 1}]}, '"settled_through" is missing'),
    ],
)
def test_a_line_that_is_no_slot_is_refused(changes: dict[str, object], sentence: str) -> None:
    described = {**describe_decision(decision()), **changes}
    with pytest.raises(BadLine) as refused:
        read_slot(json.dumps(described).encode())
    assert str(refused.value).startswith(sentence)

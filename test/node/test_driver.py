"""The driver: what may leave at once, what waits for the disk, and what an error stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import OutcomeUnknown, Unavailable
from kvpaxos.node.driver import (
    GRAIN_S,
    INBOX_MAX,
    LOOKUP_BYTES_MAX,
    LOOKUP_COMMANDS_MAX,
    TICK_S,
    Driver,
)
from kvpaxos.node.requests import Executed, Requests
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision, Fetch, Received
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import (
    Accept,
    Accepted,
    CatchUp,
    Command,
    Decided,
    Forward,
    Health,
    Message,
    Ping,
    Pong,
    Prepare,
    Promise,
    Rejoin,
    Report,
    Watermark,
)
from kvpaxos.paxos.proposer import RESTS, Following, Leading, Preparing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import DecidedThrough, Promised, Record, Renewed
from kvpaxos.paxos.replica import Replica
from kvpaxos.store.commands import Set, encode_operation
from kvpaxos.store.results import Result

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")
LIFE = 7
BODY = encode_operation(Set(b"k", b"v"))


class SlowDisk:
    """A journal whose sync ends when the test says so."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.durable = 0
        self.writes = 0
        self.forgotten = Slot(0)
        self.lookups: list[tuple[int, Slot, Slot, Deferred[list[Decision]]]] = []

    def append(self, group: int, records: Sequence[Record]) -> int:
        self.records += records
        return len(self.records)

    def write(self) -> None:
        self.writes += 1

    def forget(self, group: int, through: Slot) -> None:
        self.forgotten = through

    def decided(
        self, group: int, from_slot: Slot, through: Slot, bytes_max: int, commands_max: int
    ) -> Deferred[list[Decision]]:
        assert (bytes_max, commands_max) == (LOOKUP_BYTES_MAX, LOOKUP_COMMANDS_MAX)
        reading: Deferred[list[Decision]] = Deferred()
        self.lookups.append((group, from_slot, through, reading))
        return reading

    def waiting_s(self, now: float) -> float:
        return 0.0


class Wires:
    """Links that remember what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[NodeId, Message]] = []
        self.hurried: list[int] = []
        self.paused = False

    def send(self, group: int, to: NodeId, message: Message) -> None:
        self.sent.append((to, message))

    def hurry(self) -> None:
        self.hurried.append(len(self.sent))

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def take(self, *kinds: type) -> list[tuple[NodeId, Message]]:
        """Return and forget what was sent, of ``kinds`` only."""
        sent, self.sent = self.sent, []
        return [(to, message) for to, message in sent if isinstance(message, kinds)]


class Bench:
    """One driver among fakes."""

    def __init__(self, members: Sequence[NodeId] = (A, B, C)) -> None:
        self.clock = Clock()
        self.disk = SlowDisk()
        self.wires = Wires()
        self.engine = MemoryEngine()
        self.writes = 0
        self.state = State(self.engine, 0, value_bytes_max=1000)
        self.halted: list[Failure] = []
        self.leaders: list[Ballot] = []
        self.fetches: list[Fetch] = []
        replica = Replica(
            A, Quorum(frozenset(members)), Memory(life=LIFE), random=Random(1), now=0.0
        )
        self.requests = Requests(
            lambda event: self.driver.post(event),  # noqa: PLW0108  (it is made below)
            self.clock.seconds,
            lambda: replica.leader.node,
        )
        self.driver = Driver(
            replica,
            self.state,
            applied=self.state.applied,
            group=0,
            life=LIFE,
            disk=self.disk,
            peers=self.wires,
            requests=self.requests,
            clock=self.clock,
            monotonic=self.clock.seconds,
            led_by=self.leaders.append,
            fetch=self.fetches.append,
            halt=self.halted.append,
        )

    def receive(self, *messages: Message, sender: NodeId = B) -> None:
        for message in messages:
            self.driver.post(Received(sender, message))
        self.clock.advance(0)

    def sync(self) -> None:
        """Let everything appended so far become durable."""
        self.disk.durable = len(self.disk.records)
        self.driver.synced()

    def follow(self) -> Ballot:
        """Let this node follow ``B``, both ways."""
        ballot = Ballot(1, B)
        health = Health(
            ballot, able=True, decided_through=Slot(0), kept_from=Slot(1), durable_through=Slot(0)
        )
        self.receive(Ping(health, 0.0), Pong(health, self.clock.seconds()))
        return ballot


def health_of(following: Ballot) -> Health:
    """Return what a peer says of itself that has decided nothing yet."""
    return Health(
        following, able=True, decided_through=Slot(0), kept_from=Slot(1), durable_through=Slot(0)
    )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_no_promise_leaves_before_it_is_durable(bench: Bench) -> None:
    ballot = Ballot(1, B)
    bench.receive(Prepare(ballot, Slot(1)))
    assert bench.disk.records == [Promised(ballot)]
    assert bench.wires.take(Promise) == []

    bench.sync()
    assert bench.wires.take(Promise) == [(B, Promise(ballot, (), Slot(0), Slot(1)))]


def test_no_report_leaves_before_it_is_durable_that_the_old_disk_is_void(bench: Bench) -> None:
    bench.receive(Rejoin(2))
    assert bench.disk.records == [Renewed(B, 2)]
    assert bench.wires.take(Report) == []
    bench.sync()
    assert bench.wires.take(Report) == [(B, Report(2, ZERO_BALLOT, Slot(0), ((B, 2),)))]


def test_a_state_that_is_needed_is_fetched(bench: Bench) -> None:
    ballot = bench.follow()
    health = Health(
        ballot, able=True, decided_through=Slot(9), kept_from=Slot(5), durable_through=Slot(0)
    )
    bench.receive(Ping(health, 0.0), Pong(health, bench.clock.seconds()))
    bench.receive(Watermark(ballot, Slot(9)))
    assert bench.fetches == [Fetch(B, Slot(1))]


def test_stepping_goes_on_while_the_disk_is_busy(bench: Bench) -> None:
    ballot = Ballot(1, B)
    bench.receive(Prepare(ballot, Slot(1)))
    bench.receive(
        Ping(
            Health(
                ballot,
                able=True,
                decided_through=Slot(0),
                kept_from=Slot(1),
                durable_through=Slot(0),
            ),
            0.0,
        )
    )
    sent = bench.wires.take(Promise, Pong)
    assert [type(message) for _, message in sent] == [Pong]


def test_a_reply_waits_for_every_earlier_promise_and_for_no_watermark(bench: Bench) -> None:
    ballot = Ballot(1, B)
    first, second = (Accept(ballot, Slot(slot), (), Slot(slot - 1)) for slot in (1, 2))
    bench.receive(first)
    bench.sync()
    assert bench.wires.take(Accepted) == [(B, Accepted(ballot, Slot(1)))]

    bench.receive(Watermark(ballot, Slot(1)))
    assert bench.disk.records[-1] == DecidedThrough(Slot(1), ballot)
    bench.receive(first)  # voted for, durably, before: no need to wait for the watermark
    assert bench.wires.take(Accepted) == [(B, Accepted(ballot, Slot(1)))]

    bench.receive(second, first)
    assert bench.wires.take(Accepted) == []
    bench.sync()
    assert bench.wires.take(Accepted) == [
        (B, Accepted(ballot, Slot(2))),
        (B, Accepted(ballot, Slot(1))),
    ]


def test_what_is_decided_in_one_turn_is_written_in_one_batch(bench: Bench) -> None:
    written: list[int] = []
    write = bench.engine.write
    bench.engine.write = lambda changes: (written.append(len(changes)), write(changes))[1]  # type: ignore[method-assign,func-returns-value]
    ballot = Ballot(1, B)
    commands = [Command(C, 1, number, 0, BODY) for number in (1, 2, 3)]
    accepts = [
        Accept(ballot, Slot(slot), (command,), Slot(slot - 1))
        for slot, command in enumerate(commands, 1)
    ]
    bench.receive(*accepts, Watermark(ballot, Slot(3)))
    assert bench.state.applied == 3
    assert bench.state.machine.revision == 3
    assert len(written) == 1


def test_what_the_state_holds_already_is_not_executed_again(bench: Bench) -> None:
    # A power cut took the watermark from the journal, and left the state that rested on it.
    bench.driver.applied = Slot(2)
    ballot = Ballot(1, B)
    accepts = [
        Accept(ballot, Slot(slot), (Command(C, 1, slot, 0, BODY),), Slot(0)) for slot in (1, 2, 3)
    ]
    bench.receive(*accepts, Watermark(ballot, Slot(2)))
    assert (bench.driver.applied, bench.state.machine.revision) == (2, 0)
    bench.receive(Watermark(ballot, Slot(3)))
    assert bench.driver.applied == 3
    assert bench.state.applied == 3


def test_a_forwarded_write_is_answered_once_it_is_applied_here(bench: Bench) -> None:
    ballot = bench.follow()
    answers: list[object] = []
    bench.requests.write(BODY, 5.0).addBoth(answers.append)
    bench.clock.advance(0)
    [(to, forward)] = bench.wires.take(Forward)
    assert to == B
    assert isinstance(forward, Forward)

    bench.receive(Accept(ballot, Slot(1), forward.commands, Slot(0)))
    assert answers == []
    bench.receive(Watermark(ballot, Slot(1)))
    assert answers == [Executed(Result("ok", None, 1), Slot(1))]
    assert len(bench.requests) == 0


def test_replies_of_a_turn_are_hurried_once_all_of_them_are_there(bench: Bench) -> None:
    bench.receive(Prepare(Ballot(1, B), Slot(1)), Prepare(Ballot(2, B), Slot(1)))
    bench.wires.hurried.clear()
    bench.sync()
    assert bench.wires.hurried == [2]
    assert [to for to, _ in bench.wires.take(Promise)] == [B, B]


def test_what_a_turn_sends_is_hurried_before_anything_is_executed(bench: Bench) -> None:
    seen: list[int] = []
    write = bench.engine.write
    bench.engine.write = lambda changes: (seen.append(len(bench.wires.hurried)), write(changes))[1]  # type: ignore[method-assign,func-returns-value]
    ballot = Ballot(1, B)
    bench.wires.hurried.clear()
    bench.receive(
        Accept(ballot, Slot(1), (Command(C, 1, 1, 0, BODY),), Slot(0)), Watermark(ballot, Slot(1))
    )
    assert bench.state.applied == 1
    assert seen == [1]


def test_wishes_of_one_turn_share_a_forward(bench: Bench) -> None:
    bench.follow()
    bench.wires.take()
    for _ in range(5):
        bench.requests.write(BODY, 5.0).addErrback(lambda _: None)
    bench.clock.advance(0)
    [(_, forward)] = bench.wires.take(Forward)
    assert isinstance(forward, Forward)
    assert [command.sequence for command in forward.commands] == [1, 2, 3, 4, 5]


def test_a_write_that_was_never_sent_is_not_applied(bench: Bench) -> None:
    bench.driver.start()
    outcomes: list[Failure] = []
    bench.requests.write(BODY, 0.5).addErrback(outcomes.append)
    bench.clock.pump([0.02] * 30)
    assert [outcome.type for outcome in outcomes] == [Unavailable]
    bench.driver.stop()


def test_a_write_that_was_sent_is_unknown_after_its_deadline(bench: Bench) -> None:
    bench.follow()
    bench.driver.start()
    outcomes: list[Failure] = []
    bench.requests.write(BODY, 0.5).addErrback(outcomes.append)
    bench.clock.pump([0.02] * 30)
    assert [outcome.type for outcome in outcomes] == [OutcomeUnknown]
    bench.driver.stop()


def test_time_is_told_now_and_then_and_right_when_the_node_is_to_stand(bench: Bench) -> None:
    """An idle node has little to do but to look at the clock; an election is in a hurry."""
    bench.follow()
    bench.driver.start()
    bench.clock.pump([TICK_S / 10] * 52)
    assert bench.disk.writes == 6
    bench.receive(Ping(health_of(ZERO_BALLOT), 0.0))
    role = bench.driver.replica.role
    assert isinstance(role, Following)
    wait_s = role.stand_at - bench.clock.seconds()
    assert 0 < wait_s < TICK_S
    bench.clock.advance(wait_s)
    assert bench.disk.writes == 6
    bench.clock.advance(GRAIN_S)
    assert bench.disk.writes == 7
    assert type(bench.driver.replica.role) is Preparing
    bench.driver.stop()
    assert not bench.clock.getDelayedCalls()


def test_the_longest_pause_is_remembered(bench: Bench) -> None:
    bench.follow()
    bench.driver.start()
    bench.clock.pump([TICK_S] * 3)
    assert bench.driver.longest_lag_s == pytest.approx(0)
    bench.clock.advance(TICK_S + 0.3)
    bench.clock.pump([TICK_S] * 3)
    assert bench.driver.longest_lag_s == pytest.approx(0.3)
    bench.driver.stop()


def test_an_error_halts_the_driver_once_and_for_all(bench: Bench) -> None:
    def fail(_: object) -> None:
        raise OSError("the engine is gone")

    bench.engine.write = fail  # type: ignore[method-assign,assignment]
    ballot = Ballot(1, B)
    bench.receive(Accept(ballot, Slot(1), (), Slot(0)), Watermark(ballot, Slot(1)))
    assert [failure.type for failure in bench.halted] == [OSError]

    bench.receive(Prepare(Ballot(2, C), Slot(1)), sender=C)
    bench.sync()
    assert Promised(Ballot(2, C)) not in bench.disk.records
    assert bench.wires.take(Promise, Accepted) == []
    assert len(bench.halted) == 1


def test_peers_are_not_read_from_while_the_inbox_is_full(bench: Bench) -> None:
    health = Health(
        Ballot(1, B), able=True, decided_through=Slot(0), kept_from=Slot(1), durable_through=Slot(0)
    )
    for _ in range(INBOX_MAX):
        assert not bench.wires.paused
        bench.driver.post(Received(B, Pong(health, 0.0)))
    assert bench.wires.paused
    bench.clock.advance(0)
    assert not bench.wires.paused


def test_a_lagging_peer_is_served_from_the_journal_one_answer_at_a_time(bench: Bench) -> None:
    ballot = Ballot(1, B)
    bench.driver.replica.learner.decided_through = Slot(9)
    bench.receive(CatchUp(Slot(2), Slot(9)), CatchUp(Slot(2), Slot(9)), sender=C)
    [(group, first, through, reading)] = bench.disk.lookups
    assert (group, first, through) == (0, 2, 9)

    reading.callback([Decision(Slot(2), ballot, ()), Decision(Slot(3), ballot, ())])
    assert bench.wires.take(Decided) == [(C, Decided(Slot(2), ((), ())))]
    bench.receive(CatchUp(Slot(4), Slot(9)), sender=C)
    assert len(bench.disk.lookups) == 2


def test_what_its_own_journal_holds_comes_to_the_node_itself(bench: Bench) -> None:
    bench.driver.replica.learner.kept_from = Slot(3)
    bench.driver.replica.learner.expect(Slot(2))
    bench.driver.start()
    bench.clock.pump([TICK_S] * 3)
    [(_, first, through, reading)] = bench.disk.lookups
    assert (first, through) == (1, 2)

    reading.callback([Decision(Slot(slot), Ballot(1, B), ()) for slot in (1, 2)])
    bench.clock.advance(0)
    assert bench.driver.applied == 2
    assert bench.wires.take(Decided) == []


@pytest.fixture
def alone() -> Iterator[Bench]:
    """Provide a driver whose node leads, and has nobody to vote but itself."""
    bench = Bench(members=[A])
    bench.driver.start()
    bench.clock.pump([0.02] * 10)
    bench.sync()
    assert bench.leaders == [Ballot(1, A)]
    yield bench
    bench.driver.stop()
    assert not bench.clock.getDelayedCalls()


def leading(bench: Bench) -> Leading:
    role = bench.driver.replica.role
    assert isinstance(role, Leading)
    return role


def write(bench: Bench, count: int = 1) -> None:
    """Ask for so many writes in one turn."""
    for _ in range(count):
        bench.requests.write(BODY, 5.0).addErrback(lambda _: None)
    bench.clock.advance(0)


def test_commands_that_gather_after_a_slot_share_the_next_though_nothing_happens(
    alone: Bench,
) -> None:
    write(alone, 4)
    alone.clock.advance(0.002)
    alone.sync()
    assert alone.driver.applied == 1
    for _ in range(2):
        write(alone)
        alone.clock.advance(0.001)
    assert not leading(alone).open
    alone.clock.advance(RESTS * 0.002)
    alone.sync()
    assert (alone.driver.applied, alone.state.machine.revision) == (2, 6)


def test_commands_that_gather_while_a_slot_is_open_open_the_next_soon_after_it_is_decided(
    alone: Bench,
) -> None:
    """They wait no longer because it was expected to take longer until it is."""
    write(alone, 4)
    write(alone)
    alone.clock.advance(0.002)
    alone.sync()
    assert not leading(alone).open
    alone.clock.advance(RESTS * 0.002)
    alone.sync()
    assert alone.driver.applied == 2


def test_commands_open_another_slot_while_one_stays_open(alone: Bench) -> None:
    write(alone, 4)
    write(alone)
    alone.clock.advance(0.02)
    assert len(leading(alone).open) == 2


def test_commands_that_wait_for_something_else_than_time_keep_nobody_busy(alone: Bench) -> None:
    for _ in range(Limits().open_slots_max):
        write(alone)
        alone.clock.advance(0.02)
    alone.receive(Forward((Command(A, LIFE + 1, 1, 0, BODY),), 0), sender=A)
    assert leading(alone).has_queued
    steps = alone.driver.steps
    alone.clock.pump([0.001] * 40)
    assert alone.driver.steps - steps <= 2, "ticks alone"


def test_one_node_alone_leads_and_answers_once_its_own_vote_is_durable(alone: Bench) -> None:
    answers: list[object] = []
    alone.requests.write(BODY, 5.0).addBoth(answers.append)
    alone.clock.advance(0)
    assert answers == []
    alone.sync()
    assert answers == [Executed(Result("ok", None, 1), Slot(1))]

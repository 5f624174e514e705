"""Nodes compare their states: one that was changed under its node's feet is found and named."""

from __future__ import annotations

from collections import deque

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import StateDamaged
from kvpaxos.node.comparer import COMPARE_S, COMPARE_SLOTS, LOOKS_UNTIL_TOLD_AGAIN, Comparer
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.messages import Command, Message, StateDigest
from kvpaxos.store.commands import Set, encode_operation
from kvpaxos.store.entry import decode_entry, encode_entry
from kvpaxos.store.layout import Layout
from kvpaxos.store.limits import VALUE_BYTES_MAX

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")
GROUP = 0
KEY = b"key"


class Member:
    """A state, and what compares it with those of others."""

    def __init__(self, world: World, node: NodeId) -> None:
        self.failures: list[Failure] = []
        self.engine = MemoryEngine()
        self.state = State(self.engine, GROUP, value_bytes_max=VALUE_BYTES_MAX)
        self.comparer = Comparer(
            self.state,
            node,
            (A, B, C),
            send=lambda to, message: world.line.append((node, to, message)),
            failed=self.failures.append,
            reactor=world.clock,
        )

    def execute(self, slot: int) -> None:
        """Set the same key again."""
        body = encode_operation(Set(KEY, b"%d" % slot))
        self.state.apply(Command(A, 1, slot, slot - 1, body))
        self.comparer.executed(Slot(slot))
        self.state.commit(Slot(slot))

    def tamper(self) -> None:
        """Change what the key holds, as no command has."""
        place = Layout(GROUP).user(KEY)
        held = self.engine.get(place)
        assert held is not None
        entry = decode_entry(place, held)
        self.engine.write({place: encode_entry(entry._replace(value=b"tampered with"))})


class World:
    """Three members, and a line of messages between them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.line: deque[tuple[NodeId, NodeId, Message]] = deque()
        self.members = {node: Member(self, node) for node in (A, B, C)}

    def execute(self, slot: int, *nodes: NodeId) -> None:
        for node in nodes or tuple(self.members):
            self.members[node].execute(slot)

    def deliver(self, *but: NodeId) -> int:
        """Deliver all that waits, but for what goes to or comes from some; return how many."""
        count = 0
        while self.line:
            sender, to, message = self.line.popleft()
            assert isinstance(message, StateDigest)
            if not {sender, to}.intersection(but):
                self.members[to].comparer.heard(sender, message)
                count += 1
        return count

    def look(self, *nodes: NodeId) -> None:
        """Have so much time pass that all see that nothing is executed."""
        for _ in range(2):
            self.clock.advance(COMPARE_S)

    def disputes(self) -> list[str | None]:
        return [member.comparer.dispute for member in self.members.values()]


@pytest.fixture
def world() -> World:
    made = World()
    for member in made.members.values():
        member.comparer.startService()
    return made


def test_states_are_compared_after_so_many_slots(world: World) -> None:
    for slot in range(1, COMPARE_SLOTS):
        world.execute(slot)
    assert not world.line
    world.execute(COMPARE_SLOTS)
    assert world.deliver() == 6
    assert [one.comparer.agreed for one in world.members.values()] == [COMPARE_SLOTS] * 3


def test_and_once_when_nothing_is_executed_and_now_and_then_again(world: World) -> None:
    world.look()
    assert not world.line
    world.execute(1)
    world.look()
    assert world.deliver() == 6
    assert [one.comparer.agreed for one in world.members.values()] == [1] * 3
    for _ in range(LOOKS_UNTIL_TOLD_AGAIN - 2):
        world.clock.advance(COMPARE_S)
    assert not world.line
    for _ in range(2):
        world.clock.advance(COMPARE_S)
    assert world.deliver() == 6


def test_one_that_lags_compares_the_slots_of_which_others_have_told(world: World) -> None:
    world.execute(1, A, B)
    world.look()
    world.deliver()
    world.execute(1, C)
    world.deliver()
    assert world.members[C].comparer.agreed == 1


def test_a_state_that_was_tampered_with_is_named_and_its_node_stops(world: World) -> None:
    world.execute(1)
    world.members[B].tamper()
    # The digest follows changes: this one takes away what was never added.
    world.execute(2)
    world.look()
    world.deliver()
    [failure] = world.members[B].failures
    assert failure.check(StateDamaged)
    assert "the state of n02" in failure.getErrorMessage()
    assert (
        "after slot 2 it is not that of n01, n03, who are a majority" in failure.getErrorMessage()
    )
    assert not world.members[A].failures + world.members[C].failures
    assert world.members[A].comparer.agreed == 2
    assert world.disputes() == [None, None, None]


def test_as_long_as_there_is_no_majority_neither_side_answers(world: World) -> None:
    world.execute(1)
    world.members[B].tamper()
    world.execute(2, A, B)
    world.look()
    world.deliver(C)
    no_majority = "and no majority says which one is right"
    assert world.disputes() == [
        f"the state after slot 2 is not that of n02, {no_majority}",
        f"the state after slot 2 is not that of n01, {no_majority}",
        None,
    ]
    assert not any(member.failures for member in world.members.values())

    world.execute(2, C)
    for _ in range(LOOKS_UNTIL_TOLD_AGAIN + 1):
        world.clock.advance(COMPARE_S)
    world.deliver()
    assert world.disputes()[0] is None
    assert len(world.members[B].failures) == 1


def test_a_state_from_elsewhere_is_not_judged_by_what_the_old_one_was(world: World) -> None:
    world.execute(1)
    world.members[B].tamper()
    world.execute(2, A, B)
    world.look()
    world.deliver(C)
    assert world.members[B].comparer.dispute is not None
    world.members[B].comparer.installed()
    assert world.members[B].comparer.dispute is None


def test_one_that_is_stopped_tells_nothing_by_itself(world: World) -> None:
    for member in world.members.values():
        member.comparer.stopService()
    world.execute(1)
    world.look()
    assert not world.line
    assert not world.clock.getDelayedCalls()

"""What is sent to the leader, and when again; and that it is executed once, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Answer, Applied, Effects, Outcome, Wish
from kvpaxos.paxos.forwarding import DOUBLINGS_MAX, STALLS_MAX, Forwarding
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.messages import AskReadSlot, Batch, Envelope, Forward
from kvpaxos.paxos.outbox import Outbox
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.proposer import Leading
from kvpaxos.paxos.reads import Reads
from kvpaxos.store.commands import Append, decode_operation, encode_operation
from kvpaxos.store.machine import Machine
from kvpaxos.store.results import Result
from test.paxos.values import HIGH, LOW, THREE, A, B, C

TIMING: Final = Timing(retry_s=0.25)
RETRY_S: Final = TIMING.retry_s
NEVER: Final = 1e9

LEADER: Final = LOW
NEXT_LEADER: Final = HIGH


def make(node: NodeId = A, life: int = 1, limits: Limits | None = None) -> Forwarding:
    limits = limits or Limits()
    return Forwarding(Outbox(node, life, limits), Reads(), Peers(node, THREE, TIMING), limits)


def want(forwarding: Forwarding, *requests: int, deadline: float = NEVER) -> None:
    forwarding.outbox.add(Wish(request, b"%d" % request, deadline) for request in requests)


def settle(forwarding: Forwarding, sequence: int, now: float) -> tuple[Answer, ...]:
    return forwarding.applied(Applied((Outcome(sequence, "done"),)), now)


def sent(forwarding: Forwarding, leader: Ballot, now: float) -> list[list[int]]:
    """Return what ``forwarding`` sends to ``leader`` now: the sequences in each message."""
    effects = forwarding.to_leader(leader, leader.node, now)
    assert effects == Effects(sends=effects.sends)
    messages: list[list[int]] = []
    for envelope in effects.sends:
        assert isinstance(envelope.message, Forward)
        assert envelope.to == leader.node
        messages.append([command.sequence for command in envelope.message.commands])
    return messages


class TestToLeader:
    def test_nothing_is_sent_if_nobody_wishes_anything(self) -> None:
        assert make().to_leader(LEADER, B, 1.0) == NOTHING

    def test_what_came_together_shares_a_message(self) -> None:
        forwarding = make()
        want(forwarding, *range(100))
        assert sent(forwarding, LEADER, 1.0) == [list(range(1, 101))]

    def test_a_message_says_how_often_it_may_be_passed_on(self) -> None:
        forwarding = make(limits=Limits(hops_max=5))
        want(forwarding, 11)
        (envelope,) = forwarding.to_leader(LEADER, C, 1.0).sends
        assert envelope.to == C
        assert isinstance(envelope.message, Forward)
        assert envelope.message.hops == 5

    def test_what_is_new_follows_what_is_on_its_way(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 1.0)
        want(forwarding, 12)
        assert sent(forwarding, LEADER, 1.01) == [[2]]

    def test_much_goes_in_several_messages(self) -> None:
        forwarding = make(limits=Limits(batch_commands_max=2))
        want(forwarding, *range(5))
        assert sent(forwarding, LEADER, 1.0) == [[1, 2], [3, 4], [5]]

    def test_the_next_leader_is_sent_everything_unsettled_and_then_the_new(self) -> None:
        forwarding = make()
        want(forwarding, 11, 12)
        sent(forwarding, LEADER, 1.0)
        settle(forwarding, 1, 1.01)
        want(forwarding, 13)
        assert sent(forwarding, NEXT_LEADER, 1.02) == [[2], [3]]

    def test_a_leader_whose_connection_broke_too(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 1.0)
        forwarding.lost(C)
        assert sent(forwarding, LEADER, 1.01) == []
        forwarding.lost(LEADER.node)
        assert sent(forwarding, LEADER, 1.02) == [[1]]

    def test_what_expired_is_not_sent_again(self) -> None:
        forwarding = make()
        want(forwarding, 11, deadline=2.0)
        sent(forwarding, LEADER, 1.0)
        forwarding.outbox.expire(2.0)
        assert sent(forwarding, NEXT_LEADER, 2.0) == []

    def test_nor_does_the_next_leader_wait_for_it(self) -> None:
        forwarding, machine = make(), Machine(MemoryEngine(), 0)
        for request in range(100):
            body = encode_operation(Append(KEY, b"<%d>" % request))
            deadline = NEVER if request % 2 else 2.0
            forwarding.outbox.add([Wish(request, body, deadline)])
        sent(forwarding, LEADER, 1.0)
        forwarding.outbox.expire(2.0)
        leading = Leading(NEXT_LEADER, Slot(1), NO_SLOT, Limits())
        for envelope in forwarding.to_leader(NEXT_LEADER, NEXT_LEADER.node, 2.0).sends:
            assert isinstance(envelope.message, Forward)
            leading.admit(envelope.message.commands)
        results = [(one.sequence, machine.apply(one)) for one in leading.next_batch()]
        assert leading.next_batch() == ()
        outcomes = tuple(Outcome(*one) for one in results if isinstance(one[1], Result))
        answers = forwarding.applied(Applied(outcomes), 2.0)
        assert [answer.request for answer in answers] == list(range(1, 100, 2))
        assert not forwarding.outbox.has_sent


class TestAgain:
    def test_what_seems_lost_is_sent_again_and_each_time_later(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 0.0)
        waits_s, last = [], 0.0
        for now in (milliseconds / 1000 for milliseconds in range(1, 8000)):
            if sent(forwarding, LEADER, now):
                waits_s.append(now - last)
                last = now
        doublings = [min(count, DOUBLINGS_MAX) for count in range(len(waits_s))]
        assert waits_s == pytest.approx([RETRY_S * 2**count for count in doublings], abs=0.002)
        assert len(waits_s) > DOUBLINGS_MAX + 1

    def test_progress_puts_it_off(self) -> None:
        forwarding = make()
        want(forwarding, 11, 12)
        sent(forwarding, LEADER, 0.0)
        settle(forwarding, 1, 0.5 * RETRY_S)
        assert sent(forwarding, LEADER, 1.4 * RETRY_S) == []
        assert sent(forwarding, LEADER, 1.5 * RETRY_S) == [[2]]

    def test_and_makes_the_waits_short_again(self) -> None:
        forwarding = make()
        want(forwarding, 11, 12)
        sent(forwarding, LEADER, 0.0)
        assert sent(forwarding, LEADER, RETRY_S)
        settle(forwarding, 1, RETRY_S)
        assert sent(forwarding, LEADER, 2 * RETRY_S) == [[2]]

    def test_an_outcome_that_settles_nothing_is_no_progress(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 0.0)
        assert forwarding.applied(Applied((Outcome(1, None),)), 0.9 * RETRY_S) == ()
        assert sent(forwarding, LEADER, RETRY_S) == [[1]]

    def test_a_command_after_a_long_silence_is_not_late(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 0.0)
        settle(forwarding, 1, 0.1)
        want(forwarding, 12)
        assert sent(forwarding, LEADER, 100.0) == [[2]]
        assert sent(forwarding, LEADER, 100.01) == []


class TestGivingUp:
    STALL_S: Final = STALLS_MAX * TIMING.patience_s + RETRY_S

    def test_a_leader_that_gets_nothing_done_is_given_up(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 10.0)
        assert not forwarding.gives_up(LEADER, 10.0 + 0.99 * self.STALL_S)
        assert forwarding.gives_up(LEADER, 10.0 + self.STALL_S)

    def test_once_for_each_time_that_it_is_tried(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 10.0)
        assert forwarding.gives_up(LEADER, 20.0)
        assert not forwarding.gives_up(LEADER, 20.0)
        assert sent(forwarding, LEADER, 20.0) == [[1]]
        assert not forwarding.gives_up(LEADER, 20.0)

    def test_not_while_it_gets_something_done(self) -> None:
        forwarding = make()
        want(forwarding, *range(9))
        sent(forwarding, LEADER, 0.0)
        for sequence in range(1, 9):
            now = sequence * 0.9 * self.STALL_S
            assert not forwarding.gives_up(LEADER, now)
            settle(forwarding, sequence, now)

    def test_not_while_it_gets_something_done_for_others(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 10.0)
        forwarding.decided(20.0)
        assert not forwarding.gives_up(LEADER, 20.0 + 0.99 * self.STALL_S)
        assert forwarding.gives_up(LEADER, 20.0 + self.STALL_S)

    def test_not_if_nothing_was_asked_of_it(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 0.0)
        settle(forwarding, 1, 0.1)
        assert not forwarding.gives_up(LEADER, 100.0)

    def test_not_if_there_is_none_to_be_given_up(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 10.0)
        assert forwarding.gives_up(LEADER, 20.0)
        assert not forwarding.gives_up(ZERO_BALLOT, 20.0)

    def test_not_if_another_was_asked(self) -> None:
        forwarding = make()
        want(forwarding, 11)
        sent(forwarding, LEADER, 0.0)
        assert not forwarding.gives_up(NEXT_LEADER, 100.0)


class TestQuestions:
    def test_a_waiting_read_has_the_leader_asked(self) -> None:
        forwarding = make()
        forwarding.reads.want([(1, NEVER)])
        question = Envelope(B, AskReadSlot(1))
        assert forwarding.question(LEADER, 1.0) == Effects(sends=(question,))
        assert forwarding.question(LEADER, 1.0 + 0.9 * RETRY_S) == NOTHING
        assert forwarding.question(LEADER, 1.0 + RETRY_S) == Effects(sends=(question,))

    def test_nobody_is_asked_without_a_leader(self) -> None:
        forwarding = make()
        forwarding.reads.want([(1, NEVER)])
        assert forwarding.question(ZERO_BALLOT, 1.0) == NOTHING

    def test_nor_without_a_read(self) -> None:
        assert make().question(LEADER, 1.0) == NOTHING


# The whole of it, against the state machine, while leaders change and messages are lost.

KEY: Final = b"executed"


@dataclass
class Client:
    """One node that takes wishes, and what it was told of them.

    :ivar wished: the tokens of its current life that it still waits for, by request.
    """

    node: NodeId
    life: int = 1
    wished: dict[int, bytes] = field(default_factory=dict)
    forwarding: Forwarding = field(init=False)

    def __post_init__(self) -> None:
        self.forwarding = make(self.node, self.life, LIMITS)


LIMITS: Final = Limits(
    open_slots_max=2,
    batch_commands_max=2,
    queue_commands_max=3,
    unsettled_max=4,
    message_bytes_max=150,
)
"""Small, so that every one of them is reached."""


class World:
    """Two nodes that forward, leaders that come and go, and one log.

    A leader is what is left of it for forwarding: a queue, and a window of open slots. What
    was open when the next one comes is chosen or lost, slot by slot, as phase 1 may find.

    :ivar executed: the tokens that the state machine executed, in order.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.machine = Machine(MemoryEngine(), 0)
        self.clients = [Client(A), Client(B)]
        self.mail: list[tuple[Ballot, Batch]] = []
        self.decided_through = NO_SLOT
        self.leading = Leading(Ballot(1, C), Slot(1), NO_SLOT, LIMITS)
        self.executed: list[bytes] = []
        self._request = 0

    # What may happen, at any moment.

    def wish(self) -> None:
        client = self.random.choice(self.clients)
        self._request += 1
        token = b"<%s %d %d>" % (client.node.encode(), client.life, self._request)
        client.wished[self._request] = token
        deadline = self.now + self.random.choice((1.0, 5.0, NEVER))
        body = encode_operation(Append(KEY, token))
        client.forwarding.outbox.add([Wish(self._request, body, deadline)])

    def send(self) -> None:
        for client in self.clients:
            self._expire(client)
            leader = self.leading.ballot
            effects = client.forwarding.to_leader(leader, leader.node, self.now)
            for envelope in effects.sends:
                assert isinstance(envelope.message, Forward)
                self.mail.append((leader, envelope.message.commands))

    def deliver(self) -> None:
        """Deliver any message that is on its way, and perhaps keep it for another time."""
        if self.mail:
            leader, commands = self.mail.pop(self.random.randrange(len(self.mail)))
            if self.random.random() < 0.3:
                self.mail.append((leader, commands))
            # Some reach the next leader, because somebody has passed them on.
            if leader == self.leading.ballot or self.random.random() < 0.3:
                self.leading.admit(commands)

    def lose(self) -> None:
        if self.mail:
            self.mail.pop(self.random.randrange(len(self.mail)))

    def open(self) -> None:
        leading = self.leading
        while leading.has_room(self.decided_through) and (batch := leading.next_batch()):
            leading.offer(batch, self.now)

    def decide(self) -> None:
        slot = Slot(self.decided_through + 1)
        proposal = self.leading.open.pop(slot, None)
        if proposal is not None:
            self._execute(proposal.batch)

    def change_leader(self) -> None:
        before = self.leading
        found = {slot: one for slot, one in before.open.items() if self.random.random() < 0.6}
        first = Slot(self.decided_through + 1)
        ballot = before.ballot.above(self.random.choice((A, B, C)))
        self.leading = Leading(ballot, first, NO_SLOT, LIMITS)
        for slot in range(first, max(found, default=first - 1) + 1):
            batch = found[Slot(slot)].batch if slot in found else ()
            self.leading.offer(batch, self.now)

    def restart(self) -> None:
        """Begin the next life of a node: it knows nothing of what it had sent."""
        client = self.random.choice(self.clients)
        self.clients[self.clients.index(client)] = Client(client.node, client.life + 1)

    def wait(self) -> None:
        self.now += self.random.choice((0.01, 0.1, 0.5))

    def calm(self) -> None:
        """Let everything arrive, and time pass, until nobody waits any more."""
        for _ in range(60):
            self.now += RETRY_S
            self.send()
            mail, self.mail = self.mail, []
            for leader, commands in mail:
                if leader == self.leading.ballot:
                    self.leading.admit(commands)
            self.open()
            while self.leading.open:
                self.decide()
                self.open()

    def _execute(self, batch: Batch) -> None:
        self.decided_through = Slot(self.decided_through + 1)
        outcomes: dict[NodeId, list[Outcome]] = {A: [], B: []}
        for command in batch:
            result = self.machine.apply(command)
            # What a node has given up since may be executed without its body.
            if isinstance(result, Result) and command.body:
                operation = decode_operation(command.body)
                assert isinstance(operation, Append)
                self.executed.append(operation.value)
            outcome = Outcome(command.sequence, result if isinstance(result, Result) else None)
            if command.life == self._client(command.node).life:
                outcomes[command.node].append(outcome)
        for node, own in outcomes.items():
            client = self._client(node)
            for answer in client.forwarding.applied(Applied(tuple(own)), self.now):
                token = client.wished.pop(answer.request)
                assert isinstance(answer.result, Result)
                assert answer.result.value is not None
                assert answer.result.value.endswith(token), "the answer to another command"

    def _expire(self, client: Client) -> None:
        for expired in client.forwarding.outbox.expire(self.now):
            token = client.wished.pop(expired.request)
            if not expired.sent:
                assert token not in self.executed

    def _client(self, node: NodeId) -> Client:
        return next(client for client in self.clients if client.node == node)

    def check(self) -> None:
        """Check that nothing was executed twice, or out of order."""
        assert len(set(self.executed)) == len(self.executed), "executed twice"
        entry = self.machine.get(KEY)
        assert (entry.value if entry else b"") == b"".join(self.executed)
        for client in self.clients:
            own = [
                token for token in self.executed if token.startswith(b"<%s" % client.node.encode())
            ]
            order = [tuple(map(int, token.strip(b"<>").split()[1:])) for token in own]
            assert order == sorted(order), "executed out of order"


ACTIONS: Final[dict[str, Callable[[World], None]]] = {
    "wish": World.wish,
    "send": World.send,
    "deliver": World.deliver,
    "lose": World.lose,
    "open": World.open,
    "decide": World.decide,
    "change leader": World.change_leader,
    "restart": World.restart,
    "wait": World.wait,
}

WEIGHTED: Final = [
    *ACTIONS,
    *(3 * ("wish", "send", "deliver", "open", "decide")),
    *(3 * ("deliver", "open", "decide")),
]
"""Were trouble as frequent as work, nothing would get done, and nothing be tested."""


def carry_out(world: World, actions: Iterable[str]) -> None:
    for action in actions:
        ACTIONS[action](world)
        world.check()
    world.calm()
    world.check()
    assert [client.wished for client in world.clients] == [{}, {}], "somebody waits for ever"


@settings(max_examples=150)
@given(st.lists(st.sampled_from(WEIGHTED), max_size=150), st.integers(0, 2**32))
def test_whatever_is_lost_copied_or_reordered_commands_are_executed_once_and_in_order(
    actions: list[str], seed: int
) -> None:
    carry_out(World(seed), actions)


@pytest.mark.parametrize("seed", range(20))
def test_in_long_runs_too_in_which_many_are_executed(seed: int) -> None:
    world = World(seed)
    actions = world.random.choices(WEIGHTED, k=500)
    carry_out(world, actions)
    assert len(world.executed) > actions.count("wish") / 5

"""A whole state gets from one node to another, whatever is lost, repeated or begun again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import NoReturn, TypeVar, cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvpaxos.engine.shelf import MemoryShelf
from kvpaxos.errors import StateDamaged
from kvpaxos.node.persister import Persister
from kvpaxos.node.state import State
from kvpaxos.node.transfer import (
    ANSWER_S,
    ANSWERS_MISSED_MAX,
    FIRST_ANSWERS_MISSED_MAX,
    OFFER_S_MAX,
    OFFERS_MAX,
    PIECE_BYTES,
    PIECE_RECORDS,
    TRANSFER_RECORDS_PER_S_MAX,
    Donor,
    Recipient,
)
from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.effects import Fetch
from kvpaxos.paxos.messages import AskState, Command, Message, NoState, StatePiece
from kvpaxos.store.commands import Set, encode_operation
from kvpaxos.store.view import View

A, B, C, D = (NodeId(name) for name in ("n01", "n02", "n03", "n04"))
GROUP = 0
THROUGH = Slot(9)
NEEDED = Slot(5)

Kind = TypeVar("Kind")


class FakePersister:
    """Flushes nothing, and says when it was told to go on."""

    def __init__(self) -> None:
        self.durable_through = Slot(3)
        self.paused = 0
        self.resumed: list[Slot] = []
        self.cleared: Deferred[None] = Deferred()

    def pause(self) -> Deferred[None]:
        self.paused += 1
        return succeed(None)

    def resume(self, state: State, durable_through: Slot) -> None:
        self.resumed.append(durable_through)

    def clear(self) -> None:
        self.cleared.callback(None)


def open_state(
    shelf: MemoryShelf, through: int = 0, *, value_bytes: int = PIECE_BYTES // 2
) -> State:
    """Return a state in which every slot has set one key."""
    state = State(shelf.open(), GROUP, value_bytes_max=PIECE_BYTES)
    for slot in range(1, through + 1):
        body = encode_operation(Set(b"%04d" % slot, bytes([slot % 256]) * value_bytes))
        state.apply(Command(A, 1, slot, slot - 1, body))
        state.commit(Slot(slot))
    return state


class World:
    """Node a has a state, node b needs it, and a line of messages is between them."""

    def __init__(self, through: int = THROUGH, *, value_bytes: int = PIECE_BYTES // 2) -> None:
        self.through = Slot(through)
        self.clock = Clock()
        self.line: deque[tuple[NodeId, NodeId, Message]] = deque()
        self.said: list[Message] = []
        self.installs: list[Slot] = []
        self.failures: list[Failure] = []
        self.persister = FakePersister()
        self.shelf = MemoryShelf()
        self.source = open_state(MemoryShelf(), through, value_bytes=value_bytes)
        self.state = open_state(self.shelf)
        self.donor = self.fresh_donor()
        self.recipient = Recipient(
            self.state,
            self.shelf,
            cast("Persister", self.persister),
            send=lambda to, message: self._send(B, to, message),
            install=self.installs.append,
            failed=self.failures.append,
            reactor=self.clock,
            group=GROUP,
        )

    def fresh_donor(self, seed: int = 1) -> Donor:
        return Donor(
            self.source,
            send=lambda to, message: self._send(A, to, message),
            failed=self.failures.append,
            clock=self.clock,
            random=Random(seed),
        )

    def _send(self, sender: NodeId, to: NodeId, message: Message) -> None:
        self.said.append(message)
        self.line.append((sender, to, message))

    def fetch(self) -> None:
        self.recipient.fetch(Fetch(A, NEEDED))

    def take(self) -> Message:
        """Take the next message off the line."""
        _, _, message = self.line.popleft()
        return message

    def deliver(self) -> Message:
        """Deliver the next message."""
        sender, to, message = self.line.popleft()
        if to == A:
            assert isinstance(message, AskState)
            self.donor.asked(sender, message)
        elif to == B:
            assert isinstance(message, StatePiece | NoState)
            self.recipient.took(sender, message)
        return message

    def run(self, lost: Callable[[Message], bool] = lambda _: False) -> None:
        """Go on until nothing is asked for any more."""
        for _ in range(400):
            while self.line:
                if lost(self.line[0][2]):
                    self.take()
                else:
                    self.deliver()
            if not self.clock.getDelayedCalls():
                return
            self.clock.advance(ANSWER_S)
        raise AssertionError("it goes on for ever")

    async def assert_installed(self) -> None:
        """Wait until the state has come, and compare it."""
        await self.persister.cleared
        assert self.installs == [self.through]
        assert self.state.applied == self.through
        assert self.state.machine.digest == self.source.machine.digest
        assert (self.recipient.installed, self.recipient.donor) == (1, None)
        assert self.recipient.received_bytes == 0
        # What it was durable through before: the next flush says more.
        assert (self.persister.paused, self.persister.resumed) == (1, [Slot(3)])
        assert self.failures == []

    def is_getting(self) -> bool:
        return self.recipient.donor is not None

    def count(self, kind: type[Kind]) -> int:
        return sum(isinstance(message, kind) for message in self.said)


@pytest_twisted.ensureDeferred
async def test_a_state_comes_piece_by_piece() -> None:
    world = World()
    world.fetch()
    world.run()
    await world.assert_installed()
    assert world.count(AskState) == world.count(StatePiece) > THROUGH // 2
    assert world.donor.needed_from is None


@pytest_twisted.ensureDeferred
async def test_no_piece_has_more_records_than_take_little_time() -> None:
    world = World(3 * PIECE_RECORDS, value_bytes=1)
    world.fetch()
    world.run()
    await world.assert_installed()
    counts = [len(piece.records) for piece in world.said if isinstance(piece, StatePiece)]
    assert counts[:3] == [PIECE_RECORDS] * 3
    assert (0 < counts[3] <= PIECE_RECORDS, counts[4:]) == (True, [0])


def test_no_more_records_are_asked_for_in_a_second_than_so_many() -> None:
    world = World(3 * PIECE_RECORDS, value_bytes=1)
    world.fetch()
    world.deliver()
    world.deliver()
    assert world.said[2:] == []
    world.clock.advance(0.9 * PIECE_RECORDS / TRANSFER_RECORDS_PER_S_MAX)
    assert world.said[2:] == []
    world.clock.advance(0.2 * PIECE_RECORDS / TRANSFER_RECORDS_PER_S_MAX)
    assert [type(message) for message in world.said[2:]] == [AskState]


@pytest_twisted.ensureDeferred
async def test_nothing_is_asked_for_before_what_was_asked_for_has_come() -> None:
    world = World()
    world.fetch()
    while world.line:
        assert len(world.line) == 1
        world.deliver()
        world.clock.advance(ANSWER_S / 10)
    await world.assert_installed()


@pytest.mark.parametrize("kind", [AskState, StatePiece])
@pytest_twisted.ensureDeferred
async def test_what_is_lost_is_asked_for_again(kind: type[Message]) -> None:
    world = World()
    numbers = iter(range(10**6))
    world.fetch()
    # The last piece of all is not lost: whoever does not get that begins again.
    world.run(lambda message: isinstance(message, kind) and next(numbers) in {0, 2, 3})
    await world.assert_installed()


@pytest_twisted.ensureDeferred
async def test_whoever_does_not_get_the_last_piece_begins_again() -> None:
    world = World()
    lost: list[Message] = []

    def is_first_end(message: Message) -> bool:
        if isinstance(message, StatePiece) and not message.records and not lost:
            lost.append(message)
            return True
        return False

    world.fetch()
    world.run(is_first_end)
    assert world.count(NoState) == 1
    assert len(lost) == 1
    await world.assert_installed()


@pytest_twisted.ensureDeferred
async def test_what_comes_twice_is_taken_once() -> None:
    world = World()
    world.fetch()
    while world.line:
        sender, to, message = world.line[0]
        before = world.recipient.received_bytes
        if to == B and isinstance(message, StatePiece) and message.records:
            world.recipient.took(sender, message)
            once = world.recipient.received_bytes
            assert once > before
            world.deliver()
            assert world.recipient.received_bytes == once
        else:
            world.deliver()
        world.clock.advance(ANSWER_S / 10)
    await world.assert_installed()


@pytest_twisted.ensureDeferred
async def test_a_donor_that_was_restarted_is_asked_from_the_start() -> None:
    world = World()
    world.fetch()
    for _ in range(4):
        world.deliver()
        world.clock.advance(ANSWER_S / 10)
    assert world.recipient.received_bytes > 0
    world.donor.stop()
    world.donor = world.fresh_donor(seed=2)
    world.run()
    assert world.count(NoState) == 1
    await world.assert_installed()


@pytest_twisted.ensureDeferred
async def test_the_state_is_that_of_one_moment() -> None:
    world = World()
    digest = world.source.machine.digest
    world.fetch()
    world.deliver()
    body = encode_operation(Set(b"0009", b"later"))
    world.source.apply(Command(A, 1, THROUGH + 1, THROUGH, body))
    world.source.commit(Slot(THROUGH + 1))
    world.run()
    await world.persister.cleared
    assert (world.installs, world.state.machine.digest) == ([THROUGH], digest)


def test_a_wrong_digest_is_given_up() -> None:
    world = World()
    world.fetch()
    while not (isinstance(message := world.line[0][2], StatePiece) and not message.records):
        world.deliver()
        world.clock.advance(ANSWER_S / 10)
    wrong = StatePiece(message.offer, message.after, message.slot, bytes(16), ())
    world.recipient.took(A, wrong)
    assert world.recipient.donor is None
    assert (world.installs, world.state.applied, world.failures) == ([], NO_SLOT, [])
    assert world.clock.getDelayedCalls() == []


def test_records_out_of_order_are_given_up() -> None:
    world = World()
    world.fetch()
    world.deliver()
    piece = world.take()
    assert isinstance(piece, StatePiece)
    twice = StatePiece(piece.offer, b"", piece.slot, piece.digest, piece.records * 2)
    world.recipient.took(A, twice)
    assert (world.recipient.donor, world.installs, world.failures) == (None, [], [])


@pytest.mark.parametrize(
    ("pieces", "missed"),
    [
        pytest.param(0, FIRST_ANSWERS_MISSED_MAX, id="before it has sent anything"),
        pytest.param(1, ANSWERS_MISSED_MAX, id="amid its state, where much would be lost"),
    ],
)
def test_a_donor_that_is_silent_is_given_up_after_so_many_questions(
    pieces: int, missed: int
) -> None:
    world = World()
    world.fetch()
    while world.recipient.received_bytes == 0 and pieces:
        world.deliver()
    asked = world.count(AskState)
    # After a piece the next one is asked for a little later.
    for _ in range(pieces + missed):
        world.line.clear()
        world.clock.advance(ANSWER_S)
    assert world.is_getting()
    world.line.clear()
    world.clock.advance(ANSWER_S)
    assert not world.is_getting()
    assert world.count(AskState) <= asked + pieces + missed
    assert world.clock.getDelayedCalls() == []


def test_silences_count_in_a_row_only() -> None:
    world = World()
    world.fetch()
    for _ in range(3):
        for _ in range(FIRST_ANSWERS_MISSED_MAX):
            world.line.clear()
            world.clock.advance(ANSWER_S)
        while world.line:
            world.deliver()
    assert world.recipient.donor == A


def test_one_state_is_got_at_a_time() -> None:
    world = World()
    world.fetch()
    world.recipient.fetch(Fetch(C, NEEDED))
    assert world.recipient.donor == A
    assert world.count(AskState) == 1


def test_after_one_was_given_up_another_may_give() -> None:
    world = World()
    world.fetch()
    world.recipient.took(A, NoState(0))
    assert world.recipient.donor is None
    world.recipient.fetch(Fetch(C, NEEDED))
    assert world.recipient.donor == C


def test_nothing_is_taken_that_was_not_asked_for() -> None:
    world = World()
    world.donor.asked(B, AskState(0, b""))
    piece = world.take()
    assert isinstance(piece, StatePiece)
    world.recipient.took(A, piece)
    assert world.recipient.received_bytes == 0
    world.fetch()
    world.recipient.took(C, piece)
    assert world.recipient.received_bytes == 0
    world.recipient.took(A, piece)
    assert world.recipient.received_bytes > 0


def test_a_state_that_is_ahead_of_the_journal_is_kept() -> None:
    world = World()
    world.state.commit(NEEDED)
    world.fetch()
    assert (world.installs, world.said, world.recipient.donor) == ([NEEDED], [], None)


def test_nothing_begins_once_it_was_stopped() -> None:
    world = World()
    world.recipient.stop()
    world.fetch()
    assert (world.said, world.recipient.donor) == ([], None)


def test_to_stop_gives_up_what_is_under_way() -> None:
    world = World()
    world.fetch()
    world.recipient.stop()
    assert world.clock.getDelayedCalls() == []
    assert world.recipient.received_bytes == 0


class TestDonor:
    def offers(self, world: World, *peers: NodeId) -> list[Message]:
        for peer in peers:
            world.donor.asked(peer, AskState(0, b""))
        return [world.take() for _ in peers]

    def test_no_more_than_so_many_are_given_at_a_time(self) -> None:
        world = World()
        answers = self.offers(world, B, C, D)
        assert OFFERS_MAX == 2
        assert [type(answer) for answer in answers] == [StatePiece, StatePiece, NoState]
        assert answers[2] == NoState(0)

    def test_whoever_begins_again_takes_no_second_place(self) -> None:
        world = World()
        answers = self.offers(world, B, B, B, C)
        assert [type(answer) for answer in answers] == [StatePiece] * 4

    def test_an_offer_is_for_the_one_who_asked_first(self) -> None:
        world = World()
        (piece,) = self.offers(world, B)
        assert isinstance(piece, StatePiece)
        world.donor.asked(C, AskState(piece.offer, b""))
        assert world.take() == NoState(piece.offer)

    def test_an_offer_that_nobody_asks_of_ends(self) -> None:
        world = World()
        self.offers(world, B, C)
        world.clock.advance(OFFER_S_MAX - 1)
        assert self.offers(world, D) == [NoState(0)]
        world.clock.advance(2)
        assert world.donor.needed_from is None
        assert isinstance(self.offers(world, D)[0], StatePiece)

    def test_one_that_is_asked_of_does_not(self) -> None:
        world = World()
        (piece,) = self.offers(world, B)
        assert isinstance(piece, StatePiece)
        for _ in range(3):
            world.clock.advance(0.9 * OFFER_S_MAX)
            world.donor.asked(B, AskState(piece.offer, b""))
            assert world.take() == piece

    def test_a_state_that_was_replaced_is_given_no_more(self) -> None:
        world = World()
        (piece,) = self.offers(world, B)
        assert isinstance(piece, StatePiece)
        world.source.engine.close()
        world.donor.asked(B, AskState(piece.offer, b""))
        assert world.take() == NoState(piece.offer)
        assert world.donor.needed_from is None

    def test_a_state_that_is_found_damaged_is_given_no_more_and_the_node_is_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def piece(*_: object) -> NoReturn:
            raise StateDamaged("a block", "its checksum does not fit")

        world = World()
        (first,) = self.offers(world, B)
        assert isinstance(first, StatePiece)
        monkeypatch.setattr(View, "piece", piece)
        world.donor.asked(B, AskState(first.offer, b""))
        assert world.take() == NoState(first.offer)
        assert world.donor.needed_from is None
        assert [failure.type for failure in world.failures] == [StateDamaged]

    def test_the_oldest_moment_is_what_its_receiver_goes_on_from(self) -> None:
        world = World()
        self.offers(world, B)
        world.source.commit(Slot(THROUGH + 4))
        self.offers(world, C)
        assert world.donor.needed_from == THROUGH + 1

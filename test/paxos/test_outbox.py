"""A node's own commands keep their numbers, and leave no gaps, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

from kvpaxos.paxos.acceptor import size_of
from kvpaxos.paxos.effects import Answer, Expired, Outcome, Wish
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import Batch, Command
from kvpaxos.paxos.outbox import Outbox
from test.paxos.values import A

LIFE: Final = 7

NEVER: Final = 1e9
"""A deadline that is not reached."""


def wish(request: int, deadline: float = NEVER, size: int = 0) -> Wish:
    return Wish(request, (b"%d" % request).ljust(size, b"."), deadline)


def outbox(requests: Iterable[int] = (), limits: Limits | None = None) -> Outbox:
    """Return an outbox in which these requests wait."""
    box = Outbox(A, LIFE, limits or Limits())
    box.add(wish(request) for request in requests)
    return box


def numbers(batch: Batch) -> list[int]:
    return [command.sequence for command in batch]


def done(*sequences: int) -> list[Outcome]:
    return [Outcome(sequence, f"result {sequence}") for sequence in sequences]


class TestNumbering:
    def test_wishes_get_their_numbers_when_they_are_first_sent(self) -> None:
        box = outbox([11, 12])
        assert box.settled_through == 0
        assert box.take() == (
            Command(A, LIFE, 1, 0, b"11"),
            Command(A, LIFE, 2, 0, b"12"),
        )

    def test_each_is_sent_for_the_first_time_once(self) -> None:
        box = outbox([11, 12])
        box.take()
        assert box.take() == ()
        box.add([wish(13)])
        assert numbers(box.take()) == [3]

    def test_numbers_are_given_in_the_order_of_arrival(self) -> None:
        box = outbox()
        box.add([wish(12), wish(11)])
        box.add([wish(10)])
        assert [command.body for command in box.take()] == [b"12", b"11", b"10"]

    @pytest.mark.parametrize(
        ("limits", "lengths"),
        [
            pytest.param(Limits(batch_commands_max=2), [2, 2, 1, 0], id="so many commands"),
            pytest.param(Limits(batch_bytes_max=1), [1, 1, 1, 1, 1, 0], id="one always fits"),
            pytest.param(Limits(unsettled_max=3), [3, 0], id="so many on their way"),
        ],
    )
    def test_at_most(self, limits: Limits, lengths: list[int]) -> None:
        box = outbox(range(5), limits)
        batches = [box.take() for _ in lengths]
        assert [len(batch) for batch in batches] == lengths
        sent = [command.sequence for batch in batches for command in batch]
        assert sent == list(range(1, len(sent) + 1))

    def test_so_many_bytes_and_not_one_more(self) -> None:
        size = size_of((Command(A, LIFE, 1, 0, b"." * 100),))
        for room, lengths in ((2 * size, [2, 1]), (2 * size - 1, [1, 1])):
            box = outbox(limits=Limits(batch_bytes_max=room))
            box.add(wish(request, size=100) for request in range(3))
            assert [len(box.take()), len(box.take())] == lengths

    def test_what_is_settled_makes_room_for_the_next(self) -> None:
        box = outbox(range(3), Limits(unsettled_max=2))
        assert numbers(box.take()) == [1, 2]
        assert box.take() == ()
        box.settle(done(1))
        assert numbers(box.take()) == [3]
        assert box.take() == ()


class TestFloor:
    @pytest.mark.parametrize(
        ("settled", "floor"),
        [
            pytest.param([], 0, id="nothing is settled"),
            pytest.param([1], 1, id="the first is"),
            pytest.param([1, 2], 2, id="the first ones are"),
            pytest.param([2, 3], 0, id="one below is waited for"),
            pytest.param([3, 1], 1, id="up to the one that is waited for"),
            pytest.param([4, 3, 2, 1], 4, id="everything is"),
        ],
    )
    def test_nothing_below_it_is_waited_for(self, settled: list[int], floor: int) -> None:
        box = outbox(range(4))
        box.take()
        box.settle(done(*settled))
        assert box.settled_through == floor

    def test_commands_carry_the_floor_of_the_moment(self) -> None:
        box = outbox(range(3))
        box.take()
        box.settle(done(1))
        assert [command.settled_through for batch in box.again() for command in batch] == [1, 1]
        box.settle(done(2))
        box.add([wish(99)])
        assert [command.settled_through for command in box.take()] == [2]

    def test_no_command_is_at_or_below_the_floor_it_carries(self) -> None:
        box = outbox(range(3))
        assert [command.settled_through for command in box.take()] == [0, 0, 0]
        box.settle(done(1, 2, 3))
        box.add([wish(99)])
        assert [(c.sequence, c.settled_through) for c in box.take()] == [(4, 3)]


class TestAgain:
    def test_everything_unsettled_is_sent_in_order_under_its_old_number(self) -> None:
        box = outbox([11, 12, 13, 14])
        box.take()
        box.settle(done(2))
        (batch,) = box.again()
        assert [(command.sequence, command.body) for command in batch] == [
            (1, b"11"),
            (3, b"13"),
            (4, b"14"),
        ]

    def test_what_was_never_sent_is_not_sent_again(self) -> None:
        assert list(outbox([11]).again()) == []

    def test_again_and_again(self) -> None:
        box = outbox([11, 12])
        box.take()
        assert list(box.again()) == list(box.again())

    @pytest.mark.parametrize(
        ("room", "cut"),
        [
            pytest.param(5, [[1, 2, 3, 4, 5]], id="all fit"),
            pytest.param(2, [[1, 2], [3, 4], [5]], id="two fit"),
            pytest.param(0, [[1], [2], [3], [4], [5]], id="one always fits"),
        ],
    )
    def test_it_is_cut_where_messages_would_grow_long(
        self, room: int, cut: list[list[int]]
    ) -> None:
        size = size_of((Command(A, LIFE, 1, 0, b"." * 100),))
        box = outbox(limits=Limits(message_bytes_max=room * size))
        box.add(wish(request, size=100) for request in range(5))
        box.take()
        assert [numbers(batch) for batch in box.again()] == cut


class TestSettle:
    def test_answers_go_to_the_requests_that_the_commands_came_from(self) -> None:
        box = outbox([11, 12])
        box.take()
        assert box.settle(done(2, 1)) == (Answer(12, "result 2"), Answer(11, "result 1"))
        assert not box.has_sent

    def test_once(self) -> None:
        box = outbox([11])
        box.take()
        box.settle(done(1))
        assert box.settle(done(1)) == ()

    def test_what_the_state_machine_refused_is_waited_for(self) -> None:
        box = outbox([11])
        box.take()
        assert box.settle([Outcome(1, None)]) == ()
        assert box.has_sent
        assert box.settle(done(1)) == (Answer(11, "result 1"),)

    def test_an_outcome_may_be_false(self) -> None:
        box = outbox([11])
        box.take()
        assert box.settle([Outcome(1, 0)]) == (Answer(11, 0),)

    def test_what_was_given_up_has_no_answer(self) -> None:
        box = outbox()
        box.add([wish(11, deadline=5.0)])
        box.take()
        box.expire(5.0)
        assert box.settle(done(1)) == ()


class TestExpiry:
    def test_a_wish_that_was_never_sent_leaves_no_gap(self) -> None:
        box = outbox(limits=Limits(unsettled_max=1))
        box.add([wish(11), wish(12, deadline=5.0), wish(13)])
        box.take()
        assert box.expire(5.0) == (Expired(12, sent=False),)
        box.settle(done(1))
        assert box.take() == (Command(A, LIFE, 2, 1, b"13"),)

    def test_a_command_that_was_sent_may_be_executed_still(self) -> None:
        box = outbox()
        box.add([wish(11, deadline=5.0)])
        box.take()
        assert box.expire(5.0) == (Expired(11, sent=True),)
        assert not box.has_sent

    def test_the_floor_passes_over_it(self) -> None:
        box = outbox()
        box.add([wish(11, deadline=5.0), wish(12), wish(13)])
        box.take()
        box.expire(5.0)
        assert [(c.sequence, c.settled_through) for batch in box.again() for c in batch] == [
            (2, 1),
            (3, 1),
        ]

    def test_in_the_middle_it_keeps_its_number_and_nothing_else(self) -> None:
        box = outbox()
        box.add([wish(11), wish(12, deadline=5.0, size=1000), wish(13)])
        box.take()
        box.expire(5.0)
        (batch,) = box.again()
        assert [(command.sequence, command.body) for command in batch] == [
            (1, b"11"),
            (2, b""),
            (3, b"13"),
        ]

    @pytest.mark.parametrize("late", [[2], [3], [2, 3], [2, 4], [1, 3], [1, 2, 4], [1, 2, 3]])
    def test_what_is_sent_again_has_no_gaps_whatever_was_given_up(self, late: list[int]) -> None:
        box = outbox()
        box.add(wish(number, deadline=5.0 if number in late else NEVER) for number in range(1, 5))
        box.take()
        box.expire(5.0)
        (batch,) = box.again()
        assert numbers(batch) == list(range(box.settled_through + 1, 5))

    def test_the_floor_passes_over_it_once_what_is_below_is_settled(self) -> None:
        box = outbox()
        box.add([wish(11), wish(12, deadline=5.0), wish(13, deadline=5.0), wish(14)])
        box.take()
        box.expire(5.0)
        assert box.settled_through == 0
        assert box.settle(done(1)) == (Answer(11, "result 1"),)
        assert box.settled_through == 3

    def test_nobody_is_told_what_came_of_it_after_all(self) -> None:
        box = outbox()
        box.add([wish(11), wish(12, deadline=5.0), wish(13)])
        box.take()
        box.expire(5.0)
        assert box.settle(done(1, 2, 3)) == (Answer(11, "result 1"), Answer(13, "result 3"))
        assert not box.has_sent

    def test_with_all_below_it_given_up_too_nothing_is_left(self) -> None:
        box = outbox()
        box.add([wish(11, deadline=6.0), wish(12, deadline=5.0)])
        box.take()
        assert box.expire(5.0) == (Expired(12, sent=True),)
        assert box.settled_through == 0
        assert box.expire(6.0) == (Expired(11, sent=True),)
        assert box.settled_through == 2
        assert not box.has_sent

    def test_a_number_that_was_given_up_is_not_given_again(self) -> None:
        box = outbox()
        box.add([wish(11, deadline=5.0)])
        box.take()
        box.expire(5.0)
        box.add([wish(12)])
        assert box.take() == (Command(A, LIFE, 2, 1, b"12"),)

    @pytest.mark.parametrize("sent", [False, True], ids=["unsent", "sent"])
    def test_it_comes_at_the_deadline_and_once(self, *, sent: bool) -> None:
        box = outbox()
        box.add([wish(11, deadline=5.0), wish(12, deadline=7.0), wish(13, deadline=8.0)])
        if sent:
            box.take()
        assert [box.expire(now) for now in (4.9, 5.0, 5.1, 6.9, 7.0, 8.0, 9.0)] == [
            (),
            (Expired(11, sent),),
            (),
            (),
            (Expired(12, sent),),
            (Expired(13, sent),),
            (),
        ]

    def test_whatever_the_order_of_deadlines(self) -> None:
        box = outbox()
        box.add([wish(11, deadline=7.0), wish(12, deadline=5.0)])
        assert box.expire(5.0) == (Expired(12, sent=False),)
        box.add([wish(13, deadline=6.0)])
        assert box.expire(6.0) == (Expired(13, sent=False),)
        assert box.expire(7.0) == (Expired(11, sent=False),)

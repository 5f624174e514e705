"""Whose fault it is that a client waits: the nodes', or that of the machine."""

from __future__ import annotations

import pytest

from test.big.bystanders import own_share, slowed, with_backlog
from test.big.load import Waits, least_in_a_second


@pytest.mark.parametrize(
    ("pauses", "own_s"),
    [
        ([], 0.25),
        ([(9.0, 0.5), (10.5, 0.5)], 0.25),
        ([(10.0, 0.125)], 0.125),
        ([(9.0, 1.125)], 0.125),
        ([(10.125, 9.0)], 0.125),
        ([(9.0, 9.0)], 0.0),
        ([(10.125, 0.0625), (10.0, 0.0625)], 0.125),
        ([(10.0, 0.125), (10.0625, 0.125)], 0.0625),
        ([(10.0, 0.1875), (10.0625, 0.0625)], 0.0625),
    ],
)
def test_a_wait_is_its_own_where_nobody_else_was_held_up(pauses: Waits, own_s: float) -> None:
    assert own_share(10.0, 0.25, pauses) == own_s


def test_a_pause_is_felt_until_what_has_come_in_it_is_done_with() -> None:
    felt = with_backlog([(10.0, 0.125), (11.0, 0.25)])
    assert felt == [(10.0, 0.25), (11.0, 0.5)]
    # It began after the pause, but not after all those that wait since then.
    assert own_share(10.1875, 0.0625, felt) == 0.0
    assert own_share(10.25, 0.0625, felt) == 0.0625


def test_half_of_the_time_is_lost_where_work_takes_twice_the_usual() -> None:
    took = [1.0] * 17 + [2.0, 4.0, 1.0]
    samples = [(10.0 + 0.125 * number, each) for number, each in enumerate(took)]
    assert slowed(samples) == [(12.125, 0.0625), (12.25, 0.09375)]


def test_processors_that_are_always_slow_are_not_slowed() -> None:
    assert slowed([(float(number), 9.0) for number in range(50)]) == []
    assert slowed([]) == []


def test_what_nodes_can_do_is_what_they_do_in_their_worst_second() -> None:
    ends = [0.5, 0.75, 1.5, 1.75, 2.0, 2.5, 2.75, 3.5, 3.75, 4.0, 4.5]
    assert least_in_a_second([(end - 0.25, 0.25) for end in ends]) == 2
    assert least_in_a_second([(0.0, end) for end in ends if end not in {2.0, 2.75}]) == 1
    assert least_in_a_second([(0.0, end) for end in (0.5, 3.75)]) == 0

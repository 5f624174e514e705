"""Timers happen when they are due, in order, on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from typing_extensions import override
from zope.interface.verify import verifyObject

from kvpaxos.simulator.agenda import CALLS_AT_ONCE, Agenda, StandsStill
from kvpaxos.simulator.reactor import Clock, Reactor


class Bench:
    """A reactor whose process runs at once, and what it did."""

    def __init__(self, rate: float = 1.0) -> None:
        self.agenda = Agenda()
        self.reactor = Reactor(self.agenda, Clock(self.agenda, rate=rate), self)
        self.did: list[str] = []

    def run(self, action: Callable[[], object]) -> None:
        action()

    def later(self, seconds: float, what: str) -> None:
        self.reactor.callLater(seconds, self.did.append, what)

    def pass_time(self, until: float) -> None:
        while self.agenda.step(until):
            pass


def test_it_is_what_nodes_expect_of_a_reactor() -> None:
    verifyObject(IReactorTime, Bench().reactor)
    verifyObject(IReactorFromThreads, Bench().reactor)


def test_what_is_due_first_happens_first_and_equals_in_the_order_in_which_they_were_asked_for() -> (
    None
):
    bench = Bench()
    for seconds, what in ((2.0, "d"), (1.0, "b"), (1.0, "c"), (0.0, "a")):
        bench.later(seconds, what)
    bench.pass_time(1.5)
    assert bench.did == ["a", "b", "c"]
    bench.pass_time(2.0)
    assert bench.did == ["a", "b", "c", "d"]


def test_a_timer_that_was_cancelled_or_reset_happens_not_or_once() -> None:
    bench = Bench()
    never = bench.reactor.callLater(1.0, bench.did.append, "never")
    once = bench.reactor.callLater(1.0, bench.did.append, "once")
    never.cancel()
    once.reset(3.0)
    bench.pass_time(2.0)
    assert (bench.did, once.active(), never.active()) == ([], True, False)
    bench.pass_time(5.0)
    assert bench.did == ["once"]
    assert bench.reactor.getDelayedCalls() == []
    with pytest.raises(AlreadyCalled):
        once.reset(1.0)
    with pytest.raises(AlreadyCancelled):
        never.cancel()


def test_a_clock_that_runs_fast_has_its_timers_happen_early() -> None:
    bench = Bench(rate=2.0)
    bench.later(3.0, "done")
    bench.pass_time(1.4)
    assert bench.did == []
    bench.pass_time(1.5)
    assert bench.did == ["done"]


@pytest.mark.parametrize("rate", [0.9993, 1.0, 1.0007])
@pytest.mark.parametrize("ahead_s", [0.0, 9.055, 85254.95])
def test_what_is_due_happens_when_the_clock_shows_no_less_and_no_later(
    rate: float, ahead_s: float
) -> None:
    agenda = Agenda()
    clock = Clock(agenda, rate=rate, ahead_s=ahead_s)
    for number in range(10_000):
        shown = ahead_s + number / 70
        agenda.now = clock.when(shown)
        assert 0 <= clock.seconds() - shown < 1e-9


def test_a_clock_that_jumps_has_happen_what_is_due_by_then_in_order() -> None:
    bench = Bench()
    for seconds, what in ((9.0, "late"), (2.0, "second"), (1.0, "first")):
        bench.later(seconds, what)
    bench.reactor.jump(5.0)
    bench.pass_time(0.0)
    assert bench.did == ["first", "second"]
    bench.pass_time(4.0)
    assert bench.did == ["first", "second", "late"]


def test_a_clock_that_stands_still_has_nothing_happen_but_what_is_due_at_once() -> None:
    bench = Bench()
    bench.later(1.0, "second")
    bench.reactor.freeze(5.0)
    bench.later(0.0, "first")
    bench.later(2.0, "third")
    bench.pass_time(4.9)
    assert (bench.did, bench.reactor.seconds()) == (["first"], 0.0)
    bench.pass_time(6.1)
    assert bench.did == ["first", "second"]
    bench.pass_time(7.1)
    assert bench.did == ["first", "second", "third"]


def test_a_clock_that_is_let_go_goes_on_from_what_it_shows() -> None:
    bench = Bench()
    bench.later(1.0, "done")
    bench.reactor.freeze(50.0)
    bench.pass_time(4.0)
    bench.reactor.thaw()
    assert bench.reactor.seconds() == 0.0
    bench.pass_time(5.1)
    assert bench.did == ["done"]


def test_two_thousand_timers_that_wait_add_nothing_to_what_is_compared_for_one_event() -> None:
    """A heap looks at some of them: a clock that sorted would look at all."""
    compared = 0

    class Counted(float):
        @override
        def __lt__(self, other: float) -> bool:
            nonlocal compared
            compared += 1
            return float.__lt__(self, other)

    bench = Bench()
    for number in range(2000):
        bench.agenda.at(Counted(1000.0 + number), bench.did.append, "late")
    compared = 0
    bench.agenda.at(Counted(1.0), bench.did.append, "now")
    assert bench.agenda.step(2.0)
    assert bench.did == ["now"]
    assert compared < 100


def test_a_moment_that_never_ends_is_an_error_and_a_long_one_is_none() -> None:
    bench = Bench()
    for _ in range(CALLS_AT_ONCE // 2):
        bench.reactor.callLater(1.0, bench.did.clear)
        bench.reactor.callLater(2.0, bench.did.clear)
    bench.pass_time(2.0)

    def again() -> None:
        bench.reactor.callLater(0.0, again)

    again()
    with pytest.raises(StandsStill, match="and more to come"):
        bench.pass_time(3.0)

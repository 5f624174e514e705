"""Waiting for what becomes so."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvpaxos.testing.waiting import NotInTime, Waiting


def fired(waiting: Deferred[None]) -> bool:
    return waiting.called


def error_of(waiting: Deferred[None]) -> Exception:
    failures: list[Failure] = []
    waiting.addErrback(failures.append)
    assert isinstance(failures[0].value, Exception)
    return failures[0].value


def test_what_is_so_already_is_not_waited_for() -> None:
    assert fired(Waiting(Clock()).until(lambda: True, 1, "nothing"))


def test_it_is_looked_at_when_something_has_happened_and_only_then() -> None:
    waiting, looks = Waiting(Clock()), [False, False, True]
    until = waiting.until(lambda: looks.pop(0), 1, "the third look")
    assert not fired(until)
    waiting.look()
    assert not fired(until)
    waiting.look()
    assert fired(until)
    waiting.look()
    assert looks == []


def test_it_fails_when_the_time_is_over_and_is_looked_at_no_more() -> None:
    clock, looks = Clock(), list[int]()
    waiting = Waiting(clock)

    def look() -> bool:
        looks.append(1)
        return False

    until = waiting.until(look, 2.5, "Godot")
    clock.advance(2.4)
    assert not fired(until)
    clock.advance(0.2)
    error = error_of(until)
    assert isinstance(error, NotInTime)
    assert str(error) == "2.5 s were not enough for Godot"
    waiting.look()
    assert len(looks) == 1


def test_what_is_raised_while_looking_reaches_who_waits() -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    assert isinstance(error_of(Waiting(Clock()).until(broken, 1, "x")), ZeroDivisionError)


def test_trouble_reaches_all_that_wait_now_or_later() -> None:
    waiting = Waiting(Clock())
    before = waiting.until(lambda: False, 1, "x")
    waiting.check()
    waiting.fail(Failure(KeyError("first")))
    waiting.fail(Failure(KeyError("second")))
    later = waiting.until(lambda: True, 1, "x")
    assert [error_of(one).args for one in (before, later)] == [("first",)] * 2
    with pytest.raises(KeyError, match="first"):
        waiting.check()


def test_who_is_told_may_wait_again() -> None:
    waiting = Waiting(Clock())
    done = [False]
    again: list[Deferred[None]] = []
    until = waiting.until(lambda: done[0], 1, "x")
    until.addCallback(lambda _: again.append(waiting.until(lambda: done[0], 1, "y")))
    done[0] = True
    waiting.look()
    assert fired(again[0])

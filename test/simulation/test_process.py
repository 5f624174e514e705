"""Threads take turns, wait without waiting for anybody else, and die where they are."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress
from queue import Empty

import pytest

from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.reactor import Clock, Reactor
from kvpaxos.simulator.threads import SimulatedThreads


class Bench:
    """One process, and what its threads did."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.process = Process(self.agenda, "n01")
        reactor = Reactor(self.agenda, Clock(self.agenda), self.process)
        self.threads = SimulatedThreads(self.process, reactor)
        self.did: list[str] = []

    def note(self, what: str) -> None:
        self.did.append(f"{self.agenda.now:.1f} {what}")

    def sleep(self, seconds: float, what: str) -> None:
        self.process.sleep(seconds)
        self.note(what)

    def pass_time(self, until: float) -> None:
        while self.agenda.step(until):
            pass


def test_a_thread_that_sleeps_keeps_nobody_waiting() -> None:
    bench = Bench()
    bench.threads.start(lambda: bench.sleep(2.0, "slow"), "one")
    bench.threads.start(lambda: bench.sleep(1.0, "fast"), "other")
    bench.process.run(lambda: bench.note("main"))
    bench.pass_time(3.0)
    assert bench.did == ["0.0 main", "1.0 fast", "2.0 slow"]


def test_the_main_thread_does_one_thing_after_the_other_even_if_it_has_to_wait() -> None:
    bench = Bench()
    bench.process.run(lambda: bench.sleep(1.0, "first"))
    bench.process.run(lambda: bench.note("second"))
    bench.pass_time(2.0)
    assert bench.did == ["1.0 first", "1.0 second"]


def test_what_is_put_into_a_queue_is_taken_in_order_by_who_waits_for_it() -> None:
    bench = Bench()
    queue = bench.threads.queue()

    def take() -> None:
        bench.note(queue.get())
        bench.note(queue.get())
        with pytest.raises(Empty):
            queue.get_nowait()

    bench.threads.start(take, "taker")
    bench.agenda.at(1.0, queue.put, "a")
    bench.agenda.at(2.0, queue.put, "b")
    bench.pass_time(3.0)
    assert bench.did == ["1.0 a", "2.0 b"]


def test_only_one_thread_at_a_time_is_in_a_lock() -> None:
    bench = Bench()
    lock = bench.threads.lock()

    def work(name: str) -> None:
        with lock:
            bench.note(f"{name} in")
            bench.sleep(1.0, f"{name} out")

    bench.threads.start(lambda: work("a"), "a")
    bench.threads.start(lambda: work("b"), "b")
    bench.pass_time(3.0)
    assert bench.did == ["0.0 a in", "1.0 a out", "1.0 b in", "2.0 b out"]


def test_a_process_that_is_paused_does_all_of_it_once_it_goes_on() -> None:
    bench = Bench()
    bench.threads.start(lambda: bench.sleep(1.0, "thread"), "one")
    bench.agenda.at(0.5, bench.process.pause)
    bench.agenda.at(0.6, bench.process.run, lambda: bench.note("main"))
    bench.agenda.at(5.0, bench.process.resume)
    bench.pass_time(6.0)
    assert sorted(bench.did) == ["5.0 main", "5.0 thread"]


def test_a_process_that_is_killed_ends_where_it_is() -> None:
    bench = Bench()
    ended: list[str] = []

    def work() -> None:
        try:
            bench.sleep(2.0, "never")
        finally:
            ended.append("let go")

    bench.threads.start(work, "one")
    bench.agenda.at(1.0, bench.process.kill)
    bench.agenda.at(1.5, bench.process.run, lambda: bench.note("never"))
    bench.pass_time(3.0)
    assert (bench.did, ended) == ([], ["let go"])


@pytest.mark.parametrize("on_main", [True, False])
def test_who_catches_its_own_end_ends_all_the_same(*, on_main: bool) -> None:
    """As Twisted does, which hands on whatever a callback raises."""
    bench = Bench()

    def catch() -> None:
        for what in ("once", "twice"):
            with suppress(BaseException):
                bench.sleep(1.0, what)
            bench.note("caught")

    if on_main:
        bench.process.run(catch)
    else:
        bench.threads.start(catch, "one")
    bench.pass_time(0.5)
    bench.process.kill()
    bench.process.run(lambda: bench.note("never"))
    bench.pass_time(3.0)
    assert bench.did == ["0.5 caught", "0.5 caught"]


def test_a_process_that_caught_its_own_end_is_forgotten() -> None:
    def end_one() -> weakref.ReferenceType[Process]:
        bench = Bench()

        def catch() -> None:
            with suppress(BaseException):
                bench.sleep(1.0, "never")

        bench.process.run(catch)
        bench.pass_time(0.5)
        bench.process.kill()
        return weakref.ref(bench.process)

    process = end_one()
    gc.collect()
    assert process() is None


def test_who_waits_for_a_condition_goes_on_when_somebody_notifies() -> None:
    bench = Bench()
    changed = bench.threads.condition()

    def work() -> None:
        with changed:
            changed.wait()
        bench.note("on")

    bench.threads.start(work, "one")
    bench.agenda.at(1.0, changed.notify)
    bench.pass_time(2.0)
    assert bench.did == ["1.0 on"]

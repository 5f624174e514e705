"""One run of a world: a storm of faults, and then a calm in which everything must work again."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import provider

from kvpaxos.checking.history import Call
from kvpaxos.simulator.climate import Climate
from kvpaxos.simulator.faults import FAULTS
from kvpaxos.simulator.history import judge
from kvpaxos.simulator.network import DEAD_S
from kvpaxos.simulator.recorder import Recorder
from kvpaxos.simulator.script import Script, Strike
from kvpaxos.simulator.survivors import leave
from kvpaxos.simulator.world import World
from kvpaxos.store.commands import Set

WHOLE_S_MAX: Final = 60.0
"""After the storm all nodes take part again within this time, whatever they had lost."""

STORM_EVENTS_MAX: Final = 3_000
"""A storm ends after so many events, if not before: two short ones find more than a long one."""

STORM_S_MIN: Final = 2.0
"""It lasts so long at least."""

EXPECTED_MIN: Final = 30.0
"""Where so many faults are to be expected some must happen: none would once in 10**13 runs."""

ALIVE_S_MAX: Final = DEAD_S + 10.0
"""A majority that is left alone serves within this time: a few election timeouts, after what a
system takes to notice that a connection is dead whose other end has forgotten it."""


QUIET_S: Final = 2.0
"""Once it serves, there comes such a span in which nobody stands for leader, also within that time:
neither those who are left, nor those to whom something happened; and none of these leads."""


@dataclass(slots=True)
class Report:
    """What a run has come to.

    :ivar wrong: which rule was broken, in a sentence; None if none was.
    :ivar digest: a word that is the same only for the same history.
    :ivar seconds: how long it took, on the clock of the world.
    :ivar faults: how often there was a fault of each kind.
    :ivar expected: how many were to be expected, but for those that go on all the time.
    :ivar counts: what else happened, and how often.
    :ivar alive_s: how long a majority took to serve once it was left alone; None if it never was.
    :ivar details: lines that explain what is not linearizable, if that is what is wrong.
    :ivar strikes: those that came before the end of the storm, one after the other. Some have
        found nothing to strike.
    """

    seed: int
    wrong: str | None
    digest: str
    seconds: float
    nodes: int
    faults: Counter[str] = field(default_factory=Counter)
    expected: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    details: tuple[str, ...] = ()
    alive_s: float | None = None
    strikes: tuple[Strike, ...] = ()

    @property
    def unfit(self) -> str | None:
        """In what way a run has tried nothing, though it broke no rule; None if it has."""
        if self.expected >= EXPECTED_MIN and not any(self.faults.values()):
            return f"too gentle: nothing went wrong, and {self.expected:.0f} faults were expected"
        if self.counts["slots"] < 1 or self.counts["done"] < 1:
            return "too harsh: nothing was decided, or nobody was told so"
        return None


def simulate(
    seed: int,
    *,
    nodes: int | None = None,
    faults: Collection[str] | None = None,
    write: Callable[[str], object] | None = None,
    record: Callable[[Call], object] | None = None,
) -> Report:
    """Run the world of ``seed``, and say what happened.

    :param nodes: how many nodes it has; the seed decides if it is None.
    :param faults: the kinds of faults that there are, all of them; if it is None, the seed decides.
    :param write: takes the lines of a transcript.
    :param record: takes all calls of clients, as they have seen them.
    """
    chosen = None if faults is None else frozenset(faults)
    return perform(Script(seed, nodes, chosen), write=write, record=record)


def perform(
    script: Script,
    *,
    write: Callable[[str], object] | None = None,
    record: Callable[[Call], object] | None = None,
    recorder: Recorder | None = None,
) -> Report:
    """Run what ``script`` says, and say what happened. The other parameters are as above.

    :param recorder: is shown all that can be drawn.
    """
    # On a thread of its own: whoever calls may have greenlets, too, which must not meet these.
    with _collected_last(), ThreadPoolExecutor(1) as pool:
        return pool.submit(_perform, script, write, record, recorder).result()


def _perform(
    script: Script,
    write: Callable[[str], object] | None,
    record: Callable[[Call], object] | None,
    recorder: Recorder | None,
) -> Report:
    climate = script.climate()
    world = World(script.seed, climate, write, recorder)
    happened: Counter[str] = Counter(dict.fromkeys(climate.faults_s.keys() & FAULTS.keys(), 0))
    for server in world.servers:
        server.start()
    for client in world.clients:
        client.begin()
    with _listening(world):
        world.run(climate.fair_s, lambda: world.checker.decided_through > 0)
        began_at = world.agenda.now
        strikes = _storm(world, script.plan(climate), script.seed, happened)
        expected = (world.agenda.now - began_at) * _rate(climate)
        world.counts["done before the calm"] = world.counts["done"]
        world.random = Random(f"{script.seed} of the calm")
        _calm(world)
    if recorder is not None:
        recorder.end()
    details = _judged(world)
    if record is not None:
        for request in world.requests:
            record(request.call)
    happened.update(_steady(world))
    return Report(
        script.seed,
        world.checker.wrong,
        world.chronicle.digest,
        world.agenda.now,
        climate.nodes,
        happened,
        expected,
        _counts(world),
        details,
        world.alive_s,
        tuple(strikes),
    )


def _judged(world: World) -> tuple[str, ...]:
    checker = world.checker
    if checker.wrong is not None:
        return ()
    try:
        return judge(checker, world.requests)
    except Exception as error:  # noqa: BLE001  (a sweep must say in which world it was)
        checker.fail(f"what clients saw cannot be judged: {error!r}")
        return ()


@contextmanager
def _collected_last() -> Iterator[None]:
    """Have no cycles looked for meanwhile, nor ever among what was there before."""
    collects = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()  # The world itself is one.
        gc.unfreeze()
        if collects:
            gc.enable()


@contextmanager
def _listening(world: World) -> Iterator[None]:
    """End the world after this, and take an error that nobody handles for a broken rule.

    Some of those come to light when cycles are looked for: once, at the end of the history.
    """

    @provider(ILogObserver)
    def hear(event: LogEvent) -> None:
        if event.get("log_namespace") == "twisted.internet.defer" and "log_failure" in event:
            world.checker.fail(f"nobody has handled an error: {event['log_failure']}")
        for server in world.servers:
            server.logged(event)
        if event.get("kind") == "refused":
            world.counts["peers refused"] += 1

    globalLogPublisher.addObserver(hear)
    try:
        yield
    finally:
        world.end()
        gc.collect()
        globalLogPublisher.removeObserver(hear)


def _storm(world: World, plan: Iterable[Strike], seed: int, happened: Counter[str]) -> list[Strike]:
    """Let the faults strike that are planned, until the storm ends, and return those that came.

    :param happened: counts those that have found something to strike.
    """
    came: list[Strike] = []

    def strike(one: Strike) -> None:
        if world.is_calm:
            return
        # A strike draws from nothing that another one has drawn from: see `Script`.
        world.random = Random(f"{seed} of strike {one.number}")
        came.append(one)
        happened[one.fault] += FAULTS[one.fault](world)

    for one in plan:
        world.agenda.after(one.at_s, strike, one)
    events = world.agenda.done + STORM_EVENTS_MAX
    world.run(STORM_S_MIN)
    world.run(world.climate.storm_s - STORM_S_MIN, lambda: world.agenda.done >= events)
    return came


def _rate(climate: Climate) -> float:
    """Return how many faults are to be expected in a second of a storm."""
    return sum(1 / mean_s for name, mean_s in climate.faults_s.items() if name in FAULTS)


def _calm(world: World) -> None:
    """See that all nodes come back, and then that any majority serves, whatever others do."""
    checker = world.checker
    if checker.wrong is not None:
        return
    world.clear_up()
    if not world.run(WHOLE_S_MAX, lambda: world.is_whole) and checker.wrong is None:
        checker.fail(f"{WHOLE_S_MAX:g} s after all faults the nodes are not whole: {world.missing}")
    for client in world.clients:
        client.end()
    left = leave(world)
    left_at = world.agenda.now
    asked = [world.ask(Set(b"alive", node.encode()), node) for node in left]
    served = world.run(ALIVE_S_MAX, lambda: all(one.ending == "done" for one in asked))
    world.alive_s = world.agenda.now - left_at
    if not served and checker.wrong is None:
        checker.fail(f"{' '.join(left)} are a majority, and serve nobody for {ALIVE_S_MAX:g} s")
    lost = [name for name in world.names if name not in left]
    settled = world.run(ALIVE_S_MAX, lambda: world.is_settled(lost, QUIET_S))
    if not settled and checker.wrong is None:
        checker.fail(f"{ALIVE_S_MAX:g} s later it is not settled who leads")
    world.run(ALIVE_S_MAX, lambda: not any(client.waits for client in world.clients))


def _steady(world: World) -> Counter[str]:
    """Count what went on all the time, or came later than it was asked for."""
    network = world.network.counts
    counts = Counter(
        {
            "ask twice": world.counts["asked twice"],
            "bit flip": network["flipped"],
            "delay": network["delayed"],
            "drift": sum(server.clock.rate != 1.0 for server in world.servers),
            "duplication": network["duplicated"],
            "give up": world.counts["given up"],
            "loss": network["lost"],
            "reordering": network["reordered"],
        }
    )
    counts.update(world.struck)
    for server in world.servers:
        counts.update(
            {kind: count for kind, count in server.drive.counts.items() if kind in FAULTS}
        )
    return counts


def _counts(world: World) -> Counter[str]:
    counts = Counter(world.counts)
    counts["slots"] = world.checker.decided_through
    counts["leaders"] = world.chronicle.leaders
    counts["events"] = world.agenda.done
    counts["packets"] = world.network.counts["packets"]
    counts["log lines lost"] = sum(one.paper.lost for one in world.servers if one.paper)
    for server in world.servers:
        for name in ("sync", "write", "unsynced files", "refused calls", "deaths at the disk"):
            counts[name] += server.drive.counts[name]
    return counts

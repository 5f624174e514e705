"""Faults of every kind, and the clients that live with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from random import Random

from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.effects import Leaving
from test.simulator.appenders import KEYS as APPENDED
from test.simulator.appenders import check_exactly_once
from test.simulator.climate import Climate
from test.simulator.network import Weather
from test.simulator.process import Process
from test.simulator.world import World

KEYS = ("k", "l", "m")

PATIENCE_S = 15.0
"""So long may it take after a storm until all have what they had lost: whoever was being given a
state by a node that is gone asks it ten times."""


def simulate(seed: int, draw: Callable[[Random], Climate]) -> World:
    """Run the world that ``draw`` makes of ``seed`` through its storm; return it afterwards."""
    climate = draw(Random(seed))
    world = World(
        seed,
        climate.nodes,
        weather=climate.weather,
        sync_s=climate.sync_s,
        limits=climate.limits,
        timing=climate.timing,
        tick_s=climate.tick_s,
        journal_slots_max=climate.journal_slots_max,
        piece_bytes=climate.piece_bytes,
    )
    world.start()
    storm = Storm(world, climate)
    world.run(climate.storm_s)
    storm.end()
    if climate.calm_s:
        world.run(climate.calm_s)
        check_that_all_vote(world)
        check_that_all_is_well(world)
        check_exactly_once(world.appenders, values_of(world))
    world.clients.check()
    return world


def check_that_all_vote(world: World) -> None:
    """Wait until whoever has lost something has got back all that can be had of others."""
    whole = world.run_until(lambda: all(map(_takes_part, world.nodes.values())), PATIENCE_S)
    assert whole, world.transcript()


def check_that_all_is_well(world: World) -> None:
    """Write and read through every node, and compare what they hold."""
    requests = [ask(name) for name in world.names for ask in (world.write, world.read)]
    done = world.run_until(lambda: all(one.ending == "done" for one in requests), 2.0)
    assert done, f"{requests}\n{world.transcript()}"
    # Appenders may need a few tries more: they often ask with little patience.
    at_rest = world.run_until(lambda: all(one.at_rest for one in world.appenders), 10.0)
    assert at_rest, world.transcript()
    everything = world.checker.machine.applied
    known = world.run_until(
        lambda: all(node.machine.applied == everything for node in world.nodes.values()), 0.5
    )
    assert known, world.transcript()


def values_of(world: World) -> dict[str, str]:
    """Return what the keys of appenders hold, which must be the same on every node."""
    values = [
        {key: (node.machine.value(key.encode()) or b"").decode() for key in APPENDED}
        for node in world.nodes.values()
    ]
    assert all(held == values[0] for held in values)
    return values[0]


def _takes_part(node: Process) -> bool:
    replica = node.replica
    return replica is not None and replica.probation is None and not replica.learner.has_hole


class Storm:
    """Runs clients and faults in a world until `end`."""

    def __init__(self, world: World, climate: Climate) -> None:
        self._world = world
        self._climate = climate
        self._random = world.random
        self._over = False
        for node in world.nodes.values():
            node.mortal = self._strikes
            node.refuses = self._refuses
            node.died = partial(self._restart, node.name)
        for kind, mean_s in climate.faults_s.items():
            self._every(mean_s, getattr(self, "_" + kind.replace(" ", "_")))
        self._every(climate.requests_s, self._request)
        for number in range(climate.appenders):
            numbered = self._random.random() < 0.7
            world.append(f"c{number}", numbered=numbered, pause_s=self._random.choice((0.1, 0.3)))

    def end(self) -> None:
        """Stop all faults, and mend what is broken."""
        self._over = True
        world = self._world
        for appender in world.appenders:
            appender.stop()
        world.network.heal()
        world.network.weather = Weather()
        for node in world.nodes.values():
            node.resume()
            node.disk.heal()
        world.start()

    def _every(self, mean_s: float, happen: Callable[[], None]) -> None:
        def again() -> None:
            if not self._over:
                happen()
                self._world.agenda.after(self._random.expovariate(1 / mean_s), again)

        self._world.agenda.after(self._random.expovariate(1 / mean_s), again)

    def _strikes(self) -> bool:
        return not self._over and self._random.random() < self._climate.step_deaths

    def _refuses(self) -> bool:
        refusals = self._climate.refusals
        return not self._over and refusals > 0.0 and self._random.random() < refusals

    def _any(self) -> NodeId:
        """Draw a node, often the one that leads."""
        leader = self._world.leader
        if leader is not None and self._random.random() < 0.4:
            return leader
        return self._random.choice(self._world.names)

    def _request(self) -> None:
        node = self._random.choice(self._world.names)
        key = self._random.choice(KEYS)
        patience_s = self._random.choice((0.05, 0.5, 3.0))
        if self._world.nodes[node].replica is None:
            return
        if self._random.random() < 0.6:
            self._world.write(node, key, patience_s)
        else:
            self._world.read(node, key, patience_s)

    def _restart(self, node: NodeId) -> None:
        self._world.agenda.after(
            self._random.choice((0.01, 0.2, 2.0)), lambda: self._world.start(node)
        )

    def _crash(self) -> None:
        everybody = self._random.random() < 0.15
        for name in self._world.names if everybody else [self._any()]:
            if self._world.nodes[name].up:
                self._world.nodes[name].crash(silently=self._random.random() < 0.5)

    def _lose_disk(self) -> None:
        self._impair(Process.lose_disk)

    def _lose_state(self) -> None:
        self._impair(Process.lose_state)

    def _impair(self, lose: Callable[[Process], None]) -> None:
        """Let a node lose something, if not too many have: then it would be lost for good."""
        node = self._world.nodes[self._any()]
        impaired = [one for one in self._world.nodes.values() if one is node or not one.whole]
        if len(impaired) <= self._climate.impaired_max:
            lose(node)

    def _partition(self) -> None:
        """Cut the nodes in two; half of the time they are told, by connections that break."""
        names = self._world.names
        some = self._random.sample(names, self._random.randint(1, len(names)))
        others = [name for name in names if name not in some]
        self._world.network.cut_between(some, others)
        if self._random.random() < 0.5:
            for one in some:
                for other in others:
                    self._world.network.break_connection(other, one)
        self._heal_later()

    def _bridge(self) -> None:
        """Cut some pairs of nodes, so that not everybody who sees a node sees the same nodes."""
        for one, other in combinations(self._world.names, 2):
            if self._random.random() < 0.4:
                self._world.network.cut_between([one], [other])
        self._heal_later()

    def _one_way(self) -> None:
        one = self._any()
        for other in self._world.names:
            if self._random.random() < 0.5:
                self._world.network.cut(*self._random.choice(((one, other), (other, one))))
        self._heal_later()

    def _deaf(self) -> None:
        self._world.network.deafen(self._any())
        self._heal_later()

    def _heal_later(self) -> None:
        self._world.agenda.after(self._random.uniform(0.1, 3.0), self._world.network.heal)

    def _break(self) -> None:
        one, other = self._any(), self._random.choice(self._world.names)
        if one != other:
            self._world.network.break_connection(one, other)
            self._world.network.break_connection(other, one)

    def _pause(self) -> None:
        node = self._world.nodes[self._any()]
        node.pause()
        self._world.agenda.after(self._random.uniform(0.05, 2.5), node.resume)

    def _stuck(self) -> None:
        self._world.nodes[self._any()].disk.stick(self._random.uniform(0.1, 3.0))

    def _leave(self) -> None:
        """Stop a node as it should be stopped: with a warning, and some time to obey it."""
        node = self._world.nodes[self._any()]
        life = node.life
        node.post(Leaving())

        def stop() -> None:
            if node.up and node.life == life:
                node.crash()

        self._world.agenda.after(0.5, stop)

    def _usurp(self) -> None:
        self._world.nodes[self._random.choice(self._world.names)].usurp()

    def _persist(self) -> None:
        for node in self._world.nodes.values():
            if node.up:
                self._random.choice((node.persist, node.persist, node.spill))()

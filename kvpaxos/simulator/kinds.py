"""Kinds of faults, each with a name, and what all of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from kvpaxos.simulator.network import Direction
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.world import World

Fault: TypeAlias = Callable[[World], bool]
"""Does something to a world, and says whether it was done. Its docstring says what, in a sentence.

What happens only later, or perhaps, is counted then, in ``world.struck``.
"""


class Kinds(dict[str, Fault]):
    """Faults by name. It is called to put one in."""

    def __call__(self, name: str) -> Callable[[Fault], Fault]:
        """Return a decorator for the fault ``name``."""

        def note(fault: Fault) -> Fault:
            assert name not in self, f"two faults are called {name}"
            self[name] = fault
            return fault

        return note


def any_up(world: World) -> Server | None:
    """Return any node that runs on its own disk, or None."""
    up = [server for server in world.servers if server.up and not world.swaps.of(server)]
    return world.random.choice(up) if up else None


def any_frail(world: World) -> Server | None:
    """Return a node that may lose what it has, once there is something to lose."""
    up = [
        server
        for name in sorted(world.frail)
        if (server := world.server(name)).up and not world.swaps.of(server)
    ]
    return world.random.choice(up) if up and world.checker.decided_through else None


def start_later(world: World, server: Server, at_least_s: float = 0.0) -> None:
    """Have a node started again after a while."""
    world.start_after(server, at_least_s + world.random.choice((0.05, 0.5, 2.0, 6.0)))


def cut(world: World, directions: list[Direction], what: str) -> bool:
    """Cut these directions for a while, if there are any."""
    if directions:
        world.chronicle.did(what)
        heal = world.network.cut(directions)
        world.agenda.after(world.random.choice((0.3, 1.0, 4.0, 15.0)), heal)
    return bool(directions)


def between(some: Iterable[str], others: Iterable[str]) -> list[Direction]:
    """Return the directions from ``some`` nodes to ``others``."""
    names = list(others)
    return [(one, other) for one in some for other in names if one != other]


def both(directions: list[Direction]) -> list[Direction]:
    """Return ``directions``, and the ways back."""
    return list(dict.fromkeys([*directions, *((to, sender) for sender, to in directions)]))

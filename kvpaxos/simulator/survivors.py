"""What becomes of a minority in the end, while the others must serve all the same."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, TypeAlias

from kvpaxos.simulator.network import Direction
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.swaps import Backup
from kvpaxos.simulator.world import World
from kvpaxos.store.commands import Set

Fate: TypeAlias = Callable[[World, list[str]], None]
"""What is done to some nodes, for good."""

LEADER: Final = 0.5
"""How often it is the leader, whatever chance would have, to whom something happens."""

FOR_EVER_S: Final = 1e6
"""Longer than any world lasts."""

COPY_AGE_S: Final = 0.25
"""How often something is written, and looked whether a copy of a disk is old enough."""

COPY_AGE_S_MAX: Final = 8.0
"""How long that is tried: nodes say every second how much they hold."""


def leave(world: World) -> list[str]:
    """Do something to the cluster for good, and return who has to serve nevertheless.

    Either a majority is left as it is, and something becomes of all others, or all are left, and
    only one of them reaches everybody. Nodes whose state has damage that they have not come upon
    yet are in no such majority: they may have been the only ones in it who knew what was decided.
    """
    random = world.random
    if random.random() < 0.25:  # noqa: PLR2004  (one in four)
        hub = random.choice(world.names)
        world.chronicle.did(f"only {hub} reaches all")
        spokes = [name for name in world.names if name != hub]
        world.network.cut([(one, other) for one in spokes for other in spokes if one != other])
        return list(world.names)
    struck = {server.node for server in world.servers if server.drive.state.rotten}
    if random.random() < LEADER and len(struck) < len(world.names) // 2:
        struck.add(world.leader or "")
    left = random.sample(
        [name for name in world.names if name not in struck], len(world.names) // 2 + 1
    )
    rest = [name for name in world.names if name not in left]
    fate = random.choice(FATES)
    world.chronicle.did(f"{' '.join(rest)}: {fate.__doc__}")
    fate(world, rest)
    return left


def _kill(world: World, rest: list[str]) -> None:
    """Gone."""
    world.gone.update(rest)
    for node in rest:
        world.server(node).kill()


def _pause(world: World, rest: list[str]) -> None:
    """Standing still."""
    for node in rest:
        world.server(node).pause()


def _stick(world: World, rest: list[str]) -> None:
    """With a disk that does nothing."""
    for node in rest:
        world.server(node).drive.stuck_until = world.agenda.now + FOR_EVER_S


def _deafen(world: World, rest: list[str]) -> None:
    """Deaf."""
    world.network.cut(_between(_others(world, rest), rest))


def _mute(world: World, rest: list[str]) -> None:
    """Mute."""
    world.network.cut(_between(rest, _others(world, rest)))


def _isolate(world: World, rest: list[str]) -> None:
    """Cut off."""
    _deafen(world, rest)
    _mute(world, rest)


def _age(world: World, rest: list[str]) -> None:
    """On an old copy of its disk."""
    for server, backup in _outdated(world, rest):
        world.swaps.put_in(server, backup, None)


def _double(world: World, rest: list[str]) -> None:
    """Not alone: another process runs on an old copy of its disk."""
    for server, backup in _outdated(world, rest):
        world.swaps.clone(server, backup)


def _outdated(world: World, rest: list[str]) -> list[tuple[Server, Backup]]:
    """Return copies of disks, once so much has been written that others refuse them.

    None are returned if that takes too long: then those nodes are cut off instead.
    """
    copies = [(server, Backup.of(server)) for server in map(world.server, rest)]
    writer, *_ = _others(world, rest)
    asked_at = -COPY_AGE_S

    def is_outdated() -> bool:
        nonlocal asked_at
        if world.agenda.now - asked_at < COPY_AGE_S:
            return False
        asked_at = world.agenda.now
        world.ask(Set(b"age", b"%f" % asked_at), writer)
        return all(world.swaps.is_refused(*copy) for copy in copies)

    if world.run(COPY_AGE_S_MAX, is_outdated):
        return copies
    _isolate(world, rest)
    return []


FATES: Final = (_kill, _pause, _stick, _deafen, _mute, _isolate, _age, _double)
"""What can become of a minority."""


def _others(world: World, rest: Collection[str]) -> list[str]:
    return [name for name in world.names if name not in rest]


def _between(some: Collection[str], others: Collection[str]) -> list[Direction]:
    return [(one, other) for one in some for other in others]

"""Ends of processes at the moments at which they have most to lose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

from kvpaxos.simulator.contents import Left, Manner
from kvpaxos.simulator.drive import Doom
from kvpaxos.simulator.files import Deed
from kvpaxos.simulator.kinds import Kinds, any_up, start_later
from kvpaxos.simulator.world import World

MOMENTS: Final = Kinds()
"""All such ends, by name. Each is counted once it has come."""


@MOMENTS("death before a sync")
def _die_before_sync(world: World) -> bool:
    """Kill a process, or cut its power, between a step and the sync of what that wrote."""
    return _doom(world, "death before a sync", "sync", 0)


@MOMENTS("death in a rotation")
def _die_in_rotation(world: World) -> bool:
    """Kill a process, or cut its power, while its journal goes on in a new segment."""
    return _doom(world, "death in a rotation", "rename", world.random.randrange(5))


@MOMENTS("death in a flush")
def _die_in_flush(world: World) -> bool:
    """Kill a process, or cut its power, while its state is flushed."""
    return _doom(world, "death in a flush", "flush", 0)


@MOMENTS("lost writes")
def _lose_writes(world: World) -> bool:
    """Cut the power, and lose all that was not synced."""
    return _cut_power(world, "lost writes", "lost", _has_lost)


@MOMENTS("torn writes")
def _tear_writes(world: World) -> bool:
    """Cut the power, and keep some sectors of what was not synced, and lose others."""
    return _cut_power(world, "torn writes", "torn", _has_torn)


@MOMENTS("reordered writes")
def _reorder_writes(world: World) -> bool:
    """Cut the power, and of what was not synced keep what is in some files, and lose the rest."""
    return _cut_power(world, "reordered writes", "apart", _has_both)


def _has_lost(left: Counter[Left]) -> bool:
    return left["lost"] > 0


def _has_torn(left: Counter[Left]) -> bool:
    return left["torn"] > 0


def _has_both(left: Counter[Left]) -> bool:
    return left["lost"] > 0 and left["kept"] > 0


def _doom(world: World, kind: str, deed: Deed | Literal["flush"], calls: int) -> bool:
    server = any_up(world)
    if server is None:
        return False

    def strike() -> None:
        world.struck[kind] += 1
        if by_power:
            server.cut_power()
        else:
            server.kill()
        start_later(world, server)

    by_power = world.random.random() < 0.5  # noqa: PLR2004  (as often as not)
    server.drive.doom = Doom(deed, calls, strike)
    return False


def _cut_power(
    world: World, kind: str, manner: Manner, has: Callable[[Counter[Left]], bool]
) -> bool:
    server = any_up(world)
    if server is None:
        return False

    def strike() -> None:
        world.struck[kind] += has(server.cut_power(manner))
        start_later(world, server)

    # Before a sync of names there is more than one file to lose.
    deed: Deed = "sync_directory" if manner == "apart" else "sync"
    server.drive.doom = Doom(deed, world.random.randrange(3), strike)
    return False

"""Disks that an operator puts where they do not belong. See `kvpaxos.simulator.swaps`."""

from __future__ import annotations

from typing import Final

from kvpaxos.simulator.kinds import Kinds, any_up
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.swaps import Backup, records_of
from kvpaxos.simulator.world import World

SWAPS: Final = Kinds()
"""All that can be done with disks, by name. Each is counted once it is done."""


@SWAPS("old backup")
def _put_back_old(world: World) -> bool:
    """Put an older copy of a node's disk in its place: its peers refuse it."""
    server = any_up(world)
    if server is None or not records_of(server):
        return False
    backup = Backup.of(server)

    def put_back() -> None:
        if not _may(world, server) or not world.swaps.is_refused(server, backup):
            return
        world.struck["old backup"] += 1
        world.chronicle.did(f"put an old backup into {server.node}")
        world.swaps.put_in(server, backup, None)
        _end_later(world, server)

    world.agenda.after(world.random.uniform(0.5, 4.0), put_back)
    return False


@SWAPS("other disk")
def _put_in_another(world: World) -> bool:
    """Put a copy of another node's disk into a node: it refuses to start."""
    server, other = any_up(world), any_up(world)
    if server is None or other is None or other is server or not records_of(other):
        return False
    world.chronicle.did(f"put the disk of {other.node} into {server.node}")
    backup = Backup.of(other)
    backup.mount(server)
    world.swaps.put_in(server, backup, f"{server.node} runs on the disk of {other.node}")
    _end_later(world, server)
    return True


@SWAPS("cloned disk")
def _clone(world: World) -> bool:
    """Start a second process of a node on a copy of its disk: the peers refuse that one."""
    server = any_up(world)
    if server is None or not records_of(server):
        return False
    backup = Backup.of(server)

    def start() -> None:
        if not _may(world, server) or not world.swaps.is_refused(server, backup):
            return
        world.struck["cloned disk"] += 1
        world.chronicle.did(f"clone {server.node}")
        world.swaps.clone(server, backup)
        _end_later(world, server)

    world.agenda.after(world.random.uniform(0.5, 4.0), start)
    return False


def _may(world: World, server: Server) -> bool:
    """Whether it is stormy still, and the node runs on its own disk."""
    return not world.is_calm and server.up and not world.swaps.of(server)


def _end_later(world: World, server: Server) -> None:
    world.agenda.after(world.random.uniform(0.5, 3.0), world.swaps.end, server)

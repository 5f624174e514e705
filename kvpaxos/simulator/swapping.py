"""Disks that an operator puts where they do not belong. See `kvpaxos.simulator.swaps`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kvpaxos.simulator.kinds import Kinds, any_up
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.swaps import Backup, records_of
from kvpaxos.simulator.world import World

SWAPS: Final = Kinds()
"""All that can be done with disks, by name. Each is counted once it is done."""

LOOK_S: Final = 0.25
LOOKS_MAX: Final = 80
"""So often it is looked whether peers have seen enough of a node to refuse an old disk of it."""


@SWAPS("old backup")
def _put_back_old(world: World) -> bool:
    """Put an older copy of a node's disk in its place: its peers refuse it."""
    server = any_up(world)
    if server is None or not _is_sound(server):
        return False
    backup = Backup.of(server)

    def put_back() -> None:
        world.struck["old backup"] += 1
        world.chronicle.did(f"put an old backup into {server.node}")
        world.swaps.put_in(server, backup, None)
        _end_later(world, server)

    _once_refused(world, server, backup, put_back)
    return False


@SWAPS("other disk")
def _put_in_another(world: World) -> bool:
    """Put a copy of another node's disk into a node: it refuses to start."""
    server, other = any_up(world), any_up(world)
    if server is None or other is None or other is server or not _is_sound(other):
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
    if server is None or not _is_sound(server):
        return False
    backup = Backup.of(server)

    def start() -> None:
        world.struck["cloned disk"] += 1
        world.chronicle.did(f"clone {server.node}")
        world.swaps.clone(server, backup)
        _end_later(world, server)

    _once_refused(world, server, backup, start)
    return False


def _is_sound(server: Server) -> bool:
    """Whether a copy of its disk would tell whose it is: a damaged one counts as lost."""
    return records_of(server) > 0 and not server.drive.damaged


def _once_refused(world: World, server: Server, backup: Backup, deed: Callable[[], None]) -> None:
    """Do it after a while, as soon as all peers would refuse ``backup``; perhaps never."""

    def look(looks: int) -> None:
        if not _may(world, server):
            return
        if world.swaps.is_refused(server, backup):
            deed()
        elif looks:
            world.agenda.after(LOOK_S, look, looks - 1)

    world.agenda.after(world.random.uniform(0.3, 1.0), look, LOOKS_MAX)


def _may(world: World, server: Server) -> bool:
    """Whether it is stormy still, and the node runs on its own disk."""
    return not world.is_calm and server.up and not world.swaps.of(server)


def _end_later(world: World, server: Server) -> None:
    world.agenda.after(world.random.uniform(0.5, 3.0), world.swaps.end, server)

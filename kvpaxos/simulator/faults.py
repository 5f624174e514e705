"""Everything that goes wrong in a world, by name. Each fault ends by itself after a while."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final, TypeAlias

from kvpaxos.simulator.files import Deed
from kvpaxos.simulator.network import Direction
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.world import World

Fault: TypeAlias = Callable[[World], bool]
"""Does something to a world, and says whether it could."""

FAULTS: Final[dict[str, Fault]] = {}
"""What can be done, by name."""

STEADY: Final = frozenset({"loss", "delay", "bit flip", "drift", "give up", "ask twice"})
"""What a world has, or has not, from its beginning: see `kvpaxos.simulator.climate`."""


def _fault(name: str) -> Callable[[Fault], Fault]:
    def note(fault: Fault) -> Fault:
        FAULTS[name] = fault
        return fault

    return note


# Processes.


@_fault("kill")
def _kill(world: World) -> bool:
    """Kill a process. What it gave the system is written all the same."""
    server = _any_up(world)
    if server is None:
        return False
    server.kill()
    _start_later(world, server)
    return True


@_fault("power cut")
def _cut_power(world: World) -> bool:
    """Cut the power of a machine: what was not synced is lost, torn or kept, sector by sector."""
    server = _any_up(world)
    if server is None:
        return False
    server.cut_power()
    _start_later(world, server)
    return True


@_fault("blackout")
def _black_out(world: World) -> bool:
    """Cut the power of all machines at once."""
    for server in world.servers:
        server.cut_power()
        _start_later(world, server)
    return True


@_fault("death at the disk")
def _die_at_disk(world: World) -> bool:
    """Let a process die in the middle of one of its next calls to the disk."""
    server = _any_up(world)
    if server is None:
        return False
    server.drive.dies_after = world.random.randrange(30)
    return True


@_fault("restart")
def _restart(world: World) -> bool:
    """Stop a node in good order."""
    server = _any_up(world)
    if server is None or server.member is None:
        return False
    server.stop()
    _start_later(world, server, at_least_s=3.0)
    return True


@_fault("pause")
def _pause(world: World) -> bool:
    """Let a process stand still for a moment."""
    return _pause_for(world, world.random.uniform(0.05, 2.0))


@_fault("long pause")
def _pause_long(world: World) -> bool:
    """Let a process stand still for long, as a machine that was suspended."""
    return _pause_for(world, world.random.uniform(10.0, 60.0))


@_fault("clock jump")
def _jump(world: World) -> bool:
    """Let the clock of a node jump ahead, as after it was suspended."""
    server = _any_up(world)
    if server is None or server.reactor is None:
        return False
    seconds = world.random.uniform(0.1, 30.0)
    world.chronicle.did(f"jump {server.node} {seconds:.3f}")
    server.reactor.jump(seconds)
    return True


# Disks.


@_fault("slow disk")
def _slow_down(world: World) -> bool:
    """Let a disk be slow for a while."""
    drive = world.random.choice(world.servers).drive
    drive.slowness = world.random.uniform(5.0, 100.0)

    def end() -> None:
        drive.slowness = 1.0

    world.agenda.after(world.random.uniform(0.5, 5.0), end)
    return True


@_fault("stuck disk")
def _stick(world: World) -> bool:
    """Let a disk do nothing for a while."""
    drive = world.random.choice(world.servers).drive
    drive.stuck_until = world.agenda.now + world.random.uniform(0.3, 5.0)
    return True


@_fault("full disk")
def _fill(world: World) -> bool:
    """Let a disk be full for a while."""
    drive = world.random.choice(world.servers).drive
    drive.full = True

    def end() -> None:
        drive.full = False

    world.agenda.after(world.random.uniform(0.5, 3.0), end)
    return True


def _failing(name: str, deed: Deed, number: int) -> None:
    """Define the fault that the next call of one kind is refused."""

    @_fault(name)
    def fail(world: World) -> bool:
        # A sync that failed may lose what nobody will know of: not on too many disks.
        some = sorted(world.frail) if deed == "sync" else world.names
        world.server(world.random.choice(some)).drive.failing = deed, number
        return True


_failing("failed sync", "sync", errno.EIO)
_failing("failed write", "write", errno.EIO)
_failing("failed read", "read", errno.EIO)
_failing("failed create", "create", errno.ENOSPC)
_failing("failed rename", "rename", errno.EIO)


@_fault("lost disk")
def _lose_disk(world: World) -> bool:
    """Put an empty disk in the place of one."""
    server = _any_frail(world)
    if server is None:
        return False
    server.kill()
    server.lose_disk()
    _start_later(world, server)
    return True


@_fault("lost state")
def _lose_state(world: World) -> bool:
    """Lose a state, and keep the journal that it came of."""
    server = _any_frail(world)
    if server is None:
        return False
    server.kill()
    server.drive.lose_state()
    world.chronicle.did(f"lose the state of {server.node}")
    _start_later(world, server)
    return True


# The network.


@_fault("isolation")
def _isolate(world: World) -> bool:
    """Cut one node off."""
    return _divide(world, [world.random.choice(world.names)])


@_fault("lost majority")
def _part(world: World) -> bool:
    """Cut the cluster in two, anywhere."""
    names = world.random.sample(world.names, len(world.names))
    return _divide(world, names[: world.random.randrange(1, len(names))])


@_fault("cut leader")
def _cut_leader(world: World) -> bool:
    """Cut off whoever leads."""
    leader = world.leader
    return leader is not None and _divide(world, [leader])


@_fault("bridge")
def _bridge(world: World) -> bool:
    """Cut the cluster in two, but for one node that reaches both sides."""
    bridge, *names = world.random.sample(world.names, len(world.names))
    half = len(names) // 2
    return _cut(world, _both(_between(names[:half], names[half:])), f"bridge {bridge}")


@_fault("chain")
def _chain(world: World) -> bool:
    """Let each node reach only its neighbors in a line."""
    names = world.random.sample(world.names, len(world.names))
    kept = {frozenset(pair) for pair in pairwise(names)}
    return _cut(world, _without(world, kept), f"chain {' '.join(names)}")


@_fault("ring")
def _ring(world: World) -> bool:
    """Let each node reach only its neighbors in a ring. With three nodes those are all."""
    names = world.random.sample(world.names, len(world.names))
    kept = {frozenset(pair) for pair in pairwise([*names, names[0]])}
    return _cut(world, _without(world, kept), f"ring {' '.join(names)}")


@_fault("one way")
def _cut_one_way(world: World) -> bool:
    """Cut one direction between two nodes."""
    sender, receiver = world.random.sample(world.names, 2)
    return _cut(world, [(sender, receiver)], f"cut {sender}>{receiver}")


@_fault("deaf node")
def _deafen(world: World) -> bool:
    """Let a node hear nobody, though all hear it."""
    node = world.random.choice(world.names)
    others = [name for name in world.names if name != node]
    return _cut(world, _between(others, [node]), f"deafen {node}")


@_fault("mute node")
def _mute(world: World) -> bool:
    """Let nobody hear a node, though it hears all."""
    node = world.random.choice(world.names)
    others = [name for name in world.names if name != node]
    return _cut(world, _between([node], others), f"mute {node}")


@_fault("flapping link")
def _flap(world: World) -> bool:
    """Cut one link, heal it, and cut it again, for a while."""
    one, other = world.random.sample(world.names, 2)
    for number in range(world.random.randrange(2, 8)):
        world.agenda.after(0.4 * number, _flap_once, world, one, other)
    return True


def _flap_once(world: World, one: str, other: str) -> None:
    world.chronicle.did(f"flap {one} {other}")
    world.agenda.after(0.2, world.network.cut([(one, other), (other, one)]))


@_fault("broken connections")
def _break(world: World) -> bool:
    """Break all connections of a node."""
    server = _any_up(world)
    if server is None or server.process is None:
        return False
    world.chronicle.did(f"break {server.node}")
    world.board.reset(server.process)
    return True


# Clients.


@_fault("burst")
def _burst(world: World) -> bool:
    """Have many more clients ask something at once."""
    world.burst(world.random.randrange(20, 100))
    return True


def _any_up(world: World) -> Server | None:
    up = [server for server in world.servers if server.up]
    return world.random.choice(up) if up else None


def _any_frail(world: World) -> Server | None:
    """Return a node that may lose what it has, once there is something to lose."""
    up = [server for name in sorted(world.frail) if (server := world.server(name)).up]
    return world.random.choice(up) if up and world.checker.decided_through else None


def _start_later(world: World, server: Server, at_least_s: float = 0.0) -> None:
    world.start_after(server, at_least_s + world.random.choice((0.05, 0.5, 2.0, 6.0)))


def _pause_for(world: World, seconds: float) -> bool:
    server = _any_up(world)
    if server is None:
        return False
    server.pause()
    world.agenda.after(seconds, server.resume)
    return True


def _divide(world: World, side: list[str]) -> bool:
    rest = [name for name in world.names if name not in side]
    return _cut(world, _both(_between(side, rest)), f"cut off {' '.join(side)}")


def _cut(world: World, directions: list[Direction], what: str) -> bool:
    if directions:
        world.chronicle.did(what)
        heal = world.network.cut(directions)
        world.agenda.after(world.random.choice((0.3, 1.0, 4.0, 15.0)), heal)
    return bool(directions)


def _between(some: Iterable[str], others: list[str]) -> list[Direction]:
    return [(one, other) for one in some for other in others]


def _both(directions: list[Direction]) -> list[Direction]:
    return [*directions, *((receiver, sender) for sender, receiver in directions)]


def _without(world: World, kept: set[frozenset[str]]) -> list[Direction]:
    return [
        (one, other)
        for one in world.names
        for other in world.names
        if one != other and frozenset((one, other)) not in kept
    ]

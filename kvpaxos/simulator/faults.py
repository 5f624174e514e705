"""Everything that goes wrong in a world, by name. Each fault ends by itself after a while."""

from __future__ import annotations

import errno
from functools import partial
from typing import Final

from kvpaxos.simulator.files import Deed, Rot
from kvpaxos.simulator.kinds import Fault, Kinds, any_frail, any_up, start_later
from kvpaxos.simulator.moments import MOMENTS
from kvpaxos.simulator.partitions import PARTITIONS
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.swapping import SWAPS
from kvpaxos.simulator.traffic import TRAFFIC
from kvpaxos.simulator.world import World

_fault: Final = Kinds()

ROTS: Final[tuple[Rot, ...]] = ("zeroed", "flipped", "older", "other", "unreadable")
"""What becomes of a sector."""

STEADY: Final[dict[str, str]] = {
    "ask twice": "Clients ask another node too, under the same identity.",
    "bit flip": "Bits are flipped on the way that no checksum of TCP notices.",
    "delay": "Packets take up to a tenth of a second.",
    "drift": "Clocks run fast or slow.",
    "duplication": "A relay between nodes passes frames on twice.",
    "give up": "Clients that wait too long for a node ask nobody else.",
    "loss": "Packets are lost, and sent again by the systems at both ends.",
    "reordering": "A relay between nodes passes frames on in another order.",
}
"""What a world has, or has not, from its beginning: see `kvpaxos.simulator.climate`."""


# Processes.


@_fault("kill")
def _kill(world: World) -> bool:
    """Kill a process. What it gave the system is written all the same."""
    server = any_up(world)
    if server is None:
        return False
    server.kill()
    start_later(world, server)
    return True


@_fault("power cut")
def _cut_power(world: World) -> bool:
    """Cut the power of a machine: what was not synced is lost, torn or kept, sector by sector."""
    server = any_up(world)
    if server is None:
        return False
    server.cut_power()
    start_later(world, server)
    return True


@_fault("blackout")
def _black_out(world: World) -> bool:
    """Cut the power of all machines at once."""
    for server in world.servers:
        server.cut_power()
        start_later(world, server)
    return True


@_fault("death at the disk")
def _die_at_disk(world: World) -> bool:
    """Let a process die in the middle of one of its next calls to the disk."""
    server = any_up(world)
    if server is None:
        return False
    server.drive.dies_after = world.random.randrange(30)
    start_later(world, server, at_least_s=1.0)
    return True


@_fault("restart")
def _restart(world: World) -> bool:
    """Stop a node in good order."""
    server = any_up(world)
    if server is None or server.member is None:
        return False
    # It may take long, if it is paused meanwhile.
    server.stop(partial(start_later, world, server))
    return True


@_fault("pause")
def _pause(world: World) -> bool:
    """Let a process stand still for a moment."""
    return _pause_for(world, world.random.uniform(0.05, 2.0))


@_fault("long pause")
def _pause_long(world: World) -> bool:
    """Let a process stand still for up to some minutes."""
    return _pause_for(world, world.random.uniform(10.0, 180.0))


@_fault("clock jump")
def _jump(world: World) -> bool:
    """Let the clock of a node jump ahead."""
    server = any_up(world)
    if server is None:
        return False
    server.jump(world.random.uniform(0.1, 30.0))
    return True


@_fault("suspend")
def _suspend(world: World) -> bool:
    """Let a process stand still, and its clock jump ahead by up to an hour when it goes on."""
    server = any_up(world)
    if server is None:
        return False
    seconds = world.random.uniform(1.0, 3600.0)

    def jump() -> None:
        if server.process is process and not world.is_calm:
            server.jump(seconds)

    process = server.process
    server.pause()
    asleep_s = world.random.uniform(0.05, 3.0)
    world.agenda.after(asleep_s, jump)
    world.resume_after(server, asleep_s)
    return True


@_fault("clock freeze")
def _freeze(world: World) -> bool:
    """Let the clock of a node stand still, while the node goes on."""
    server = any_up(world)
    if server is None:
        return False
    server.freeze(world.random.uniform(0.1, 5.0))
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
    """Let a disk be full for a while: it takes no more bytes."""
    drive = world.random.choice(world.servers).drive
    drive.full = True

    def end() -> None:
        drive.full = False

    world.agenda.after(world.random.uniform(0.5, 3.0), end)
    return True


def _failing(name: str, deed: Deed, number: int, meaning: str) -> None:
    """Define the fault that the next call of one kind is refused."""

    def fail(world: World) -> bool:
        # A sync that failed may lose what nobody will know of: not on too many disks.
        some = sorted(world.frail) if deed == "sync" else world.names
        world.server(world.random.choice(some)).drive.failing = deed, number
        return False  # The drive counts it.

    fail.__doc__ = meaning
    _fault(name)(fail)


_failing(
    "failed sync",
    "sync",
    errno.EIO,
    "Let a sync fail, after which the system holds for clean what never reached the disk.",
)
_failing("failed write", "write", errno.EIO, "Let a write fail.")
_failing("failed read", "read", errno.EIO, "Let a read fail, once.")
_failing("failed create", "create", errno.ENOSPC, "Let there be no room for a new file, once.")
_failing("failed rename", "rename", errno.EIO, "Let the renaming of a file fail.")


@_fault("lost disk")
def _lose_disk(world: World) -> bool:
    """Put an empty disk in the place of one."""
    server = any_frail(world)
    if server is None:
        return False
    server.kill()
    server.lose_disk()
    start_later(world, server)
    return True


@_fault("journal rot")
def _rot_journal(world: World) -> bool:
    """Let a sector of a journal hold something else than was written."""
    server = any_frail(world)
    rot = world.random.choice(ROTS)
    # One at a time: what of a batch is left may be all that shows that it was synced.
    if server is None or server.drive.damaged or not server.drive.rot(rot, world.random):
        return False
    world.chronicle.did(f"rot the journal of {server.node}: {rot}")
    _look_again(world, server)
    return True


@_fault("state rot")
def _rot_state(world: World) -> bool:
    """Let a record of a state be damaged, so that reading it fails."""
    server = any_frail(world)
    if server is None or not server.drive.state.rot(world.random):
        return False
    world.chronicle.did(f"rot the state of {server.node}")
    _look_again(world, server)
    return True


@_fault("lost state")
def _lose_state(world: World) -> bool:
    """Lose a state, and keep the journal that it came of."""
    server = any_frail(world)
    if server is None:
        return False
    server.kill()
    server.drive.lose_state()
    world.chronicle.did(f"lose the state of {server.node}")
    start_later(world, server)
    return True


@_fault("stuck log")
def _stick_log(world: World) -> bool:
    """Let nothing be written to a log for a while: lines are lost, and nobody waits."""
    paper = world.random.choice(world.servers).paper
    if paper is None:
        return False
    paper.stuck_until = world.agenda.now + world.random.uniform(0.3, 15.0)
    return True


# Clients.


@_fault("burst")
def _burst(world: World) -> bool:
    """Have many more clients ask something at once."""
    world.burst(world.random.randrange(20, 100))
    return True


def _look_again(world: World, server: Server) -> None:
    """Have a node read its disk again, now or when it comes to that."""
    if world.random.random() < 0.5:  # noqa: PLR2004  (as often as not)
        server.kill()
        start_later(world, server)


def _pause_for(world: World, seconds: float) -> bool:
    server = any_up(world)
    if server is None:
        return False
    server.pause()
    world.resume_after(server, seconds)
    return True


FAULTS: Final[dict[str, Fault]] = {**_fault, **MOMENTS, **PARTITIONS, **SWAPS, **TRAFFIC}
"""What is done to a world now and then."""

ALL_FAULTS: Final = frozenset(FAULTS) | frozenset(STEADY)
"""Every kind of fault."""

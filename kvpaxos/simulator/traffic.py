"""What happens to connections between nodes, and to what travels on them."""

from __future__ import annotations

from struct import Struct
from typing import Final

from kvpaxos.simulator.kinds import Kinds, any_up
from kvpaxos.simulator.wires import Transport
from kvpaxos.simulator.world import World
from kvpaxos.wire.framing import FRAME_BYTES_MAX, FRAME_VERSION

TRAFFIC: Final = Kinds()
"""All that can happen to traffic, by name."""

_HEADER: Final = Struct(">BII")
"""As `kvpaxos.wire.framing` has it."""


@TRAFFIC("broken connections")
def _break(world: World) -> bool:
    """Break all connections of a node."""
    server = any_up(world)
    if server is None or server.process is None:
        return False
    world.chronicle.did(f"break {server.node}")
    world.board.reset(server.process)
    return True


@TRAFFIC("half-open connection")
def _forget(world: World) -> bool:
    """Let one end of a connection lose it, while the other hears nothing of that."""
    end = _any_end(world)
    if end is None:
        return False
    world.chronicle.did(f"forget {end}")
    end.forget()
    return True


@TRAFFIC("oversized frame")
def _send_too_much(world: World) -> bool:
    """Let a node be sent a frame that is longer than any may be."""
    end = _any_end(world)
    if end is None:
        return False
    world.chronicle.did(f"oversized frame {end}")
    length = FRAME_BYTES_MAX + world.random.randint(1, FRAME_BYTES_MAX)
    end.arrived(_HEADER.pack(FRAME_VERSION, length, 0))
    return True


@TRAFFIC("one-way loss")
def _lose_one_way(world: World) -> bool:
    """Lose many packets from one node to another, and none on the way back."""
    sender, receiver = world.random.sample(world.names, 2)
    direction = sender, receiver
    world.chronicle.did(f"lossy {sender}>{receiver}")
    world.network.lossy[direction] = world.random.uniform(0.2, 0.6)
    seconds = world.random.choice((1.0, 4.0, 15.0))
    world.agenda.after(seconds, world.network.lossy.pop, direction, None)
    return True


def _any_end(world: World) -> Transport | None:
    server = any_up(world)
    if server is None or server.process is None:
        return None
    ends = world.board.ends(server.process)
    return world.random.choice(ends) if ends else None

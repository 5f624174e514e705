"""Who does not reach whom, for a while."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from kvpaxos.simulator.kinds import Kinds, between, both, cut
from kvpaxos.simulator.network import Direction
from kvpaxos.simulator.world import World

PARTITIONS: Final = Kinds()
"""All ways to part nodes, by name."""

SKEW: Final = 0.4
"""The share of directions that are cut where all are cut at random."""


@PARTITIONS("isolation")
def _isolate(world: World) -> bool:
    """Cut one node off."""
    return _divide(world, [world.random.choice(world.names)])


@PARTITIONS("minority")
def _part(world: World) -> bool:
    """Cut a minority off: those in it reach each other."""
    names = world.random.sample(world.names, len(world.names))
    return _divide(world, names[: world.random.randint(1, (len(names) - 1) // 2)])


@PARTITIONS("lost majority")
def _scatter(world: World) -> bool:
    """Cut a majority off, each node by itself: nobody reaches a majority."""
    names = world.random.sample(world.names, len(world.names) // 2 + 1)
    return cut(world, both(between(names, world.names)), f"scatter {' '.join(names)}")


@PARTITIONS("cut leader")
def _cut_leader(world: World) -> bool:
    """Cut off whoever leads."""
    leader = world.leader
    return leader is not None and _divide(world, [leader])


@PARTITIONS("bridge")
def _bridge(world: World) -> bool:
    """Cut the cluster in two, but for one node that reaches both sides."""
    bridge, *names = world.random.sample(world.names, len(world.names))
    half = len(names) // 2
    return cut(world, both(between(names[:half], names[half:])), f"bridge {bridge}")


@PARTITIONS("chain")
def _chain(world: World) -> bool:
    """Let each node reach only its neighbors in a line."""
    names = world.random.sample(world.names, len(world.names))
    kept = {frozenset(pair) for pair in pairwise(names)}
    return cut(world, _without(world, kept), f"chain {' '.join(names)}")


@PARTITIONS("ring")
def _ring(world: World) -> bool:
    """Let each node reach only its neighbors in a ring. With three nodes those are all."""
    names = world.random.sample(world.names, len(world.names))
    kept = {frozenset(pair) for pair in pairwise([*names, names[0]])}
    return cut(world, _without(world, kept), f"ring {' '.join(names)}")


@PARTITIONS("one way")
def _cut_one_way(world: World) -> bool:
    """Cut one direction between two nodes."""
    sender, receiver = world.random.sample(world.names, 2)
    return cut(world, [(sender, receiver)], f"cut {sender}>{receiver}")


@PARTITIONS("asymmetric")
def _skew(world: World) -> bool:
    """Cut directions at random: who reaches another need not be reached by it."""
    directions = between(world.names, world.names)
    some = [direction for direction in directions if world.random.random() < SKEW]
    return cut(world, some, f"cut {' '.join('>'.join(one) for one in some)}")


@PARTITIONS("deaf node")
def _deafen(world: World) -> bool:
    """Let a node hear nobody, though all hear it."""
    node = world.random.choice(world.names)
    others = [name for name in world.names if name != node]
    return cut(world, between(others, [node]), f"deafen {node}")


@PARTITIONS("mute node")
def _mute(world: World) -> bool:
    """Let nobody hear a node, though it hears all."""
    node = world.random.choice(world.names)
    others = [name for name in world.names if name != node]
    return cut(world, between([node], others), f"mute {node}")


@PARTITIONS("flapping link")
def _flap(world: World) -> bool:
    """Cut one link, heal it, and cut it again, for a while."""
    one, other = world.random.sample(world.names, 2)
    for number in range(world.random.randrange(2, 8)):
        world.agenda.after(0.4 * number, _flap_once, world, one, other)
    return True


def _flap_once(world: World, one: str, other: str) -> None:
    world.chronicle.did(f"flap {one} {other}")
    world.agenda.after(0.2, world.network.cut([(one, other), (other, one)]))


def _divide(world: World, side: list[str]) -> bool:
    rest = [name for name in world.names if name not in side]
    return cut(world, both(between(side, rest)), f"cut off {' '.join(side)}")


def _without(world: World, kept: set[frozenset[str]]) -> list[Direction]:
    directions = between(world.names, world.names)
    return [direction for direction in directions if frozenset(direction) not in kept]

"""Whoever loses its disk comes back where the others can make up for it, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain, combinations

import pytest

from kvpaxos.paxos.ballot import NodeId
from test.simulator.clients import Request
from test.simulator.world import World

AGAIN_S = 5.0
"""So long may it take until all of them vote again."""


def subsets(nodes: int, sizes: Sequence[int]) -> list[object]:
    """Return every choice of so many of the first letters, with the number of all nodes."""
    names = "abcde"[:nodes]
    chosen = chain.from_iterable(combinations(names, size) for size in sizes)
    return [pytest.param(nodes, some, id=f"{''.join(some)} of {names}") for some in chosen]


def begin(nodes: int) -> World:
    """Return a world in which everybody knows some slots, and nobody keeps the first of them."""
    world = World(nodes, nodes, journal_slots_max=3, piece_bytes=100)
    world.start()
    assert world.run_until(lambda: world.leader is not None, 2.0)
    work(world, world.names)
    for node in world.nodes.values():
        node.persist()
    world.run(0.3)
    assert all(node.disk.kept_from > 1 for node in world.nodes.values())
    return world


def all_done(requests: Sequence[Request]) -> bool:
    return all(request.ending == "done" for request in requests)


def work(world: World, names: Sequence[NodeId]) -> None:
    """Write something through each of ``names``, and read it again."""
    for ask in (world.write, world.read):
        requests = [ask(name) for name in names]
        done = world.run_until(partial(all_done, requests), 5.0)
        assert done, world.transcript()
    world.clients.check()


def lose(world: World, names: Sequence[NodeId]) -> None:
    """Let all of ``names`` lose their disks at once, and start again."""
    for name in names:
        world.nodes[name].lose_disk()
    world.start(*names)


def vote(world: World, names: Sequence[NodeId]) -> bool:
    """Whether all of ``names`` have come back durably."""
    return all(world.nodes[name].disk.survived.rejoined for name in names)


@pytest.mark.parametrize(("nodes", "lost"), subsets(2, [1]) + subsets(3, [1]) + subsets(5, [1, 2]))
def test_as_many_as_the_rules_admit_come_back_and_count(
    nodes: int, lost: tuple[NodeId, ...]
) -> None:
    world = begin(nodes)
    lose(world, lost)
    assert world.run_until(partial(vote, world, lost), AGAIN_S), world.transcript()
    assert all(world.nodes[name].installed for name in lost)
    work(world, world.names)
    # Now so many of the others go that nothing can be decided without those who came back.
    others = [name for name in world.names if name not in lost]
    for name in others[: (nodes - 1) // 2]:
        world.crash(name)
    work(world, [name for name in world.names if world.nodes[name].up])


@pytest.mark.parametrize(
    ("nodes", "lost"), subsets(2, [2]) + subsets(3, [2, 3]) + subsets(5, [3, 4, 5])
)
def test_more_than_that_wait(nodes: int, lost: tuple[NodeId, ...]) -> None:
    world = begin(nodes)
    decided = world.checker.machine.applied
    lose(world, lost)
    requests = [world.write(name, patience_s=30.0) for name in world.names]
    world.run(AGAIN_S)
    assert not any(world.nodes[name].disk.survived.rejoined for name in lost)
    assert world.checker.machine.applied == decided
    assert all(request.ending is None for request in requests)


@pytest.mark.parametrize("nodes", [3, 5])
def test_all_can_lose_their_disks_one_after_the_other(nodes: int) -> None:
    world = begin(nodes)
    for number in (2, 3):
        for name in world.names:
            lose(world, [name])
            assert world.run_until(partial(vote, world, [name]), AGAIN_S), world.transcript()
            assert world.nodes[name].disk.survived.rejoined == number
            work(world, [name])
    work(world, world.names)


def test_those_who_wait_for_each_other_come_back_once_another_does() -> None:
    """Two of five, while one is down: the others are two, and three are needed."""
    world = begin(5)
    world.crash(NodeId("e"))
    lost = [NodeId("a"), NodeId("b")]
    lose(world, lost)
    world.run(AGAIN_S)
    assert not any(world.nodes[name].disk.survived.rejoined for name in lost)
    world.start(NodeId("e"))
    assert world.run_until(partial(vote, world, lost), AGAIN_S), world.transcript()
    work(world, world.names)

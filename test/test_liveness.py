"""Leaders come and go as seldom as they can, whatever becomes of links, processes and disks.

The first three are the cases in which Ng, Haridi and Carbone, "Omni-Paxos" (2023), section 2,
show other protocols to stop, or to change leaders for ever. Everything is counted in leaders
and in requests, on a virtual clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import pytest

from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.effects import Leaving
from test.simulator.clients import Request
from test.simulator.network import Weather
from test.simulator.world import World

PATIENCE_S = 0.5
"""How long a silence lasts, on this network, before anybody acts on it."""

RECOVERY_S = 3 * PATIENCE_S
"""So long may it take until a new leader has been found."""

PATIENT_S = 2.0
"""How long a client waits."""

Trouble = Callable[[World, NodeId], None]


@pytest.fixture(params=range(3))
def seed(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def begin(seed: int, nodes: int = 3) -> tuple[World, NodeId]:
    """Return a world in which everything is well, and who leads there."""
    world = World(seed, nodes)
    world.start()
    assert world.run_until(lambda: world.leader is not None, RECOVERY_S)
    world.run(1.0)
    assert len(world.leaders) == 1
    assert world.leader is not None
    return world, world.leader


def others(world: World, *names: NodeId) -> list[NodeId]:
    return [name for name in world.names if name not in names]


def isolate_from_each_other(world: World, names: Sequence[NodeId]) -> None:
    for one, other in combinations(names, 2):
        world.network.cut_between([one], [other])


def work(world: World, names: Sequence[NodeId], seconds: float = 5.0) -> list[Request]:
    """Write through each of ``names`` every 100 ms; return the requests, all of them ended."""
    requests = []
    end = world.now + seconds
    while world.now < end:
        requests += [world.write(name, patience_s=PATIENT_S) for name in names]
        world.run(0.1)
    world.run(PATIENT_S + 0.1)
    world.clients.check()
    return requests


def assert_all_done(requests: Sequence[Request]) -> None:
    assert [request for request in requests if request.ending != "done"] == []


def test_when_all_but_one_lose_each_other_that_one_leads(seed: int) -> None:
    world, leader = begin(seed, 5)
    hub = others(world, leader)[seed]
    isolate_from_each_other(world, others(world, hub))
    assert_all_done(work(world, world.names))
    assert [ballot.node for ballot in world.leaders] == [leader, hub]


def test_the_only_one_with_a_quorum_leads_though_it_has_much_to_learn_first(seed: int) -> None:
    world, leader = begin(seed, 5)
    hub = others(world, leader)[seed]
    world.network.cut_between([hub], others(world, hub))
    assert_all_done(work(world, others(world, hub), seconds=2.0))
    world.network.heal()
    world.network.cut_between([leader], others(world, leader))
    isolate_from_each_other(world, others(world, leader, hub))
    assert_all_done(work(world, others(world, leader)))
    assert [ballot.node for ballot in world.leaders] == [leader, hub]


def test_a_chain_keeps_its_leader_wherever_in_it_that_is(seed: int) -> None:
    for cut in combinations(range(3), 2):
        world, leader = begin(seed)
        one, other = (world.names[place] for place in cut)
        world.network.cut_between([one], [other])
        assert_all_done(work(world, world.names))
        assert [ballot.node for ballot in world.leaders] == [leader]


def test_a_chain_that_moves_changes_its_leader_once_at_most_each_time(seed: int) -> None:
    world, _ = begin(seed)
    for moves, (one, other) in enumerate(combinations(world.names, 2), 1):
        world.network.heal()
        world.network.cut_between([one], [other])
        assert_all_done(work(world, world.names, seconds=3.0))
        assert len(world.leaders) <= 1 + moves


def cannot_be_dialed(world: World, leader: NodeId) -> None:
    """Let ``leader`` dial everybody, and nobody dial it."""
    world.network.deafen(leader)


def is_dialed_in_vain(world: World, leader: NodeId) -> None:
    """Swallow what is sent to ``leader``, on whichever connection."""
    for other in others(world, leader):
        world.network.cut(other, leader)


def is_mute(world: World, leader: NodeId) -> None:
    """Swallow what ``leader`` sends."""
    for other in others(world, leader):
        world.network.cut(leader, other)


def is_cut_off(world: World, leader: NodeId) -> None:
    world.network.cut_between([leader], others(world, leader))


def is_killed(world: World, leader: NodeId) -> None:
    world.crash(leader)


def loses_its_power(world: World, leader: NodeId) -> None:
    world.nodes[leader].crash(silently=True)


def pauses(world: World, leader: NodeId) -> None:
    world.nodes[leader].pause()
    world.agenda.after(4 * PATIENCE_S, world.nodes[leader].resume)


@pytest.mark.parametrize(
    "trouble",
    [cannot_be_dialed, is_dialed_in_vain, is_mute, is_cut_off, is_killed, loses_its_power, pauses],
)
def test_one_new_leader_takes_over_from_one_that(trouble: Trouble, seed: int) -> None:
    world, leader = begin(seed)
    trouble(world, leader)
    assert_all_done(work(world, others(world, leader)))
    assert len(world.leaders) == 2
    assert world.leader not in (None, leader)
    assert not world.nodes[leader].leads


def is_stuck(world: World, leader: NodeId) -> None:
    world.nodes[leader].disk.stick(8.0)


def leaves(world: World, leader: NodeId) -> None:
    world.nodes[leader].post(Leaving())


@pytest.mark.parametrize("trouble", [is_stuck, leaves])
def test_nothing_is_lost_and_nobody_waits_when_the_leader_hands_over_since_it(
    trouble: Trouble, seed: int
) -> None:
    world, leader = begin(seed)
    trouble(world, leader)
    assert_all_done(work(world, world.names))
    assert len(world.leaders) == 2
    assert world.leader not in (None, leader)


TICK_S = 0.05
"""Where everything takes long, few ticks will do."""

SLOW_DISKS = [(0.08, 0.12), (0.4, 0.9), (1.2, 1.5), (2.8, 3.0), (4.0, 8.0)]
"""How long syncs take, at least and at most."""


def find_leader(world: World, within_s: float) -> NodeId:
    assert world.run_until(lambda: world.leader is not None, within_s)
    assert world.leader is not None
    return world.leader


def write_now_and_then(world: World, slowest_s: float) -> list[Request]:
    """Write through every node that is up, while the slowest disk syncs a few times."""
    names = [name for name in world.names if world.nodes[name].up]
    requests = []
    for _ in range(6):
        requests += [world.write(name, patience_s=10 * slowest_s) for name in names]
        world.run(slowest_s / 2)
    world.run_until(lambda: all(request.ending for request in requests), 10 * slowest_s)
    return requests


@pytest.mark.parametrize("sync_s", SLOW_DISKS)
def test_where_all_disks_are_slow_a_leader_stays_until_it_is_killed(
    seed: int, sync_s: tuple[float, float]
) -> None:
    slowest_s = sync_s[1]
    world = World(seed, sync_s=sync_s, tick_s=TICK_S)
    world.start()
    leader = find_leader(world, 2 * slowest_s + RECOVERY_S)
    assert_all_done(write_now_and_then(world, slowest_s))
    assert [ballot.node for ballot in world.leaders] == [leader]
    world.crash(leader)
    find_leader(world, 3 * slowest_s + RECOVERY_S)
    assert_all_done(write_now_and_then(world, slowest_s))
    assert len(world.leaders) == 2


@pytest.mark.parametrize("quick", [1, 2], ids="{} quick".format)
def test_with_some_quick_disks_and_some_slow_ones_somebody_leads(seed: int, quick: int) -> None:
    slowest_s = 8.0
    world = World(seed, tick_s=TICK_S)
    for name in world.names[quick:]:
        world.slow_down(name, (0.5 * slowest_s, slowest_s))
    world.start()
    find_leader(world, 5 * slowest_s)
    world.crash(world.names[0])
    find_leader(world, 5 * slowest_s)
    assert_all_done(write_now_and_then(world, slowest_s))


def test_a_long_way_between_the_nodes_unseats_nobody(seed: int) -> None:
    world = World(seed, weather=Weather(delay_s=(0.25, 0.35)))
    world.start()
    assert world.run_until(lambda: world.leader is not None, 3.0)
    assert_all_done(work(world, world.names))
    assert len(world.leaders) == 1


def test_one_link_that_flaps_unseats_nobody(seed: int) -> None:
    world, leader = begin(seed)
    other = others(world, leader)[0]

    def flap() -> None:
        world.network.break_connection(leader, other)
        world.network.break_connection(other, leader)
        world.agenda.after(0.15, flap)

    flap()
    assert_all_done(work(world, world.names))
    assert [ballot.node for ballot in world.leaders] == [leader]


def test_with_no_node_to_spare_a_link_that_flaps_unseats_nobody_either(seed: int) -> None:
    world, leader = begin(seed)
    other, dead = others(world, leader)
    world.crash(dead)

    def flap() -> None:
        world.network.break_connection(leader, other)
        world.network.break_connection(other, leader)
        world.agenda.after(2 * PATIENCE_S, flap)

    flap()
    assert_all_done(work(world, [leader, other]))
    assert [ballot.node for ballot in world.leaders] == [leader]


def test_a_minority_waits_and_is_back_at_once_when_the_links_heal(seed: int) -> None:
    world, leader = begin(seed, 5)
    few = [leader, others(world, leader)[0]]
    many = others(world, *few)
    world.network.cut_between(few, many)
    requests = work(world, world.names)
    assert_all_done([request for request in requests if request.node in many])
    assert all(request.ending != "done" for request in requests if request.node in few)
    assert len(world.leaders) == 2
    world.network.heal()
    world.run(RECOVERY_S)
    assert_all_done(work(world, world.names, seconds=2.0))
    assert len(world.leaders) == 2

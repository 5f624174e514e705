"""Agreement, durability and progress in every history that the simulator can think of.

``KVPAXOS_SEEDS`` says how many. A failure names its seed, and shows the last steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from test.simulator.climate import Climate, draw_anarchy, draw_storm
from test.simulator.storm import simulate
from test.simulator.world import World

SEEDS = int(os.environ.get("KVPAXOS_SEEDS", "200"))


@dataclass
class Totals:
    """What all runs together have come to."""

    runs: int = 0
    slots: int = 0
    done: int = 0
    leaders: int = 0
    crashes: int = 0
    lost: int = 0

    def add(self, world: World) -> None:
        self.runs += 1
        self.slots += world.checker.machine.applied
        self.done += sum(request.ending == "done" for request in world.clients.requests)
        self.leaders += len(world.leaders)
        self.crashes += sum(node.crashes for node in world.nodes.values())
        self.lost += sum(node.lost for node in world.nodes.values())


@pytest.fixture(scope="module")
def storms() -> Totals:
    return Totals()


@pytest.fixture(scope="module")
def anarchies() -> Totals:
    return Totals()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_storm_breaks_no_rule_and_passes(seed: int, storms: Totals) -> None:
    storms.add(simulate(seed, draw_storm))


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_anarchy_breaks_no_rule(seed: int, anarchies: Totals) -> None:
    anarchies.add(simulate(seed, draw_anarchy))


def test_the_storms_were_neither_too_gentle_nor_too_harsh(storms: Totals) -> None:
    if storms.runs < 50:
        pytest.skip("too few to tell")
    assert storms.slots > 30 * storms.runs
    assert storms.done > 60 * storms.runs
    assert storms.leaders > 3 * storms.runs
    assert storms.crashes > 2 * storms.runs
    assert storms.lost > storms.runs


def test_the_anarchies_were_neither_too_gentle_nor_too_harsh(anarchies: Totals) -> None:
    if anarchies.runs < 25:
        pytest.skip("too few to tell")
    assert anarchies.slots > 4 * anarchies.runs
    assert anarchies.leaders > 3 * anarchies.runs
    assert anarchies.crashes > anarchies.runs


@pytest.mark.parametrize("draw", [draw_storm, draw_anarchy])
def test_the_same_seed_gives_the_same_history(draw: Callable[[Random], Climate]) -> None:
    histories = []
    for _ in range(2):
        world = simulate(7, draw)
        disks = [node.disk.records for node in world.nodes.values()]
        histories.append((disks, world.clients.requests, world.leaders, world.network.sent))
    assert histories[0] == histories[1]

"""Agreement, durability, progress, and nothing twice, in every history that can be thought of.

``KVPAXOS_SEEDS`` says how many. A failure names its seed, and shows the last steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from test.simulator.climate import (
    Climate,
    draw_amnesia,
    draw_anarchy,
    draw_losses,
    draw_retries,
    draw_ruin,
    draw_storm,
)
from test.simulator.storm import simulate
from test.simulator.world import World

SEEDS = int(os.environ.get("KVPAXOS_SEEDS", "200"))


Draw = Callable[[Random], Climate]

FOUND: list[tuple[Draw, int, str]] = [
    (draw_anarchy, 31231, "a journal shows more than its replica has learned so far"),
    (draw_losses, 181, "the slot after an old state is known to one journal only"),
]
"""Seeds beyond the usual ones that have failed once, and what they had found."""


@dataclass
class Totals:
    """What all runs together have come to."""

    runs: int = 0
    slots: int = 0
    done: int = 0
    leaders: int = 0
    crashes: int = 0
    lost: int = 0
    disks: int = 0
    rejoined: int = 0
    installed: int = 0
    appended: int = 0
    repeated: int = 0

    def add(self, world: World) -> None:
        self.runs += 1
        self.slots += world.checker.machine.applied
        self.done += sum(request.ending == "done" for request in world.clients.requests)
        self.leaders += len(world.leaders)
        self.crashes += sum(node.crashes for node in world.nodes.values())
        self.lost += sum(node.lost for node in world.nodes.values())
        self.disks += sum(node.disks - 1 for node in world.nodes.values())
        self.rejoined += sum(node.disk.survived.rejoined > 0 for node in world.nodes.values())
        self.installed += sum(node.installed for node in world.nodes.values())
        self.appended += sum(one.done for client in world.appenders for one in client.wanted)
        self.repeated += world.checker.repeated


@pytest.fixture(scope="module")
def storms() -> Totals:
    return Totals()


@pytest.fixture(scope="module")
def anarchies() -> Totals:
    return Totals()


@pytest.fixture(scope="module")
def retries() -> Totals:
    return Totals()


@pytest.fixture(scope="module")
def losses() -> Totals:
    return Totals()


@pytest.fixture(scope="module")
def ruins() -> Totals:
    return Totals()


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_storm_breaks_no_rule_and_passes(seed: int, storms: Totals) -> None:
    storms.add(simulate(seed, draw_storm))


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_anarchy_breaks_no_rule(seed: int, anarchies: Totals) -> None:
    anarchies.add(simulate(seed, draw_anarchy))


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_exactly_once_is_carried_out_what_clients_send_again(seed: int, retries: Totals) -> None:
    retries.add(simulate(seed, draw_retries))


@pytest.mark.parametrize("seed", range(SEEDS // 10))
def test_nodes_get_back_what_their_disks_have_lost(seed: int, losses: Totals) -> None:
    losses.add(simulate(seed, draw_losses))


@pytest.mark.parametrize("seed", range(SEEDS // 20))
def test_anarchy_among_lost_disks_breaks_no_rule(seed: int) -> None:
    simulate(seed, draw_amnesia)


@pytest.mark.parametrize("seed", range(SEEDS // 20))
def test_where_too_much_is_lost_nothing_goes_wrong(seed: int, ruins: Totals) -> None:
    ruins.add(simulate(seed, draw_ruin))


@pytest.mark.parametrize(("draw", "seed"), [pytest.param(*one, id=why) for *one, why in FOUND])
def test_what_was_found_once_stays_mended(draw: Draw, seed: int) -> None:
    simulate(seed, draw)


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


def test_enough_was_sent_again(retries: Totals) -> None:
    if retries.runs < 25:
        pytest.skip("too few to tell")
    assert retries.appended > 20 * retries.runs
    assert retries.repeated > 10 * retries.runs
    assert retries.crashes > 2 * retries.runs


def test_enough_was_lost_and_got_back(losses: Totals, ruins: Totals) -> None:
    if losses.runs < 20:
        pytest.skip("too few to tell")
    assert losses.disks > losses.runs
    assert losses.rejoined > losses.runs
    assert losses.installed > losses.runs
    assert losses.slots > 30 * losses.runs
    if ruins.runs < 10:
        pytest.skip("too few to tell")
    assert ruins.disks > 2 * ruins.runs
    assert ruins.slots > 15 * ruins.runs


@pytest.mark.parametrize(
    "draw", [draw_storm, draw_anarchy, draw_retries, draw_losses, draw_amnesia]
)
def test_the_same_seed_gives_the_same_history(draw: Draw) -> None:
    histories = []
    for _ in range(2):
        world = simulate(7, draw)
        disks = [node.disk.records for node in world.nodes.values()]
        histories.append((disks, world.clients.requests, world.leaders, world.network.sent))
    assert histories[0] == histories[1]

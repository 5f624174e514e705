"""The simulation of replicas alone would notice: bugs of the zoo, planted there, are caught.

A rule that nothing checks is a hope. The seeds are tried in order until one of them shows the bug.
What whole nodes show of them, `test.zoo.run` looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from random import Random

import pytest

from kvpaxos.paxos.ballot import NodeId
from test.simulator.appenders import check_exactly_once
from test.simulator.clients import Request
from test.simulator.climate import (
    Climate,
    draw_amnesia,
    draw_anarchy,
    draw_losses,
    draw_retries,
    draw_storm,
)
from test.simulator.network import Weather
from test.simulator.storm import simulate
from test.simulator.world import World
from test.zoo.catalogue import BUGS

SEEDS_MAX = 400
"""A bug that so many worlds do not show is one that the simulator is blind to."""

PLANTED: list[tuple[str, Callable[[Random], Climate]]] = [
    ("prepare_is_shown_before_its_promise_is_durable", draw_storm),
    ("votes_are_shown_before_they_are_durable", draw_storm),
    ("a_watermark_covers_a_vote_of_another_ballot", draw_anarchy),
    ("promises_are_forgotten_in_a_crash", draw_storm),
    ("votes_are_forgotten_in_a_crash", draw_storm),
    ("a_candidate_offers_before_it_has_learned", draw_storm),
    ("a_candidate_takes_the_vote_of_the_lowest_ballot", draw_anarchy),
    ("a_read_is_granted_without_a_quorum", draw_storm),
    ("a_new_leader_reads_before_it_has_settled_what_it_was_obliged_to", draw_storm),
    ("a_command_that_is_sent_again_gets_a_new_number", draw_storm),
    ("an_acceptor_votes_below_its_promise", draw_anarchy),
    ("what_is_decided_above_a_hole_is_voted_in_again", draw_storm),
    ("a_read_joins_the_round_that_is_under_way", draw_storm),
    ("a_request_that_comes_again_is_executed_again", draw_retries),
    ("what_was_answered_is_forgotten_in_a_restart", draw_retries),
    ("a_node_votes_again_with_a_report_too_few", draw_amnesia),
    ("a_node_votes_again_before_it_knows_what_was_voted_on", draw_losses),
    ("a_node_that_votes_again_takes_over_no_promise", draw_amnesia),
    ("a_new_disk_gets_its_number_from_the_first_who_is_heard", draw_amnesia),
    ("a_report_is_sent_before_it_is_durable", draw_losses),
    ("a_state_is_installed_without_a_record", draw_losses),
    ("a_state_counts_as_durable_before_it_has_come", draw_losses),
    ("a_state_counts_as_installed_before_it_is_durable", draw_losses),
]


SHOWN: dict[str, tuple[int, ...]] = {
    "a_candidate_takes_the_vote_of_the_lowest_ballot": (26,),
    "a_new_leader_reads_before_it_has_settled_what_it_was_obliged_to": (34,),
    "a_read_joins_the_round_that_is_under_way": (174,),
    "what_is_decided_above_a_hole_is_voted_in_again": (24,),
}
"""Seeds that have shown a bug which few others show. They are tried first, to save time."""


@pytest.mark.parametrize(("name", "draw"), PLANTED, ids=[name for name, _ in PLANTED])
def test_it_is_caught_that(name: str, draw: Callable[[Random], Climate]) -> None:
    seeds = (*SHOWN.get(name, ()), *range(SEEDS_MAX))
    with BUGS[name].planted():
        assert any(_fails(seed, draw) for seed in seeds), f"{SEEDS_MAX} seeds were blind"


def lose(world: World, name: NodeId) -> None:
    """Let a node lose its disk, and wait until it votes again."""
    node = world.nodes[name]
    node.lose_disk()
    world.start(name)
    assert world.run_until(lambda: node.disk.survived.rejoined > 0, 0.3), world.transcript()


def count_a_vote_of_a_lost_disk(*, c_too: bool) -> None:
    """Have a leader of five count a vote of b, which then loses its disk, and comes back.

    Afterwards c, which has reported to b, votes as well. With the leader's own that were three.

    :param c_too: c loses its disk and comes back in between.
    """
    world = World(0, 5, weather=Weather(redial_s=(0.001, 0.002)))
    world.start()
    assert world.run_until(lambda: world.leader is not None, 2.0)
    leader = world.leader
    assert leader is not None
    b, c, *rest = (name for name in world.names if name != leader)
    world.write(leader)
    world.run(1.0)
    world.network.cut_between([leader], [c, *rest])
    request = world.write(leader)
    slot = world.checker.machine.applied + 1
    world.run(0.02)
    assert slot in world.nodes[b].disk.survived.votes
    world.network.cut_between([leader], [b])
    lose(world, b)
    if c_too:
        lose(world, c)
    world.network.heal()
    world.network.cut_between([leader], [b, *rest])
    world.run(0.2)
    assert slot in world.nodes[c].disk.survived.votes, world.transcript()
    world.network.heal()
    assert world.run_until(lambda: request.ending == "done", 3.0), world.transcript()


def forget_what_a_third_lacks() -> tuple[World, NodeId, NodeId, Request]:
    """Return a world in which two have decided a slot that the third has not heard of.

    They are named, and both are down. The journal of the first keeps the slot no more, and its
    state is lost.
    """
    world = World(0, 3, journal_slots_max=1)
    world.start()
    assert world.run_until(lambda: world.leader is not None, 2.0)
    leader = world.leader
    assert leader is not None
    world.run(0.5)
    b, c = (name for name in world.names if name != leader)
    world.network.cut_between([leader, b], [c])
    requests = [world.write(leader) for _ in range(3)]
    world.run(0.1)
    node = world.nodes[leader]
    node.persist()
    world.run(0.1)
    assert all(request.ending == "done" for request in requests)
    assert node.disk.kept_from > node.disk.content.decided_through
    world.crash(b)
    node.lose_state()
    world.network.heal()
    return world, leader, b, requests[-1]


def elect_whoever_lost_its_state() -> None:
    """Let the one without its state be of a quorum with the one that had not heard of the slot."""
    world, one, other, _ = forget_what_a_third_lacks()
    world.start(one)
    (third,) = (name for name in world.names if name not in (one, other))
    request = world.write(third, patience_s=30.0)
    world.run(5.0)
    assert request.ending is None, "nobody who is up can know what was decided before"
    world.start(other)
    assert world.run_until(lambda: request.ending == "done", 5.0), world.transcript()


def lose_the_only_copy() -> None:
    """Let the other one lose its disk. Nobody has what was decided: then nobody decides."""
    world, one, other, _ = forget_what_a_third_lacks()
    world.nodes[other].lose_disk()
    decided = world.checker.machine.applied
    world.start(one, other)
    requests = [world.write(name, patience_s=30.0) for name in world.names]
    world.run(10.0)
    assert [request.ending for request in requests] == [None] * 3
    assert world.checker.machine.applied == decided
    assert world.nodes[other].disk.survived.rejoined == 0


STAGED: list[tuple[str, Callable[[], None]]] = [
    ("old_disks_are_counted", partial(count_a_vote_of_a_lost_disk, c_too=False)),
    ("old_disks_are_counted", partial(count_a_vote_of_a_lost_disk, c_too=True)),
    (
        "what_is_void_is_not_taken_over_by_whoever_comes_back",
        partial(count_a_vote_of_a_lost_disk, c_too=True),
    ),
    ("slots_that_nobody_keeps_are_taken_for_free", elect_whoever_lost_its_state),
    ("a_report_leaves_out_what_was_known_before_the_state_was_lost", lose_the_only_copy),
]
"""What hardly any storm shows."""


@pytest.mark.parametrize(("name", "stage"), STAGED, ids=[name for name, _ in STAGED])
def test_it_is_caught_on_a_stage_that(name: str, stage: Callable[[], None]) -> None:
    stage()
    with BUGS[name].planted(), pytest.raises(AssertionError):
        stage()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"p": "<c.1><c.2><c.1>"}, id="carried out twice"),
        pytest.param({"p": "<c.1><c.2>", "q": "<c.1>"}, id="carried out under another key too"),
        pytest.param({"p": "<c.2>"}, id="lost"),
        pytest.param({"p": "<c.2><c.1>"}, id="carried out in another order"),
        pytest.param({"p": "<c.1><c.2"}, id="torn"),
    ],
)
def test_what_keys_hold_in_the_end_shows_what_was(values: Mapping[str, str]) -> None:
    world = World()
    client = world.append("c", numbered=True, pause_s=0.01)
    world.start()
    assert world.run_until(lambda: len(client.wanted) == 3 and client.wanted[1].done, 5.0)
    # The third may be done as well by then, or not.
    del client.wanted[2:]
    for wanted in client.wanted:
        wanted.key = "p"
    check_exactly_once([client], {"p": "<c.1><c.2>"})
    with pytest.raises(AssertionError):
        check_exactly_once([client], values)


def _fails(seed: int, draw: Callable[[Random], Climate]) -> bool:
    """Whether the storm shows it. What comes after the storm would only take time."""
    try:
        simulate(seed, lambda random: replace(draw(random), calm_s=0.0))
    except AssertionError:
        return True
    return False

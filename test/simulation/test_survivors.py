"""In the end a majority serves, whatever becomes of the others."""

from __future__ import annotations

from typing import NoReturn

import pytest

from kvpaxos.node.links import Links
from kvpaxos.paxos.peers import Peers
from kvpaxos.simulator import survivors
from kvpaxos.simulator.run import simulate
from kvpaxos.simulator.script import Script
from kvpaxos.simulator.survivors import FATES, Fate, leave
from kvpaxos.simulator.world import World

CALM: frozenset[str] = frozenset()


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: str(fate.__doc__))
def test_a_majority_serves_whatever_becomes_of_the_others(
    fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survivors, "FATES", (fate,))
    assert simulate(2, nodes=3, faults=CALM).wrong is None


def test_one_that_reaches_all_is_enough() -> None:
    lines: list[str] = []
    seeds = iter(range(20))
    while not any("reaches all" in line for line in lines):
        lines.clear()
        assert simulate(next(seeds), nodes=3, faults=CALM, write=lines.append).wrong is None


def test_a_majority_that_does_not_serve_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peers, "connected", lambda *_: False)
    wrong = simulate(2, nodes=3, faults=CALM).wrong
    assert wrong is not None
    assert "serve nobody" in wrong


@pytest.mark.parametrize(
    ("seed", "fate", "again"), [(75, "Gone.", "start "), (538, "Standing still.", "resume ")]
)
def test_what_was_to_happen_in_the_storm_does_not_bring_back_who_is_lost(
    seed: int, fate: str, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fated,) = (one for one in FATES if one.__doc__ == fate)
    monkeypatch.setattr(survivors, "FATES", (fated,))
    lines: list[str] = []
    assert simulate(seed, write=lines.append).wrong is None
    heads = [line.strip().split("\n")[0] for line in lines if line.startswith("\n")]
    (left,) = (number for number, head in enumerate(heads) if head.endswith(f": {fate}"))
    assert not any(head.startswith(again) for head in heads[left:])


def test_nobody_counts_on_a_state_with_damage_that_is_not_found_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(survivors, "FATES", (_no_fate,))
    world = World(1, Script(1, 5).climate())
    for name in ("n02", "n04"):
        world.server(name).drive.state.rotten.add(b"key")
    left = [names for names in (leave(world) for _ in range(30)) if len(names) < len(world.names)]
    assert left
    assert all(sorted(names) == ["n01", "n03", "n05"] for names in left)


def _no_fate(_world: World, _rest: list[str]) -> None:
    """Nothing."""


def test_an_error_that_comes_out_of_a_process_is_a_broken_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def received(*_: object) -> NoReturn:
        raise ValueError("of no use")

    monkeypatch.setattr(Links, "received", received)
    wrong = simulate(2, nodes=3, faults=CALM).wrong
    assert wrong is not None
    assert "not foreseen came out of a process: ValueError('of no use')" in wrong


def test_a_history_that_cannot_be_judged_is_a_broken_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: object) -> NoReturn:
        raise KeyError("n03")

    monkeypatch.setattr("kvpaxos.simulator.run.judge", judge)
    wrong = simulate(2, nodes=3, faults=CALM).wrong
    assert wrong == "what clients saw cannot be judged: KeyError('n03')"

"""In the end a majority serves, whatever becomes of the others."""

from __future__ import annotations

from typing import NoReturn

import pytest

from kvpaxos.node.links import Links
from kvpaxos.paxos.peers import Peers
from kvpaxos.simulator import survivors
from kvpaxos.simulator.run import simulate
from kvpaxos.simulator.survivors import FATES, Fate

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


def test_who_is_gone_does_not_come_back_though_it_was_to_be_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(survivors, "FATES", (FATES[0],))
    lines: list[str] = []
    assert simulate(75, write=lines.append).wrong is None
    heads = [line.strip().split("\n")[0] for line in lines if line.startswith("\n")]
    last_kill = max(number for number, head in enumerate(heads) if head.startswith("kill "))
    assert not any(head.startswith("start ") for head in heads[last_kill:])


def test_an_error_that_comes_out_of_a_process_is_a_broken_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def received(*_: object) -> NoReturn:
        raise ValueError("of no use")

    monkeypatch.setattr(Links, "received", received)
    wrong = simulate(2, nodes=3, faults=CALM).wrong
    assert wrong is not None
    assert "not foreseen came out of a process: ValueError('of no use')" in wrong

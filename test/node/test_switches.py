"""Switches: what they take, what they refuse, and what they do."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from kvpaxos.errors import BadRequest, Forbidden
from kvpaxos.node.switches import CLEAR, DELAY_S_MAX, Switch, Switches
from kvpaxos.paxos.ballot import NodeId

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")


def switches(*, allowed: bool = True, seed: int = 0) -> Switches:
    return Switches(B, (A, B, C), random=Random(seed), allowed=allowed)


def test_all_is_clear_at_first() -> None:
    fresh = switches()
    assert [(row["from"], row["to"]) for row in fresh.all()] == [(A, B), (B, A), (B, C), (C, B)]
    for row in fresh.all():
        assert row == {**row, "state": "up", "delay": 0.0, "loss": 0.0, "bytes_per_s": 0.0}
    assert fresh.sending(A) is fresh.receiving(A) is CLEAR


def test_a_direction_is_switched_without_the_other() -> None:
    changed = switches()
    changed.set(B, A, state="cut")
    assert changed.sending(A) == Switch(cut=True)
    assert changed.receiving(A) is CLEAR
    assert changed.sending(C) is CLEAR


def test_what_is_not_named_stays_as_it_is() -> None:
    changed = switches()
    changed.set(B, A, delay_s=0.5)
    changed.set(B, A, loss=0.25)
    changed.set(B, A, bytes_per_s=1000)
    assert changed.sending(A) == Switch(delay_s=0.5, loss=0.25, bytes_per_s=1000)
    changed.set(B, A, delay_s=0, loss=0, bytes_per_s=0)
    assert changed.sending(A) is CLEAR


def test_no_name_means_every_node() -> None:
    changed = switches()
    changed.set(None, B, state="cut")
    assert [row["state"] for row in changed.all()] == ["cut", "up", "up", "cut"]
    changed.set(None, None, state="cut")
    assert {row["state"] for row in changed.all()} == {"cut"}
    changed.set(None, None, state="up")
    assert changed.all() == switches().all()


def test_heal_clears_everything() -> None:
    changed = switches()
    changed.set(None, None, state="cut", delay_s=1, loss=0.5, bytes_per_s=10)
    changed.heal()
    assert changed.all() == switches().all()


@pytest.mark.parametrize(
    ("from_node", "to_node", "settings", "sentence"),
    [
        ("n09", B, {}, "n09 is no member"),
        (B, "n09", {}, "n09 is no member"),
        (B, B, {}, "no link leads from n02 to n02"),
        (A, C, {}, "no link leads from n01 to n03"),
        (A, B, {"state": "down"}, "can only be up or cut"),
        (A, B, {"delay_s": -0.1}, "delay is -0.1"),
        (A, B, {"delay_s": DELAY_S_MAX + 1}, "delay is 61"),
        (A, B, {"delay_s": float("nan")}, "delay is nan"),
        (A, B, {"loss": 1.5}, "loss is 1.5, and can only be from 0 to 1"),
        (A, B, {"loss": float("inf")}, "loss is inf"),
        (A, B, {"bytes_per_s": -1}, "bytes per second is -1"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    from_node: str, to_node: str, settings: dict[str, Any], sentence: str
) -> None:
    unchanged = switches()
    with pytest.raises(BadRequest, match=sentence):
        unchanged.set(from_node, to_node, **settings)
    assert unchanged.all() == switches().all()


def test_where_partitions_are_not_allowed_nothing_can_be_switched_or_seen() -> None:
    forbidden = switches(allowed=False)
    for act in (lambda: forbidden.set(A, B, state="cut"), forbidden.heal, forbidden.all):
        with pytest.raises(Forbidden, match="--allow-partitions"):
            act()
    assert forbidden.receiving(A) is CLEAR


def test_a_cut_loses_all_and_a_clear_switch_nothing() -> None:
    one = switches()
    assert all(one.loses(Switch(cut=True)) for _ in range(100))
    assert all(one.loses(Switch(loss=1.0)) for _ in range(100))
    assert not any(one.loses(CLEAR) for _ in range(100))
    assert not any(one.loses(Switch(delay_s=1)) for _ in range(100))


def test_losses_follow_the_seed() -> None:
    def losses(seed: int) -> list[bool]:
        one = switches(seed=seed)
        return [one.loses(Switch(loss=0.3)) for _ in range(1000)]

    assert losses(1) == losses(1) != losses(2)
    assert 200 < sum(losses(1)) < 400

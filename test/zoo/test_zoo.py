"""A few of the planted bugs, each with a seed that has shown it; ``make zoo`` hunts for all.

``KVPAXOS_SEED`` draws which ones. Whatever changes what nodes do changes all worlds, and a seed may
no longer show what it did: so others are tried after it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import pytest

from kvpaxos.paxos.acceptor import Acceptor
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.simulator.run import simulate
from test.zoo import table
from test.zoo.catalogue import BUGS
from test.zoo.hunting import hunt, rule_of
from test.zoo.run import main, notices

SAMPLE = 8
"""So many bugs are planted in each run of the tests."""

EASY_S = 2.0
"""Those that take no more CPU time to find, as a rule: the other ones are for ``make zoo``."""

SEEDS_MAX = 60
"""A bug that was easy to find is found by one of so many seeds more."""

ROWS = table.read()

EASY = sorted(name for name, row in ROWS.items() if row.found and row.seconds <= EASY_S)

HIDDEN = sorted(name for name, bug in BUGS.items() if bug.test)
"""Those that hardly a world shows, and a test does."""

HIDDEN_SAMPLE = 3

SAMPLED = Random(os.environ.get("KVPAXOS_SEED") or 0).sample(EASY, min(SAMPLE, len(EASY)))


@pytest.mark.parametrize("name", SAMPLED)
def test_it_is_noticed_that(name: str) -> None:
    seed = ROWS[name].seed
    caught = hunt(BUGS[name], [seed, *range(seed + 1, seed + 1 + SEEDS_MAX)])
    assert caught is not None, f"{SEEDS_MAX} seeds are blind to {name}"
    assert simulate(caught.seed).wrong is None, "and it is not the bug that is noticed"


@pytest.mark.parametrize(
    "name", Random(os.environ.get("KVPAXOS_SEED") or 0).sample(HIDDEN, HIDDEN_SAMPLE)
)
def test_a_test_notices_that(name: str) -> None:
    assert notices(BUGS[name]), BUGS[name].test


@pytest.mark.parametrize("name", HIDDEN)
def test_it_is_said_why_hardly_a_world_shows_that(name: str) -> None:
    assert BUGS[name].rare


def test_a_test_that_passes_all_the_same_has_noticed_nothing() -> None:
    bug = replace(BUGS[HIDDEN[0]], test="test/paxos/test_limits.py")
    assert not notices(bug)


def test_a_bug_is_gone_when_the_hunt_is_over() -> None:
    right = Acceptor.accept, Quorum.size
    with BUGS["votes_are_shown_before_they_are_durable"].planted():
        assert Acceptor.accept is not right[0]
    with BUGS["half_of_the_members_is_a_quorum"].planted():
        assert Quorum.size is not right[1]
    assert (Acceptor.accept, Quorum.size) == right


def test_the_table_of_the_docs_is_the_one_that_was_found() -> None:
    shown = table.PAGE.read_text()
    assert shown == table.page(shown, ROWS, BUGS), "make zoo has not written this table"
    assert list(ROWS) == [name for name in BUGS if name in ROWS]


def test_the_zoo_is_large_and_the_simulator_sees_most_of_it() -> None:
    assert sum(row.found == row.starts for row in ROWS.values()) >= 75


def test_no_bug_is_left_that_nothing_notices() -> None:
    assert set(ROWS) == set(BUGS)
    assert [name for name, row in ROWS.items() if not row.found and not row.test] == []


@pytest.mark.parametrize(
    ("sentence", "rule"),
    [
        ("n01 begins life 4 a second time", "life used twice"),
        ("n02 has decided another batch in slot 3 than was before", "one decision"),
        ("n01 n03 are a majority, and serve nobody for 10 s", "a majority serves"),
        ("the moon is made of cheese", "? the moon is made of cheese"),
    ],
)
def test_a_sentence_belongs_to_a_rule(sentence: str, rule: str) -> None:
    assert rule_of(sentence) == rule


def test_a_bug_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["it_is_slow"])
    assert refused.value.code == 2
    assert "there is no bug 'it_is_slow'" in capsys.readouterr().err

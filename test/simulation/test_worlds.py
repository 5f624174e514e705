"""Worlds of real nodes: the same from the same seed, and no rule broken in a few of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from kvpaxos.cli import simulating
from kvpaxos.cli.main import main
from kvpaxos.paxos.effects import Effects, Event
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator import run as running
from kvpaxos.simulator.faults import ALL_FAULTS
from kvpaxos.simulator.run import simulate

SEEDS = int(os.environ.get("KVPAXOS_WORLDS", "6"))
"""How many worlds there are in this test; ``kvpaxos simulate`` runs many more."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_rule_is_broken(seed: int) -> None:
    report = simulate(seed)
    assert report.wrong is None
    assert report.counts["done"] > 0


@pytest.mark.parametrize(
    ("seed", "what"),
    [
        (5745, "a candidate waited for ever for a slot that only a lost state had known"),
        (12929, "after a pause a node took its disk for slow, and nobody could take over from one"),
        (18170, "nor did anybody stand who had promised to one that was gone"),
        (25518, "a node that replaced its state just then could not say how it was"),
        (35745, "a node went on in its process though the sync of its closed journal had failed"),
    ],
)
def test_a_bug_that_a_world_has_shown_is_mended(seed: int, what: str) -> None:
    assert simulate(seed).wrong is None, what


@pytest.mark.parametrize(
    ("seed", "what"),
    [
        (25, "a node that comes back on a new disk does not count as one that votes"),
        (166, "what a lost disk had shown arrives after it was replaced"),
        (2608, "a disk that was lost before it was known to anybody leaves its number to the next"),
        (3591, "what a node sends again in a later life is in the log, and does nothing there"),
        (5193, "a disk that is too damaged to say whose it is is a lost one"),
        (5260, "a clone has not seen what others have shown, and talks with old disks"),
        (15004, "what was chosen before a voter lost its disk stays so while others are open"),
        (21922, "nobody can say that a damaged batch was synced if its end mark is lost"),
        (10620, "what a power cut takes of a comeback is written once more by the same disk"),
        (11016, "damage to a damaged journal may take what shows that a batch was synced"),
        (4170, "a node that has lost its state cannot say what was decided, until it has another"),
    ],
)
def test_no_rule_is_found_broken_that_is_not(seed: int, what: str) -> None:
    assert simulate(seed).wrong is None, what


def test_the_same_seed_gives_the_same_history_whatever_python_hashes() -> None:
    script = "from kvpaxos.simulator.run import simulate; print(simulate(4, nodes=3).digest)"
    histories = {
        subprocess.run(  # noqa: S603 -- our own command
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "12345")
    }
    assert histories == {simulate(4, nodes=3).digest + "\n"}


def test_another_seed_gives_another_history() -> None:
    calm: frozenset[str] = frozenset()
    assert simulate(1, nodes=3, faults=calm).digest != simulate(2, nodes=3, faults=calm).digest


def test_without_faults_nothing_fails() -> None:
    report = simulate(3, nodes=3, faults=frozenset())
    assert report.wrong is None
    assert report.counts["leaders"] <= 2  # The second one comes when the first is killed.
    assert report.counts["unknown"] == report.counts["processes ended"] == 0
    assert sum(report.faults.values()) == 0


def test_no_fault_begins_once_a_storm_has_ended_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STORM_EVENTS_MAX", 500)
    lines: list[str] = []
    simulate(3, nodes=3, faults={"kill", "one way", "mute node", "isolation"}, write=lines.append)
    done = [line.split()[0] for line in lines[lines.index("\nclear up\n----") :] if line[0] == "\n"]
    # The last thing that is done is to take a minority away, in some manner.
    assert set(done[:-1]) <= {"clear", "start"}
    assert done[-1] in {"n01:", "n02:", "n03:"}


def test_a_transcript_shows_what_was_done_and_what_came_of_it() -> None:
    lines: list[str] = []
    simulate(3, nodes=3, faults=frozenset(), write=lines.append)
    assert lines[0] == "\nstart n01\n----"
    assert any("n01 begins life 1" in line for line in lines)
    assert any("leads with 1." in line for line in lines)
    assert any("writes Vote(" in line for line in lines)


def test_an_acceptor_that_forgets_what_it_promised_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checker is no ornament: a planted bug breaks a rule within some worlds."""
    step = Replica.step

    def forgetful(self: Replica, event: Event, now: float) -> Effects:
        effects = step(self, event, now)
        if effects.decided:
            self.acceptor.promised = min(self.acceptor.promised, effects.decided[-1].ballot)
        return effects

    monkeypatch.setattr(Replica, "step", forgetful)
    found = next((wrong for seed in range(6) if (wrong := simulate(seed).wrong)), None)
    assert found is not None


def test_the_command_names_all_faults_and_refuses_others() -> None:
    listed = CliRunner().invoke(main, ["simulate", "--seed", "1", "--faults", "help"])
    assert listed.exit_code == 0
    assert {line[:20].strip() for line in listed.output.splitlines()} == ALL_FAULTS
    refused = CliRunner().invoke(main, ["simulate", "--seed", "1", "--faults", "earthquake"])
    assert refused.exit_code == 2
    assert "there is no fault 'earthquake'" in refused.output


def test_the_command_runs_one_world_and_says_what_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What this process logs is for other tests, too.
    monkeypatch.setattr(simulating, "be_quiet", lambda: None)
    done = CliRunner().invoke(main, ["simulate", "--seed", "3", "--nodes", "3", "--faults", "kill"])
    assert done.exit_code == 0, done.output
    assert "seed 3: 3 nodes" in done.output
    assert " kill\n" in done.output

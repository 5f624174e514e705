"""``kvpaxos simulate`` over many seeds: what it says, keeps, and ends with."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kvpaxos.cli import simulating
from kvpaxos.cli.main import main
from kvpaxos.simulator.ledger import Kind, read
from kvpaxos.simulator.run import Report
from kvpaxos.simulator.sweep import sweep
from test.simulation.test_totals import a_report


class Sweep:
    """Stands for the sweep: its runs cost nothing.

    :ivar seeds: which worlds it was asked to run.
    :ivar interrupted_after: after so many runs somebody presses Ctrl-C.
    :ivar broken: the seeds of worlds in which a rule is broken.
    :ivar harsh: the seeds of worlds in which nothing is done.
    """

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.interrupted_after: int | None = None
        self.broken: Collection[int] = ()
        self.harsh: Collection[int] = ()

    def __call__(
        self,
        seeds: Iterator[int],
        *,
        nodes: int | None,
        faults: Collection[str] | None,
        ended: Callable[[Report], bool],
    ) -> bool:
        for number, seed in enumerate(seeds):
            if number == self.interrupted_after:
                return False
            self.seeds.append(seed)
            report = a_report(seed, done=int(seed not in self.harsh))
            report.wrong = "a slot was decided twice" if seed in self.broken else None
            if not ended(report):
                break
        return True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Sweep:
    fake = Sweep()
    monkeypatch.setattr(simulating, "sweep", fake)
    return fake


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


def test_a_sweep_says_what_all_runs_came_to(fake: Sweep) -> None:
    done = run("--seeds", "10..40")
    assert done.exit_code == 0, done.output
    assert fake.seeds == list(range(10, 40))
    assert "30 runs, 0.08 simulated hours" in done.output
    assert "runs a minute" in done.output


def test_a_broken_rule_ends_with_1_and_names_the_seed(fake: Sweep) -> None:
    fake.broken = [12]
    done = run("--seeds", "10..40")
    assert done.exit_code == 1
    assert fake.seeds == [10, 11, 12]
    assert "seed 12: a slot was decided twice" in done.output


def test_a_sweep_that_is_to_keep_going_runs_all_and_names_each_broken_rule(
    fake: Sweep, tmp_path: Path
) -> None:
    fake.broken = [12, 15]
    done = run("--seeds", "10..20", "--keep-going", "--report", tmp_path / "sweep.json")
    assert done.exit_code == 1
    assert fake.seeds == list(range(10, 20))
    assert all(f"seed {seed}: a slot was decided twice" in done.output for seed in (12, 15))
    assert sorted(read(tmp_path / "sweep.json")[1].wrong) == [12, 15]


def test_only_many_seeds_can_keep_going() -> None:
    done = run("--seed", "1", "--keep-going")
    assert done.exit_code == 2
    assert "--keep-going goes with --seeds and --minutes." in done.output


def test_a_run_that_tried_nothing_ends_with_3_and_is_named(fake: Sweep) -> None:
    fake.harsh = [17]
    done = run("--seeds", "10..40")
    assert done.exit_code == 3
    assert "seed 17 was too harsh: nothing was decided, or nobody was told so" in done.output


def test_runs_that_tried_little_together_end_with_3(
    fake: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulating, "misses", lambda *_, **__: ["too gentle: it never rained"])
    done = run("--seeds", "10..40")
    assert fake.seeds == list(range(10, 40))
    assert done.exit_code == 3
    assert "these 30 runs were too gentle: it never rained" in done.output


def test_a_report_is_added_to_and_no_seed_is_run_twice(fake: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    assert run("--seeds", "0..5", "--report", file).exit_code == 0
    done = run("--seeds", "3..8", "--report", file)
    assert done.exit_code == 0
    assert fake.seeds == [0, 1, 2, 3, 4, 5, 6, 7]
    assert "holds 5 runs; 2 of these seeds are not run again" in done.output
    assert "8 runs, " in done.output
    kind, totals = read(file)
    assert kind == Kind.of(None, None).as_json()
    assert totals.seeds == set(range(8))
    assert totals.elapsed_s > 0


def test_an_interrupted_sweep_says_and_keeps_what_it_has(fake: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    fake.interrupted_after = 4
    done = run("--seeds", "0..9", "--report", file)
    assert done.exit_code == 128 + signal.SIGINT
    assert "4 runs, " in done.output
    assert "it was interrupted after 4 runs" in done.output
    fake.interrupted_after = None
    assert run("--seeds", "0..9", "--report", file).exit_code == 0
    assert fake.seeds == list(range(9))
    assert read(file)[1].seeds == set(range(9))


def test_a_rule_that_was_broken_in_another_sitting_is_not_forgotten(
    fake: Sweep, tmp_path: Path
) -> None:
    file = tmp_path / "sweep.json"
    fake.broken = [2]
    assert run("--seeds", "0..5", "--report", file).exit_code == 1
    done = run("--seeds", "0..5", "--report", file)
    assert fake.seeds == [0, 1, 2, 3, 4]
    assert done.exit_code == 1
    assert "seed 2: a slot was decided twice" in done.output


def test_runs_with_other_faults_are_refused_before_any_run(fake: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    assert run("--seeds", "0..5", "--report", file).exit_code == 0
    done = run("--seeds", "5..9", "--faults", "kill", "--report", file)
    assert done.exit_code == 2
    assert "with other faults, and they do not add up" in done.output
    assert fake.seeds == [0, 1, 2, 3, 4]


def test_a_report_that_cannot_be_written_is_told(fake: Sweep, tmp_path: Path) -> None:
    done = run("--seeds", "0..5", "--report", tmp_path / "nowhere" / "sweep.json")
    assert done.exit_code == 1
    assert "5 runs, " in done.output
    assert "sweep.json cannot be written: No such file or directory" in done.output
    assert fake.seeds == [0, 1, 2, 3, 4]


def test_a_report_goes_with_many_seeds_only(tmp_path: Path) -> None:
    done = run("--seed", "1", "--report", tmp_path / "sweep.json")
    assert done.exit_code == 2
    assert "--report goes with --seeds and --minutes." in done.output


def test_ctrl_c_begins_no_further_run_and_loses_none() -> None:
    reports: list[Report] = []

    def ended(report: Report) -> bool:
        if not reports:
            os.kill(os.getpid(), signal.SIGINT)
        reports.append(report)
        return True

    before = signal.getsignal(signal.SIGINT)
    assert not sweep(count(), nodes=3, faults=frozenset(), ended=ended)
    assert sorted(report.seed for report in reports) == list(range(len(reports)))
    assert len(reports) <= 2 * (os.cpu_count() or 1)
    assert signal.getsignal(signal.SIGINT) is before

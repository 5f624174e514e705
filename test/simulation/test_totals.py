"""Totals of many runs: they add up in any number of sittings, and say whether much was tried."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from kvpaxos.simulator.faults import ALL_FAULTS, FAULTS
from kvpaxos.simulator.ledger import Kind, LedgerError, open_totals, read, write
from kvpaxos.simulator.run import EXPECTED_MIN, Report
from kvpaxos.simulator.summary import BEGIN, END, inserted, main, summary
from kvpaxos.simulator.temper import HAPPENS, RUNS_MIN, misses
from kvpaxos.simulator.totals import Totals, ranges

KIND = Kind("0.1.0+abc", None, None)


def a_report(seed: int, **counts: int) -> Report:
    """Return what a run of average weather comes to."""
    happened = dict.fromkeys((*HAPPENS, "done", "done before the calm"), 1)
    usual = Counter({**happened, "slots": 20 + seed % 7, "leaders": 3, **counts})
    return Report(seed, None, "", 10.0, 3, Counter(dict.fromkeys(ALL_FAULTS, 1)), 20.0, usual)


def some_totals(count: int = RUNS_MIN, **counts: int) -> Totals:
    """Return what so many such runs come to."""
    totals = Totals()
    for seed in range(count):
        totals.add(a_report(seed, **counts))
    return totals


def misses_of(totals: Totals) -> list[str]:
    return misses(totals, nodes=None, faults=None)


def test_a_run_in_which_nothing_goes_wrong_is_too_gentle_if_something_should_have() -> None:
    def unfit(kills: int, expected: float) -> str:
        counts = Counter(slots=3, done=2)
        return Report(1, None, "", 9.0, 3, Counter(kill=kills), expected, counts).unfit or "fit"

    assert unfit(0, EXPECTED_MIN).startswith("too gentle")
    assert unfit(1, EXPECTED_MIN) == unfit(0, EXPECTED_MIN - 1) == "fit"


@pytest.mark.parametrize("counts", [{"slots": 0, "done": 1}, {"slots": 1, "done": 0}])
def test_a_run_in_which_nothing_is_done_is_too_harsh(counts: dict[str, int]) -> None:
    report = Report(1, None, "", 10.0, 3, Counter(kill=1), 1.0, Counter(counts))
    assert report.unfit is not None
    assert report.unfit.startswith("too harsh")


def test_a_broken_rule_is_not_called_gentle_too() -> None:
    totals = Totals()
    totals.add(Report(7, "a slot was decided twice", "", 10.0, 3))
    assert totals.wrong == {7: "a slot was decided twice"}
    assert totals.unfit == {}


def test_runs_of_average_weather_are_neither_too_gentle_nor_too_harsh() -> None:
    assert misses_of(some_totals()) == []


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_fault_that_never_happens_in_many_runs_is_missed(kind: str) -> None:
    totals = some_totals()
    totals.faults[kind].times = 0
    assert misses_of(totals) == [f"too gentle: {kind!r} has never happened"]
    del totals.faults[kind]
    assert misses_of(totals) == [f"too gentle: {kind!r} has never happened"]
    assert misses(totals, nodes=None, faults=ALL_FAULTS - {kind}) == []


def test_a_ring_is_not_missed_among_three_nodes() -> None:
    totals = some_totals()
    totals.faults["ring"].times = 0
    assert misses(totals, nodes=3, faults=None) == []
    assert misses(totals, nodes=5, faults=None) != []


@pytest.mark.parametrize("name", HAPPENS)
def test_what_never_comes_of_faults_in_many_runs_is_missed(name: str) -> None:
    assert misses_of(some_totals(**{name: 0})) == [f"too gentle: {HAPPENS[name]}"]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"leaders": 2}, "too gentle: leaders have changed in 0% of the runs only"),
        (
            {"done before the calm": 0},
            "too harsh: in 100% of the runs nothing was acknowledged before the calm",
        ),
        ({"slots": 2}, "too harsh: half of the runs have decided at most 2 slots"),
    ],
)
def test_many_runs_that_try_little_are_missed(counts: dict[str, int], sentence: str) -> None:
    assert misses_of(some_totals(**counts)) == [sentence]
    assert misses_of(some_totals(RUNS_MIN - 1, **counts)) == []


def test_totals_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    totals = some_totals(5)
    totals.add(Report(11, "a slot was decided twice", "", 10.0, 3))
    totals.elapsed_s = 4.5
    write(tmp_path / "sweep.json", KIND, totals)
    assert open_totals(tmp_path / "sweep.json", KIND) == totals
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_two_sittings_come_to_what_one_would(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    for seeds in (range(3), range(3, 8)):
        totals = open_totals(file, KIND)
        for seed in seeds:
            totals.add(a_report(seed))
        write(file, KIND, totals)
    assert open_totals(file, KIND) == some_totals(8)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Kind("0.1.0+def", None, None), "of another kvpaxos (0.1.0+abc; this is 0.1.0+def)"),
        (Kind(KIND.source, 5, None), "with other nodes"),
        (Kind(KIND.source, 5, ("kill",)), "with other nodes and faults"),
    ],
)
def test_runs_of_another_kind_are_not_added_to(kind: Kind, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    write(file, KIND, some_totals(5))
    before = file.read_bytes()
    with pytest.raises(LedgerError) as refused:
        open_totals(file, kind)
    assert sentence in str(refused.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"kind": {}, "totals": {"seeds": 1}})])
def test_a_file_of_something_else_is_not_added_to(text: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    file.write_text(text)
    with pytest.raises(LedgerError, match="holds no totals of simulated runs"):
        read(file)


def test_ranges_leave_out_what_is_not_there() -> None:
    assert ranges([5, 1, 2, 3, 9]) == [[1, 4], [5, 6], [9, 10]]


def test_a_summary_stands_between_its_markers_and_nothing_else_changes(tmp_path: Path) -> None:
    page, file = tmp_path / "page.md", tmp_path / "sweep.json"
    totals = some_totals(5)
    totals.add(Report(11, "a slot was decided twice", "", 10.0, 3))
    write(file, KIND, totals)
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main([str(file), str(page)]) == 0
    written = page.read_text()
    text = summary(KIND.as_json(), totals)
    assert written == f"before\n{BEGIN}\n\n{text}\n\n{END}\nafter\n"
    assert "seeds 0..5, 11..12: 6 runs" in text
    assert "Seed 11: a slot was decided twice." in text
    assert "| slots | 0 | 21.5 | 24 |" in text
    assert "| kill | 5 | 5 |" in text
    assert main([str(file), str(page)]) == 0
    assert page.read_text() == written


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_a_page_without_its_two_markers_is_not_changed(page: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there must be one"):
        inserted(page, "text")
    file, path = tmp_path / "sweep.json", tmp_path / "page.md"
    write(file, KIND, some_totals(2))
    path.write_text(page)
    assert main([str(file), str(path)]) == 1
    assert path.read_text() == page

"""What a run is made of can be written down, played again, and made shorter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kvpaxos.cli.main import main
from kvpaxos.errors import ConfigError
from kvpaxos.simulator.faults import FAULTS
from kvpaxos.simulator.run import Report, perform, simulate
from kvpaxos.simulator.script import HEAD, Script, Strike, read_script, write_script
from kvpaxos.simulator.shrink import rule_of, shrink
from kvpaxos.simulator.world import World

SEED = 7

STRIKES = (Strike(1, 0.5, "kill"), Strike(4, 1.25, "one way"), Strike(9, 2.0, "kill"))


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script(SEED), id="a seed"),
        pytest.param(Script(SEED, 5, frozenset({"kill", "loss"})), id="chosen faults"),
        pytest.param(
            Script(SEED, None, None, frozenset({"loss", "delay"}), 2, STRIKES), id="strikes"
        ),
        pytest.param(Script(SEED, strikes=()), id="no strikes"),
    ],
)
def test_what_is_written_is_read_again(script: Script) -> None:
    assert read_script(write_script(script)) == script


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        pytest.param("", "The first line is ''", id="nothing"),
        pytest.param("kvpaxos 0.0.0 simulation\nseed 1", "and of a script it is", id="another"),
        pytest.param(HEAD, "names no seed", id="no seed"),
        pytest.param(f"{HEAD}\nseed x", "should be a number", id="a seed of letters"),
        pytest.param(f"{HEAD}\nseed 1\nclients 0", "should be a number", id="no clients"),
        pytest.param(f"{HEAD}\nseed 1\nwhat", "Line 3 is 'what'", id="a line of no kind"),
        pytest.param(f"{HEAD}\nseed 1\nfaults rain", "'rain' is not among", id="no such fault"),
        pytest.param(f"{HEAD}\nseed 1\nwithout kill", "'kill' is not among", id="it strikes"),
        pytest.param(f"{HEAD}\nseed 1\nstrike 3", "'3' is no strike", id="no strike"),
        pytest.param(f"{HEAD}\nseed 1\nstrike 3 at 1.0: rain", "no strike", id="of no fault"),
    ],
)
def test_what_is_no_script_is_refused_with_a_sentence(lines: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_script(lines)


@pytest.fixture(scope="module")
def report() -> Report:
    return simulate(SEED)


def test_the_strikes_of_a_seed_written_down_give_the_same_history(report: Report) -> None:
    script = Script(SEED)
    whole = replace(script, strikes=script.plan(script.climate()))
    assert perform(read_script(write_script(whole))).digest == report.digest


def test_those_that_came_give_it_too_with_those_that_found_nothing_to_strike(
    report: Report,
) -> None:
    came = Script(SEED, strikes=report.strikes)
    assert perform(read_script(write_script(came))).digest == report.digest


def test_what_was_left_out_does_not_strike(report: Report) -> None:
    assert report.strikes
    again = perform(Script(SEED, strikes=report.strikes[:1]))
    assert again.wrong is None
    assert {strike.number for strike in again.strikes} <= {report.strikes[0].number}


def broken_by(*numbers: int) -> Callable[[Script], Report]:
    """Return what runs scripts, and says that a rule is broken if all these strikes are there."""

    def run(script: Script) -> Report:
        strikes = script.strikes or ()
        broken = {strike.number for strike in strikes}.issuperset(numbers)
        wrong = f"slot {len(strikes)} is broken" if broken else None
        return Report(SEED, wrong, "", 1.0, 3, strikes=strikes)

    return run


@pytest.mark.parametrize("numbers", [(1,), (30,), (3, 29), (1, 2, 30), tuple(range(1, 31)), ()])
def test_only_the_strikes_that_it_takes_are_left(numbers: tuple[int, ...]) -> None:
    strikes = tuple(Strike(number, 0.1 * number, "kill") for number in range(1, 31))
    script, run = Script(SEED, strikes=strikes), broken_by(*numbers)
    shortest, last = shrink(script, run(script), run)
    assert tuple(strike.number for strike in last.strikes) == numbers
    assert shortest.strikes == last.strikes
    assert shortest.clients == 1


def test_a_run_that_breaks_another_rule_is_no_shorter_form() -> None:
    strikes = tuple(Strike(number, 0.1 * number, "kill") for number in range(1, 5))

    def run(script: Script) -> Report:
        left = script.strikes or ()
        wrong = "a slot was decided twice" if len(left) == len(strikes) else "nobody serves"
        return Report(SEED, wrong, "", 1.0, 3, strikes=left)

    shortest, _ = shrink(Script(SEED, strikes=strikes), run(Script(SEED, strikes=strikes)), run)
    assert shortest.strikes == strikes


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("n01 has decided slot 17", "n02 has decided slot 3", True),
        ("the key b'k1' is wrong", "the key b'k22' is wrong", True),
        ("n01 begins life 3 a second time", "n01 has decided slot 3", False),
    ],
)
def test_a_rule_is_what_a_sentence_says_without_its_names(
    one: str, other: str, *, same: bool
) -> None:
    assert (rule_of(one) == rule_of(other)) == same


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments])


def test_a_broken_rule_is_shrunk_and_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(world: World) -> bool:
        world.checker.fail(f"planted at {world.agenda.now}")
        return True

    monkeypatch.setitem(FAULTS, "isolation", fail)
    arguments = ("--seed", "0", "--nodes", "3", "--faults", "isolation,flapping link,loss")
    result = call(*arguments, "--shrink")
    assert result.exit_code == 1
    assert "planted at" in result.stderr
    path = tmp_path / "script"
    path.write_text(result.stdout)
    (strike,) = read_script(result.stdout).strikes or ()
    assert strike.fault == "isolation"
    again = call("--replay", str(path))
    assert again.exit_code == 1
    assert "planted at" in again.stderr


def test_a_run_that_breaks_no_rule_has_nothing_to_shrink() -> None:
    result = call("--seed", str(SEED), "--shrink")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing to shrink" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--seeds", "0..2", "--shrink"), "--shrink goes with --seed"),
        (("--minutes", "1", "--picture", "x.svg"), "--picture goes with --seed"),
        (("--seed", "3", "--picture", "x.svg", "--between", "2..1"), "is no part of the time"),
        (("--replay", "x", "--nodes", "3"), "has its nodes and its faults in it"),
        (("--replay", "x", "--seed", "3"), "Say one of"),
        (("--replay", "/nowhere/x"), "name a file that can be read"),
        (("--seed", "3", "--picture", "/nowhere/x.svg"), "name a file that can be written"),
    ],
)
def test_what_does_not_go_together_is_said(arguments: tuple[str, ...], sentence: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_file_that_is_no_script_is_named(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_bytes(b"\xff\xfe")
    result = call("--replay", str(path))
    assert result.exit_code == 2
    assert f"{path}: this is not text" in result.stderr

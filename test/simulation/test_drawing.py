"""A picture of a run shows what happened in it."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from click.testing import CliRunner

from kvpaxos.cli.main import main
from kvpaxos.simulator.drawing import draw, page
from kvpaxos.simulator.recorder import Recorder
from kvpaxos.simulator.run import Report, perform
from kvpaxos.simulator.script import Script

SEED = 0
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def seen() -> tuple[Recorder, Report]:
    recorder = Recorder()
    report = perform(Script(SEED), recorder=recorder)
    return recorder, report


def test_to_look_changes_nothing(seen: tuple[Recorder, Report]) -> None:
    assert perform(Script(SEED)).digest == seen[1].digest


def test_no_message_arrives_before_it_was_sent(seen: tuple[Recorder, Report]) -> None:
    arrows = seen[0].arrows
    assert len(arrows) > 20
    assert all(arrow.arrived is None or arrow.arrived >= arrow.sent for arrow in arrows)


def test_a_vote_is_not_shown_before_a_sync_of_its_node_has_ended(
    seen: tuple[Recorder, Report],
) -> None:
    ends = {(span.node, span.end) for span in seen[0].syncs}
    votes = [arrow for arrow in seen[0].arrows if arrow.kind == "Accepted"]
    assert votes
    assert all((vote.sender, vote.sent) in ends for vote in votes)


def test_all_that_was_decided_is_marked(seen: tuple[Recorder, Report]) -> None:
    recorder, report = seen
    marked = [mark.what.split("-") for mark in recorder.marks if mark.kind == "decided"]
    slots = {slot for what in marked for slot in range(int(what[0]), int(what[-1]) + 1)}
    assert slots == set(range(1, report.counts["slots"] + 1))


def test_lives_follow_each_other(seen: tuple[Recorder, Report]) -> None:
    for node in ("n01", "n02", "n03"):
        spans = [span for span in seen[0].conditions if span.node == node]
        assert [span.begin for span in spans[1:]] == [span.end for span in spans[:-1]]


def drawn(recorder: Recorder, wrong: str | None) -> Element:
    return fromstring(draw(recorder, "a title", wrong))  # noqa: S314  (we have made it)


def test_the_picture_has_a_line_for_each_node_and_an_arrow_for_each_message(
    seen: tuple[Recorder, Report],
) -> None:
    recorder, _ = seen
    picture = drawn(recorder, None)
    kinds = [path.get("class", "").split() for path in picture.iter(f"{SVG}path")]
    assert sum("arrow" in kind for kind in kinds) == len(recorder.arrows)
    assert sum("runs" in kind for kind in kinds) >= 3
    texts = {text.text for text in picture.iter(f"{SVG}text")}
    assert {"n01", "n02", "n03", "a title"} <= texts


def test_a_broken_rule_stands_in_the_picture(seen: tuple[Recorder, Report]) -> None:
    texts = {text.text for text in drawn(seen[0], "1 < 2").iter(f"{SVG}text")}
    assert "Broken: 1 < 2" in texts


def test_a_page_has_the_whole_picture_in_it(seen: tuple[Recorder, Report]) -> None:
    svg = draw(seen[0], "a title", None)
    assert svg in page(svg, "a title")


@pytest.mark.parametrize(("name", "begin"), [("run.svg", "<svg"), ("run.html", "<!DOCTYPE html>")])
def test_the_command_draws_a_run(tmp_path: Path, name: str, begin: str) -> None:
    path = tmp_path / name
    result = CliRunner().invoke(main, ["simulate", "--seed", str(SEED), "--picture", str(path)])
    assert result.exit_code == 0
    assert path.read_text().startswith(begin)


def test_a_part_of_the_time_is_drawn_alone(seen: tuple[Recorder, Report]) -> None:
    recorder, _ = seen
    begin, end = 1.5, 2.5
    part = recorder.between(begin, end)
    assert 0 < len(part.arrows) < len(recorder.arrows)
    assert all(begin <= arrow.sent and (arrow.arrived or end) <= end for arrow in part.arrows)
    for span in (*part.conditions, *part.terms, *part.syncs):
        assert begin <= span.begin < span.end <= end
    assert all(begin <= mark.at <= end for mark in part.marks)

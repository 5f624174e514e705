"""``kvpaxos check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kvpaxos.checking.history import Call
from kvpaxos.checking.lines import call_line
from kvpaxos.cli.main import main
from test.checking.test_explanation import STALE
from test.checking.test_linearizability import GET, did, maybe, put


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["check", *arguments], input=stdin)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(calls: list[Call]) -> str:
    Path("h.jsonl").write_bytes(b"".join(map(call_line, calls)))
    return "h.jsonl"


RIGHT = [did(put("a"), 0, 1), did(GET, 2, 3, b"a")]


def test_a_history_that_is_linearizable() -> None:
    assert run(write(RIGHT)) == (0, "linearizable: 2 calls on 1 key\n", "")
    assert run("-", stdin=call_line(RIGHT[0])) == (0, "linearizable: 1 call on 1 key\n", "")
    assert run(write([])) == (0, "linearizable: 0 calls on 0 keys\n", "")


def test_a_history_that_is_not_is_told_and_drawn() -> None:
    status, output, errors = run(write(STALE), "--picture", "out.svg")
    assert status == 1
    first, *told = output.splitlines()
    assert first == "not linearizable: 3 calls on 1 key"
    assert '    c3: get -> "blue" (104 to 105)' in told
    assert errors == 'kvpaxos: out.svg shows where key "k" breaks\n'
    assert Path("out.svg").read_text().startswith("<svg ")


def test_a_history_that_is_undecided() -> None:
    calls = [did(put(f"{n}"), 0, 9) for n in range(9)] + [did(GET, 10, 11, b"no")]
    status, output, _ = run(write(calls), "--steps", "50")
    assert status == 4
    assert output.splitlines()[0] == "undecided: 10 calls on 1 key"
    assert 'key "k": 50 steps are not enough to tell; give it more with --steps' in output


def test_the_same_for_programs() -> None:
    status, output, _ = run(write([*STALE, maybe(put("z"), 0)]), "--json")
    told = json.loads(output)
    assert status == 1
    assert (told["outcome"], told["keys"], told["calls"]) == ("broken", 1, 4)
    [found] = told["breaks"]
    assert found["held"] == [{"value": "red"}, {"value": "z"}]
    lines = [json.loads(call_line(call)) for call in STALE]
    assert (found["core"], found["offending"]) == (lines, lines[-1])
    assert json.loads(run(write(RIGHT), "--json")[1])["breaks"] == []


def test_what_is_no_history_is_refused_with_the_line_and_the_mend() -> None:
    Path("h.jsonl").write_bytes(call_line(RIGHT[0]) + b'{"client":1}\n')
    sentence = "kvpaxos: h.jsonl: line 2: "
    status, output, errors = run("h.jsonl")
    assert (status, output) == (2, "")
    assert errors.startswith(sentence)
    assert errors.count("\n") == 1
    status, _, errors = run("no.jsonl")
    assert status == 2
    assert errors == (
        "kvpaxos: no.jsonl: No such file or directory; name a file with a history, or - for"
        " standard input.\n"
    )


def test_a_picture_that_cannot_be_written_changes_no_verdict() -> None:
    status, output, errors = run(write(STALE), "--picture", "no/out.svg")
    assert status == 1
    assert output.startswith("not linearizable")
    assert "no/out.svg: No such file or directory; there is no picture" in errors

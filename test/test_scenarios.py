"""Every transcript in ``test/scenarios`` still tells the truth.

After a deliberate change run ``pytest --rewrite`` and read the diff: commit it only if you
can explain every line.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from test.simulator.scenario import Scenario, parse, rewrite

TRANSCRIPTS = sorted(Path(__file__).with_name("scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite"):
        rewrite(path)
    scenario = Scenario()
    for block in parse(path.read_text()):
        assert scenario.run(block.command) == block.outcome, block.command


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 9

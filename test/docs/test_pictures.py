"""The picture of a run in the docs is what the command draws; ``pytest --rewrite`` draws it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from kvpaxos.cli.main import main

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


def test_the_picture_of_a_run_is_what_the_command_draws(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    script, path = PICTURES / "simulation.txt", tmp_path / "simulation.svg"
    arguments = ["--replay", str(script), "--picture", str(path), "--between", "0.9..1.7"]
    result = CliRunner().invoke(main, ["simulate", *arguments])
    assert result.exit_code == 0
    if request.config.getoption("--rewrite"):
        (PICTURES / "simulation.svg").write_bytes(path.read_bytes())
    assert (PICTURES / "simulation.svg").read_text() == path.read_text()

"""A slice of what ``make exhaustive`` does to a state: no damaged block is believed."""

from __future__ import annotations

import subprocess
import sys

SWEEP = "import sys; from test.rot.states import main; sys.exit(main(sys.argv[1:]))"

NEVER_DAMAGED = "from kvpaxos.engine import rocks; rocks._CORRUPTION = 'never said'; "
"""A bug: what RocksDB says of damaged bytes is taken for a disk that refuses."""


def swept(bug: str = "") -> subprocess.CompletedProcess[str]:
    """Run a slice of the sweep in a process of its own, which is copied for each case."""
    return subprocess.run(  # noqa: S603  (our own program)
        [sys.executable, "-c", bug + SWEEP, "--every", "41"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_a_damaged_block_of_a_state_is_found_and_another_state_can_take_its_place() -> None:
    done = swept()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "damaged blocks were found, or took nothing away" in done.stdout
    assert "found at the start" in done.stdout
    assert "found by scan" in done.stdout


def test_damage_that_would_end_a_node_is_named() -> None:
    done = swept(NEVER_DAMAGED)
    assert done.returncode == 1
    assert "believed, or not survived" in done.stdout

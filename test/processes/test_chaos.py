"""A slice of what ``make chaos`` does: real nodes, some faults, and clients that see no wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvpaxos.checking.history import UNTOLD
from kvpaxos.checking.linearizability import by_key
from kvpaxos.checking.lines import read_history
from test.chaos.run import keep, run
from test.processes.cluster import cluster

pytestmark = pytest.mark.timeout(180)

SECONDS = 3.0


def test_what_clients_of_nodes_in_trouble_see_is_right(tmp_path: Path) -> None:
    with cluster(tmp_path) as made:
        outcome = run(made, "a slice", SECONDS, None)
    assert list(outcome.troubles) == []
    assert sum(call.outcome == "done" for call in outcome.calls) > 20
    assert len(outcome.slots) > 20
    assert outcome.figures["faults"]

    # And it would have been noticed. Not if it were a count or a stale read: no order judges those.
    judged, _ = by_key(outcome.calls)
    right = next(
        call
        for calls in judged.values()
        for call in calls
        if call.outcome == "done" and call.told is not UNTOLD
    )
    wrong = replace(right, told=b"never written")
    calls = [wrong if call is right else call for call in outcome.calls]
    keep(replace(outcome, calls=calls, troubles=["wrong"]), tmp_path / "kept")
    with (tmp_path / "kept" / "history.jsonl").open("rb") as lines:
        assert list(read_history("kept", lines)) == calls
    assert (tmp_path / "kept" / "break-0.svg").exists()

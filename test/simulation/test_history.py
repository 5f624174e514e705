"""Answers that cannot be are found, and it is said which: here nodes give them on purpose."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from twisted.internet.defer import Deferred, succeed

from kvpaxos.cli import simulating
from kvpaxos.cli.main import main
from kvpaxos.node.face import Face
from kvpaxos.node.http.store import Receipt, Written
from kvpaxos.simulator.run import Report, simulate
from kvpaxos.store.commands import Operation
from kvpaxos.store.entry import Entry
from kvpaxos.store.requests import Identity


def _broken(said: str, faults: Collection[str] = (), *, first: int = 0) -> Report:
    """Return the first world, from this one on, in which this is said to be wrong."""
    for seed in range(first, first + 20):
        report = simulate(seed, nodes=3, faults=frozenset(faults))
        if report.wrong is not None and said in report.wrong:
            return report
    raise AssertionError("nothing was found")


def test_a_stale_read_that_shows_less_than_the_slot_that_it_names_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nodes have a cache for stale reads, which they forget to throw away."""
    cached: dict[tuple[Face, bytes], Entry | None] = {}
    reading_stale: list[Face] = []
    read, get = Face.read, Face.get

    def planted_read(self: Face, *, stale: bool, timeout_s: float) -> Deferred[Receipt]:
        if stale:
            reading_stale.append(self)
        return read(self, stale=stale, timeout_s=timeout_s)

    def planted_get(self: Face, key: bytes) -> Entry | None:
        entry = get(self, key)
        if not reading_stale:
            return entry
        reading_stale.clear()
        return cached.setdefault((self, key), entry)

    monkeypatch.setattr(Face, "read", planted_read)
    monkeypatch.setattr(Face, "get", planted_get)
    wrong = _broken("a stale read of the key").wrong
    assert wrong is not None
    assert "claims to rest on slot" in wrong
    assert "and shows what was there after slot" in wrong


def test_a_stale_read_that_goes_back_behind_what_its_node_has_answered_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receipt = Face.receipt
    monkeypatch.setattr(Face, "receipt", lambda self: replace(receipt(self), slot=0))
    assert _broken("rests on slot 0, and the same run has answered from slot").wrong is not None


def test_reads_that_ask_nobody_and_say_they_did_are_found_explained_and_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def planted(self: Face, *, stale: bool, **_: float) -> Deferred[Receipt]:
        return succeed(replace(self.receipt(), read="stale" if stale else "quorum"))

    monkeypatch.setattr(Face, "read", planted)
    # What this process logs is for other tests, too.
    monkeypatch.setattr(simulating, "be_quiet", lambda: None)
    seed = _broken('no order of the requests on the key "k', {"delay", "isolation"}, first=9).seed
    seen, picture = tmp_path / "seen.jsonl", tmp_path / "break.svg"
    arguments = ["--nodes", "3", "--faults", "delay,isolation", "--history", f"{seen}"]
    run = CliRunner().invoke(main, ["simulate", "--seed", f"{seed}", *arguments])
    assert run.exit_code == 1
    assert "contradict each other, whatever came of all the other calls:" in run.output
    assert "kvpaxos check seen.jsonl --picture break.svg" in run.output
    checked = CliRunner().invoke(main, ["check", f"{seen}", "--picture", f"{picture}"])
    assert checked.exit_code == 1, checked.output
    assert picture.read_bytes().startswith(b"<svg")


def test_a_request_that_is_answered_differently_when_it_is_sent_again_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nodes forget what is under an identity, and execute it each time."""
    write = Face.write

    def planted(
        self: Face, operation: Operation, _: Identity | None, *, timeout_s: float
    ) -> Deferred[Written]:
        return write(self, operation, None, timeout_s=timeout_s)

    monkeypatch.setattr(Face, "write", planted)
    assert "executed in slot" in (_broken("", {"ask twice"}).wrong or "")

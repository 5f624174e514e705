"""A cluster bears every kind of fault alone, and each kind does what its name says.

``KVPAXOS_SEED`` says which few kinds have their turn here, and in which worlds; with
``KVPAXOS_FAULTS=all`` all of them have.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from kvpaxos.errors import StateDamaged
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.climate import THEMES
from kvpaxos.simulator.contents import SECTOR, Contents
from kvpaxos.simulator.faults import ALL_FAULTS, FAULTS
from kvpaxos.simulator.network import Network, Weather
from kvpaxos.simulator.run import simulate
from kvpaxos.simulator.shelf import Kept, KeptEngine
from kvpaxos.simulator.wires import End, Wire

SEED = int(os.environ.get("KVPAXOS_SEED") or 0)
TURNS = 3
"""So many kinds have their turn at a time."""


def _kinds() -> list[str]:
    kinds = sorted(ALL_FAULTS)
    if os.environ.get("KVPAXOS_FAULTS") == "all":
        return kinds
    first = SEED * TURNS
    return [kinds[number % len(kinds)] for number in range(first, first + TURNS)]


def _brings(*kinds: str, about: str) -> None:
    """See that in one of a few worlds, which have only these faults, something comes about."""
    for seed in range(1, 30):
        report = simulate(seed, nodes=3, faults=kinds)
        assert report.wrong is None, f"seed {seed}: {report.wrong}"
        if report.counts[about]:
            return
    raise AssertionError(f"no world has {about}")


@pytest.mark.parametrize("kind", _kinds())
def test_a_cluster_bears_each_fault_alone(kind: str) -> None:
    report = simulate(SEED + 1, nodes=3, faults={kind})
    assert report.wrong is None, f"seed {SEED + 1}: {report.wrong}"
    assert set(report.faults) >= {kind}
    assert report.counts["done"] > 0


def test_peers_refuse_a_node_on_an_old_backup() -> None:
    _brings("old backup", about="peers refused")


def test_peers_refuse_the_second_process_of_a_node() -> None:
    _brings("cloned disk", about="peers refused")


def test_a_node_on_the_disk_of_another_one_refuses_to_start() -> None:
    _brings("other disk", about="processes ended")


def test_a_record_of_a_state_that_is_damaged_cannot_be_read_until_it_is_written_again() -> None:
    kept = Kept({b"a": b"1"})
    assert kept.rot(Random(0))
    engine = KeptEngine(kept, lambda: None, lambda _: None)
    with pytest.raises(StateDamaged, match="its checksum does not fit"):
        engine.get(b"a")
    with pytest.raises(StateDamaged):
        list(engine.snapshot().scan(b"", b"z"))
    engine.write({b"a": b"2"})
    assert engine.get(b"a") == b"2"


def _unsynced() -> Contents:
    file = Contents.of(b"." * 4 * SECTOR)
    file.write(0, b"a" * 2 * SECTOR)
    file.write(2 * SECTOR, b"b" * 2 * SECTOR)
    return file


def test_a_power_cut_loses_all_that_was_not_synced_if_it_is_told_to() -> None:
    file = _unsynced()
    assert file.cut_power(Random(0), "lost") == "lost"
    assert file.seen == b"." * 4 * SECTOR


def test_a_power_cut_tears_a_file_at_sectors_if_it_is_told_to() -> None:
    ways = {(file := _unsynced()).cut_power(Random(seed), "torn") for seed in range(20)}
    assert "torn" in ways
    assert {
        file.seen[n * SECTOR : (n + 1) * SECTOR].count(file.seen[n * SECTOR]) for n in range(4)
    } == {SECTOR}


def test_a_power_cut_keeps_a_file_or_loses_it_as_a_whole_if_it_is_told_to() -> None:
    assert {_unsynced().cut_power(Random(seed), "apart") for seed in range(20)} == {"lost", "kept"}


def test_a_relay_passes_on_twice_or_later_what_the_weather_says() -> None:
    network = Network(Agenda(), Random(0), Weather(duplication=0.5, reordering=0.5))
    passed = [network.relay_s() for _ in range(100)]
    assert network.counts["duplicated"] == sum(len(times) == 2 for times in passed) > 0
    assert network.counts["reordered"] == sum(times[0] > 0 for times in passed) > 0
    assert Network(Agenda(), Random(0), Weather()).relay_s() == (0.0,)


def test_nobody_waits_for_a_log_that_cannot_be_written_and_lines_are_lost() -> None:
    _brings("stuck log", "isolation", about="log lines lost")


def test_a_wire_that_is_closed_while_it_is_cut_carries_nothing_when_that_is_healed() -> None:
    class Sink:
        def __init__(self) -> None:
            self.came: list[bytes | End] = []

        def arrived(self, packet: bytes | End) -> None:
            self.came.append(packet)

    agenda, sink = Agenda(), Sink()
    network = Network(agenda, Random(0), Weather())
    wire = Wire(network, ("n01", "n02"), sink, lambda: None)
    heal = network.cut([("n01", "n02")])
    wire.send(b"before")
    while agenda.step(1.0):
        pass
    wire.close()
    wire.send("reset")
    heal()
    while agenda.step(2.0):
        pass
    assert sink.came == []


def test_themes_name_faults_that_strike() -> None:
    assert all(theme <= FAULTS.keys() for theme in THEMES)

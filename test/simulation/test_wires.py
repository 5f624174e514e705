"""What travels between simulated processes, and what does not."""

from __future__ import annotations

from random import Random

from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.network import Network, Weather
from kvpaxos.simulator.wires import End, Wire


class Sink:
    def __init__(self) -> None:
        self.packets: list[bytes | End] = []

    def arrived(self, packet: bytes | End) -> None:
        self.packets.append(packet)


def test_what_is_sent_by_a_wire_that_is_closed_does_not_arrive_once_it_is_healed() -> None:
    agenda, sink = Agenda(), Sink()
    network = Network(agenda, Random(0), Weather())
    wire = Wire(network, ("n01", "n02"), sink, lambda: None)
    heal = network.cut([("n01", "n02")])
    wire.send(b"stuck")
    assert agenda.step(1.0)
    assert network.counts["stuck"] == 1
    wire.close()
    wire.send(b"too late")
    heal()
    while agenda.step(2.0):
        pass
    assert sink.packets == []


def test_what_heals_one_cut_does_not_heal_another() -> None:
    network, way = Network(Agenda(), Random(0), Weather()), ("n01", "n02")
    first, second = network.cut([way]), network.cut([way])
    first()
    first()
    assert network.is_cut(way)
    network.heal_all()
    assert not network.is_cut(way)
    network.cut([way])
    second()
    assert network.is_cut(way)

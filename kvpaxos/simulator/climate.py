"""What a world is like: drawn from its seed, so that every kind of trouble has worlds of its own.

Were all faults always at work, nothing would ever be decided, and nothing tested.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from kvpaxos.config.cluster import ClusterConfig, ClusterStorage, NodeConfig
from kvpaxos.node.transfer import PIECE_BYTES
from kvpaxos.simulator.clients import Manners
from kvpaxos.simulator.network import Weather

LASTING: Final = 0.1
"""How often a world with pauses of minutes has a storm of minutes."""

STRETCH: Final = 12.0
"""So many times longer it lasts, and so much slower all goes on."""


THEMED: Final = 0.4
"""How often a world has a theme: few kinds of faults that go together, and these often."""

THEMES: Final[tuple[frozenset[str], ...]] = (
    # Disks that are lost while somebody lags, and is not heard.
    frozenset(
        {"lost disk", "lost state", "kill", "restart", "slow disk", "isolation", "one way", "pause"}
    ),
    # States that are lost, and travel.
    frozenset(
        {"lost state", "state rot", "kill", "restart", "death in a flush", "slow disk", "isolation"}
    ),
    # Journals that break off anywhere.
    frozenset(
        {"power cut", "lost writes", "torn writes", "reordered writes", "blackout", "journal rot"}
        | {"death before a sync", "death in a rotation", "failed sync", "failed write"}
    ),
    # Leaders who come and go.
    frozenset(
        {"cut leader", "pause", "clock freeze", "deaf node", "mute node", "one way", "chain"}
        | {"asymmetric", "flapping link", "bridge", "restart"}
    ),
    # Wrong disks.
    frozenset(
        {"old backup", "cloned disk", "other disk", "kill", "isolation", "broken connections"}
    ),
    # Messages that are late, or lost with their connection.
    frozenset(
        {"broken connections", "half-open connection", "one-way loss", "cut leader", "pause"}
        | {"stuck disk", "death before a sync"}
    ),
)
"""What may be such a theme."""

KINDRED: Final = 0.8
"""The share of its kinds that a world has which has a theme."""


@dataclass(frozen=True, slots=True)
class Climate:
    """One draw.

    :ivar weather: the network, while there are faults.
    :ivar sync_s: the least and the most that a disk needs for a sync.
    :ivar drift: how much faster or slower than others a clock may run, as a share.
    :ivar faults_s: the mean time between two faults of each kind that there is.
    :ivar fair_s: how long there are none before that, at most: until something is decided.
    :ivar storm_s: how long there are faults.
    :ivar clients: how many there are, and ``manners`` how they behave.
    :ivar piece_bytes: as much of a state as travels at once.
    """

    nodes: int
    weather: Weather
    sync_s: tuple[float, float]
    drift: float
    storage: ClusterStorage
    faults_s: dict[str, float]
    fair_s: float
    storm_s: float
    clients: int
    manners: Manners
    piece_bytes: int


def draw(random: Random, faults: Collection[str], *, nodes: int | None, chosen: bool) -> Climate:
    """Draw a world.

    :param faults: the kinds of faults that there may be.
    :param nodes: how many nodes there are; chance decides if it is None.
    :param chosen: whether somebody has asked for these faults: then there are all of them.
    """
    size = random.choice((3, 3, 3, 5))
    share, kinds = random.choice((0.15, 0.3, 0.5)), frozenset(faults)
    if not chosen and random.random() < THEMED:
        share, kinds = KINDRED, kinds & random.choice(THEMES)
    # Where one fault follows the other nothing is done that could go wrong.
    pace = random.choice((1.0, 2.0, 4.0))
    climate = Climate(
        nodes=nodes or size,
        weather=_draw_weather(random, faults, chosen=chosen),
        sync_s=random.choice(((0.0001, 0.001), (0.001, 0.02), (0.005, 0.15))),
        drift=(random.choice((0.0, 0.001, 0.05)) or 0.01 * chosen) if "drift" in faults else 0.0,
        storage=_draw_storage(random),
        faults_s={
            fault: pace * random.uniform(0.5, 6.0)
            for fault in sorted(kinds)
            if random.random() < share or chosen
        },
        # Some clusters have to form in the midst of it.
        fair_s=random.choice((0.0, 3.0, 3.0, 3.0, 3.0)),
        storm_s=random.uniform(4.0, 15.0),
        clients=random.choice((2, 4, 8)),
        manners=_draw_manners(random, faults, chosen=chosen),
        piece_bytes=PIECE_BYTES,
    )
    lasts = random.random() < LASTING
    # States are small here, and would always come in one piece.
    climate = replace(climate, piece_bytes=random.choice((256, 2048, PIECE_BYTES)))
    return _stretched(climate) if lasts and "long pause" in climate.faults_s else climate


def _stretched(climate: Climate) -> Climate:
    """Return ``climate`` with a storm of minutes, as a pause may last, and little else in it."""
    manners = replace(climate.manners, pause_s=STRETCH * climate.manners.pause_s)
    faults_s = {fault: STRETCH * mean_s for fault, mean_s in climate.faults_s.items()}
    return replace(climate, storm_s=STRETCH * climate.storm_s, faults_s=faults_s, manners=manners)


def without(climate: Climate, kind: str) -> Climate:
    """Return ``climate`` without something that goes on all the time."""
    weather, manners = climate.weather, climate.manners
    match kind:
        case "loss":
            weather = replace(weather, loss=0.0)
        case "bit flip":
            weather = replace(weather, flips=0.0)
        case "delay":
            weather = replace(weather, delay_s=Weather().delay_s)
        case "duplication":
            weather = replace(weather, duplication=0.0)
        case "reordering":
            weather = replace(weather, reordering=0.0)
        case "drift":
            return replace(climate, drift=0.0)
        case "give up":
            manners = replace(manners, gives_up=0.0)
        case "ask twice":
            manners = replace(manners, asks_twice=0.0)
        case _:
            raise AssertionError(f"{kind} is nothing that goes on all the time")
    return replace(climate, weather=weather, manners=manners)


def settings(climate: Climate) -> ClusterConfig:
    """Return the settings of the cluster in this world."""
    names = [f"n{number:02}" for number in range(1, climate.nodes + 1)]
    return ClusterConfig(
        # A node is reached by its name: addresses mean nothing here.
        tuple(NodeConfig(name, f"{name}:http", name, name, None, f"/{name}") for name in names),
        storage=climate.storage,
        source="a simulation",
    )


def _draw_weather(random: Random, faults: Collection[str], *, chosen: bool) -> Weather:
    slowest_s = random.choice((0.001, 0.001, 0.01, 0.1))
    slowest_s = max(slowest_s, 0.03 * chosen) if "delay" in faults else 0.001
    loss = random.choice((0.0, 0.0, 0.01, 0.05))
    flips = random.choice((0.0, 0.0, 0.0, 0.002))
    relayed = random.choice((0.0, 0.01, 0.05)) or 0.01 * chosen
    return Weather(
        delay_s=(0.0001, slowest_s),
        loss=(loss or 0.01 * chosen) if "loss" in faults else 0.0,
        flips=(flips or 0.001 * chosen) if "bit flip" in faults else 0.0,
        duplication=relayed if "duplication" in faults else 0.0,
        reordering=relayed if "reordering" in faults else 0.0,
    )


def _draw_manners(random: Random, faults: Collection[str], *, chosen: bool) -> Manners:
    gives_up, asks_twice = random.choice((0.0, 0.0, 0.3)), random.choice((0.0, 0.1, 0.3))
    return Manners(
        keys=random.choice((1, 3, 10)),
        pause_s=random.choice((0.02, 0.1, 0.3)),
        gives_up=(gives_up or 0.3 * chosen) if "give up" in faults else 0.0,
        asks_twice=(asks_twice or 0.1 * chosen) if "ask twice" in faults else 0.0,
    )


def _draw_storage(random: Random) -> ClusterStorage:
    """Draw small bounds, so that they are reached: segments rotate, and much is forgotten."""
    segment_bytes = random.choice((32, 64)) * 1024
    return ClusterStorage(
        segment_bytes=segment_bytes,
        journal_bytes_max=random.choice((1, 2, 4)) * segment_bytes,
        snapshot_slots=random.choice((2, 5, 20, 100)),
        scan_bytes_per_s=random.choice((0, 1024 * 1024)),
        scan_every_s=10,
    )

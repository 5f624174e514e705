"""What a world is like: drawn at random, so that every kind of trouble has worlds of its own.

Were all faults always at work, nothing would ever be decided, and nothing tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from kvpaxos.paxos.limits import Limits, Timing
from test.simulator.network import Weather

Fault = Literal[
    "crash",
    "partition",
    "bridge",
    "one way",
    "break",
    "deaf",
    "pause",
    "stuck",
    "leave",
    "persist",
    "usurp",
    "lose disk",
    "lose state",
]

LOSSES: tuple[Fault, ...] = ("lose disk", "lose state")

FAULTS = tuple(kind for kind in get_args(Fault) if kind not in LOSSES)


@dataclass(frozen=True)
class Climate:
    """One draw.

    :ivar step_deaths: how probable it is to die in the middle of any one step.
    :ivar refusals: how probable it is that a disk refuses any one write.
    :ivar journal_slots_max: how many slots a journal holds for those that lag; 0 for any number.
    :ivar piece_bytes: how much of a state is sent at once.
    :ivar impaired_max: how many nodes may at a time be without what they have lost.
    :ivar faults_s: the mean time between two faults of each kind.
    :ivar requests_s: the mean time between two requests of clients.
    :ivar appenders: how many clients there are that send requests again.
    :ivar storm_s: how long there are faults.
    :ivar calm_s: how long it may then take until everything works again; 0 if it may not.
    """

    nodes: int
    weather: Weather
    sync_s: tuple[float, float]
    limits: Limits
    timing: Timing
    tick_s: float
    step_deaths: float
    faults_s: dict[Fault, float]
    requests_s: float
    storm_s: float
    calm_s: float
    appenders: int = 0
    refusals: float = 0.0
    journal_slots_max: int = 0
    piece_bytes: int = 1000
    impaired_max: int = 0


def draw_storm(random: Random) -> Climate:
    """Draw a world with real timeouts, which must be well again soon after the storm."""
    ordered = random.random() < 0.75
    slowest_s = random.choice((0.002, 0.002, 0.02, 0.1) if ordered else (0.005, 0.05, 0.3))
    weather = Weather(
        keeps_order=ordered,
        delay_s=(0.0005, slowest_s),
        loss=random.choice((0.0, 0.0, 0.01, 0.1)),
        duplication=0.0 if ordered else random.choice((0.0, 0.05, 0.2)),
    )
    storm = Climate(
        nodes=random.choice((1, 3, 3, 3, 5)),
        weather=weather,
        sync_s=random.choice(((0.0001, 0.001), (0.001, 0.02), (0.005, 0.15))),
        limits=_draw_limits(random),
        timing=Timing(),
        tick_s=0.05,
        step_deaths=random.choice((0.0, 0.0003, 0.002)),
        faults_s={kind: random.uniform(0.3, 5.0) for kind in FAULTS if random.random() < 0.4},
        requests_s=random.choice((0.01, 0.03, 0.1)),
        storm_s=random.uniform(3.0, 10.0),
        calm_s=4.0,
    )
    return _with_bad_disks(random, storm) if random.random() < 0.5 else storm


def draw_retries(random: Random) -> Climate:
    """Draw a storm in which most clients send their requests again until they are answered."""
    storm = draw_storm(random)
    return replace(storm, requests_s=0.3, appenders=random.choice((2, 4)))


def draw_anarchy(random: Random) -> Climate:
    """Draw a world in which messages take for ever, and anybody stands at any time.

    Leaders are never given up, however silent. Nothing need work here, and little does; but
    Paxos must hold.
    """
    slow_s = random.choice((0.05, 0.3, 1.0))
    others: tuple[Fault, ...] = ("partition", "bridge", "one way", "crash", "persist")
    return Climate(
        nodes=random.choice((3, 5, 5)),
        weather=Weather(
            keeps_order=random.random() < 0.5,
            delay_s=(0.0, slow_s),
            loss=random.choice((0.0, 0.0, 0.05, 0.2)),
            duplication=random.choice((0.0, 0.1)),
        ),
        sync_s=random.choice(((0.0001, 0.01), (0.001, slow_s / 2))),
        limits=_draw_limits(random),
        timing=Timing(
            heartbeat_s=slow_s * random.choice((0.5, 3.0)),
            patience_s=1000.0,
            retry_s=slow_s * random.choice((0.3, 2.0)),
        ),
        tick_s=slow_s * 0.1,
        step_deaths=random.choice((0.0, 0.001, 0.003)),
        faults_s={
            "usurp": random.uniform(3.0, 12.0) * slow_s,
            **{kind: random.uniform(3, 12) * slow_s for kind in others if random.random() < 0.4},
        },
        requests_s=random.uniform(0.05, 1.0) * slow_s,
        storm_s=50 * slow_s,
        calm_s=0.0,
    )


def draw_losses(random: Random) -> Climate:
    """Draw a storm in which disks are lost, never so many at once that nobody could be sure."""
    storm = replace(draw_storm(random), nodes=random.choice((3, 3, 5)))
    lossy = _with_bad_disks(random, storm)
    faults_s = {**lossy.faults_s, "lose disk": random.uniform(0.5, 3.0)}
    return replace(lossy, faults_s=faults_s, appenders=random.choice((0, 2)))


def draw_ruin(random: Random) -> Climate:
    """Draw a storm that destroys more than can be mended. What is left must not go wrong."""
    losses = draw_losses(random)
    return replace(losses, impaired_max=random.randint(1, losses.nodes), calm_s=0.0)


def draw_amnesia(random: Random) -> Climate:
    """Draw an anarchy in which disks are lost, so that old ones are heard when new ones speak."""
    anarchy = draw_anarchy(random)
    slow_s = anarchy.weather.delay_s[1]
    forgetful: dict[Fault, float] = {
        "lose disk": random.uniform(3.0, 15.0) * slow_s,
        "persist": random.uniform(3.0, 15.0) * slow_s,
    }
    return replace(
        anarchy,
        faults_s=anarchy.faults_s | forgetful,
        journal_slots_max=random.choice((0, 0, 3)),
        impaired_max=random.choice(((anarchy.nodes - 1) // 2, anarchy.nodes)),
    )


def _with_bad_disks(random: Random, climate: Climate) -> Climate:
    """Let disks be lost, refuse writes, or hold but little, or some of that."""
    faults_s = dict(climate.faults_s)
    if climate.nodes > 1:
        faults_s |= {kind: random.uniform(0.7, 6.0) for kind in LOSSES if random.random() < 0.5}
    if random.random() < 0.7:
        faults_s["persist"] = random.uniform(0.05, 1.0)
    return replace(
        climate,
        faults_s=faults_s,
        refusals=random.choice((0.0, 0.0, 0.0002, 0.002)),
        journal_slots_max=random.choice((0, 3, 10, 40)),
        piece_bytes=random.choice((1, 200, 1000)),
        impaired_max=(climate.nodes - 1) // 2,
    )


def _draw_limits(random: Random) -> Limits:
    """Draw limits; small ones, so that they are reached."""
    if random.random() < 0.3:
        return Limits()
    return Limits(
        open_slots_max=random.choice((1, 2, 8)),
        batch_commands_max=random.choice((1, 3, 1024)),
        queue_commands_max=random.choice((4, 16384)),
        unsettled_max=random.choice((3, 4096)),
        ahead_slots_max=random.choice((8, 16)),
        recent_bytes_max=random.choice((200, 2000)),
        message_bytes_max=random.choice((100, 2000)),
    )

"""The network between simulated nodes: directions that take time, lose packets, and can be cut.

What travels are streams, as with TCP: in order, and whole or not at all. A packet that is lost is
sent again by the systems at both ends, so to the nodes it is late; and where nothing gets through
for `DEAD_S`, the connection is given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol, TypeAlias

from kvpaxos.node.connection import DEAD_S_MAX
from kvpaxos.simulator.agenda import Agenda

Direction: TypeAlias = tuple[str, str]
"""From one node to another."""

DEAD_S: Final = float(DEAD_S_MAX)
"""For how long a system sends again what nobody acknowledges."""

RELAY_S: Final = 0.1
"""How much later a relay passes on what it has held back, at most."""

DELAYED_S: Final = 0.01
"""A packet that takes longer than this counts as delayed."""

LOSSES_MAX: Final = 4
"""So often one packet is lost at most: three seconds later it is there."""

RESEND_S: Final = 0.2
"""After how long it first does; each time after twice as long."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network is like.

    :ivar delay_s: the least and the most that a packet takes.
    :ivar loss: the share of packets that are lost.
    :ivar flips: the share of packets of which a bit is flipped that no checksum of TCP notices.
    :ivar duplication: the share of packets that a relay passes on twice.
    :ivar reordering: the share that it passes on later than what was sent after them.
    """

    delay_s: tuple[float, float] = (0.0001, 0.001)
    loss: float = 0.0
    flips: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0


class Stuck(Protocol):
    """Something that waits for a direction to be healed."""

    def healed(self) -> None:
        """Send again what could not get through."""


class Network:
    """All directions between nodes.

    :ivar lossy: the share of packets that is lost in some directions, whatever the weather.
    :ivar counts: what happened to packets.
    :ivar noted: is shown everything that arrives.
    """

    def __init__(self, agenda: Agenda, random: Random, weather: Weather) -> None:
        self.agenda = agenda
        self.weather = weather
        self.lossy: dict[Direction, float] = {}
        self.counts: Counter[str] = Counter()
        self.noted: Callable[[Direction, bytes], None] = _overlook
        self._random = random
        self._cut: dict[Direction, set[object]] = {}
        self._stuck: dict[Direction, list[Stuck]] = {}

    def is_cut(self, direction: Direction) -> bool:
        """Whether nothing gets through this way now."""
        return direction in self._cut

    def cut(self, directions: Collection[Direction]) -> Callable[[], None]:
        """Cut these directions, and return what heals them, unless others keep them cut."""
        cut = object()
        for direction in directions:
            self._cut.setdefault(direction, set()).add(cut)

        def heal() -> None:
            for direction in directions:
                self._cut.get(direction, set()).discard(cut)
                self._heal(direction)

        return heal

    def heal_all(self) -> None:
        """Let everything get through, whoever has cut it."""
        self.lossy.clear()
        for direction, cuts in list(self._cut.items()):
            cuts.clear()
            self._heal(direction)

    def wait(self, direction: Direction, stuck: Stuck) -> None:
        """Have ``stuck`` told when this direction is healed."""
        self._stuck.setdefault(direction, []).append(stuck)

    def travel_s(self, direction: Direction | None = None) -> float:
        """Return how long the next packet takes, with all that it takes to send it again."""
        self.counts["packets"] += 1
        seconds = self._random.uniform(*self.weather.delay_s)
        self.counts["delayed"] += seconds > DELAYED_S
        resend_s, loss = RESEND_S, self.weather.loss
        if direction in self.lossy:
            loss = max(loss, self.lossy[direction])
        for _ in range(LOSSES_MAX):
            if not loss or self._random.random() >= loss:
                break
            self.counts["lost"] += 1
            seconds += resend_s
            resend_s *= 2
        return seconds

    def relay_s(self) -> tuple[float, ...]:
        """Return how much later a packet is passed on: each time, if it is so more than once."""
        weather = self.weather
        if not (weather.duplication or weather.reordering):
            return (0.0,)
        chance = self._random.random()
        if chance < weather.duplication:
            self.counts["duplicated"] += 1
            return 0.0, self._random.uniform(0, RELAY_S)
        if chance < weather.duplication + weather.reordering:
            self.counts["reordered"] += 1
            return (self._random.uniform(0, RELAY_S),)
        return (0.0,)

    def spoil(self, data: bytes) -> bytes:
        """Return what arrives when ``data`` was sent."""
        if not self.weather.flips or self._random.random() >= self.weather.flips:
            return data
        self.counts["flipped"] += 1
        place = self._random.randrange(len(data))
        flipped = data[place] ^ 1 << self._random.randrange(8)
        return data[:place] + bytes([flipped]) + data[place + 1 :]

    def _heal(self, direction: Direction) -> None:
        """Let everything get through this way, unless somebody keeps it cut."""
        if direction in self._cut and not self._cut[direction]:
            del self._cut[direction]
            for stuck in self._stuck.pop(direction, []):
                self.agenda.after(self._random.uniform(0, RESEND_S), stuck.healed)


def _overlook(_direction: Direction, _data: bytes) -> None:
    pass

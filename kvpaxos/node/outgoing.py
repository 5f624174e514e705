"""What waits to leave on one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from kvpaxos.node.switches import CLEAR, Switch
from kvpaxos.wire.chunks import Parcel

QUEUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The most bytes that wait for a peer that reads slowly, unless messages are very long.

Besides, the transport holds 64 KiB and the frame that it is busy with.
"""

EXPRESS_BYTES_MAX: Final = 256 * 1024
"""The most bytes that wait to overtake those: a peer that is slow is not a peer that is gone."""


def queue_bytes_max(message_bytes_max: int) -> int:
    """Return how many bytes may wait where no message is longer than ``message_bytes_max``.

    At least two of them: one is on its way, and one waits.
    """
    return max(QUEUE_BYTES_MAX, 2 * message_bytes_max)


class Sink(Protocol):
    """What takes the frames: a transport."""

    def write(self, data: bytes) -> None:
        """Send ``data`` some time."""


@dataclass(slots=True)
class _Waiting:
    """One message that waits: its frames, how long they are, when and how fast they may leave."""

    frames: Iterator[bytes]
    bytes_left: int
    due: float
    bytes_per_s: float


class _Lane:
    """Messages that leave in order."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_held = 0
        self._bytes_max = bytes_max
        self._waiting: deque[_Waiting] = deque()
        self._last_due = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due(self) -> float:
        """When the first of them may leave. There must be one."""
        return self._waiting[0].due

    def put(self, parcel: bytes | Parcel, due: float, bytes_per_s: float) -> bool:
        """Add the frame or frames of one message, unless too much waits."""
        size = len(parcel)
        if self._waiting and self.bytes_held + size > self._bytes_max:
            return False
        # Never before the one ahead of it.
        self._last_due = max(self._last_due, due)
        frames = iter((parcel,) if isinstance(parcel, bytes) else parcel)
        self._waiting.append(_Waiting(frames, size, self._last_due, bytes_per_s))
        self.bytes_held += size
        return True

    def take(self) -> tuple[bytes, float, float]:
        """Remove the next frame; return it, when it may leave, and how fast."""
        first = self._waiting[0]
        frame = next(first.frames)
        first.bytes_left -= len(frame)
        self.bytes_held -= len(frame)
        if not first.bytes_left:
            self._waiting.popleft()
        return frame, first.due, first.bytes_per_s

    def clear(self) -> None:
        self._waiting.clear()
        self.bytes_held = 0


@implementer(IPushProducer)
class Outgoing:
    """Feeds frames to a transport as fast as it takes them.

    Messages that cannot leave at once wait here, up to a limit, and beyond it are refused. They
    leave in order, but for those that are sent express: these overtake the others, and pass
    between the frames of a long one.

    Twisted joins all that is written in one turn of the reactor into one write, in the next one.
    Requests of clients may come first then, so whoever is done with a turn can `hurry`: that is
    felt at each of the steps that a write takes from node to node.
    """

    def __init__(
        self,
        transport: Sink,
        *,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        bytes_max: int = QUEUE_BYTES_MAX,
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        """Make one that feeds ``transport``.

        :param bytes_max: the most bytes that wait, express ones not counted.
        :param hurry: has the transport send what it was given.
        """
        self._transport = transport
        self._hurry = hurry
        self._given = False
        self._clock = clock
        self._monotonic = monotonic
        self._express = _Lane(EXPRESS_BYTES_MAX)
        self._ordered = _Lane(bytes_max)
        self._next: tuple[bytes, float] | None = None
        self._choked = False
        self._left_at = 0.0
        self._wake: IDelayedCall | None = None

    @property
    def bytes_held(self) -> int:
        """How many bytes wait."""
        held = self._express.bytes_held + self._ordered.bytes_held
        return held if self._next is None else held + len(self._next[0])

    @property
    def is_behind(self) -> bool:
        """Whether messages wait that one sent express would overtake."""
        return bool(self._ordered)

    def put(self, parcel: bytes | Parcel, *, switch: Switch = CLEAR, express: bool = False) -> bool:
        """Send a frame, or a parcel of them, now or later.

        Return False if it was refused: too much is waiting.
        """
        if switch is CLEAR and isinstance(parcel, bytes) and self._is_idle():
            self._transport.write(parcel)
            self._given = True
            return True
        lane = self._express if express else self._ordered
        if not lane.put(parcel, self._monotonic() + switch.delay_s, switch.bytes_per_s):
            return False
        self._pump()
        return True

    def hurry(self) -> None:
        """Send in this turn of the reactor what was put in it, but for what had to wait here."""
        if self._given:
            self._given = False
            self._hurry()

    def close(self) -> None:
        """Let go of everything."""
        self._given = False
        self._express.clear()
        self._ordered.clear()
        self._next = None
        self._choked = True
        if self._wake is not None and self._wake.active():
            self._wake.cancel()

    def pauseProducing(self) -> None:  # noqa: N802 -- Twisted names it
        """Hold what comes next: the transport has enough."""
        self._choked = True

    def resumeProducing(self) -> None:  # noqa: N802 -- Twisted names it
        """Go on: the transport has written all it had."""
        self._choked = False
        self._pump()

    def stopProducing(self) -> None:  # noqa: N802 -- Twisted names it
        """Give up: the connection is lost."""
        self.close()

    def _is_idle(self) -> bool:
        return not (self._choked or self._next or self._ordered or self._express)

    def _pump(self) -> None:
        while not self._choked:
            now = self._monotonic()
            if self._next is None:
                self._choose(now)
            if self._next is None:
                return
            frame, leaves_at = self._next
            if leaves_at > now:
                self._sleep(leaves_at - now)
                return
            self._next = None
            # This may choke us at once, by way of pauseProducing.
            self._transport.write(frame)

    def _choose(self, now: float) -> None:
        """Find the next frame, and when it leaves; none if all that waits is held back."""
        waiting = [lane for lane in (self._express, self._ordered) if lane]
        for lane in waiting:
            if lane.due <= now:
                frame, due, bytes_per_s = lane.take()
                self._left_at = max(self._left_at, due)
                if bytes_per_s:
                    self._left_at += len(frame) / bytes_per_s
                self._next = frame, self._left_at
                return
        if waiting:
            self._sleep(min(lane.due for lane in waiting) - now)

    def _sleep(self, seconds: float) -> None:
        if self._wake is None or not self._wake.active():
            self._wake = self._clock.callLater(seconds, self._pump)
        elif self._wake.getTime() > self._clock.seconds() + seconds:
            self._wake.reset(seconds)

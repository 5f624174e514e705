"""What waits to leave on one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from kvpaxos.node.switches import CLEAR, Switch

QUEUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The most bytes that wait for a peer that reads slowly; a longer frame waits alone.

Besides, the transport holds 64 KiB and the frame that it is busy with.
"""

HEARTBEAT_BYTES_EXTRA: Final = 64 * 1024
"""How much more may wait if it is heartbeats: a peer that is slow is not a peer that is gone."""


class Sink(Protocol):
    """What takes the frames: a transport."""

    def write(self, data: bytes) -> None:
        """Send ``data`` some time."""


@implementer(IPushProducer)
class Outgoing:
    """Feeds frames to a transport, in order, as fast as it takes them.

    Frames that cannot leave at once wait here, up to a limit, and beyond it are refused.
    Twisted joins all that is written in one turn of the reactor into one write.

    :ivar bytes_held: how many bytes wait.
    """

    def __init__(
        self, transport: Sink, *, clock: IReactorTime, monotonic: Callable[[], float]
    ) -> None:
        self.bytes_held = 0
        self._transport = transport
        self._clock = clock
        self._monotonic = monotonic
        self._frames: deque[tuple[float, bytes]] = deque()
        self._choked = False
        self._last_due = 0.0
        self._wake: IDelayedCall | None = None

    def put(self, frame: bytes, *, switch: Switch = CLEAR, heartbeat: bool = False) -> bool:
        """Send ``frame``, now or later. Return False if it was refused: too much is waiting."""
        if switch is CLEAR and not self._frames and not self._choked:
            self._transport.write(frame)
            return True
        limit = QUEUE_BYTES_MAX + (HEARTBEAT_BYTES_EXTRA if heartbeat else 0)
        if self._frames and self.bytes_held + len(frame) > limit:
            return False
        self._frames.append((self._due(len(frame), switch), frame))
        self.bytes_held += len(frame)
        self._pump()
        return True

    def close(self) -> None:
        """Let go of everything."""
        self._frames.clear()
        self.bytes_held = 0
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

    def _due(self, size: int, switch: Switch) -> float:
        """Return when a frame may leave: never before the one ahead of it."""
        due = max(self._last_due, self._monotonic() + switch.delay_s)
        if switch.bytes_per_s:
            due += size / switch.bytes_per_s
        self._last_due = due
        return due

    def _pump(self) -> None:
        while self._frames and not self._choked:
            due, frame = self._frames[0]
            wait_s = due - self._monotonic()
            if wait_s > 0:
                self._sleep(wait_s)
                return
            self._frames.popleft()
            self.bytes_held -= len(frame)
            # This may choke us at once, by way of pauseProducing.
            self._transport.write(frame)

    def _sleep(self, seconds: float) -> None:
        if self._wake is None or not self._wake.active():
            self._wake = self._clock.callLater(seconds, self._pump)

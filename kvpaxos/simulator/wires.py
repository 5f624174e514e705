"""Connections between simulated processes, as Twisted's transports show them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvpaxos.simulator.network import DEAD_S, Direction, Network
from kvpaxos.simulator.process import Process

BUFFER_BYTES: Final = 128 * 1024
"""A sender that is so far ahead of its receiver's reading is told to pause."""

End: TypeAlias = Literal["end", "reset"]
"""The last that comes by a wire: after all that was sent, or instead of what is left of it."""


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class Address:
    """A node."""

    node: str


class Socket(Protocol):
    """What a system delivers to."""

    def arrived(self, packet: bytes | End) -> None:
        """Take what has come by the wire."""


class Wire:
    """One direction of a connection. It keeps the order of what it carries.

    :param gone: is told once nothing has got through for `DEAD_S`.
    """

    def __init__(
        self, network: Network, direction: Direction, sink: Socket, gone: Callable[[], None]
    ) -> None:
        self.network = network
        self._direction = direction
        self._sink = sink
        self._gone = gone
        self._flying: deque[list[bytes | End]] = deque()
        self._waits = False
        self._last_at = self._sent_at = -1.0
        self._closed = False

    def send(self, packet: bytes | End) -> None:
        """Carry ``packet``. What is sent at one moment travels together."""
        if self._closed:
            return
        now = self.network.agenda.now
        if self._flying and self._sent_at == now:
            self._flying[-1].append(packet)
            return
        self._sent_at = now
        self._flying.append([packet])
        self._last_at = max(self._last_at, now + self.network.travel_s(self._direction))
        self.network.agenda.at(self._last_at, self._arrive)

    def close(self) -> None:
        """Carry nothing more."""
        self._closed = True
        self._flying.clear()

    def healed(self) -> None:
        """Deliver what could not get through."""
        self._waits = False
        while self._flying and not self._waits:
            self._arrive()

    def _arrive(self) -> None:
        if self._closed or self._waits or not self._flying:
            return
        network = self.network
        if network.is_cut(self._direction):
            self._waits = True
            network.wait(self._direction, self)
            network.counts["stuck"] += 1
            network.agenda.after(DEAD_S, self._give_up, network.agenda.now)
            return
        packets = self._flying.popleft()
        data = b"".join(packet for packet in packets if isinstance(packet, bytes))
        if data:
            for seconds in network.relay_s():
                if seconds:
                    network.agenda.after(seconds, self._deliver, data)
                else:
                    self._deliver(data)
        for packet in packets:
            if not isinstance(packet, bytes):
                self._sink.arrived(packet)

    def _deliver(self, data: bytes) -> None:
        if not self._closed:
            data = self.network.spoil(data)
            self.network.noted(self._direction, data)
            self._sink.arrived(data)

    def _give_up(self, since: float) -> None:
        if self._waits and not self._closed and self.network.agenda.now >= since + DEAD_S:
            self.network.counts["timeouts"] += 1
            self._gone()


@implementer(ITransport)
class Transport:
    """One end of a connection, as a protocol sees it."""

    disconnecting = False

    def __init__(self, process: Process, node: str, peer: str) -> None:
        self._process = process
        self._node = node
        self._peer = peer
        self._protocol: IProtocol | None = None
        self._wire: Wire | None = None
        self._other: Transport | None = None
        self._producer: IPushProducer | None = None
        self._choked = False
        self._unread = 0
        self._inbox: deque[bytes | End] = deque()
        self._reading = True
        self._over = False
        self._dark = False
        self._missed = False

    def connect(self, other: Transport, wire: Wire) -> None:
        """Be one end of a connection whose other is ``other``, reached by ``wire``."""
        self._other = other
        self._wire = wire

    def open(self, protocol: IProtocol) -> None:
        """Let ``protocol`` use it."""
        self._protocol = protocol
        protocol.makeConnection(self)
        self._read()

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        if self._over or self.disconnecting or not data:
            return
        assert self._wire is not None
        assert self._other is not None
        self._wire.send(data)
        self._other.expect(len(data))
        if self._other.behind > BUFFER_BYTES and self._producer is not None and not self._choked:
            self._choked = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802 -- Twisted names it
        """Send all of ``data``."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:  # noqa: N802
        """Close once all that was written is sent."""
        if not self._over and not self.disconnecting:
            self.disconnecting = True
            self._send("end")
            self._lose_later(ConnectionDone())

    def abortConnection(self) -> None:  # noqa: N802
        """Close at once."""
        if not self._over:
            self.disconnecting = True
            self._send("reset")
            self._lose_later(ConnectionAborted())

    def pauseProducing(self) -> None:  # noqa: N802
        """Read no more."""
        self._reading = False

    def resumeProducing(self) -> None:  # noqa: N802
        """Read again."""
        if not self._reading:
            self._reading = True
            self._process.run(self._read)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:  # noqa: N802, FBT001
        """Tell ``producer`` when there is enough."""
        assert streaming, "only producers that push"
        self._producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802
        """Forget the producer."""
        self._producer = None

    def getPeer(self) -> IAddress:  # noqa: N802
        """Return who is at the other end."""
        return Address(self._peer)

    def getHost(self) -> IAddress:  # noqa: N802
        """Return whose end this is."""
        return Address(self._node)

    # What the systems at both ends do.

    @override
    def __repr__(self) -> str:
        return f"{self._node}-{self._peer}"

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as this end knows."""
        return self._protocol is not None and not self._over and not self.disconnecting

    @property
    def behind(self) -> int:
        """How many bytes were sent here that were not read."""
        return self._unread

    def expect(self, size: int) -> None:
        """Take note of bytes that are on their way here."""
        self._unread += size

    def arrived(self, packet: bytes | End) -> None:
        """Take what came by the wire, whether the process runs or not."""
        if self._over:
            self._miss()
            return
        if packet == "reset":
            self._inbox.clear()
        self._inbox.append(packet)
        self._process.run(self._read)

    def hang_up(self) -> None:
        """Be as after the death of the process: its system says so to the other end."""
        if not self._over:
            self._over = True
            self._send("reset")

    def vanish(self) -> None:
        """Be as after a power cut: nobody says anything to the other end."""
        assert self._wire is not None
        self._over = self._dark = True
        self._wire.close()

    def forget(self) -> None:
        """Lose the connection at this end, and let nobody say so to the other."""
        assert self._wire is not None
        self._dark = True
        self._wire.close()
        self._lose_later(ConnectionLost("the system has forgotten it"))

    def light(self) -> None:
        """Be as when the power is back: the system knows nothing of this connection."""
        if self._dark and self._other is not None:
            self._dark = False
            self._other.arrived("reset")

    def _miss(self) -> None:
        """Acknowledge nothing, if there is no power: the other system gives up after a while."""
        if self._dark and not self._missed and self._wire is not None:
            self._missed = True
            self._wire.network.agenda.after(DEAD_S, self._missing)

    def _missing(self) -> None:
        if self._dark and self._other is not None:
            self._other.timed_out()

    def timed_out(self) -> None:
        """Take note that the system has given the connection up."""
        reason = ConnectionLost("nothing was acknowledged for too long")
        self._process.run(lambda: self._lose(reason))

    def drained(self) -> None:
        """Let the producer go on: what was sent has been read."""
        if self._choked:
            self._choked = False
            self._process.run(self._resume_producer)

    def _resume_producer(self) -> None:
        if self._producer is not None and not self._over and not self._choked:
            self._producer.resumeProducing()

    def _send(self, end: End) -> None:
        if self._wire is not None:
            self._wire.send(end)

    def _read(self) -> None:
        while self._inbox and self._reading and not self._over and self._protocol is not None:
            packet = self._inbox.popleft()
            if packet == "end":
                self._lose(ConnectionDone())
            elif packet == "reset":
                self._lose(ConnectionLost())
            else:
                self._unread -= len(packet)
                if self._unread <= 0 and self._other is not None:
                    self._other.drained()
                self._protocol.dataReceived(packet)

    def _lose_later(self, reason: Exception) -> None:
        self._process.run(lambda: self._lose(reason))

    def _lose(self, reason: Exception) -> None:
        if self._over:
            return
        self._over = True
        if not self.disconnecting:
            # The other end may not know yet.
            self._send("reset")
        if self._producer is not None:
            self._producer.stopProducing()
        if self._protocol is not None:
            self._protocol.connectionLost(Failure(reason))

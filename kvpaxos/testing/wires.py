"""A network in memory. Bytes travel in the turns of a `Clock`, and nothing is left to chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

PACKET_BYTES_MAX: Final = 64 * 1024
"""What one turn carries, and what may be under way before whoever produces it is paused."""

CLIENT: Final = IPv4Address("TCP", "127.0.0.1", 50000)
"""Where clients seem to be: on the machine of the node."""


@implementer(ITransport, IConsumer, IPushProducer)
class Wire:
    """One end of a connection.

    :ivar disconnecting: whether it is being closed; protocols by lines look at this.
    """

    def __init__(self, network: Network, host: IAddress, peer: IAddress) -> None:
        self._network = network
        self._host = host
        self._peer = peer
        self._coming = bytearray()
        self._paused = False
        self._due = False
        self.disconnecting = False
        self._over = False
        self._producer: Any = None
        self._held = False

    def connect(self, other: Wire, protocol: IProtocol) -> None:
        """Make this the end of ``protocol``, opposite to ``other``."""
        self._other = other
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        """Send ``data``, unless the connection is being closed."""
        if self.disconnecting or self._over:
            return
        self._other._coming += data  # noqa: SLF001 -- of its own class
        self._other.stir()
        if self._producer and not self._held and self._other.backlog > PACKET_BYTES_MAX:
            self._held = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Sequence[bytes]) -> None:  # type: ignore[override]  # noqa: N802
        """Send ``data``."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:  # noqa: N802 (ITransport)
        """Close the connection once all that was written has arrived."""
        self.disconnecting = True
        self._other.stir()

    def abortConnection(self) -> None:  # noqa: N802 (ITCPTransport)
        """Close the connection at once; what was written and has not arrived is lost."""
        self._fall(error.ConnectionAborted())
        self._other._fall(error.ConnectionLost())  # noqa: SLF001

    def getPeer(self) -> IAddress:  # noqa: N802 (ITransport)
        """Return where the other end is."""
        return self._peer

    def getHost(self) -> IAddress:  # noqa: N802 (ITransport)
        """Return where this end is."""
        return self._host

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: ANN401, FBT001, N802
        """Have ``producer`` wait whenever too much is under way."""
        assert streaming, "nobody here pulls"
        self._producer = producer

    def unregisterProducer(self) -> None:  # noqa: N802 (IConsumer)
        """Forget the producer."""
        self._producer = None
        self._held = False

    def pauseProducing(self) -> None:  # noqa: N802 (IPushProducer)
        """Read nothing for now."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 (IPushProducer)
        """Read on."""
        self._paused = False
        self.stir()

    def stopProducing(self) -> None:  # noqa: N802 (IProducer)
        """Read nothing any more."""
        self.loseConnection()

    @property
    def backlog(self) -> int:
        """How many bytes are on their way to this end."""
        return len(self._coming)

    def stir(self) -> None:
        """Look, in a turn of its own, for what there is to do at this end."""
        if not self._due:
            self._due = True
            self._network.clock.callLater(0.0, self._turn)

    def _turn(self) -> None:
        self._due = False
        if self._over:
            return
        if self._coming and not self._paused:
            packet = bytes(self._coming[:PACKET_BYTES_MAX])
            del self._coming[:PACKET_BYTES_MAX]
            with self._network.reading(self):
                self._protocol.dataReceived(packet)
            self.stir()
        elif not self._coming:
            self._other._drained()  # noqa: SLF001

    def _drained(self) -> None:
        """Go on: all that was written has arrived."""
        if self.disconnecting and not self._over:
            self._fall(error.ConnectionDone())
            self._other._fall(error.ConnectionDone())  # noqa: SLF001
        elif self._held and self._producer:
            self._held = False
            self._producer.resumeProducing()

    def _fall(self, why: Exception) -> None:
        if not self._over:
            self._over = True
            self._coming.clear()
            self._network.clock.callLater(0.0, self._lose, why)

    def _lose(self, why: Exception) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._network.forget(self)
        self._protocol.connectionLost(Failure(why))


class Network:
    """Hosts that take connections, or refuse them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._reading: Wire | None = None
        self._listening: dict[str, Callable[[IAddress], IProtocol | None]] = {}
        self._ends: dict[Wire, str] = {}

    def agent(self) -> Agent:
        """Return an agent that connects to the hosts of this network."""
        pool = HTTPConnectionPool(self.clock, persistent=False)
        agent: Agent = Agent.usingEndpointFactory(self.clock, _Endpoints(self), pool)
        return agent

    def listen(self, host: str, build: Callable[[IAddress], IProtocol | None]) -> None:
        """Let ``host`` take connections, whose protocols ``build`` makes."""
        self._listening[host] = build

    def go_dark(self, host: str) -> None:
        """Let ``host`` refuse connections, and break those that it has."""
        self._listening.pop(host, None)
        for end in [end for end, name in self._ends.items() if name == host]:
            end.abortConnection()

    def connect(self, host: str, port: int, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect ``factory`` to ``host``; fire with its protocol."""
        build = self._listening.get(host)
        server = build(CLIENT) if build else None
        if server is None:
            return fail(error.ConnectionRefusedError())
        there = IPv4Address("TCP", host, port)
        client = factory.buildProtocol(there)
        assert client is not None, "nobody asks for a connection that is not wanted"
        near, far = Wire(self, CLIENT, there), Wire(self, there, CLIENT)
        near.connect(far, client)
        far.connect(near, server)
        self._ends[far] = host
        server.makeConnection(far)
        client.makeConnection(near)
        return succeed(client)

    @contextmanager
    def reading(self, end: Wire) -> Iterator[None]:
        """Know ``end`` as the one that takes bytes, as long as this lasts."""
        self._reading = end
        try:
            yield
        finally:
            self._reading = None

    def hang_up(self) -> None:
        """Break the connection at whose end bytes are being taken."""
        assert self._reading is not None, "nobody takes any"
        self._reading.abortConnection()

    def forget(self, end: Wire) -> None:
        """Take note that the connection of ``end`` is over."""
        self._ends.pop(end, None)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, network: Network, host: str, port: int) -> None:
        self._network = network
        self._host = host
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        return self._network.connect(self._host, self._port, protocolFactory)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, network: Network) -> None:
        self._network = network

    def endpointForURI(self, uri: URI) -> _Endpoint:  # noqa: N802 (IAgentEndpointFactory)
        return _Endpoint(self._network, uri.host.decode(), uri.port)

"""Who listens where, and how others get there: ports and endpoints, as Twisted shows them."""

from __future__ import annotations

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.error import CannotListenError, ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from kvpaxos.simulator.network import RESEND_S, Network
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.wires import Address, Transport, Wire


class Switchboard:
    """Who listens where. One node has one address, and one process at a time behind it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._ports: dict[str, Port] = {}
        self._ends: dict[Process, list[Transport]] = {}
        self._dark: dict[str, list[Transport]] = {}

    def listen(self, process: Process, node: str, factory: IProtocolFactory | None) -> Port:
        """Listen as ``node``. Without a factory nobody can dial it.

        :raises CannotListenError: somebody does already.
        """
        if node in self._ports:
            raise CannotListenError(node, 0, OSError("the address is in use"))
        port = Port(self, process, node, factory)
        self._ports[node] = port
        return port

    def close(self, node: str, port: Port) -> None:
        """Listen no more."""
        if self._ports.get(node) is port:
            del self._ports[node]

    def dial(
        self, process: Process, node: str, to: str, factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """Connect ``node`` to whoever listens as ``to``."""
        call = _Attempt(self, process, node, to, factory)
        call.begin()
        return call.connected

    def port(self, node: str) -> Port | None:
        """Return who listens as ``node``, if anybody does."""
        return self._ports.get(node)

    def reset(self, process: Process) -> None:
        """Break all connections of ``process``: each end learns of it after a while."""
        for end in self._ends.get(process, []):
            self.network.agenda.after(self.network.travel_s(), end.arrived, "reset")

    def ends(self, process: Process) -> list[Transport]:
        """Return the ends of connections that are open and belong to ``process``."""
        return [end for end in self._ends.get(process, []) if end.is_open]

    def is_dark(self, node: str) -> bool:
        """Whether the machine of ``node`` is without power, and answers nothing."""
        return node in self._dark

    def join(self, process: Process, transport: Transport) -> None:
        """Take note of an end that belongs to ``process``."""
        self._ends.setdefault(process, []).append(transport)

    def died(self, process: Process, node: str, *, power_cut: bool) -> None:
        """Take note that ``process`` is dead, and its machine dark after a power cut."""
        ends = self._ends.pop(process, [])
        for end in ends:
            if power_cut:
                end.vanish()
            else:
                end.hang_up()
        for place in [place for place, port in self._ports.items() if port.process is process]:
            del self._ports[place]
        if power_cut:
            self._dark[node] = ends

    def lit(self, node: str) -> None:
        """Take note that the machine of ``node`` has power."""
        for end in self._dark.pop(node, []):
            self.network.agenda.after(RESEND_S, end.light)


@implementer(IListeningPort)
class Port:
    """A listening port."""

    def __init__(
        self, board: Switchboard, process: Process, node: str, factory: IProtocolFactory | None
    ) -> None:
        self.process = process
        self.factory = factory
        self._board = board
        self._node = node

    def startListening(self) -> None:  # noqa: N802 -- Twisted names it
        """Do nothing: it listens."""

    def stopListening(self) -> Deferred[None]:  # noqa: N802
        """Listen no more."""
        self._board.close(self._node, self)
        return succeed(None)

    def getHost(self) -> IAddress:  # noqa: N802
        """Return where it listens."""
        return Address(self._node)


class _Attempt:
    """An attempt to connect: one way, and back again."""

    def __init__(
        self, board: Switchboard, process: Process, node: str, to: str, factory: IProtocolFactory
    ) -> None:
        self.connected: Deferred[IProtocol] = Deferred(lambda _: self._cancel())
        self._board = board
        self._process = process
        self._node = node
        self._to = to
        self._factory = factory
        self._cancelled = False

    def begin(self) -> None:
        network = self._board.network
        network.agenda.after(network.travel_s(), self._reached)

    def _cancel(self) -> None:
        self._cancelled = True

    def _reached(self) -> None:
        """Be answered, or not, by the machine that was dialed."""
        board, network = self._board, self._board.network
        there, back = (self._node, self._to), (self._to, self._node)
        if network.is_cut(there) or network.is_cut(back) or board.is_dark(self._to):
            return
        network.agenda.after(network.travel_s(), self._process.run, self._answered)

    def _answered(self) -> None:
        if self._cancelled:
            return
        port = self._board.port(self._to)
        if port is None or port.factory is None:
            self.connected.errback(ConnectError(string="nobody listens there"))
            return
        mine = Transport(self._process, self._node, self._to)
        theirs = Transport(port.process, self._to, self._node)
        network = self._board.network
        mine.connect(theirs, Wire(network, (self._node, self._to), theirs, mine.timed_out))
        theirs.connect(mine, Wire(network, (self._to, self._node), mine, theirs.timed_out))
        self._board.join(self._process, mine)
        self._board.join(port.process, theirs)
        factory = port.factory
        port.process.run(lambda: _open(factory, theirs, self._node))
        protocol = _open(self._factory, mine, self._to)
        self.connected.callback(protocol)


def _open(factory: IProtocolFactory, transport: Transport, peer: str) -> IProtocol:
    protocol = factory.buildProtocol(Address(peer))
    assert protocol is not None
    transport.open(protocol)
    return protocol


@implementer(IStreamServerEndpoint)
class Listening:
    """Where one process of a node listens."""

    def __init__(self, board: Switchboard, process: Process, node: str) -> None:
        self._board = board
        self._process = process
        self._node = node

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803
        """Listen."""
        listening: Deferred[IListeningPort] = execute(
            self._board.listen, self._process, self._node, protocolFactory
        )
        return listening


@implementer(IStreamClientEndpoint)
class Dialing:
    """How one process of a node dials another node."""

    def __init__(self, board: Switchboard, process: Process, node: str, to: str) -> None:
        self._board = board
        self._process = process
        self._node = node
        self._to = to

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """Dial."""
        return self._board.dial(self._process, self._node, self._to, protocolFactory)

"""A group of whole nodes in this process, for tests of trial. See docs/testing.md."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, NoReturn

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool, readBody
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from kvpaxos.client.client import Client
from kvpaxos.client.exchange import Body, Treq
from kvpaxos.config.cluster import ClusterConfig, ClusterOptions, NodeConfig
from kvpaxos.engine.shelf import RocksShelf
from kvpaxos.errors import KvPaxosError
from kvpaxos.journal.log import Journal
from kvpaxos.node.http.store import LinkChange
from kvpaxos.node.node import Node
from kvpaxos.node.repairs import Repairs
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.testing.partition import Partition, Throw
from kvpaxos.testing.peer import LOST_REPLIES, LOST_REQUESTS

LOST_MESSAGES: Final = 1 - ((1 - LOST_REQUESTS) * (1 - LOST_REPLIES)) ** 0.5
"""The share of what unreliable nodes say to each other that is lost: so that a request and its
reply both arrive as often as with members that lose some requests, and some replies."""

CLIENT_S: Final = 60.0
"""A client of a test waits so long: in the labs it waits for ever."""


class NodeStopped(AssertionError):
    """A node had to stop by itself."""


class NodeGroup:
    """Nodes with journals and engines in a directory, and UNIX sockets for peers and clients.

    They go by their places, from 0. Everything can be done to them while they run.

    :ivar nodes: those that run, by place.
    :ivar stopped: why nodes had to stop by themselves, in sentences.
    """

    def __init__(self, count: int, directory: Path, *, reactor: Any, random: Random) -> None:  # noqa: ANN401  (as in `Node`)
        """Make a group in which no node runs yet.

        :param directory: a path of less than 90 bytes.
        """
        self.nodes: dict[int, Node] = {}
        self.stopped: list[str] = []
        self._reactor = reactor
        self._random = random
        self._doors = _Doors(reactor, directory)
        self._names = [NodeId(f"n{place + 1:02}") for place in range(count)]
        self._config = ClusterConfig(
            tuple(_node_config(name, directory) for name in self._names),
            options=ClusterOptions(allow_partitions=True),
            source="a test",
        )
        self._partition = Partition(self._names)
        self._unreliable = False
        self._clients: list[tuple[Client, HTTPConnectionPool]] = []

    # Life.

    async def begin(self, *places: int) -> None:
        """Start the nodes at ``places``, or all, and wait until these answer.

        The first time it must be all, since they form a cluster.
        """
        started = places or range(len(self._names))
        for place in started:
            self.nodes[place] = node = self._make(place)
            node.startService()
            self._partition.attach(node.node, _throw(node))
            self._set_loss(node)
        waiting = [self.client(place).get("ready?") for place in started]
        await gatherResults(waiting, consumeErrors=True)

    async def end(self, *places: int) -> None:
        """Stop the nodes at ``places``, or all, in good order; with the last of them all clients.

        :raises NodeStopped: if one had to stop by itself before.
        """
        ending = [self.nodes.pop(place) for place in places or tuple(self.nodes)]
        for node in ending:
            self._partition.detach(node.node)
        await gatherResults([node.stopService() for node in ending])
        if not self.nodes:
            clients, self._clients = self._clients, []
            for client, pool in clients:
                await client.close()
                await pool.closeCachedConnections()
        if self.stopped:
            raise NodeStopped("; ".join(self.stopped))

    async def restart(self, place: int) -> None:
        """Stop a node, and start it again from its directory."""
        await self.end(place)
        await self.begin(place)

    # What goes wrong.

    def divide(self, *sides: Collection[int]) -> None:
        """Let only those hear each other that are on one side. Who is on no side is alone."""
        self._partition.divide(*([self._names[place] for place in side] for side in sides))

    def cut(self, *directions: tuple[int, int]) -> None:
        """Cut exactly these directions, as (sender, receiver), and heal all others."""
        names = self._names
        self._partition.cut((names[sender], names[receiver]) for sender, receiver in directions)

    def heal(self) -> None:
        """Let everybody hear everybody."""
        self._partition.heal()

    async def deafen(self, *places: int) -> None:
        """Take away the sockets for peers, and the connections that were accepted there.

        Their nodes can still dial, and get replies to what they ask. A restart ends it.
        """
        await gatherResults([self.nodes[place].deafen() for place in places])

    async def listen(self, *places: int) -> None:
        """Let nodes that were made deaf listen again. Their peers will dial them before long."""
        await gatherResults([self.nodes[place].listen() for place in places])

    def be_unreliable(self, *, unreliable: bool = True) -> None:
        """Have nodes lose some of what they, or clients, ask them, and some of their answers."""
        self._unreliable = unreliable
        for node in self.nodes.values():
            self._set_loss(node)

    # Who is who.

    def leader(self) -> int | None:
        """Return the place of a node that leads, as far as it knows itself."""
        leading = (place for place, node in self.nodes.items() if node.leader() == node.node)
        return next(leading, None)

    def client(self, *places: int) -> Client:
        """Return a client that asks the nodes at ``places``, or all, in this order.

        A call takes up to `CLIENT_S` unless it says otherwise. The group closes it.
        """
        random = Random(self._random.getrandbits(64))  # noqa: S311  (chance, and no secret)
        pool = HTTPConnectionPool(self._reactor, persistent=True)
        pool.retryAutomatically = False
        agent = Agent.usingEndpointFactory(self._reactor, self._doors, pool)
        treq = HTTPClient(agent, data_to_body_producer=Body)
        client = Client(
            [f"http://{self._names[place]}" for place in places or range(len(self._names))],
            timeout_s=CLIENT_S,
            reactor=self._reactor,
            treq=Lossy(treq, lambda: self._unreliable, random),
            random=random,
        )
        self._clients.append((client, pool))
        return client

    def _make(self, place: int) -> Node:
        config = self._config.nodes[place]
        return Node(
            self._config,
            config,
            Journal.open(Path(config.data) / "journal"),
            RocksShelf(Path(config.data)),
            Repairs(Path(config.data)),
            reactor=self._reactor,
            may_rejoin=False,
            random=Random(self._random.getrandbits(64)),  # noqa: S311  (chance, and no secret)
            refuse=_refuse,
            fatal=lambda error: self.stopped.append(f"{config.node}: {error}"),
            shutdown=lambda: None,
        )

    def _set_loss(self, node: Node) -> None:
        # At the sending end only: what is lost at both would be lost more often.
        if len(self._names) > 1:
            loss = LOST_MESSAGES if self._unreliable else 0.0
            node.set_link(_change(node.node, loss=loss))


def _node_config(name: str, directory: Path) -> NodeConfig:
    peer = f"unix:{directory / name}.peer"
    return NodeConfig(
        node=name,
        http=f"unix:{_door(directory, name)}",
        peer=peer,
        dial=peer,
        resp=None,
        data=str(directory / name),
    )


def _door(directory: Path, name: str) -> str:
    return f"{directory / name}.http"


def _throw(node: Node) -> Throw:
    return lambda sender, receiver, state: node.set_link(_change(sender, receiver, state=state))


def _change(
    sender: NodeId,
    receiver: NodeId | None = None,
    *,
    state: Literal["up", "cut"] | None = None,
    loss: float | None = None,
) -> LinkChange:
    return LinkChange(from_node=sender, to_node=receiver, state=state, delay_s=None, loss=loss)


def _refuse(error: KvPaxosError) -> NoReturn:
    raise error


@implementer(IAgentEndpointFactory)
class _Doors:
    """Leads to the UNIX socket of the node that a URL names, as in ``http://n01``."""

    def __init__(self, reactor: Any, directory: Path) -> None:  # noqa: ANN401  (as in `Node`)
        self._reactor = reactor
        self._directory = directory

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802  (Twisted names it)
        """Return the way to the node that ``uri`` names."""
        return UNIXClientEndpoint(self._reactor, _door(self._directory, uri.host.decode()))


class Lossy:
    """A treq whose requests, while ``loses()`` is true, are lost at times, or the answers are.

    To who asks they look the same: the connection breaks.
    """

    def __init__(self, treq: Treq, loses: Callable[[], bool], random: Random) -> None:
        self._treq = treq
        self._loses = loses
        self._random = random

    def request(self, *args: Any, **options: Any) -> Deferred[IResponse]:  # noqa: ANN401  (treq's)
        """Do as treq, or fail with ``ConnectionLost``."""
        if self._happens(LOST_REQUESTS):
            return fail(ConnectionLost("the request was not read"))
        responding = self._treq.request(*args, **options)
        if self._happens(LOST_REPLIES):
            responding.addCallback(readBody).addCallback(_lose)
        return responding

    def _happens(self, share: float) -> bool:
        return self._loses() and self._random.random() < share


def _lose(_body: bytes) -> NoReturn:
    raise ConnectionLost("the answer was not sent")

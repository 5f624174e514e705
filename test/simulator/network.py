"""The network: connections that keep order until they break, or a wild one that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Protocol, get_args

from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.effects import Dialed, Event, HungUp, Lost, Received
from kvpaxos.paxos.formation import Stands
from kvpaxos.paxos.messages import Envelope, Message, Request
from test.simulator.agenda import Agenda

REQUESTS = get_args(Request)

Direction = tuple[NodeId, NodeId]
"""From whom, to whom."""


class Post(Protocol):
    """Hands an event to a node, if it is up."""

    def __call__(self, to: NodeId, event: Event) -> None: ...


@dataclass
class Weather:
    """How messages fare. Probabilities are per message, times in seconds.

    :ivar keeps_order: messages on one connection arrive in order, as with TCP.
    :ivar redial_s: how long until a lost connection is dialed again.
    """

    keeps_order: bool = True
    delay_s: tuple[float, float] = (0.0005, 0.002)
    loss: float = 0.0
    duplication: float = 0.0
    redial_s: tuple[float, float] = (0.02, 0.2)


@dataclass
class Connection:
    """What one node dialed. Requests go one way on it, replies the other.

    :ivar number: a new one each time that it comes up; 0 while it is down.
    :ivar busy_until: when the last message so far arrives, in each direction.
    """

    number: int = 0
    busy_until: dict[Direction, float] = field(default_factory=dict)


class Network:
    """Carries messages between nodes.

    A direction that is cut swallows what is sent into it, and nobody is told. A connection
    that breaks loses what is on it, and both its ends are told.

    :ivar sent: how many messages of each kind were sent.
    """

    def __init__(
        self,
        agenda: Agenda,
        random: Random,
        nodes: Iterable[NodeId],
        weather: Weather,
        post: Post,
        *,
        meet: Callable[[NodeId, NodeId], None],
        hear: Callable[[NodeId, NodeId, Stands], None],
    ) -> None:
        """Make one in which nobody is up.

        :param meet: is called when a node has dialed another: they greet.
        :param hear: gives a node, named first, news of another one.
        """
        self.weather = weather
        self._meet = meet
        self._hear = hear
        self.sent: dict[type[Message], int] = {}
        self._agenda = agenda
        self._random = random
        self._post = post
        self._nodes = list(nodes)
        self._up: set[NodeId] = set()
        self._deaf: set[NodeId] = set()
        self._cut: set[Direction] = set()
        self._number = 0
        self._connections = {
            (dialer, listener): Connection()
            for dialer in self._nodes
            for listener in self._nodes
            if dialer != listener
        }

    def start(self, node: NodeId) -> None:
        """Let ``node`` listen, and dial everybody."""
        self._up.add(node)
        for peer in self._others(node):
            # Whoever had not noticed that it was gone is told by the new process.
            self.break_connection(peer, node)
            self._agenda.after(0.001, partial(self._dial, node, peer))

    def stop(self, node: NodeId, *, silently: bool = False) -> None:
        """Let ``node`` be dead: its own connections vanish, and those of others break.

        :param silently: its machine died too, and so nobody closes those of others.
        """
        self._up.discard(node)
        for peer in self._others(node):
            dialed = self._connections[node, peer]
            if dialed.number and not silently:
                self._agenda.after(0.0005, partial(self._post, peer, HungUp(node)))
            dialed.number = 0
            if not silently:
                self.break_connection(peer, node)

    def send(self, sender: NodeId, envelope: Envelope) -> None:
        """Send, on the connection that is right for the kind of message, if it is up."""
        to, message = envelope.to, envelope.message
        self.sent[type(message)] = self.sent.get(type(message), 0) + 1
        requests = isinstance(message, REQUESTS)
        connection = self._connections[(sender, to) if requests else (to, sender)]
        if connection.number == 0 or (sender, to) in self._cut:
            return
        event = Received(sender, message)
        for _ in range(1 + (self._random.random() < self.weather.duplication)):
            if self._random.random() >= self.weather.loss:
                self._carry(connection, (sender, to), event)

    def tell(self, sender: NodeId, to: NodeId, news: Stands) -> None:
        """Send news of ``sender``, on any connection with ``to`` that is up."""
        for connection in (self._connections[sender, to], self._connections[to, sender]):
            if connection.number and (sender, to) not in self._cut:
                self._bring(connection, (sender, to), partial(self._hear, to, sender, news))
                return

    def cut(self, sender: NodeId, to: NodeId) -> None:
        """Swallow everything that goes from ``sender`` to ``to``, on whichever connection."""
        self._cut.add((sender, to))

    def cut_between(self, some: Iterable[NodeId], others: Iterable[NodeId]) -> None:
        """Swallow everything that goes between the two groups."""
        others = list(others)
        for one in some:
            for other in others:
                self.cut(one, other)
                self.cut(other, one)

    def deafen(self, node: NodeId) -> None:
        """Close the listener of ``node``, and the connections that it had accepted."""
        self._deaf.add(node)
        for peer in self._others(node):
            self.break_connection(peer, node)

    def break_connection(self, dialer: NodeId, listener: NodeId) -> None:
        """Break what ``dialer`` has dialed, and let it dial again after a while."""
        connection = self._connections[dialer, listener]
        if connection.number:
            connection.number = 0
            self._agenda.after(0.0005, partial(self._post, dialer, Lost(listener)))
            self._agenda.after(0.0005, partial(self._post, listener, HungUp(dialer)))
            self._redial(dialer, listener)

    def heal(self) -> None:
        """Mend every direction, and open every ear."""
        self._cut.clear()
        self._deaf.clear()

    def _others(self, node: NodeId) -> list[NodeId]:
        return [peer for peer in self._nodes if peer != node]

    def _carry(self, connection: Connection, direction: Direction, event: Received) -> None:
        self._bring(connection, direction, partial(self._post, direction[1], event))

    def _bring(
        self, connection: Connection, direction: Direction, deliver: Callable[[], None]
    ) -> None:
        arrival = self._agenda.now + self._random.uniform(*self.weather.delay_s)
        number = connection.number
        if self.weather.keeps_order:
            arrival = max(arrival, connection.busy_until.get(direction, 0.0))
            connection.busy_until[direction] = arrival

        def arrive() -> None:
            # What is on its way when a connection breaks is lost, where there is order.
            if connection.number == number or not self.weather.keeps_order:
                deliver()

        self._agenda.after(arrival - self._agenda.now, arrive)

    def _redial(self, dialer: NodeId, listener: NodeId) -> None:
        delay_s = self._random.uniform(*self.weather.redial_s)
        self._agenda.after(delay_s, partial(self._dial, dialer, listener))

    def _dial(self, dialer: NodeId, listener: NodeId) -> None:
        connection = self._connections[dialer, listener]
        if connection.number or dialer not in self._up:
            return
        hears = listener in self._up and listener not in self._deaf
        if hears and not self._cut & {(dialer, listener), (listener, dialer)}:
            self._number += 1
            connection.number = self._number
            connection.busy_until.clear()
            self._meet(dialer, listener)
            self._post(dialer, Dialed(listener))
        else:
            self._redial(dialer, listener)

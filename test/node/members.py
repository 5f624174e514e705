"""Members that consist of links only, over real sockets, for tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Final, Literal, TypeVar

from twisted.internet import reactor as installed_reactor  # noqa: TID253 -- sockets are real here
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.task import deferLater
from zope.interface import implementer

from kvpaxos.node.addresses import dialing_endpoint, listening_endpoint
from kvpaxos.node.handshake import Handshake
from kvpaxos.node.links import Links
from kvpaxos.node.switches import Switches
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Dialed, HungUp, Lost
from kvpaxos.paxos.formation import Formation
from kvpaxos.paxos.messages import Accepted, Message, Prepare
from kvpaxos.paxos.recall import RecallMessage
from kvpaxos.paxos.records import Formed, Forming, NodeRecord, Seen
from kvpaxos.wire.greeting import Holds

REACTOR: Any = installed_reactor

GIVE_UP_S = 20.0
"""A test that waits longer for an event has failed."""

Record = TypeVar("Record", bound=NodeRecord)

Delivery = tuple[NodeId, int, Message]

Verb = Literal["dialed", "lost", "hung up", "formed", "fatal"]

CHANGES: Final[Mapping[type[Dialed | Lost | HungUp], Verb]] = {
    Dialed: "dialed",
    Lost: "lost",
    HungUp: "hung up",
}


def names(count: int) -> tuple[NodeId, ...]:
    """Return the names of ``count`` members."""
    return tuple(NodeId(f"n{number:02}") for number in range(1, count + 1))


def request(number: int) -> Prepare:
    """Return a request that can be told from others."""
    return Prepare(Ballot(number, NodeId("n01")), Slot(number))


def reply(number: int) -> Accepted:
    """Return a reply that can be told from others."""
    return Accepted(Ballot(number, NodeId("n01")), Slot(number))


def soon(happened: Callable[[], bool]) -> Deferred[None]:
    """Fire once ``happened()`` is true, which is looked at in every turn of the reactor."""

    async def look() -> None:
        while not happened():
            await deferLater(REACTOR, 0)

    return Deferred.fromCoroutine(look()).addTimeout(GIVE_UP_S, REACTOR)


MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""The longest message between members."""


class Member:
    """Links, a journal that is a list, and the memory of all that the links have told.

    :ivar disk: survives the member; give it to the next one of that name.
    :ivar holds: what it shows of its journal.
    :ivar recalls: what came about damaged journals, and from whom.
    :ivar writing: when this fires, what is to be kept is durable; None is at once.
    """

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        peers: Mapping[NodeId, IStreamClientEndpoint],
        listener: IStreamServerEndpoint,
        *,
        disk: list[NodeRecord] | None = None,
        boot: int = 1,
        process: str | None = None,
        holds: Holds | None = None,
        clock: Any = None,
        **more: Any,
    ) -> None:
        self.node = node
        self.disk: list[NodeRecord] = [] if disk is None else disk
        self.holds = holds or Holds(0, "00")
        self.delivered: list[Delivery] = []
        self.recalls: list[tuple[NodeId, RecallMessage]] = []
        self.writing: Deferred[None] | None = None
        self.events: list[tuple[Verb, str]] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self.links = Links(
            clock or REACTOR,
            handshake=Handshake(
                Formation(
                    node,
                    members,
                    forming=self._last(Forming),
                    formed=self._last(Formed),
                    fresh_cluster=f"cluster of {node}",
                ),
                boot=boot,
                process=process or f"{node} {boot}",
                rules="r=1",
                held=lambda: self.holds,
                seen=[record for record in self.disk if isinstance(record, Seen)],
            ),
            peers=peers,
            listener=listener,
            switches=Switches(node, members, random=Random(node), allowed=True),
            persist=self.persist,
            deliver=self._delivered,
            recall=lambda peer, message: self.recalls.append((peer, message)),
            changed=lambda change: self._event(CHANGES[type(change)], change.peer),
            formed=lambda cluster: self._event("formed", cluster),
            fatal=lambda sentence: self._event("fatal", sentence),
            broken=lambda failure: self._event("fatal", failure.getErrorMessage()),
            random=Random(node),
            message_bytes_max=MESSAGE_BYTES_MAX,
            **more,
        )

    def _last(self, kind: type[Record]) -> Record | None:
        return next((record for record in self.disk[::-1] if isinstance(record, kind)), None)

    def persist(self, records: Sequence[NodeRecord]) -> Deferred[None]:
        """Keep ``records``; at once, unless `writing` is there."""
        self.disk += records
        return succeed(None) if self.writing is None else self.writing

    def said(self, verb: str) -> list[str]:
        """Return what the events called ``verb`` were about."""
        return [about for said, about in self.events if said == verb]

    def up(self) -> set[str]:
        """Return the peers that were dialed and not lost since."""
        up = set()
        for verb, about in self.events:
            if verb == "dialed":
                up.add(about)
            elif verb == "lost":
                up.discard(about)
        return up

    def reaches(self, peers: Collection[str]) -> bool:
        """Return whether all of ``peers`` are up."""
        return self.up().issuperset(peers)

    def messages(self, peer: NodeId | None = None) -> list[Message]:
        """Return what was delivered, or what came from ``peer``."""
        return [message for sender, _, message in self.delivered if peer in (None, sender)]

    def status(self, peer: NodeId) -> dict[str, Any]:
        """Return the status of the link to ``peer``."""
        (row,) = [row for row in self.links.status() if row["peer"] == peer]
        return row

    def until(self, happened: Callable[[], bool]) -> Deferred[None]:
        """Fire once ``happened()`` is true, which is looked at after each event and message."""
        waiting: Deferred[None] = Deferred()
        waiting.addTimeout(GIVE_UP_S, REACTOR)
        self._waiting.append((happened, waiting))
        self._look()
        return waiting

    def _delivered(self, peer: NodeId, group: int, message: Message) -> None:
        self.delivered.append((peer, group, message))
        self._look()

    def _event(self, verb: Verb, about: str) -> None:
        self.events.append((verb, about))
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            happened, waiting = entry
            if waiting.called:
                self._waiting.remove(entry)
            elif happened():
                self._waiting.remove(entry)
                waiting.callback(None)


@implementer(IStreamServerEndpoint, IStreamClientEndpoint)
class Loopback:
    """A TCP endpoint on loopback, on a port that is free; the same object dials it."""

    def __init__(self) -> None:
        self.port = 1
        self._chosen = 0

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:  # noqa: N803
        def chosen(port: IListeningPort) -> IListeningPort:
            address: Any = port.getHost()
            self._chosen = self.port = address.port
            return port

        endpoint = TCP4ServerEndpoint(REACTOR, self._chosen, interface="127.0.0.1")
        listening: Deferred[IListeningPort] = endpoint.listen(protocolFactory)
        return listening.addCallback(chosen)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        return TCP4ClientEndpoint(REACTOR, "127.0.0.1", self.port).connect(protocolFactory)


class Cluster:
    """Members that can dial each other.

    :ivar members: those that run now.
    """

    def __init__(self, count: int, *, directory: str | None = None) -> None:
        """Make members, and start none.

        :param directory: where to put UNIX sockets; without it they use TCP.
        """
        self.names = names(count)
        self.members: dict[NodeId, Member] = {}
        self.listeners: dict[NodeId, Any] = {}
        self.dialers: dict[NodeId, Any] = {}
        self.disks: dict[NodeId, list[NodeRecord]] = {name: [] for name in self.names}
        self.boots = dict.fromkeys(self.names, 0)
        for name in self.names:
            if directory is None:
                self.listeners[name] = self.dialers[name] = Loopback()
            else:
                address = f"unix:{directory}/{name}"
                self.listeners[name] = listening_endpoint(REACTOR, address)
                self.dialers[name] = dialing_endpoint(REACTOR, address)

    def form(self) -> None:
        """Write journals as if the cluster had formed already."""
        for name, disk in self.disks.items():
            disk += [Forming("cluster", name, self.names, 1), Formed("cluster")]

    def start(self, *nodes: NodeId, **more: Any) -> list[Member]:
        """Start ``nodes``, or all, from their disks."""
        started = []
        for node in nodes or self.names:
            self.boots[node] += 1
            options = {"disk": self.disks[node], "boot": self.boots[node], **more}
            member = Member(node, self.names, self.dialers, self.listeners[node], **options)
            self.members[node] = member
            started.append(member)
            member.links.startService()
        return started

    async def start_and_meet(self) -> list[Member]:
        """Start all as members of a formed cluster, and wait until all have dialed all.

        It is as if they had talked: none reminds another of what it is, which would be counted.
        """
        self.form()
        started = self.start()
        await self.met()
        for member in started:
            for link in member.links._links.values():
                link.heard = True
        return started

    async def met(self) -> None:
        """Wait until all that run have dialed each other, and know it."""
        for member in self.members.values():
            others = set(self.members) - {member.node}
            await member.until(partial(member.reaches, others))
        # Whoever was dialed is told so one message later.
        await soon(self._all_accepted)

    def _all_accepted(self) -> bool:
        return all(
            member.status(peer)["accepted"]
            for member in self.members.values()
            for peer in self.members
            if peer != member.node
        )

    async def stop(self, *nodes: NodeId) -> None:
        """Stop ``nodes``, or all."""
        for node in nodes or tuple(self.members):
            await self.members.pop(node).links.stopService()

    def stopped(self) -> Deferred[Any]:
        """Stop all, for test cases that end with a Deferred."""
        return DeferredList([member.links.stopService() for member in self.members.values()])

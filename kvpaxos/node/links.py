"""The links of a node to the other members.

Each node dials every other one. Requests leave on the connection that their sender dialed,
and replies come back on the same one; so whoever gets replies knows that its peer can be
dialed, and whoever gets requests knows that it can be dialed itself. Messages may be lost,
whenever a connection breaks or too many wait, and are then counted; none comes twice. On one
connection they keep their order, but for short ones that need not wait for long ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from time import monotonic as system_monotonic
from typing import Final, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.errors import WireError
from kvpaxos.node.assembly import Assembly
from kvpaxos.node.complaints import Complaints
from kvpaxos.node.connection import Connection, ConnectionFactory, LinkError
from kvpaxos.node.dialer import Dialer
from kvpaxos.node.handshake import Handshake
from kvpaxos.node.link import Link
from kvpaxos.node.listener import Listener
from kvpaxos.node.outgoing import Outgoing
from kvpaxos.node.parcels import EXPRESS, MESSAGES, REPLIES, REQUESTS, Packer, as_told
from kvpaxos.node.switches import Switches
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.effects import Dialed, HungUp, Lost
from kvpaxos.paxos.formation import Form, FormationMessage, Standing, Stands
from kvpaxos.paxos.messages import Incarnations, Message
from kvpaxos.paxos.recall import Recall, Recalled, RecallMessage, Told
from kvpaxos.paxos.records import NodeRecord
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.wire.chunks import MESSAGE_BYTES_MAX
from kvpaxos.wire.greeting import Frame, Hello, Holds, Identity, Refused, Welcome

STRANGERS_MAX: Final = 64
"""Accepted connections that have not greeted. One more, and the oldest of them is dropped."""

LOST: Final = "shows an empty disk to its own cluster: it is lost, or damaged and being mended"

REMIND_S: Final = 1.0
"""How often a node says where it stands to those that have not formed, or may not know."""


class Links(MultiService):
    """Dials, accepts, greets; carries messages between formed members of one cluster.

    Formation is carried out here too, since all of it is talk between members.

    :ivar switches: cut and slow down the links while they run.
    :ivar complaints: what was wrong with peers and strangers so far.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        handshake: Handshake,
        peers: Mapping[NodeId, IStreamClientEndpoint],
        listener: IStreamServerEndpoint,
        switches: Switches,
        persist: Callable[[Sequence[NodeRecord]], Deferred[None]],
        deliver: Callable[[NodeId, int, Message], None],
        recall: Callable[[NodeId, RecallMessage], None],
        changed: Callable[[Dialed | Lost | HungUp], None],
        formed: Callable[[str], None],
        fatal: Callable[[str], None],
        broken: Callable[[Failure], None],
        random: Random,
        monotonic: Callable[[], float] = system_monotonic,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        """Make links that do nothing before they are started.

        :param handshake: says who this node is, and examines who the others are.
        :param peers: how to dial each of the other members. (An entry for this node is not used.)
        :param persist: journals records, and fires once they would survive a power cut.
        :param deliver: takes each message: its sender, its group, and itself.
        :param recall: takes what members say about damaged journals, formed or not.
        :param changed: is told when messages can be sent to a peer or no longer, or it hung up.
        :param formed: is told the cluster's id once, when this node is or becomes a formed
            member of it: always before any message.
        :param fatal: is told, in one sentence, why this node must stop.
        :param broken: is told of an error after which it must stop, too.
        :param message_bytes_max: the longest message, the same on all nodes.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.switches = switches
        self.complaints = Complaints()
        self._clock = clock
        self._handshake = handshake
        formation = handshake.formation
        self._assembly = Assembly(
            formation, persist=persist, tell=self._tell, formed=self._now_formed, fatal=fatal
        )
        self._ear = Listener(listener, ConnectionFactory(self._accept))
        self._deliver = deliver
        self._recall = recall
        self._on_change = changed
        self._on_formed = formed
        self._on_broken = broken
        self._random = random
        self._monotonic = monotonic
        self._message_bytes_max = message_bytes_max
        self._strangers: dict[Connection, None] = {}
        self._unhurried: dict[Outgoing, None] = {}
        self._paused = False
        self._packer = Packer(message_bytes_max)
        self._reminder = LoopingCall(self._remind)
        self._reminder.clock = clock
        self._links = {
            node: Link(node, self._dialer(node, peers[node]))
            for node in formation.members
            if node != formation.node
        }
        for link in self._links.values():
            link.dialer.setServiceParent(self)  # type: ignore[no-untyped-call]

    def listen(self) -> Deferred[None]:
        """Accept connections, unless that is so already.

        Fails with `StartError` if the address is taken or cannot be had.
        """
        return self._ear.open()

    def deafen(self) -> Deferred[None]:
        """Accept no connections any more, and drop those that were, until `listen` is called."""
        for connection in self._accepted():
            connection.drop(LinkError("lost", "this node was made deaf"))
        return self._ear.close()

    @override
    def startService(self) -> None:
        self._assembly.begin()
        super().startService()  # type: ignore[no-untyped-call]
        self.listen().addErrback(self._on_broken)
        self._reminder.start(REMIND_S, now=False).addErrback(self._on_broken)

    @override
    def stopService(self) -> Deferred[None]:
        if self._reminder.running:
            self._reminder.stop()
        self._assembly.note(self._handshake.runs, at_end=True)
        ending = [connection.ended for connection in self._accepted()]
        for connection in self._accepted():
            connection.close(LinkError("lost", "this node stops"))
        dialers: Deferred[None] = super().stopService()  # type: ignore[no-untyped-call]
        stopping = gatherResults([dialers, self.deafen()], consumeErrors=True)
        return stopping.addCallback(lambda _: gatherResults(ending)).addCallback(lambda _: None)

    def send(self, group: int, to: NodeId, message: Message) -> None:
        """Send ``message`` to the member ``to`` if that can be done now, or count it as dropped."""
        link = self._links[to]
        connection = link.dialed if type(message) in REQUESTS else link.accepted
        if connection is None or not link.usable:
            link.dropped["no connection"] += 1
            return
        switch = self.switches.sending(to)
        if self.switches.loses(switch):
            link.dropped["switched off"] += 1
            return
        express = type(message) in EXPRESS
        if express:
            message = as_told(connection, message)
        parcel = self._packer.pack(group, message)
        if parcel is None:
            link.dropped["too long"] += 1
            self.complaints.hear(to, "too long", f"a {type(message).__name__} was too long to send")
        elif connection.outgoing.put(parcel, switch=switch, express=express):
            link.sent += 1
            self._unhurried[connection.outgoing] = None
        else:
            link.dropped["queue full"] += 1

    def hurry(self) -> None:
        """Let what was sent in this turn of the reactor leave in it, not in the next one."""
        while self._unhurried:
            self._unhurried.popitem()[0].hurry()

    def tell(self, to: NodeId, messages: Sequence[RecallMessage]) -> None:
        """Send to a member, formed or not. Any of them may be lost."""
        self._links[to].tell(messages, self.switches)

    def pause(self) -> None:
        """Read no more from peers."""
        self._paused = True
        for connection in self._greeted():
            connection.pause()

    def resume(self) -> None:
        """Read from peers again. Messages may be delivered before this returns."""
        self._paused = False
        for connection in self._greeted():
            # What one of them had in store may be too much again.
            if not self._paused:
                connection.resume()

    def status(self) -> list[dict[str, object]]:
        """Describe the link to each peer for the operator."""
        records, last = self._handshake.runs.records, self.complaints.last
        return [
            {**link.describe(), "records": records(peer), "complaint": last.get(peer)}
            for peer, link in self._links.items()
        ]

    def standings(self) -> dict[NodeId, Standing | None]:
        """Return where the other members stand, durably; None for those that are not here."""
        return {
            link.peer: link.standing if link.connections() else None
            for link in self._links.values()
        }

    def awaited(self) -> tuple[NodeId, ...]:
        """Return whom this node, on a new disk, must hear of. See `Formation.awaited`."""
        return self._handshake.formation.awaited

    def identity(self) -> Identity:
        """Say who this node is."""
        return self._handshake.identity()

    def examine(self, connection: Connection, theirs: Identity, meant: NodeId) -> str | None:
        """Say what is wrong with ``theirs`` at the other end of ``connection``, or None."""
        alive = theirs.node in self._links and bool(self._links[theirs.node].connections())
        objection = self._handshake.examine(
            theirs, meant, dialed=connection.meant is not None, alive=alive, floor=connection.floor
        )
        if objection is None and not theirs.formed:
            # A new disk: what was seen of an old one means nothing.
            connection.floor = 0
        elif objection is None and connection.meant is None:
            # It is welcomed now: all that it says further on this connection comes after that.
            connection.floor = self._handshake.runs.records(theirs.node)
        return objection

    def greeted(self, connection: Connection) -> None:
        """Take ``connection`` into use."""
        assert connection.theirs is not None
        link = self._links[connection.theirs.node]
        self._strangers.pop(connection, None)
        link.put(connection)
        if self._paused:
            connection.pause()
        self.complaints.settle(link.peer)
        if connection.meant is None:
            # It lives: so it can be dialed again.
            link.dialer.hurry()
        link.show_journal(self._handshake.held())
        self._heard(link, connection, connection.theirs.standing, connection.theirs.incarnations)

    def received(self, connection: Connection, group: int, content: Frame) -> None:
        """Take what came by ``connection``."""
        assert connection.theirs is not None
        link = self._links[connection.theirs.node]
        if isinstance(content, Holds):
            self._held(link, connection, content)
        elif self.switches.loses(self.switches.receiving(link.peer)):
            link.dropped["switched off"] += 1
        elif type(content) in MESSAGES:
            self._message(link, connection, group, cast(Message, content))
        elif isinstance(content, Recall | Told | Recalled):
            self._recall(link.peer, content)
        else:
            self._greeting(
                link, connection, cast(FormationMessage | Hello | Welcome | Refused, content)
            )

    def lost(self, connection: Connection, error: LinkError) -> None:
        """Take note that ``connection`` is gone."""
        self._strangers.pop(connection, None)
        theirs = connection.theirs
        if theirs is None or error.kind != "lost":
            about = theirs.node if theirs is not None else connection.meant
            self.complaints.hear(about or "a stranger", error.kind, str(error))
        if theirs is not None:
            link = self._links[theirs.node]
            if link.remove(connection):
                self._on_change(HungUp(link.peer))
            self._review(link)

    def _message(self, link: Link, connection: Connection, group: int, message: Message) -> None:
        if type(message) not in (REPLIES if connection.meant is not None else REQUESTS):
            raise WireError(f"{type(message).__name__} on a connection that was not made for it")
        link.heard = True
        if not link.usable:
            # Only a formed node sends messages: its news of that must have been lost.
            standing = self._assembly.standing
            if standing.formed and link.standing.cluster == standing.cluster:
                self._heard(link, connection, standing, link.incarnations)
        if not link.usable:
            link.dropped["not formed"] += 1
            return
        link.received += 1
        self._deliver(link.peer, group, message)

    def _greeting(
        self,
        link: Link,
        connection: Connection,
        greeting: FormationMessage | Hello | Welcome | Refused,
    ) -> None:
        match greeting:
            case Form() as form:
                self._assembly.asked(link.peer, form)
            case Stands(standing, incarnations):
                self._heard(link, connection, standing, incarnations)
            case Hello() | Welcome() | Refused():
                raise WireError(f"{type(greeting).__name__} after the greetings")

    def _heard(
        self, link: Link, connection: Connection, standing: Standing, incarnations: Incarnations
    ) -> None:
        if not link.hear(connection, standing, incarnations):
            return
        if standing.formed:
            incarnation = dict(incarnations).get(link.peer, FIRST_INCARNATION)
            self._handshake.runs.formed(link.peer, incarnation)
        if self._assembly.standing.formed and link.is_new_loss(connection):
            self.complaints.hear(link.peer, "disk lost", LOST)
        self._review(link)
        self._assembly.heard(link.peer, standing, incarnations)
        self._assembly.note(self._handshake.runs)

    def _held(self, link: Link, connection: Connection, holds: Holds) -> None:
        assert connection.theirs is not None
        objection = self._handshake.runs.holds(
            link.peer, connection.theirs.process, holds, floor=connection.floor
        )
        if objection is not None:
            connection.refuse(objection)
        self._assembly.note(self._handshake.runs)

    def _review(self, link: Link) -> None:
        """Tell the node if it can send to the peer now, or can no longer."""
        standing = self._assembly.standing
        link.usable = standing.formed and link.standing == standing
        up = link.usable and link.dialed is not None
        if up != link.up:
            link.up = up
            self._log.info("{peer} is {state}", peer=link.peer, state="up" if up else "down")
            self._on_change((Dialed if up else Lost)(link.peer))

    def _now_formed(self, cluster: str) -> None:
        self._on_formed(cluster)
        self._assembly.note(self._handshake.runs)
        for link in self._links.values():
            self._review(link)

    def _remind(self) -> None:
        self._assembly.remind()
        for connection in self._greeted():
            connection.review()
        for link in self._links.values():
            if self._assembly.standing.formed and not (link.usable and link.heard):
                self._tell(link.peer, self._assembly.news())
            link.show_journal(self._handshake.held())

    def _tell(self, peer: NodeId, message: FormationMessage) -> None:
        link = self._links[peer]
        switch = self.switches.sending(peer)
        for connection in link.connections()[:1]:
            if self.switches.loses(switch):
                link.dropped["switched off"] += 1
            else:
                connection.greet(message)

    def _accept(self) -> Connection:
        if len(self._strangers) >= STRANGERS_MAX:
            # It is lost only in the next turn, and must not be dropped twice until then.
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.drop(LinkError("crowded", "too many connections without a greeting"))
        connection = self._connection(None)
        self._strangers[connection] = None
        return connection

    def _connection(self, meant: NodeId | None) -> Connection:
        connection = Connection(
            self,
            meant=meant,
            clock=self._clock,
            monotonic=self._monotonic,
            message_bytes_max=self._message_bytes_max,
        )
        if meant is not None:
            connection.floor = self._handshake.runs.records(meant)
        return connection

    def _dialer(self, peer: NodeId, endpoint: IStreamClientEndpoint) -> Dialer:
        return Dialer(
            endpoint,
            lambda: self._connection(peer),
            clock=self._clock,
            random=self._random,
            failed=lambda error: self._unreachable(peer, error),
            broken=self._on_broken,
        )

    def _unreachable(self, peer: NodeId, error: LinkError) -> None:
        # All other errors come by way of the connection.
        if error.kind == "unreachable":
            self.complaints.hear(peer, error.kind, str(error))

    def _accepted(self) -> list[Connection]:
        accepted = (link.accepted for link in self._links.values())
        return [*(one for one in accepted if one is not None), *self._strangers]

    def _greeted(self) -> list[Connection]:
        return [one for link in self._links.values() for one in link.connections()]

"""What a node keeps of its link to one other member."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from kvpaxos.node.connection import Connection, LinkError
from kvpaxos.node.dialer import Dialer
from kvpaxos.node.switches import Switches
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import EMPTY, Standing
from kvpaxos.paxos.messages import Incarnations
from kvpaxos.paxos.recall import RecallMessage
from kvpaxos.wire.chunks import packed
from kvpaxos.wire.greeting import Holds, encode_greeting


@dataclass(slots=True)
class Link:
    """The link to ``peer``: at most one connection each way that has greeted.

    :ivar dialed: the one that this node dialed; ``accepted`` is the one that ``peer`` did.
    :ivar standing: what the peer last said of its standing, and ``incarnations`` of disks.
    :ivar formed_run: which run of the peer has said last that it is formed.
    :ivar lost_run: which run of it has shown last that it is part of nothing.
    :ivar told: what it was last told of this node's journal, apart from greetings.
    :ivar usable: whether messages to and from the peer are passed on.
    :ivar heard: whether a message came from the peer since the last greeting. It sends none before
        it knows that this node is formed.
    :ivar up: whether the node was told that messages can be sent.
    :ivar sent: how many messages were handed to a connection; ``received``, taken from one.
    :ivar dropped: how many were not, by cause.
    """

    peer: NodeId
    dialer: Dialer
    dialed: Connection | None = None
    accepted: Connection | None = None
    standing: Standing = EMPTY
    incarnations: Incarnations = ()
    formed_run: str | None = None
    lost_run: str | None = None
    told: Holds | None = None
    usable: bool = False
    heard: bool = False
    up: bool = False
    sent: int = 0
    received: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def hear(self, connection: Connection, standing: Standing, incarnations: Incarnations) -> bool:
        """Note where the peer stands. Return False if that is old, and came late.

        A run that is formed stays so, whatever it said before on a connection that is slower.
        """
        assert connection.theirs is not None
        run = connection.theirs.process
        if not standing.formed and self.formed_run == run:
            return False
        self.formed_run = run if standing.formed else None
        self.standing, self.incarnations = standing, incarnations
        return True

    def is_new_loss(self, connection: Connection) -> bool:
        """Whether the peer stands nowhere, and has not said so before in the same run."""
        assert connection.theirs is not None
        if self.standing != EMPTY or self.lost_run == connection.theirs.process:
            return False
        self.lost_run = connection.theirs.process
        return True

    def connections(self) -> list[Connection]:
        """Return those that there are."""
        return [connection for connection in (self.dialed, self.accepted) if connection is not None]

    def put(self, connection: Connection) -> None:
        """Take up ``connection``, which has just greeted, and drop what it makes obsolete."""
        assert connection.theirs is not None
        obsolete = self.accepted if connection.meant is None else self.dialed
        if connection.meant is None:
            self.accepted = connection
        else:
            self.dialed = connection
        # What was told by another connection may have been lost with it.
        self.told = None
        self.heard = False
        for other in (obsolete, *self.connections()):
            if other is None or other is connection:
                continue
            assert other.theirs is not None
            # The other connection with an earlier run of the peer may not know yet that it
            # is dead; the one of the same kind is useless in any case.
            if other is obsolete or other.theirs.process != connection.theirs.process:
                other.drop(LinkError("lost", "a newer connection took its place"))

    def tell(self, messages: Sequence[RecallMessage], switches: Switches) -> None:
        """Send ``messages`` by one connection, in this order, whatever the standings are."""
        switch = switches.sending(self.peer)
        for connection in self.connections()[:1]:
            for message in messages:
                if switches.loses(switch):
                    self.dropped["switched off"] += 1
                elif not connection.outgoing.put(packed(encode_greeting(message)), switch=switch):
                    self.dropped["queue full"] += 1

    def show_journal(self, held: Holds) -> None:
        """Say what the journal holds, so that no copy of an earlier moment can pass for it.

        It belongs to the greetings, and passes all switches as they do.
        """
        if self.told != held:
            for connection in self.connections()[:1]:
                connection.greet(held)
                self.told = held

    def remove(self, connection: Connection) -> bool:
        """Let go of ``connection``, which is gone. Return whether the peer has hung up by that."""
        if self.dialed is connection:
            self.dialed = None
        if self.accepted is not connection:
            return False
        self.accepted = None
        return self.usable

    def describe(self) -> dict[str, object]:
        """Describe the link for the operator."""
        return {
            "peer": self.peer,
            "dialed": self.dialed is not None,
            "accepted": self.accepted is not None,
            "formed": self.standing.formed,
            "bytes_queued": sum(one.outgoing.bytes_held for one in self.connections()),
            "sent": self.sent,
            "received": self.received,
            "dropped": dict(self.dropped),
        }

"""Members that agree slot by slot, a network of queues, and disks that take no time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Final

from kvpaxos.paxos.agreements import AgreementEvent, Agreements, Begun
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.decisions import Agreed, value_of
from kvpaxos.paxos.effects import Persisted, Received, Ticked
from kvpaxos.paxos.messages import Envelope, Message
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import ReplicaRecord

TICK_S: Final = 0.02

Loses = Callable[[NodeId, NodeId, Message], bool]


def nothing(_sender: NodeId, _to: NodeId, _message: Message) -> bool:
    """Lose nothing."""
    return False


class Group:
    """Members, and all that they say to each other.

    :ivar loses: whether a message to another member is lost.
    :ivar sent: how many messages of each kind have left one member for another.
    :ivar values: what was decided, by slot, whoever came to know it.
    """

    def __init__(self, quorum: Quorum, *, seed: int = 0) -> None:
        self.now = 100.0
        self.loses: Loses = nothing
        self.sent: Counter[str] = Counter()
        self.values: dict[Slot, bytes] = {}
        self.line: deque[tuple[NodeId, NodeId, Message]] = deque()
        self.records: dict[NodeId, list[ReplicaRecord]] = {node: [] for node in quorum.members}
        self.members: dict[NodeId, Agreements] = {}
        self._quorum = quorum
        self._random = Random(seed)
        for node in sorted(quorum.members):
            self.restart(node)

    def restart(self, node: NodeId) -> None:
        """Begin a new life of ``node``, or the first, from what it wrote down."""
        random = Random(self._random.random())
        self.members[node] = Agreements(
            node, self._quorum, self.records[node], random=random, now=self.now
        )

    def start(self, node: NodeId, slot: int, value: bytes) -> None:
        """Have ``node`` propose ``value`` in ``slot``, and deliver nothing yet."""
        self.step(node, Begun(Slot(slot), value))

    def done(self, through: int, *nodes: NodeId) -> None:
        """Have the applications of ``nodes``, or of all, be done through a slot."""
        for node in nodes or tuple(self.members):
            self.step(node, Persisted(Slot(through)))

    def step(self, node: NodeId, event: AgreementEvent) -> None:
        """Let ``node`` take an event; what it says waits in line."""
        effects = self.members[node].step(event, self.now)
        self.records[node] += effects.records
        for decision in effects.decided:
            value = value_of(decision.batch)
            assert self.values.setdefault(decision.slot, value) == value
        for envelope in effects.sends + effects.replies:
            self._send(node, envelope)

    def settle(self) -> None:
        """Deliver all that waits in line, and what comes of it."""
        while self.line:
            sender, to, message = self.line.popleft()
            self.step(to, Received(sender, message))

    def run(self, seconds: float) -> None:
        """Let time pass, and deliver everything at once."""
        end = self.now + seconds
        while self.now < end:
            self.tick()
            self.settle()

    def tick(self) -> None:
        """Tell everybody that time has passed."""
        self.now += TICK_S
        for node in self.members:
            self.step(node, Ticked())

    def agree(self, node: NodeId, slot: int, value: bytes) -> None:
        """Have ``node`` propose something, and let all hear of it."""
        self.start(node, slot, value)
        self.run(0.1)

    def knowing(self, slot: int) -> str:
        """Return the names of those that know what is decided in ``slot``."""
        return "".join(
            node
            for node, member in self.members.items()
            if isinstance(member.status(Slot(slot)), Agreed)
        )

    def requests(self) -> int:
        """Count the requests so far: what is no reply."""
        return sum(self.sent[kind] for kind in ("Prepare", "Accept", "Chosen", "CatchUp"))

    def _send(self, sender: NodeId, envelope: Envelope) -> None:
        if envelope.to != sender:
            self.sent[type(envelope.message).__name__] += 1
            if self.loses(sender, envelope.to, envelope.message):
                return
        self.line.append((sender, envelope.to, envelope.message))

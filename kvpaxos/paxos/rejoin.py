"""How a node that lost its disk comes back, and contradicts nothing that it has said.

What it promised and voted is gone with the disk, so it must not go on as if it had never done
either. It comes back under a new *incarnation*, which is the number of its disk:

J1. It asks the others to renew it. Each of them notes durably that whatever an earlier incarnation
    said is void, counts it no more, and reports the ballot that it has promised itself and the
    highest slot that it has voted in, or once knew to be decided.
J2. Every `Promise`, `Accepted` and `Report` says which incarnations its sender knows of. Whoever
    counts them takes that over, and counts only what comes from the newest incarnation of each
    node.
J3. The node votes again once so many have reported that every quorum it can belong to has one of
    them in it, and once it knows what is decided in all slots through the highest that they
    reported. It begins with the highest ballot that they have promised.

Why this is safe: a quorum that counts the old incarnation has somebody in it who reported (J3). If
he voted before he reported, the slot is one of those that had to be learned, as decided; if he
promised before, the node now keeps that promise too. If he did either afterwards, his reply said
that the old incarnation is void (J2), and it was not counted. If he has lost his disk too since,
some third one has reported to both: whichever of the two heard him last knows of the other (J2).
So either the later disk says what the earlier one would have said, or the report was void.

A disk that was lost before so many knew of it has never voted, and its number may come again,
unless somebody who has seen it tells of it (see `formation`). So it must not number commands
either: no wish leaves it before they have reported.

With three members both others must report, with five any three. So rejoining needs no more nodes
than deciding does, but for the one that rejoins; where too many have lost their disks at once
nobody can be sure, and all of them wait. The nearest relative is the recovery of Liskov and
Cowling, "Viewstamped Replication Revisited" (2012), section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Effects
from kvpaxos.paxos.messages import Envelope, Incarnations, Rejoin, Report
from kvpaxos.paxos.peers import LONG_AGO
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Rejoined, Renewed

FIRST_INCARNATION = 1
"""The incarnation of every member at formation."""


class Disks:
    """Which disk each member is on, as far as this node knows.

    :ivar known: the newest incarnation of each node, but for those on their first.
    """

    def __init__(self, known: Mapping[NodeId, int]) -> None:
        self.known = {node: one for node, one in known.items() if one > FIRST_INCARNATION}
        self.shown: Incarnations = tuple(sorted(self.known.items()))

    def newest(self, node: NodeId) -> int:
        """Return the newest incarnation of ``node`` that is known."""
        return self.known.get(node, FIRST_INCARNATION)

    def counts(self, sender: NodeId, incarnations: Incarnations) -> bool:
        """Whether a reply that shows ``incarnations`` is from the newest one of its sender."""
        return dict(incarnations).get(sender, FIRST_INCARNATION) >= self.newest(sender)

    def renew(self, incarnations: Incarnations) -> tuple[Renewed, ...]:
        """Take over what is newer; return what to write down."""
        newer = [(node, one) for node, one in incarnations if one > self.newest(node)]
        if newer:
            self.known.update(newer)
            self.shown = tuple(sorted(self.known.items()))
        return tuple(Renewed(node, one) for node, one in newer)


class Probation:
    """A node that has lost its disk, and has not learnt yet what it needs in order to vote.

    :ivar reports: what others have reported.
    """

    def __init__(self, node: NodeId, incarnation: int, quorum: Quorum) -> None:
        self.reports: dict[NodeId, Report] = {}
        self._node = node
        self._incarnation = incarnation
        self._quorum = quorum
        self._asked_at = LONG_AGO

    @property
    def awaited(self) -> frozenset[NodeId]:
        """Who has not reported yet; empty once enough have."""
        if self._quorum.meets(self._node, self.reports):
            return frozenset()
        return self._quorum.members.difference(self.reports) - {self._node}

    @property
    def must_learn_through(self) -> Slot:
        """The highest slot that anybody has reported, so far."""
        return max((one.voted_through for one in self.reports.values()), default=Slot(0))

    def ask(self, now: float, retry_s: float) -> Effects:
        """Ask those who have not reported, unless they were asked and may still answer."""
        if not self.awaited or now - self._asked_at < retry_s:
            return NOTHING
        self._asked_at = now
        question = Rejoin(self._incarnation)
        return Effects(sends=tuple(Envelope(node, question) for node in sorted(self.awaited)))

    def hear(self, sender: NodeId, report: Report) -> None:
        """Take a report. Those on an earlier question of an earlier disk do not count."""
        if report.incarnation == self._incarnation:
            self.reports.setdefault(sender, report)

    def discard(self, node: NodeId) -> None:
        """Count no report of ``node`` so far, which has a new disk itself."""
        self.reports.pop(node, None)

    def end(self, decided_through: Slot) -> tuple[Ballot, Rejoined] | None:
        """Return what to promise, and what to write down, once this node may vote again."""
        if self.awaited or decided_through < self.must_learn_through:
            return None
        promised = max((one.promised for one in self.reports.values()), default=ZERO_BALLOT)
        return promised, Rejoined(self._incarnation)

"""What one replica knows of the others: who is reachable, how far, and what they say.

Only a node that reaches a quorum both ways may lead, and it stands only when a quorum has
lost the leader: so neither a link that fails one way, nor a node that flaps, can unseat a
leader whom the others hear. The conditions are those of Ng, Haridi and Carbone,
"Omni-Paxos" (2023), section 5; the round-trip estimate is that of RFC 6298, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.limits import Timing
from kvpaxos.paxos.messages import Health
from kvpaxos.paxos.quorum import Quorum

LONG_AGO: Final = float("-inf")

FADING: Final = 0.98
"""What is left of an old peak after one tick."""


@dataclass(slots=True)
class Peer:
    """Another member, seen from here.

    :ivar heard_at: when its last heartbeat came: it could dial us then.
    :ivar reached_at: when it last answered one of ours: we could dial it then.
    :ivar lost: our connection to it broke, and it has not answered since.
    :ivar hung_up: its connection to us broke, and no heartbeat of it came since.
    :ivar health: what it last said of itself.
    :ivar round_trip_s: smoothed; None before the first answer.
    """

    heard_at: float = LONG_AGO
    reached_at: float = LONG_AGO
    lost: bool = False
    hung_up: bool = False
    health: Health | None = None
    round_trip_s: float | None = None
    _deviation_s: float = 0.0
    _measured_at: float = LONG_AGO
    _before: tuple[float | None, float] = (None, 0.0)

    @property
    def touched_at(self) -> float:
        """When both ways were last known to be open."""
        return min(self.heard_at, self.reached_at)

    def measure(self, sample_s: float, now: float, apart_s: float) -> None:
        """Take one more round-trip time.

        :param apart_s: heartbeats are sent farther apart than this. Answers that come nearer to
            each other were held up together, as by a cut that is healed: then the last one alone
            says how long the way is, and those before it how long the cut was.
        """
        if now - self._measured_at < apart_s:
            self.round_trip_s, self._deviation_s = self._before
        self._before, self._measured_at = (self.round_trip_s, self._deviation_s), now
        if self.round_trip_s is None:
            self.round_trip_s, self._deviation_s = sample_s, sample_s / 2
            return
        self._deviation_s += (abs(self.round_trip_s - sample_s) - self._deviation_s) / 4
        self.round_trip_s += (sample_s - self.round_trip_s) / 8

    @property
    def slow_round_trip_s(self) -> float:
        """A round trip that only a rare answer exceeds."""
        return (self.round_trip_s or 0.0) + 4 * self._deviation_s


@dataclass(slots=True)
class Peers:
    """All the other members, and the timeouts that follow from what was measured of them."""

    node: NodeId
    quorum: Quorum
    timing: Timing
    known: dict[NodeId, Peer] = field(init=False)
    _round_trips_s: float = 0.0
    _lag_s: float = 0.0
    _sync_s: float = 0.0

    def __post_init__(self) -> None:
        self.known = {node: Peer() for node in sorted(self.quorum.members) if node != self.node}

    @property
    def patience_s(self) -> float:
        """How long a silence must last before it means anything.

        It covers several heartbeats, a slow round trip to the slowest peer, and the pauses
        that this process has lately had itself.
        """
        beats_s = 4 * self.timing.heartbeat_s + self._round_trips_s
        return max(self.timing.patience_s, beats_s) + self._lag_s

    @property
    def retry_s(self) -> float:
        """How long to wait for an answer that may need a sync on the other side."""
        return self.timing.retry_s + self.slack_s

    @property
    def slack_s(self) -> float:
        """How much longer than on an idle machine with near peers everything takes."""
        return self._round_trips_s + 2 * self._sync_s + self._lag_s

    def heard(self, node: NodeId, health: Health, now: float) -> None:
        """Take a heartbeat of ``node``: so it can dial us."""
        peer = self.known[node]
        peer.heard_at = now
        peer.hung_up = False
        peer.health = health

    def reached(self, node: NodeId, health: Health, sent_at: float, now: float) -> None:
        """Take the answer to a heartbeat that we sent ``node``: so we can dial it."""
        peer = self.known[node]
        peer.reached_at = now
        peer.lost = False
        peer.health = health
        peer.measure(now - sent_at, now, self.timing.heartbeat_s / 2)
        slowest_s = max(peer.slow_round_trip_s for peer in self.known.values())
        # One that took absurdly long tells of a pause of the peer, and not of the way.
        self._round_trips_s = 2 * min(slowest_s, self.timing.stuck_s)

    def observe(self, lag_s: float, sync_s: float) -> None:
        """Take how late a tick came and how long a sync has taken; old peaks fade."""
        if not self.is_pause(lag_s):
            self._lag_s = max(lag_s, self._lag_s * FADING)
        self._sync_s = max(min(sync_s, self.timing.stuck_s), self._sync_s * FADING)

    def is_pause(self, lag_s: float) -> bool:
        """Whether a tick so late means that this process stood still, and is not just slow.

        A pause is excused. Slowness may last, and widens the patience instead: were it excused
        at each tick, somebody who is gone would hardly seem silent.
        """
        return lag_s >= self.timing.stuck_s

    def excuse(self, lag_s: float, now: float) -> None:
        """After a pause of this process: nobody was silent, it was we who did not listen."""
        for peer in self.known.values():
            peer.heard_at = min(now, peer.heard_at + lag_s)
            peer.reached_at = min(now, peer.reached_at + lag_s)

    def renew(self, node: NodeId) -> None:
        """Know nothing of ``node`` any more, which has a new disk: what it said was of the old."""
        if node in self.known:
            self.known[node] = Peer()

    def lose(self, node: NodeId) -> None:
        """Count ``node`` as unreachable until it answers again."""
        if node in self.known:
            self.known[node].lost = True

    def hung_up(self, node: NodeId) -> None:
        """Count ``node`` as unable to dial us until it has done so again.

        Whoever nobody can dial hears of no new leader, and must not stand against it.
        """
        if node in self.known:
            self.known[node].hung_up = True

    def reaches(self, node: NodeId, now: float) -> bool:
        """Whether ``node`` has lately dialed us, and answered when we dialed it."""
        peer = self.known.get(node)
        if peer is None or peer.lost or peer.hung_up:
            return False
        return peer.touched_at > now - self.patience_s

    def connected(self, now: float) -> bool:
        """Whether a quorum is reached both ways, this node included."""
        return self.quorum.reached([self.node, *(n for n in self.known if self.reaches(n, now))])

    def cut_off(self, now: float) -> bool:
        """Whether no quorum has been reached for a while.

        A connection that breaks is mostly dialed again at once: so it takes time to tell.
        """
        since = now - self.patience_s
        touched = [node for node, peer in self.known.items() if peer.touched_at > since]
        return not self.quorum.reached([self.node, *touched])

    def leaderless(self, now: float) -> bool:
        """Whether a quorum, this node included, lately said that it hears no leader."""
        return self.quorum.reached(
            [
                self.node,
                *(
                    node
                    for node, peer in self.known.items()
                    if peer.health is not None
                    and peer.health.following == ZERO_BALLOT
                    and self.reaches(node, now)
                ),
            ]
        )

    def heirs(self, now: float) -> list[NodeId]:
        """Return who could lead instead of this node, the most up to date first."""
        able = [
            (-peer.health.decided_through, node)
            for node, peer in self.known.items()
            if peer.health is not None and peer.health.able and self.reaches(node, now)
        ]
        return [node for _, node in sorted(able)]

    def ahead(self, slot: Slot, now: float) -> bool:
        """Whether another could lead that says it knows the slots beyond ``slot``."""
        heirs = self.heirs(now)
        health = self.known[heirs[0]].health if heirs else None
        return health is not None and health.decided_through > slot

    def teachers(self, slot: Slot, now: float) -> list[NodeId]:
        """Return who can hand out ``slot``, which is decided, those with most to tell first."""
        able = [
            (-peer.health.decided_through, node)
            for node, peer in self.known.items()
            if peer.health is not None
            and peer.health.kept_from <= slot <= peer.health.decided_through
            and self.reaches(node, now)
        ]
        return [node for _, node in sorted(able)]

    def donors(self, slot: Slot, now: float) -> list[NodeId]:
        """Return whose state has executed ``slot``, those with most to give first."""
        able = [
            (-peer.health.decided_through, node)
            for node, peer in self.known.items()
            if peer.health is not None
            and slot <= peer.health.decided_through
            and self.reaches(node, now)
        ]
        return [node for _, node in sorted(able)]

    def relay(self, now: float) -> tuple[Ballot, NodeId] | None:
        """Return a leader that this node does not hear, and a peer that does."""
        for node, peer in self.known.items():
            if (
                peer.health is not None
                and peer.health.following != ZERO_BALLOT
                and self.reaches(node, now)
            ):
                return peer.health.following, node
        return None

    def durable_through(self, own: Slot) -> Slot:
        """Return the slot through which every member's state is durable, as far as known."""
        healths = [peer.health for peer in self.known.values()]
        return min(
            [own, *(NO_SLOT if health is None else health.durable_through for health in healths)]
        )

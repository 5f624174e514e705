"""Who leads: heartbeats, standing for leader, phase 1, stepping down, handing over.

Lamport, "Paxos Made Simple" (2001), section 3, leaves the election open. Here a node stands
only if it reaches a quorum both ways and a quorum says that it hears no leader (see `peers`);
whoever stands waits a random while first, and longer after each failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Final

from kvpaxos.paxos.acceptor import Acceptor
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Effects, Ticked
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.messages import (
    Envelope,
    Health,
    Nack,
    Ping,
    Pong,
    Prepare,
    Promise,
    Request,
    TakeOver,
    Watermark,
    Withdraw,
)
from kvpaxos.paxos.peers import LONG_AGO, Peers
from kvpaxos.paxos.proposer import Following, Leading, Preparing, Role

BACKOFF_MAX_S: Final = 1.0
"""No candidate waits longer than this before it stands again."""

SLOW_MAX_S: Final = 10.0
"""A sync that takes longer says no more about the disks of others than this."""

DOUBLINGS_MAX: Final = 5
"""Nor is it given more than so many times twice as long to win."""


class Election:
    """Owns the role of one replica, and what it says of itself with every heartbeat.

    :ivar role: what this node is doing.
    :ivar durable_through: its state would survive a power cut through this slot.
    :ivar leaving: it is about to be stopped, and must not come to lead.
    :ivar probation: it has lost its disk, and must not come to lead before it may vote.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        learner: Learner,
        peers: Peers,
        *,
        random: Random,
        limits: Limits,
        timing: Timing,
        now: float,
    ) -> None:
        self.durable_through = NO_SLOT
        self.leaving = False
        self.probation = False
        self._acceptor = acceptor
        self._learner = learner
        self._peers = peers
        self._random = random
        self._limits = limits
        self._timing = timing
        self._born_at = now
        self._beat_at = now
        self._stuck = False
        self._low = False
        self._slow_until = LONG_AGO
        self._missed_s = 0.0
        self._attempts = 0
        self._highest_seen = acceptor.promised
        self._grudge: tuple[Ballot, float] = (ZERO_BALLOT, LONG_AGO)
        self.role: Role = Following(ZERO_BALLOT, now, now + self._jitter())

    @property
    def leader(self) -> Ballot:
        """The ballot of the leader, this node's own while it leads, or ``ZERO_BALLOT``."""
        return self.role.leader

    def closing(self, now: float) -> bool:
        """Whether this node must open no more slots: it should not lead, and another can."""
        return (self.leaving and bool(self._peers.heirs(now))) or self._is_relieved(now)

    def _is_relieved(self, now: float) -> bool:
        """Whether our disk is nearly full, and one that is not knows nearly as much as we do.

        Where all are nearly full it makes no difference who leads, and nobody hands over. One that
        lags far behind is no help: it would have to learn a lot before anything goes on.
        """
        near = Slot(self._learner.decided_through - self._limits.ahead_slots_max)
        return self._low and self._peers.ahead(near, now)

    def slow_disk(self, now: float) -> bool:
        """Whether our disk is slow, or was a moment ago, and those of others may be as slow.

        Then nobody is blamed for what takes a quorum of disks, and this node is no heir:
        little is gained by handing over from one slow disk to the next.
        """
        return now < self._slow_until

    def health(self, now: float) -> Health:
        """Return what this node says of itself."""
        return Health(
            self.leader,
            self._able(now) and not self.slow_disk(now) and not self._low,
            self._learner.decided_through,
            self._learner.kept_from,
            self.durable_through,
        )

    # What peers say.

    def hear(self, ballot: Ballot, now: float) -> None:
        """Follow the leader of ``ballot``, who lives, unless a higher one is known."""
        grudge, until = self._grudge
        if ballot < self._acceptor.promised or (ballot == grudge and now < until):
            return
        self._see(ballot)
        match self.role:
            case Following(leader=leader) if leader == ballot:
                self.role.heard_at = now
            case Following(leader=known) | Preparing(ballot=known) | Leading(ballot=known) if (
                known >= ballot
            ):
                pass
            case Following() if not self._peers.reaches(ballot.node, now):
                pass  # It could be sent nothing.
            case _:
                self._attempts = 0
                self.role = Following(ballot, now, now)

    def pinged(self, sender: NodeId, ping: Ping, now: float) -> Effects:
        """Take a peer's heartbeat, which proves that it can dial us."""
        self._peers.heard(sender, ping.health, now)
        pong = _send(sender, Pong(self.health(now), ping.sent_at))
        ballot = ping.health.following
        if ballot.node == sender and ballot < self._acceptor.promised:
            nack = Nack(ballot, self._acceptor.promised)
            pong += Effects(replies=(Envelope(sender, nack),))
        return pong + self._take_health(sender, ping.health, now)

    def ponged(self, sender: NodeId, pong: Pong, now: float) -> Effects:
        """Take the answer to a heartbeat of ours, which proves that we can dial the peer."""
        if not self._born_at <= pong.sent_at <= now:
            return NOTHING
        self._peers.reached(sender, pong.health, pong.sent_at, now)
        return self._take_health(sender, pong.health, now)

    def ping(self, nodes: Iterable[NodeId], now: float) -> Effects:
        """Send ``nodes`` a heartbeat, now."""
        ping = Ping(self.health(now), now)
        return Effects(sends=tuple(Envelope(node, ping) for node in nodes))

    def ping_all(self, now: float) -> Effects:
        """Send everyone a heartbeat, now."""
        return self.ping(self._peers.known, now)

    def lost(self, peer: NodeId, now: float) -> Effects:
        """Our connection to ``peer`` broke: what was sent on it may be lost, and ``peer`` too."""
        self._peers.lose(peer)
        if isinstance(self.role, Following) and self.role.leader.node == peer:
            return self._lose_leader(now)
        return NOTHING

    def renew(self, node: NodeId) -> None:
        """Count nothing that ``node`` has said: it has a new disk."""
        self._peers.renew(node)
        if not isinstance(self.role, Following):
            self.role.discard(node)

    def resent(self, now: float) -> Effects:
        """Count the leader as gone for a while: it gets nothing done, whatever it says."""
        self._grudge = (self.leader, now + 2 * self._peers.patience_s)
        return self._lose_leader(now)

    def _take_health(self, sender: NodeId, health: Health, now: float) -> Effects:
        if health.following.node == sender:
            self.hear(health.following, now)
        elif isinstance(self.role, Following) and self.role.leader.node == sender:
            return self._lose_leader(now)
        return self._stand_if_due(now)

    # Phase 1.

    def prepare(self, sender: NodeId, prepare: Prepare, now: float) -> Effects:
        """Answer a candidate, and give it time: a quorum has told it that no leader is heard."""
        if prepare.ballot > self._acceptor.promised:
            self._see(prepare.ballot)
            stand_at = now + self._phase_s() + self._jitter()
            self.role = Following(ZERO_BALLOT, now, stand_at, yields=True)
            # If nothing comes of it the next one gets more time, whoever that is.
            self._attempts += 1
        return self._promise(sender, prepare)

    def promised(self, sender: NodeId, promise: Promise) -> None:
        """Take a promise, or a part of one, if it is for the ballot we stand with."""
        if not isinstance(self.role, Preparing) or promise.ballot != self.role.ballot:
            return
        self.role.add(sender, promise)
        peer = self._peers.known.get(sender)
        if peer is not None and peer.health is not None:
            through = max(peer.health.decided_through, promise.decided_through)
            peer.health = replace(peer.health, decided_through=through)

    def refused(self, ballot: Ballot, promised: Ballot, now: float) -> Effects:
        """Give way: an acceptor has promised a higher ballot than ours."""
        self._see(promised)
        if isinstance(self.role, Following) or self.role.ballot != ballot:
            return NOTHING
        return self.step_down(now)

    def take_over(self, ballot: Ballot, now: float) -> Effects:
        """Stand at once, as the leader of ``ballot`` wishes: it has stopped proposing."""
        if self.leader == ballot and not isinstance(self.role, Leading) and self._able(now):
            return self._campaign(now)
        return NOTHING

    def win(self, leading: Leading) -> None:
        """Phase 1 is won, and everything learned that had to be."""
        self._attempts = 0
        self.role = leading

    def step_down(self, now: float) -> Effects:
        """Stop leading, or standing; wait longer before the next try."""
        self._attempts += 1
        return self._lose_leader(now)

    def _withdraw(self, now: float) -> Effects:
        """Stop standing, or leading. Nobody is to wait for us, who will not try again soon."""
        role, effects = self.role, self.step_down(now)
        if isinstance(role, Preparing):
            # It shows the ballot, as the Prepare did, and waits for the same sync.
            withdraw = Withdraw(role.ballot)
            others = tuple(Envelope(node, withdraw) for node in self._peers.known)
            effects += Effects(replies=others)
        return effects

    def withdrawn(self, ballot: Ballot, now: float) -> None:
        """Give a candidate no more time that reaches too few, if it is who we promised to last."""
        role = self.role
        if isinstance(role, Following) and role.yields and ballot == self._acceptor.promised:
            self.role = Following(ZERO_BALLOT, now, min(role.stand_at, now + self._jitter()))

    # Time.

    def tick(self, tick: Ticked, now: float) -> Effects:
        """Send heartbeats that are due; lose a silent leader; stand, give up or step down."""
        lag_s, sync_s, self._low = tick.lag_s, self._synced_for_s(tick), tick.low
        self._stuck = sync_s > self._timing.stuck_s
        if sync_s > self._timing.stuck_s / 2:
            # It is slow before it is stuck: an heir must be better than who hands over. What is
            # written here others write too, now or once it is durable, and may need as long.
            slow_until = now + 2 * min(sync_s, SLOW_MAX_S)
            self._slow_until = max(self._slow_until, slow_until)
        effects = NOTHING
        if self._peers.is_pause(lag_s):
            self._excuse(lag_s, now)
        if now - self._beat_at >= self._timing.heartbeat_s:
            self._beat_at = now
            effects = self.ping_all(now)
        return effects + self._tick_role(now)

    def _synced_for_s(self, tick: Ticked) -> float:
        """Return how long the disk has been at it while this process looked on.

        What passed while it stood still says nothing of the disk, nor does it later on, as long as
        the same record waits.
        """
        if self._peers.is_pause(tick.lag_s):
            self._missed_s = min(self._missed_s + tick.lag_s, tick.sync_s)
        elif tick.sync_s < self._missed_s:
            self._missed_s = 0.0
        return tick.sync_s - self._missed_s

    def _tick_role(self, now: float) -> Effects:
        match self.role:
            case Following(leader=leader) if leader == ZERO_BALLOT:
                return self._stand_if_due(now)
            case Following() if not self._hears_leader(self.role, now):
                return self._lose_leader(now)
            case Preparing(deadline=deadline) if now >= deadline and not self.slow_disk(now):
                return self.step_down(now)
            case Preparing() | Leading() if self._peers.cut_off(now):
                return self._withdraw(now)
            case Leading() if self._stuck or (self.closing(now) and not self.role.open):
                return self._hand_over(self.role, now)
            case _:
                return NOTHING

    def _excuse(self, lag_s: float, now: float) -> None:
        self._peers.excuse(lag_s, now)
        match self.role:
            case Following():
                self.role.heard_at = min(now, self.role.heard_at + lag_s)
            case Preparing():
                self.role.deadline = min(now + self._phase_s(), self.role.deadline + lag_s)
            case Leading():
                pass

    def _able(self, now: float) -> bool:
        unfit = self._stuck or self.leaving or self.probation
        return not unfit and self._peers.connected(now)

    def _hears_leader(self, role: Following, now: float) -> bool:
        silent = role.heard_at <= now - self._peers.patience_s
        return not silent and self._peers.reaches(role.leader.node, now)

    def _lose_leader(self, now: float) -> Effects:
        """Say at once that no leader is heard, so that others need not wait to find out."""
        self.role = Following(ZERO_BALLOT, now, now + self._jitter())
        return self.ping_all(now)

    def _stand_if_due(self, now: float) -> Effects:
        role = self.role
        if (
            isinstance(role, Following)
            and role.leader == ZERO_BALLOT
            and now >= role.stand_at
            and self._able(now)
            and self._peers.leaderless(now)
            and not (role.yields and self.slow_disk(now))
            and not self._defers(role, now)
        ):
            return self._campaign(now)
        return NOTHING

    def _defers(self, role: Following, now: float) -> bool:
        """Whether to let another go first: we have to learn a lot, or our disk is nearly full."""
        near = Slot(self._learner.decided_through + self._limits.ahead_slots_max)
        patient = now < role.stand_at + self._peers.patience_s
        return patient and (self._peers.ahead(near, now) or self._is_relieved(now))

    def _campaign(self, now: float) -> Effects:
        ballot = max(self._acceptor.promised, self._highest_seen).above(self._peers.node)
        self._see(ballot)
        self.role = Preparing(ballot, now + self._phase_s())
        prepare = Prepare(ballot, self._learner.first_hole)
        # A ballot may be shown to others only once this node cannot forget it: a reborn node
        # that made the same ballot again could offer a second batch under it. So its own
        # promise is journaled first, and the Prepare waits for that as a reply does.
        others = tuple(Envelope(node, prepare) for node in self._peers.known)
        return self._promise(self._peers.node, prepare) + Effects(replies=others)

    def _promise(self, sender: NodeId, prepare: Prepare) -> Effects:
        learner = self._learner
        return self._acceptor.prepare(sender, prepare, learner.decided_through, learner.kept_from)

    def _hand_over(self, role: Leading, now: float) -> Effects:
        """Ask the peer that knows most to take over, if there is one that can."""
        heirs = self._peers.heirs(now)
        if not heirs:
            return NOTHING
        # No word to the others yet: the heir is to stand before they notice.
        self.role = Following(ZERO_BALLOT, now, now + self._phase_s() + self._jitter())
        watermark = Watermark(role.ballot, self._learner.decided_through)
        return _send(heirs[0], watermark) + _send(heirs[0], TakeOver(role.ballot))

    def _see(self, ballot: Ballot) -> None:
        self._highest_seen = max(self._highest_seen, ballot)

    def _phase_s(self) -> float:
        """How long phase 1 may take: it waits for syncs, here and at others.

        How slow their disks are is not known here, so it may take longer the next time.
        """
        transfer_s = self._timing.transfer_s(self._limits.command_bytes_max)
        usual_s = self._peers.patience_s + self._peers.slack_s + transfer_s
        return usual_s * (1 << min(self._attempts, DOUBLINGS_MAX))

    def _jitter(self) -> float:
        widest = max(self._timing.backoff_s, self._peers.slack_s)
        return self._random.uniform(0.0, min(widest * 2**self._attempts, BACKOFF_MAX_S))


def _send(to: NodeId, message: Request | Pong) -> Effects:
    return Effects(sends=(Envelope(to, message),))

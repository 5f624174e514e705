"""Forwarding: this node's own requests on their way to whoever leads.

Everything unsettled is sent to each new leader, and again to the same one when it seems to
be lost. The state machine executes it once, whoever brings it: only the node that took a
request has to know what became of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Answer, Applied, Effects
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import AskReadSlot, Batch, Envelope, Forward
from kvpaxos.paxos.outbox import Outbox
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.reads import Reads

STALLS_MAX: Final = 2.0
"""A leader that gets nothing done for so many patiences, while we wait, is given up."""

DOUBLINGS_MAX: Final = 3
"""Each time that nothing came of sending again, the wait doubles, so many times."""


class Forwarding:
    """Decides what is sent to the leader, and when it is sent again.

    :ivar outbox: commands.
    :ivar reads: linearizable reads.
    """

    def __init__(self, outbox: Outbox, reads: Reads, peers: Peers, limits: Limits) -> None:
        self.outbox = outbox
        self.reads = reads
        self._peers = peers
        self._limits = limits
        self._leader = ZERO_BALLOT
        self._sent_at = 0.0
        self._progress_at = 0.0
        self._decided_at = 0.0
        self._fruitless = 0

    def due_again(self, leader: Ballot, now: float) -> Iterator[Batch]:
        """Yield the unsettled commands, if ``leader`` must be sent them (again)."""
        if leader != self._leader:
            self._leader = leader
            self._progress(now)
        elif self._is_late(now):
            self._fruitless = min(self._fruitless + 1, DOUBLINGS_MAX)
        else:
            return
        self._sent_at = now
        yield from self.outbox.again()

    def fresh(self, now: float) -> Batch:
        """Return the commands that are to be sent for the first time."""
        if not self.outbox.has_sent:
            self._progress(now)
        return self.outbox.take()

    def to_leader(self, leader: Ballot, to: NodeId, now: float) -> Effects:
        """Send what is due to ``to``, which leads with ballot ``leader``, or can pass it on."""
        if not (self.outbox.can_send or self.outbox.has_sent):
            return NOTHING
        batches = list(self.due_again(leader, now))
        while commands := self.fresh(now):
            batches.append(commands)
        hops = self._limits.hops_max
        return Effects(sends=tuple(Envelope(to, Forward(batch, hops)) for batch in batches))

    def question(self, leader: Ballot, now: float) -> Effects:
        """Ask ``leader`` how far reads must wait, if any wait and it was not asked yet."""
        if not self.reads.has_question:
            return NOTHING
        number = self.reads.ask(leader, now, self._peers.retry_s)
        if number is None:
            return NOTHING
        return Effects(sends=(Envelope(leader.node, AskReadSlot(number)),))

    def granted(self, decided_through: Slot) -> Effects:
        """Let the reads be done that need no more than ``decided_through``."""
        ready = self.reads.ready(decided_through)
        return Effects(reads=ready) if ready else NOTHING

    def applied(self, applied: Applied, now: float) -> tuple[Answer, ...]:
        """Take what came of our commands; return what the clients are to be told."""
        answers = self.outbox.settle(applied.outcomes)
        if answers:
            self._progress(now)
        return answers

    def decided(self, now: float) -> None:
        """Note that the leader gets something done, if not for us."""
        self._decided_at = now

    def lost(self, peer: NodeId) -> None:
        """Our connection to ``peer`` broke, and what was sent on it may be lost."""
        if self._leader.node == peer:
            self._leader = ZERO_BALLOT

    def gives_up(self, leader: Ballot, now: float) -> bool:
        """Whether ``leader``, though it is heard, has got nothing done for long."""
        if leader == ZERO_BALLOT or leader != self._leader or not self.outbox.has_sent:
            return False
        stall_max_s = STALLS_MAX * self._peers.patience_s + self._peers.retry_s + self._transfer_s
        if now - max(self._progress_at, self._decided_at) < stall_max_s:
            return False
        self._leader = ZERO_BALLOT
        return True

    @property
    def _transfer_s(self) -> float:
        return self._peers.timing.transfer_s(self.outbox.sent_bytes)

    def _progress(self, now: float) -> None:
        self._progress_at = now
        self._fruitless = 0

    def _is_late(self, now: float) -> bool:
        wait_s = self._peers.retry_s * 2**self._fruitless + self._transfer_s
        return self.outbox.has_sent and now - max(self._sent_at, self._progress_at) >= wait_s

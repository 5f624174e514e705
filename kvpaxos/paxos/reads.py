"""Linearizable reads that need no slot of their own.

The leader proves with one round to a quorum that nobody has taken over; then whatever is
decided by the round's start is all that any client can have seen. Ongaro, "Consensus:
Bridging Theory and Practice" (2014), section 6.4. A lease, once there is one, will grant
reads in `ReadRounds.ask` without the round.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Expired, ReadReady
from kvpaxos.paxos.quorum import Quorum


@dataclass(slots=True)
class ReadRounds:
    """The leader's side: one round at a time, shared by all that asked before it began.

    What asks while a round is on its way waits for the next: the answers to this one may
    have been given before the question was put.
    """

    number: int = 0
    begun_at: float = 0.0
    slot: Slot = NO_SLOT
    confirmed: set[NodeId] = field(default_factory=set)
    asking: dict[NodeId, int] = field(default_factory=dict)
    _waiting: dict[NodeId, int] = field(default_factory=dict)

    def ask(self, node: NodeId, question: int) -> None:
        """Let ``node`` share the next round. Its last question is the one that counts.

        A question that shares the round under way was only asked again, for fear that it
        was lost.
        """
        if self.asking.get(node) != question:
            self._waiting[node] = question

    def begin(self, slot: Slot, now: float) -> bool:
        """Begin a round, unless one is under way or nobody waits for it.

        :param slot: what is decided now; whoever this round confirms may read there.
        """
        if self.asking or not self._waiting:
            return False
        self.number += 1
        self.begun_at = now
        self.slot = slot
        self.confirmed = set()
        self.asking, self._waiting = self._waiting, {}
        return True

    def confirm(self, sender: NodeId, number: int, quorum: Quorum) -> dict[NodeId, int]:
        """Count a confirmation; once a quorum is reached, end the round.

        Return the questions that it answers, by who asked them.
        """
        if not self.asking or number != self.number:
            return {}
        self.confirmed.add(sender)
        if not quorum.reached(self.confirmed):
            return {}
        asking, self.asking = self.asking, {}
        return asking


class Reads:
    """Every node's side: the reads of its own clients.

    A read waits for a question to the leader that is put after it arrived, then for the
    slot that the leader names to be applied here.

    :param number: questions are numbered from here on. Best drawn at random, so that an
        answer to an earlier life of this node is not taken for one to this.
    """

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self._asked_at = 0.0
        self._asked_of = ZERO_BALLOT
        self._waiting: dict[int, float] = {}
        self._asked: dict[int, float] = {}
        self._granted: list[tuple[Slot, dict[int, float]]] = []

    @property
    def has_question(self) -> bool:
        """Whether anything is to be asked, or was asked and not answered yet."""
        return bool(self._waiting or self._asked)

    def want(self, reads: Iterable[tuple[int, float]]) -> None:
        """Take clients' reads, ``(request, deadline)`` each."""
        self._waiting.update(reads)

    def ask(self, leader: Ballot, now: float, retry_s: float) -> int | None:
        """Return the number of the question to put to ``leader`` now, if there is any.

        One question is on its way at a time, and is put again, under its number, if it
        stays unanswered for ``retry_s``. A new leader is asked anew: what its predecessor
        was asked may never be answered.
        """
        if self._asked and leader != self._asked_of:
            self._waiting = self._asked | self._waiting
            self._asked = {}
        if leader == ZERO_BALLOT or not self.has_question:
            return None
        if not self._asked:
            self._number += 1
            self._asked_of = leader
            self._asked, self._waiting = self._waiting, {}
        elif now - self._asked_at < retry_s:
            return None
        self._asked_at = now
        return self._number

    def grant(self, number: int, ballot: Ballot, slot: Slot) -> None:
        """Take the leader's answer, unless it is to another question or of another leader."""
        if self._asked and (number, ballot) == (self._number, self._asked_of):
            self._granted.append((slot, self._asked))
            self._asked = {}

    def ready(self, decided_through: Slot) -> tuple[ReadReady, ...]:
        """Take the reads that may be done once all through ``decided_through`` is applied."""
        if not self._granted:
            return ()
        ready = [reads for slot, reads in self._granted if slot <= decided_through]
        self._granted = [(slot, reads) for slot, reads in self._granted if slot > decided_through]
        return tuple(ReadReady(request, "quorum") for reads in ready for request in reads)

    def expire(self, now: float) -> tuple[Expired, ...]:
        """Take the reads whose deadline has passed."""
        expired = []
        for reads in (self._waiting, self._asked, *(reads for _, reads in self._granted)):
            late = [request for request, deadline in reads.items() if deadline <= now]
            for request in late:
                del reads[request]
                expired.append(Expired(request, sent=False))
        return tuple(expired)

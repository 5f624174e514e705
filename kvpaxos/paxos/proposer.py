"""The proposer: what a node holds while it stands for leader, and while it leads.

Lamport, "Paxos Made Simple" (2001), sections 2.2 and 3; batching and the window as in
van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015), sections 2 and 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from kvpaxos.paxos.acceptor import size_of
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import NOOP, Batch, Command, Promise
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.reads import ReadRounds

RESTS: Final = 4.0
"""How long a leader rests after a slot, in terms of how long it took until it was decided."""


@dataclass(slots=True)
class Following:
    """Somebody else leads, or nobody does.

    :ivar leader: the ballot of the leader, ``ZERO_BALLOT`` while none is heard.
    :ivar heard_at: when the leader was last heard.
    :ivar stand_at: when to stand for leader, if it is still silent and others agree.
    :ivar yields: a candidate has been promised to, and is given time.
    """

    leader: Ballot
    heard_at: float
    stand_at: float
    yields: bool = False


@dataclass(slots=True)
class Preparing:
    """Phase 1 is under way, or won and waiting for what it must learn first."""

    ballot: Ballot
    deadline: float
    promises: dict[NodeId, dict[int, Promise]] = field(default_factory=dict)

    @property
    def leader(self) -> Ballot:
        """Nobody."""
        return ZERO_BALLOT

    def add(self, sender: NodeId, promise: Promise) -> None:
        """Take a promise, or a part of one."""
        parts = self.promises.setdefault(sender, {})
        if any(_cut(part) != _cut(promise) for part in parts.values()):
            # The same promise once more, but given when other slots were undecided: its
            # parts begin and end elsewhere, and must not be mixed with those we have.
            parts.clear()
        parts[promise.part] = promise

    def discard(self, node: NodeId) -> None:
        """Count nothing from ``node`` that it has promised so far."""
        self.promises.pop(node, None)

    def whole(self) -> set[NodeId]:
        """Return who has promised, every part included."""
        return {
            node for node, parts in self.promises.items() if len(parts) == parts[min(parts)].parts
        }

    def won(self, quorum: Quorum) -> bool:
        """Whether a quorum has promised, every part included."""
        return quorum.reached(self.whole())

    def must_learn_through(self, quorum: Quorum) -> Slot:
        """Return the slot that must be learned before anything is proposed; phase 1 must be won.

        What one promiser knows as decided, the others may have forgotten the votes for: a
        candidate that offered a no-op there would overwrite history. The same holds for what
        promisers keep no more, unless those who do keep it are a quorum: then their votes tell
        all there is to tell. The others have lost it with their state, and cannot teach it.
        """
        promises = [promise for parts in self.promises.values() for promise in parts.values()]
        decided_through = max(promise.decided_through for promise in promises)
        kept_from = {
            node: max(part.kept_from for part in self.promises[node].values())
            for node in self.whole()
        }
        kept_by_quorum = min(
            first
            for first in kept_from.values()
            if quorum.reached([node for node, kept in kept_from.items() if kept <= first])
        )
        return max(decided_through, Slot(kept_by_quorum - 1))

    def highest(self) -> dict[Slot, Batch]:
        """Return what must be offered, if anything is, where anybody voted.

        That is, in each slot, the vote of the highest ballot.
        """
        votes = [
            vote
            for parts in self.promises.values()
            for promise in parts.values()
            for vote in promise.votes
        ]
        return {vote.slot: vote.batch for vote in sorted(votes, key=lambda vote: vote.ballot)}

    def obliged(self, first: Slot) -> Iterator[tuple[Slot, Batch]]:
        """Yield what must be offered from slot ``first`` on: the vote of the highest ballot.

        Slots in which nobody of the quorum voted are free, and filled with no-ops so that
        the slots above them can be executed.
        """
        highest = self.highest()
        for slot in range(first, max(highest, default=first - 1) + 1):
            yield Slot(slot), highest.get(Slot(slot), NOOP)


@dataclass(slots=True)
class Proposal:
    """A slot in phase 2: what is offered, who voted for it, and when it was last offered.

    :ivar size: about how many bytes it has.
    """

    batch: Batch
    sent_at: float
    size: int = field(init=False)
    voters: set[NodeId] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = size_of(self.batch)

    def voted(self, voter: NodeId, quorum: Quorum) -> bool:
        """Count a vote, and say whether there is a quorum of them."""
        self.voters.add(voter)
        return quorum.reached(self.voters)


@dataclass(slots=True)
class Leading:
    """Phase 1 is done; ``open`` holds the slots still in phase 2.

    :ivar next_slot: the first slot that nothing has been offered in.
    :ivar suffix_through: the last slot that phase 1 obliged us to offer something in.
    :ivar told_through: the watermark that the others have last been sent.
    :ivar gather_s: how long, at the most, commands that do not fill a slot wait for more.
    :ivar opened_at: when a slot was last opened.
    """

    ballot: Ballot
    next_slot: Slot
    suffix_through: Slot
    limits: Limits
    told_through: Slot = NO_SLOT
    gather_s: float = 0.0
    opened_at: float = 0.0
    reads: ReadRounds = field(default_factory=ReadRounds)
    open: dict[Slot, Proposal] = field(default_factory=dict)
    _queue: deque[Command] = field(default_factory=deque)
    _queue_bytes: int = 0
    _rests_until: float = 0.0
    _usual: int = 0
    _admitted: dict[tuple[NodeId, int], int] = field(default_factory=dict)
    _settled: dict[tuple[NodeId, int], int] = field(default_factory=dict)

    @property
    def leader(self) -> Ballot:
        """This node, with this ballot."""
        return self.ballot

    @property
    def is_full(self) -> bool:
        """Whether the queue takes no more commands."""
        return (
            len(self._queue) >= self.limits.queue_commands_max
            or self._queue_bytes >= self.limits.queue_bytes_max
        )

    def admit(self, commands: Iterable[Command]) -> None:
        """Queue forwarded ``commands`` that continue what was queued from their node before.

        Copies are passed over, and so is what would leave a gap: the state machine would
        not execute it, and the node sends it again together with what is missing. So does
        it with what finds the queue full.
        """
        for command in commands:
            origin = command.node, command.life
            settled = max(self._settled.get(origin, 0), command.settled_through)
            self._settled[origin] = settled
            through = max(self._admitted.get(origin, 0), settled)
            if command.sequence == through + 1 and not self.is_full:
                self._admitted[origin] = command.sequence
                self._queue.append(command)
                self._queue_bytes += len(command.body)

    def has_room(self, decided_through: Slot) -> bool:
        """Whether another slot may be opened: the window begins at the first undecided slot.

        It is not enough to count the open slots: one that stays open while those above it
        are decided would let the leader run ahead of what acceptors are willing to hold. Where
        commands are long, a few fill the window: what is open waits in memory, here and there.
        """
        if self.next_slot > decided_through + self.limits.open_slots_max:
            return False
        return sum(proposal.size for proposal in self.open.values()) < self.limits.open_bytes_max

    @property
    def gathers_until(self) -> float:
        """Until when what is queued, if anything is, waits for more that is to share its slot.

        To open a slot costs all nodes as much work as several commands do. So while one is open,
        commands gather for the next. Once it is decided there is a rest, unless as many are there
        as slots have had lately: who writes alone does not wait for others, and where many write,
        slots are fewer and fuller. None of it takes longer than ``gather_s``, and a batch that is
        full has nothing to wait for.
        """
        queued = len(self._queue)
        if (
            queued >= self.limits.batch_commands_max
            or self._queue_bytes >= self.limits.batch_bytes_max
        ):
            return 0.0
        at_most = self.opened_at + self.gather_s
        if self.open:
            return at_most
        return 0.0 if queued >= self._usual else min(self._rests_until, at_most)

    @property
    def has_queued(self) -> bool:
        """Whether anything is queued."""
        return bool(self._queue)

    def next_batch(self) -> Batch:
        """Take from the queue what goes into the next slot; empty if nothing waits.

        What its node has given up meanwhile is left out: a leader that is slow must not
        spend its time on what nobody waits for. The commands after it say so themselves, so
        that they can be executed without it.
        """
        batch: list[Command] = []
        size = 0
        while self._queue and len(batch) < self.limits.batch_commands_max:
            command = self._queue[0]
            settled = self._settled[command.node, command.life]
            if command.sequence > settled:
                size += size_of((command,))
                if batch and size > self.limits.batch_bytes_max:
                    break
                batch.append(command._replace(settled_through=settled))
            self._queue.popleft()
            self._queue_bytes -= len(command.body)
        return tuple(batch)

    def offer(self, batch: Batch, now: float) -> Slot:
        """Open the next slot with ``batch`` and return it."""
        slot = self.next_slot
        self.next_slot = Slot(slot + 1)
        self.opened_at = now
        # It grows at once, and shrinks by an eighth with each slot.
        self._usual = max(len(batch), self._usual * 7 // 8)
        self.open[slot] = Proposal(batch, now)
        return slot

    def voted(self, sender: NodeId, slot: Slot, quorum: Quorum, now: float) -> Batch | None:
        """Count a vote; if it completes a quorum, close the slot and return what is chosen."""
        proposal = self.open.get(slot)
        if proposal is None or not proposal.voted(sender, quorum):
            return None
        del self.open[slot]
        self._rests_until = now + RESTS * (now - self.opened_at)
        return proposal.batch

    def discard(self, node: NodeId) -> None:
        """Count no vote of ``node`` that it has cast so far."""
        for proposal in self.open.values():
            proposal.voters.discard(node)

    def settle(self, decision: Decision) -> bool:
        """Close a slot that is decided, and say whether that is by this leader's own doing.

        It may have learned the decision from a peer. Then it offered the same batch, or
        nothing, or a leader of a higher ballot has taken over without its noticing: from
        here on the watermark of this ballot would cover votes for what was not chosen.
        """
        proposal = self.open.pop(decision.slot, None)
        offered = decision.slot < self.next_slot
        return offered and (proposal is None or proposal.batch == decision.batch)


Role = Following | Preparing | Leading


def _cut(promise: Promise) -> tuple[Slot, int]:
    return promise.decided_through, promise.parts

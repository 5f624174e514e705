"""What one member knows of slots that are agreed on by themselves, in any order.

It stands in the place of the `Learner`, which hands on a log without gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Decision, Effects
from kvpaxos.paxos.messages import Batch, Command
from kvpaxos.paxos.records import DecidedThrough, Learned


@dataclass(frozen=True, slots=True)
class Agreed:
    """The slot is decided, and this is its value."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Pending:
    """This member does not know the slot to be decided."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """All members are done with the slot: what was decided in it, if anything, is gone."""


Status: TypeAlias = Agreed | Pending | Forgotten


class Decisions:
    """Keeps what is decided until all members are done with it.

    :ivar highest: the last slot that this member has heard of; forgetting does not change it.
    :ivar forgotten_through: all members are done with the slots through this one.
    :ivar done_through: this member's application is done with the slots through this one.
    """

    def __init__(self) -> None:
        self.highest = NO_SLOT
        self.forgotten_through = NO_SLOT
        self.done_through = NO_SLOT
        self._known: dict[Slot, Batch] = {}

    @property
    def first_open(self) -> Slot:
        """The first slot in which anything may still have to be agreed on here."""
        slot = self.forgotten_through + 1
        while slot in self._known:
            slot += 1
        return Slot(slot)

    def status(self, slot: Slot) -> Status:
        """Say what is known of ``slot``."""
        if slot <= self.forgotten_through:
            return Forgotten()
        batch = self._known.get(slot)
        return Pending() if batch is None else Agreed(value_of(batch))

    def is_open(self, slot: Slot) -> bool:
        """Whether ``slot`` is not known to be decided, and not forgotten."""
        return slot > self.forgotten_through and slot not in self._known

    def known(self, slot: Slot) -> Batch | None:
        """Return what is decided in ``slot``, if that is known."""
        return self._known.get(slot)

    def notice(self, slot: Slot) -> None:
        """Take note that somebody proposes in ``slot``, or did."""
        self.highest = max(self.highest, slot)

    def decide(self, slot: Slot, batch: Batch, ballot: Ballot = ZERO_BALLOT) -> Effects:
        """Note that ``batch`` is decided in ``slot``; write it down and hand it on if it is new.

        :param ballot: that of the votes; ``ZERO_BALLOT`` if another member says so.
        """
        if not self.is_open(slot):
            assert self._known.get(slot, batch) == batch, f"slot {slot} decided twice"
            return NOTHING
        self._known[slot] = batch
        self.notice(slot)
        decision = Decision(slot, ballot, batch)
        return Effects(records=(Learned(slot, batch),), decided=(decision,))

    def forget(self, through: Slot) -> Effects:
        """Let go of the slots through ``through``: all members are done with them."""
        if through <= self.forgotten_through:
            return NOTHING
        self.forgotten_through = through
        self.done_through = max(self.done_through, through)
        for slot in [slot for slot in self._known if slot <= through]:
            del self._known[slot]
        # Without this record, the lack of earlier ones would look like slots that are free.
        return Effects(records=(DecidedThrough(through, ZERO_BALLOT),), forget_through=through)


def batch_of(proposer: NodeId, value: bytes) -> Batch:
    """Return the batch by which ``proposer`` offers ``value``. Never the no-op."""
    return (Command(proposer, 0, 0, 0, value),)


def value_of(batch: Batch) -> bytes:
    """Return the value that ``batch`` was made of."""
    (command,) = batch
    return command.body

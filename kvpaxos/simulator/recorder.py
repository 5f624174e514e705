"""Keeps what is drawn of a run: lives, messages, syncs, leaders, decided slots, what was done."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from typing_extensions import override

from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.effects import Effects, Event, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Message, Ping, Pong
from kvpaxos.paxos.proposer import Leading
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.show import show
from kvpaxos.simulator.watch import Observer

Condition: TypeAlias = Literal["runs", "paused", "down"]

WORDS_MAX: Final = 400
"""Longer messages are shown by their beginning."""


class Span(NamedTuple):
    """A time in which a node was in one condition, led, or synced."""

    node: str
    begin: float
    end: float
    what: str


class Arrow(NamedTuple):
    """A message. If ``arrived`` is None, it never did."""

    sender: str
    receiver: str
    sent: float
    arrived: float | None
    kind: str
    what: str


class Mark(NamedTuple):
    """Something that happened in a moment: at a node, or at "" if it is the world."""

    node: str
    at: float
    kind: Literal["done", "decided", "told"]
    what: str


@dataclass(slots=True)
class _Sent:
    at: float
    message: Message
    waits: bool


@dataclass(slots=True)
class Recorder(Observer):
    """Hears of everything, and keeps it.

    :ivar conditions: what each node was in, one after the other.
    :ivar terms: who led, with which ballot.
    """

    conditions: list[Span] = field(default_factory=list)
    terms: list[Span] = field(default_factory=list)
    syncs: list[Span] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    _agenda: Agenda = field(default_factory=Agenda)
    _since: dict[str, tuple[float, Condition]] = field(default_factory=dict)
    _leading: dict[str, tuple[float, str]] = field(default_factory=dict)
    _sent: dict[tuple[str, str], list[_Sent]] = field(default_factory=lambda: defaultdict(list))

    def attach(self, agenda: Agenda) -> None:
        """Take the time from ``agenda``."""
        self._agenda = agenda

    def did(self, what: str) -> None:
        """Take note of something that was done to the world."""
        self.marks.append(Mark("", self._agenda.now, "done", what))

    def said(self, what: str) -> None:
        """Take note of something that came of it."""
        self.marks.append(Mark("", self._agenda.now, "told", what.strip()))

    def became(self, node: str, condition: Condition) -> None:
        """Take note of what a node is in from now on."""
        now = self._agenda.now
        if (before := self._since.get(node)) is not None:
            self.conditions.append(Span(node, before[0], now, before[1]))
        self._since[node] = now, condition
        if condition == "down":
            self._end_term(node)

    def synced(self, node: str, begun: float) -> None:
        """Take note of a sync of a node's disk that ends now."""
        self.syncs.append(Span(node, begun, self._agenda.now, "sync"))

    def end(self) -> None:
        """Take note that the run is over."""
        for node in list(self._since):
            self.became(node, "down")
        for (sender, receiver), some in self._sent.items():
            for sent in some:
                left_at = self._left_at(sender, sent)
                if left_at is not None:
                    self._draw(sender, receiver, left_at, None, sent.message)
        self._sent.clear()

    def between(self, begin: float, end: float) -> Recorder:
        """Return what it has kept of a part of the time: all that is not wholly outside of it."""

        def part(spans: list[Span]) -> list[Span]:
            return [
                one._replace(begin=max(begin, one.begin), end=min(end, one.end))
                for one in spans
                if one.begin < end and one.end > begin
            ]

        return Recorder(
            part(self.conditions),
            part(self.terms),
            part(self.syncs),
            [one for one in self.arrows if begin <= one.sent and (one.arrived or one.sent) <= end],
            [one for one in self.marks if begin <= one.at <= end],
        )

    @override
    def began(self, replica: Replica, memory: Memory) -> None:
        pass

    @override
    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        node, now = str(replica.node), self._agenda.now
        if isinstance(event, Received):
            self._arrived(str(event.sender), node, event.message)
        for waits, envelopes in ((False, effects.sends), (True, effects.replies)):
            for envelope in envelopes:
                if envelope.to != node and not isinstance(envelope.message, Ping | Pong):
                    sent = _Sent(now, envelope.message, waits)
                    self._sent[node, str(envelope.to)].append(sent)
        if effects.decided:
            slots = _slots([decision.slot for decision in effects.decided])
            self.marks.append(Mark(node, now, "decided", slots))
        if isinstance(replica.role, Leading):
            self._leading.setdefault(node, (now, show(replica.role.ballot)))
        else:
            self._end_term(node)

    def _end_term(self, node: str) -> None:
        if (term := self._leading.pop(node, None)) is not None:
            self.terms.append(Span(node, term[0], self._agenda.now, term[1]))

    def _arrived(self, sender: str, receiver: str, message: Message) -> None:
        waiting = self._sent[sender, receiver]
        for place, sent in enumerate(waiting):
            if sent.message == message:
                del waiting[place]
                left_at = self._left_at(sender, sent) or self._released_at(sender, sent)
                self._draw(sender, receiver, left_at, self._agenda.now, message)
                return

    def _left_at(self, sender: str, sent: _Sent) -> float | None:
        """Return when a message has left; None if its node died before.

        What must be durable first has left at the end of the first sync that began after it.
        """
        if not sent.waits:
            return sent.at
        ends = (one.end for one in self.syncs if one.node == sender and one.begin >= sent.at)
        return next(ends, None)

    def _released_at(self, sender: str, sent: _Sent) -> float:
        """Return when a message has left that waited for a sync under way, if for any.

        So does a vote that is asked for once more before it is durable.
        """
        ends = (one.end for one in self.syncs if one.node == sender and one.end >= sent.at)
        return min(ends, default=sent.at)

    def _draw(
        self, sender: str, receiver: str, sent: float, arrived: float | None, message: Message
    ) -> None:
        words = show(message)
        if len(words) > WORDS_MAX:
            words = f"{words[:WORDS_MAX]} ..."
        kind = type(message).__name__
        self.arrows.append(Arrow(sender, receiver, sent, arrived, kind, words))


def _slots(slots: list[Slot]) -> str:
    return str(slots[0]) if len(slots) == 1 else f"{slots[0]}-{slots[-1]}"

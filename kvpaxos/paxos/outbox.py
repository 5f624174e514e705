"""The outbox: this node's commands on their way into the log, through any leader.

A command keeps its number however often, and to whomever, it is sent: the state machine
executes a node's numbers in order and never twice, and so sending again is safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from kvpaxos.paxos.acceptor import size_of
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.effects import Answer, Expired, Outcome, Wish
from kvpaxos.paxos.limits import Limits
from kvpaxos.paxos.messages import Batch, Command

NEVER: Final = float("inf")

GIVEN_UP: Final = Wish(0, b"", NEVER)
"""Stands in the place of a wish whose client has been told that nobody knows."""


class Outbox:
    """Numbers wishes when they are first sent, and keeps them until they are settled.

    A wish that was never sent has no number yet: it can expire without leaving a gap. One
    that was sent leaves its number behind when it expires, with an empty body: without it
    the next leader would wait for what comes before the numbers above. An earlier leader may
    yet have the wish itself decided. Whichever is executed first, the other is refused as a
    copy: so the wish is executed once or not at all, and "unknown" remains true.
    """

    def __init__(self, node: NodeId, life: int, limits: Limits) -> None:
        self._node = node
        self._life = life
        self._limits = limits
        self._waiting: deque[Wish] = deque()
        self._sent: dict[int, Wish] = {}
        self._sent_bytes = 0
        self._next = 1
        self._earliest = NEVER

    @property
    def settled_through(self) -> int:
        """No command at or below this number is waited for."""
        return next(iter(self._sent), self._next) - 1

    @property
    def has_sent(self) -> bool:
        """Whether any command is on its way."""
        return bool(self._sent)

    @property
    def sent_bytes(self) -> int:
        """How long the commands are that are on their way."""
        return self._sent_bytes

    @property
    def sent(self) -> Iterator[int]:
        """The numbers of all commands that are on their way."""
        return iter(self._sent)

    @property
    def can_send(self) -> bool:
        """Whether a wish waits that may be sent."""
        return bool(self._waiting) and len(self._sent) < self._limits.unsettled_max

    def add(self, wishes: Iterable[Wish]) -> None:
        """Take clients' wishes."""
        for wish in wishes:
            self._waiting.append(wish)
            self._earliest = min(self._earliest, wish.deadline)

    def take(self) -> Batch:
        """Give numbers to the wishes that go next, and return them as commands."""
        floor = self.settled_through
        commands: list[Command] = []
        size = 0
        while self.can_send and len(commands) < self._limits.batch_commands_max:
            command = self._command(self._next, self._waiting[0], floor)
            size += size_of((command,))
            if commands and size > self._limits.batch_bytes_max:
                break
            self._sent[self._next] = self._waiting.popleft()
            self._sent_bytes += len(command.body)
            self._next += 1
            commands.append(command)
        return tuple(commands)

    def again(self) -> Iterator[Batch]:
        """Yield everything that is not settled, in order, cut where messages would grow long."""
        floor = self.settled_through
        commands: list[Command] = []
        size = 0
        for sequence, wish in self._sent.items():
            command = self._command(sequence, wish, floor)
            size += size_of((command,))
            if commands and size > self._limits.message_bytes_max:
                yield tuple(commands)
                commands, size = [], size_of((command,))
            commands.append(command)
        if commands:
            yield tuple(commands)

    def settle(self, outcomes: Iterable[Outcome]) -> tuple[Answer, ...]:
        """Take what the state machine did with commands of ours; return answers for clients.

        What it refused is an old copy, or came after a gap, and settles nothing.
        """
        settled = [
            (wish, outcome.result)
            for outcome in outcomes
            if outcome.result is not None
            and (wish := self._sent.pop(outcome.sequence, GIVEN_UP)) is not GIVEN_UP
        ]
        self._sent_bytes -= sum(len(wish.body) for wish, _ in settled)
        self._trim()
        return tuple(Answer(wish.request, result) for wish, result in settled)

    def expire(self, now: float) -> tuple[Expired, ...]:
        """Give up the wishes whose deadline has passed: of those sent, the numbers remain."""
        if now < self._earliest:
            return ()
        late = [sequence for sequence, wish in self._sent.items() if wish.deadline <= now]
        given_up = [Expired(self._sent[sequence].request, sent=True) for sequence in late]
        given_up += [Expired(w.request, sent=False) for w in self._waiting if w.deadline <= now]
        self._sent_bytes -= sum(len(self._sent[sequence].body) for sequence in late)
        self._sent.update(dict.fromkeys(late, GIVEN_UP))
        self._trim()
        self._waiting = deque(wish for wish in self._waiting if wish.deadline > now)
        left = (wish.deadline for wish in (*self._sent.values(), *self._waiting))
        self._earliest = min(left, default=NEVER)
        return tuple(given_up)

    def _trim(self) -> None:
        """Let the floor pass over what was given up, once nothing below it is waited for."""
        for sequence in list(takewhile(lambda one: self._sent[one] is GIVEN_UP, self._sent)):
            del self._sent[sequence]

    def _command(self, sequence: int, wish: Wish, floor: int) -> Command:
        return Command(self._node, self._life, sequence, floor, wish.body)

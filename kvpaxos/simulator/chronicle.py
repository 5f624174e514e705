"""What happened in a world: a number that stands for all of it, and, if wanted, a transcript.

A transcript has the form of the scenarios in ``test/scenarios``: what was done to the world, a
line of dashes, and what came of it. ``n01>n02`` is a message that has arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from typing_extensions import override

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot
from kvpaxos.paxos.effects import Effects, Event, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Ping, Pong
from kvpaxos.paxos.proposer import Leading, Preparing
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.network import Direction
from kvpaxos.simulator.show import show
from kvpaxos.simulator.watch import Observer


class Chronicle(Observer):
    """Hears of everything.

    :param write: takes the lines of the transcript; None if nobody wants one.
    """

    def __init__(self, agenda: Agenda, write: Callable[[str], object] | None = None) -> None:
        self._agenda = agenda
        self._write = write
        self._hash = blake2b(digest_size=16)
        self._doing: dict[str, str] = {}
        self._leaders: dict[Ballot, float] = {}

    @property
    def digest(self) -> str:
        """A word that is the same only for the same history."""
        return self._hash.hexdigest()

    @property
    def leaders(self) -> int:
        """How many ballots have led."""
        return len(self._leaders)

    def arrived(self, direction: Direction, data: bytes) -> None:
        """Take note of bytes that came through the network."""
        self._hash.update(f"{self._agenda.now!r}{direction}".encode())
        self._hash.update(data)

    def did(self, what: str) -> None:
        """Take note of something that was done to the world."""
        self._hash.update(f"{self._agenda.now!r} {what}".encode())
        if self._write is not None:
            self._write(f"\n{what}\n----")

    def said(self, what: str) -> None:
        """Take note of something that came of it."""
        self._hash.update(f"{self._agenda.now!r} {what}".encode())
        if self._write is not None:
            self._write(f"{self._agenda.now:11.6f} {what}")

    @override
    def began(self, replica: Replica, memory: Memory) -> None:
        self._doing[replica.node] = ""
        self.said(f"  {replica.node} begins life {memory.life & 0xFFFFFFFF}")

    @override
    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        node, ballot = replica.node, replica.leader
        if isinstance(replica.role, Leading):
            self._leaders.setdefault(ballot, self._agenda.now)
        doing = _doing(replica)
        if self._write is not None:
            self._transcribe(node, event, effects)
        if doing != self._doing[node]:
            self._doing[node] = doing
            self.said(f"  {node} {doing}")

    def _transcribe(self, node: str, event: Event, effects: Effects) -> None:
        assert self._write is not None
        lines = []
        if isinstance(event, Received) and not isinstance(event.message, Ping | Pong):
            lines.append(f"{event.sender}>{node} {show(event.message)}")
        lines += [f"  {node} writes {show(record)}" for record in effects.records]
        lines += [
            f"  {node} applies {one.slot}: {' '.join(map(show, one.batch)) or 'noop'}"
            for one in effects.decided
        ]
        for line in lines:
            self._write(f"{self._agenda.now:11.6f} {line}")


def _doing(replica: Replica) -> str:
    """Say what the replica is doing, in a few words."""
    match replica.role:
        case Leading(ballot=ballot):
            return f"leads with {show(ballot)}"
        case Preparing(ballot=ballot):
            return f"stands with {show(ballot)}"
        case _:
            leader = replica.leader
            return "hears no leader" if leader == ZERO_BALLOT else f"follows {show(leader)}"

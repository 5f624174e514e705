"""What happened in a world: a number that stands for all of it, and, if wanted, a transcript.

A transcript has the form of the scenarios in ``test/scenarios``: what was done to the world, a
line of dashes, and what came of it. ``n01>n02`` is a message that has arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Final

from typing_extensions import override

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot
from kvpaxos.paxos.effects import Effects, Event, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Ping, Pong
from kvpaxos.paxos.proposer import Following, Leading, Preparing, Role
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.network import Direction
from kvpaxos.simulator.recorder import Condition, Recorder
from kvpaxos.simulator.show import show
from kvpaxos.simulator.watch import Observer

_TIME: Final = Struct("d")


class Chronicle(Observer):
    """Hears of everything.

    :param write: takes the lines of the transcript; None if nobody wants one.
    :param recorder: is told, too; None if nobody wants a picture.
    :ivar restless_at: when a node has last begun to stand for leader, or to lead.
    """

    def __init__(
        self,
        agenda: Agenda,
        write: Callable[[str], object] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._agenda = agenda
        self._recorder = recorder
        self._write = write
        self._hash = blake2b(digest_size=16)
        self._doing: dict[str, tuple[str, Ballot]] = {}
        self._leaders: set[Ballot] = set()
        self.restless_at = 0.0

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
        # A run is full of these: nothing is made a text that need not be.
        self._hash.update(_TIME.pack(self._agenda.now))
        self._hash.update(">".join(direction).encode())
        self._hash.update(data)

    def did(self, what: str) -> None:
        """Take note of something that was done to the world."""
        self._hash.update(f"{self._agenda.now!r} {what}".encode())
        if self._recorder is not None:
            self._recorder.did(what)
        if self._write is not None:
            self._write(f"\n{what}\n----")

    def said(self, what: str) -> None:
        """Take note of something that came of it."""
        self._hash.update(f"{self._agenda.now!r} {what}".encode())
        if self._recorder is not None and not what.startswith("  "):
            self._recorder.said(what)
        if self._write is not None:
            self._write(f"{self._agenda.now:11.6f} {what}")

    def became(self, node: str, condition: Condition) -> None:
        """Take note of what a node is in from now on."""
        if self._recorder is not None:
            self._recorder.became(node, condition)

    def synced(self, node: str, begun: float) -> None:
        """Take note of a sync of a node's disk that ends now."""
        if self._recorder is not None:
            self._recorder.synced(node, begun)

    @override
    def began(self, replica: Replica, memory: Memory) -> None:
        self._doing[replica.node] = "", ZERO_BALLOT
        self.said(f"  {replica.node} begins life {memory.life & 0xFFFFFFFF}")

    @override
    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        node, doing = replica.node, _doing(replica.role)
        if self._write is not None:
            self._transcribe(node, event, effects)
        if doing != self._doing[node]:
            self._doing[node] = doing
            if not isinstance(replica.role, Following):
                self.restless_at = self._agenda.now
            if isinstance(replica.role, Leading):
                self._leaders.add(replica.leader)
            what, ballot = doing
            self.said(f"  {node} {what} {show(ballot)}" if ballot.round else f"  {node} {what}")

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


def _doing(role: Role) -> tuple[str, Ballot]:
    """Say what a replica in this role is doing, and with which ballot."""
    match role:
        case Leading():
            return "leads with", role.ballot
        case Preparing():
            return "stands with", role.ballot
        case Following():
            return "follows" if role.leader.round else "hears no leader", role.leader

"""Wrong disks in nodes: what they do there, and how an operator sets it right.

A node on an old backup, or on a copy, lacks votes that it has cast. Its peers refuse it, as long as
they remember more of it than it shows. So it is put in only where all others run and have seen
more, and is taken away before any of them talks to it again whose journal has forgotten that: its
disk was lost, or it was killed before that was written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Protocol, cast

from typing_extensions import override

from kvpaxos.paxos.effects import Effects, Event, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.checker import Checker
from kvpaxos.simulator.chronicle import Chronicle
from kvpaxos.simulator.files import VirtualFiles
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.shelf import Kept
from kvpaxos.simulator.watch import Observer, watched

ROOT: Final = Path("/")
"""Where disks are mounted, each under the name of a node."""

REPLACED: Final = 0.3
"""How often a disk that may be given up is replaced by an empty one, and not put back."""

OWN_RECORDS_MAX: Final = 5
"""So many records may a node write by itself while nobody listens to it."""


class Around(Protocol):
    """What is around the nodes: a world."""

    agenda: Agenda
    checker: Checker
    chronicle: Chronicle
    random: Random
    frail: frozenset[str]
    servers: list[Server]

    def start_after(self, server: Server, seconds: float) -> None:
        """Start a node after so many seconds, unless it runs by then."""

    def twin(self, server: Server) -> Server:
        """Return another machine that takes itself for the node of ``server``."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of a node's disk.

    :ivar original: what it was copied from.
    :ivar records: how many records its journal holds, those included that a start adds.
    """

    files: VirtualFiles
    state: Kept
    original: VirtualFiles
    records: int

    @classmethod
    def of(cls, server: Server) -> Backup:
        """Return a copy of the disk of ``server``, as it is now."""
        drive = server.drive
        records = records_of(server) + OWN_RECORDS_MAX
        return cls(drive.files.copy(), drive.state.copy(), drive.files, records)

    def mount(self, server: Server) -> None:
        """Have it where ``server`` looks for its own disk."""
        for name in list(self.files.names(ROOT)):
            self.files.rename(ROOT / name, server.directory)
        self.files.sync_directory(ROOT)


def records_of(server: Server) -> int:
    """Return how many records the journal of a node holds; 0 if it does not run as a member."""
    journal = _status(server).get("journal")
    return cast(int, journal["records"]) if isinstance(journal, dict) and journal else 0


def _status(server: Server) -> Mapping[str, object]:
    """Return what the node says of itself: nothing if it is not part of a cluster."""
    face = server.face
    status = {} if face is None else face.status()
    return status if status.get("cluster") else {}


class Outsider(Observer):
    """Looks at a replica on a wrong disk.

    It need not know what its node has promised. But nobody talks with it, and what it takes for
    decided has to be so.
    """

    def __init__(self, checker: Checker, wrong: str | None) -> None:
        """Make one.

        :param wrong: why the replica should never have begun; None if it may.
        """
        self._checker = checker
        self._wrong = wrong

    @override
    def began(self, replica: Replica, memory: Memory) -> None:
        if self._wrong is not None:
            self._checker.fail(self._wrong)

    @override
    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        if isinstance(event, Received) and event.sender != replica.node:
            self._checker.fail(
                f"{event.sender} talks with {replica.node}, which is on an old disk or a copy"
            )
        for decision in effects.decided:
            self._checker.decide(replica.node, decision)


class Swaps:
    """All wrong disks that are in nodes now, each with what sets it right."""

    def __init__(self, world: Around) -> None:
        self._world = world
        self._ends: dict[Server, tuple[Backup, Callable[[], None]]] = {}

    def of(self, server: Server) -> bool:
        """Whether something is wrong with the disk of this node, or it has a twin."""
        return server in self._ends

    def put_in(self, server: Server, backup: Backup, wrong: str | None) -> None:
        """Have ``server`` start on ``backup``, until `end`.

        :param wrong: see `Outsider`.
        """
        world = self._world
        server.kill()
        right = server.drive.put_in(backup.files, backup.state)

        def end() -> None:
            server.kill()
            server.drive.put_in(*right)
            if server.node in world.frail and world.random.random() < REPLACED:
                server.lose_disk()
            world.start_after(server, 0.5)

        self._ends[server] = backup, end
        server.start(watched(Outsider(world.checker, wrong)))

    def clone(self, server: Server, backup: Backup) -> None:
        """Have another process run as the node of ``server``, on ``backup``, until `end`."""
        twin = self._world.twin(server)
        twin.drive.put_in(backup.files, backup.state)
        self._ends[server] = backup, twin.kill
        twin.start(watched(Outsider(self._world.checker, None)))

    def end(self, server: Server) -> None:
        """Set right what is wrong with the disk of ``server``, if anything is."""
        if server in self._ends:
            _, end = self._ends.pop(server)
            self._world.chronicle.did(f"set right {server.node}")
            end()

    def end_all(self) -> None:
        """Set everything right."""
        for server in list(self._ends):
            self.end(server)

    def remembered(self, node: str, records: Mapping[str, int]) -> None:
        """Take note that ``node`` begins, and that it remembers so many records of others."""
        for server, (backup, _) in list(self._ends.items()):
            if server.node != node and records.get(server.node, 0) <= backup.records:
                # Not now: a process cannot end another one.
                self._world.agenda.after(0.0, self.end, server)

    def is_refused(self, server: Server, backup: Backup) -> bool:
        """Whether all others run, and have seen more of ``server`` than ``backup`` holds.

        While another node is on a wrong disk, or has a twin, that one has seen nothing.
        """
        if server.drive.files is not backup.original or self._ends:
            return False
        return all(
            other is server or _has_seen(other, server.node) > backup.records
            for other in self._world.servers
        )


def _has_seen(server: Server, node: str) -> int:
    peers = cast("list[dict[str, object]]", _status(server).get("peers", []))
    return next((cast(int, peer["records"]) for peer in peers if peer["peer"] == node), 0)

"""The disk of one simulated node: it takes time, it may refuse, and it outlives processes."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal

from greenlet import getcurrent

from kvpaxos.simulator.agenda import Agenda, Call
from kvpaxos.simulator.contents import SECTOR, Left, Manner
from kvpaxos.simulator.files import Deed, Operation, Rot, VirtualFiles, refused
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.shelf import Kept

SLOW: Final[frozenset[Deed]] = frozenset({"sync", "sync_directory"})
"""What waits for the disk itself."""

FILLING: Final[frozenset[Deed]] = frozenset({"create", "write", "allocate"})
"""What a full disk refuses."""

READ_S: Final = 0.0001
"""How long a read takes."""


@dataclass(slots=True)
class Doom:
    """When a process is to end in the midst of its work with its disk.

    :ivar deed: it draws near with the next call of this kind, or with the next flush of the state.
    :ivar calls: it comes so many calls later.
    :ivar strike: ends the process.
    """

    deed: Deed | Literal["flush"]
    calls: int
    strike: Callable[[], None]
    near: bool = False


class Drive:
    """Files and state of a node, and how the disk behaves that they lie on.

    :param sync_s: the least and the most that a sync takes.
    :ivar replaced: whether it is not the first disk of its node.
    :ivar damaged: whether its journal was damaged since a node last began on it.
    :ivar slowness: how many times longer it takes for now.
    :ivar stuck_until: no sync ends before this time of the world.
    :ivar full: whether it takes no more bytes.
    :ivar failing: the next call of this kind is refused with this error.
    :ivar dies_after: the process that uses it dies in the middle of the call after so many.
    :ivar doom: when the process that uses it is to end; None if at no such moment.
    :ivar counts: how many calls of each kind there were, and how many were refused.
    :ivar synced: called at the end of each sync, with the time at which it began; None for nobody.
        One that succeeds after the same process was refused one of that file means nothing.
    """

    def __init__(self, agenda: Agenda, random: Random, sync_s: tuple[float, float]) -> None:
        self.files = VirtualFiles(self._before)
        self.state = Kept()
        self.replaced = False
        self.damaged = False
        self.slowness = 1.0
        self.stuck_until = 0.0
        self.full = False
        self.failing: tuple[Deed, int] | None = None
        self.dies_after: int | None = None
        self.doom: Doom | None = None
        self.counts: Counter[str] = Counter()
        self.synced: Callable[[float], None] | None = None
        self._agenda = agenda
        self._random = random
        self._sync_s = sync_s
        self._process: Process | None = None
        self._under_way: dict[Call, float] = {}
        self._doubted: set[Path] = set()

    def attach(self, process: Process) -> None:
        """Let ``process`` use it from now on."""
        self._process = process
        self._doubted.clear()

    def kill(self) -> None:
        """Be as after the death of the process: the system writes what it was given."""
        self.files.kill()
        self.state.crash(self._random)

    def replace(self) -> None:
        """Be another disk, with nothing on it."""
        self.files = VirtualFiles(self._before)
        self.state = Kept()
        self.replaced, self.damaged = True, False

    def lose_state(self) -> None:
        """Lose the state, and keep the journal."""
        self.state = Kept()

    def heal(self) -> None:
        """Be sound from now on, for what is under way, too. What is lost stays lost."""
        self.slowness = 1.0
        self.stuck_until = 0.0
        self.full = False
        self.failing = self.dies_after = self.doom = None
        for call, due in self._under_way.items():
            if call.number >= 0:
                self._agenda.put(call, due)

    def cut_power(self, manner: Manner = "any") -> Counter[Left]:
        """Be as after a power cut: what was not synced is lost, or torn, or kept. Count it.

        All is kept of a journal that is damaged, and whose node has not begun on it since: if the
        end mark of a damaged batch is lost as well, that batch looks like one that was torn.
        """
        if self.damaged:
            for file in self.files.files().values():
                file.sync()
        self.counts["unsynced files"] += sum(
            bool(file.unsynced) for file in self.files.files().values()
        )
        left = self.files.crash(self._random, manner)
        self.state.crash(self._random)
        return left

    def rot(self, rot: Rot, random: Random) -> bool:
        """Damage some sector of the journal that lies on it; return whether that changed it."""
        files = sorted(path for path, file in self.files.files().items() if file.durable)
        if not files:
            return False
        path = random.choice(files)
        sectors = -(-len(self.files.files()[path].durable) // SECTOR)
        # Near the ends there is more to damage: a segment is filled from both.
        place = int(sectors * random.betavariate(0.5, 0.5))
        self.damaged = self.files.strike(path, min(place, sectors - 1), rot, random)
        return self.damaged

    def put_in(self, files: VirtualFiles, state: Kept) -> tuple[VirtualFiles, Kept]:
        """Be another disk, with this on it; return what was on the one before."""
        before = self.files, self.state
        self.files, self.state = files, state
        self.files.before = self._before
        return before

    def work(self) -> None:
        """Let a flush of the state take its time."""
        seconds = self._random.uniform(*self._sync_s)
        self._spend(seconds)
        if self.doom is not None:
            self._approach_doom("flush")
        self._spend(seconds)

    def _before(self, operation: Operation) -> None:
        process = self._process
        assert process is not None, "nobody uses this disk"
        process.check()
        self.counts[operation.deed] += 1
        if self.dies_after is not None:
            self._come_nearer_to_death(process)
        if self.doom is not None:
            self._approach_doom(operation.deed)
        if self.failing is not None and self.failing[0] == operation.deed:
            number, self.failing = self.failing[1], None
            self.counts[f"failed {operation.deed}"] += 1
            self.counts["refused calls"] += 1
            if operation.deed == "sync":
                self._doubted.add(operation.path)
            raise refused(number)
        if self.full and operation.deed in FILLING:
            self.counts["refused calls"] += 1
            raise refused(errno.ENOSPC)
        if operation.deed in SLOW:
            begun = self._agenda.now
            self._spend(self._random.uniform(*self._sync_s))
            if self.synced is not None and operation.path not in self._doubted:
                self.synced(begun)
        elif operation.deed == "read":
            self._spend(READ_S)

    def _come_nearer_to_death(self, process: Process) -> None:
        assert self.dies_after is not None
        self.dies_after -= 1
        if self.dies_after < 0:
            self.dies_after = None
            self.counts["deaths at the disk"] += 1
            self._agenda.after(0.0, process.kill)
            process.wait()

    def _approach_doom(self, deed: Deed | Literal["flush"]) -> None:
        doom, process = self.doom, self._process
        assert doom is not None
        assert process is not None
        doom.near = doom.near or deed == doom.deed
        if not doom.near:
            return
        if doom.calls:
            doom.calls -= 1
            return
        self.doom = None
        self._agenda.after(0.0, doom.strike)
        process.wait()

    def _spend(self, seconds: float) -> None:
        """Let the time pass that the disk needs, and more if it is slow or stuck."""
        process = self._process
        assert process is not None
        now = self._agenda.now
        stuck_s = max(0.0, self.stuck_until - now)
        call = process.wake(getcurrent(), stuck_s + seconds * self.slowness)
        self._under_way[call] = now + seconds
        try:
            process.wait()
        finally:
            del self._under_way[call]

"""Watches how much room the disk of a node has left, and keeps a reserve while there is enough.

A node whose disk is nearly full goes on with all that helps: it votes, elects, reads, deletes and
forgets. Only what would fill its disk is refused, to its own clients: others, at nodes that have
room, should not suffer from this disk. Once there is room again the node takes it all, by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.config.cluster import ClusterConfig, ClusterStorage, NodeConfig
from kvpaxos.errors import DiskError
from kvpaxos.journal.files import OS_FILES, refusal
from kvpaxos.journal.reserve import Reserve
from kvpaxos.node.threads import SYSTEM_THREADS, Threads

_MIB: Final = 1024 * 1024

FLUSH_SLACK_BYTES: Final = 4 * _MIB
"""So much must be left over once the state has been flushed. Otherwise it is not: to fail would
stop the node, and the journal has all of it."""

LOOK_S: Final = 1.0
"""How often it is looked how much there is."""

_RESERVE_BYTES_MIN: Final = 8 * _MIB


@dataclass(frozen=True, slots=True)
class Marks:
    """How much room there must be for what, in bytes, as `/kvman/limits` names it.

    :ivar reserve_bytes: what is held for worse times.
    :ivar disk_release_bytes: with less than this it is given up.
    :ivar disk_low_bytes: with less than this the disk is nearly full.
    :ivar disk_high_bytes: with this much it is so no longer. That it is more keeps the alarm from
        flickering.
    """

    reserve_bytes: int
    disk_release_bytes: int
    disk_low_bytes: int
    disk_high_bytes: int

    @classmethod
    def of(cls, storage: ClusterStorage) -> Marks:
        """Return what suits a node that may take so much."""
        # Two segments of the journal, or one of the write buffers of RocksDB.
        needed = max(2 * storage.segment_bytes, storage.memory_bytes // 8, _RESERVE_BYTES_MIN)
        return cls(needed, needed, 4 * needed, 6 * needed)

    @property
    def remake_bytes(self) -> int:
        """With this much the reserve is made: that is no reason for an alarm then."""
        return self.disk_high_bytes + self.reserve_bytes

    def limits(self) -> dict[str, float]:
        """Return every named limit of the watch."""
        others = {"flush_slack_bytes": FLUSH_SLACK_BYTES, "disk_look_s": LOOK_S}
        return {**asdict(self), **others}


class PlaceGone(DiskError):
    """A directory of a running node is there no more. The node must stop, and vote for nothing."""


class Look(NamedTuple):
    """What a look at the disk found.

    :ivar free: the bytes that this user may still write.
    :ivar held: whether the reserve is there, which ``free`` does not count.
    :ivar trouble: why the reserve is not as it should be, in one sentence, or None.
    """

    free: int
    held: bool
    trouble: str | None = None


class Room:
    """The room on the disks of a node. Its methods block.

    :param places: directories that may be on different disks: the fullest of them counts.
    :param free: tells the bytes that are free at a place; it may raise `OSError`.
    """

    def __init__(
        self, places: Sequence[Path], marks: Marks, reserve: Reserve, free: Callable[[Path], int]
    ) -> None:
        self._places = places
        self._marks = marks
        self._reserve = reserve
        self._free = free

    def relieve(self) -> Look:
        """Give the reserve up if the disk is as good as full, and say how things are.

        :raises DiskError: the disk does not tell.
        """
        free = self._least()
        if free < self._marks.disk_release_bytes and self._reserve.release():
            free = self._least()
        return Look(free, self._reserve.held)

    def tend(self) -> Look:
        """Do as `relieve` does; or make the reserve, if it is missing and there is room for it."""
        seen = self.relieve()
        if seen.held or seen.free < self._marks.remake_bytes:
            return seen
        try:
            self._reserve.make()
        except DiskError as error:
            return seen._replace(trouble=str(error))
        return Look(self._least(), self._reserve.held)

    def _least(self) -> int:
        return min(map(self._free_at, self._places))

    def _free_at(self, place: Path) -> int:
        try:
            return self._free(place)
        except FileNotFoundError as error:
            raise PlaceGone(
                f"{place} is gone while this node runs, and with it all that the node would write"
                " there; find out whether its disk is still mounted, and start the node again"
            ) from error
        except OSError as error:
            raise refusal(place, "measure", error) from error


class Space(Service):
    """Looks at the disk once a second, on a thread of its own: even that may take long.

    The first look is taken as it is made, and may block: what is opened next may need the room
    of the reserve.

    :param room: None for a node that keeps nothing on a disk: then there is nothing to see.
    :ivar cramped: is asked at every look whether the journal lacks room, whatever the disk tells:
        there may be a quota.
    :ivar gone: is told if a directory is there no more: files in it can still be written to, but
        nobody would find them again.
    :ivar alarm: why this node takes no writes but deletions, or None if it takes all.
    :ivar free: the bytes that were free lately, or None if the disk does not tell.
    :ivar held: whether the reserve is there.
    """

    _log = Logger()

    def __init__(
        self,
        directory: Path,
        marks: Marks,
        room: Room | None,
        reactor: Any,  # noqa: ANN401  (no interface names timers and threads together)
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        self.cramped: Callable[[], bool] = lambda: False
        self.gone: Callable[[PlaceGone], None] = lambda _: None
        self.alarm: str | None = None
        self.free: int | None = None
        self.held = False
        self._directory = directory
        self._marks = marks
        self._room = room
        self._reactor = reactor
        self._trouble: str | None = None
        self._pool = threads.worker("kvpaxos space")
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] = succeed(None)
        if room is not None:
            try:
                self._saw(room.relieve())
            except DiskError as error:
                self._blind(str(error))

    @property
    def low(self) -> bool:
        """Whether the disk is nearly full."""
        return self.alarm is not None

    def may_flush(self, size: int) -> bool:
        """Whether so many bytes of the state can be flushed, and leave something over."""
        return self.free is None or self.free >= size + FLUSH_SLACK_BYTES

    def describe(self) -> dict[str, object]:
        """Return what there is to tell."""
        return {"free_bytes": self.free, "low": self.low, "reserve_held": self.held}

    @override
    def startService(self) -> None:
        Service.startService(self)
        self._pool.start()
        if self._room is not None:
            self._look(self._room)

    @override
    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._next is not None and self._next.active():
            self._next.cancel()

        def stop(_: None) -> None:
            self._pool.stop()

        return self._looking.addCallback(stop)

    def _look(self, room: Room) -> None:
        looking = deferToThreadPool(self._reactor, self._pool, room.tend)
        seen = looking.addCallbacks(self._saw, self._failed).addErrback(self._unforeseen)
        self._looking = seen.addCallback(self._again, room)

    def _unforeseen(self, failure: Failure) -> None:
        self._log.failure("looking at the disk failed in an unforeseen way", failure)

    def _again(self, _: None, room: Room) -> None:
        if self.running:
            self._next = self._reactor.callLater(LOOK_S, self._look, room)

    def _saw(self, seen: Look) -> None:
        self.free = seen.free
        self._tell_of_reserve(seen)
        before, self.alarm = self.alarm, self._judge(seen.free)
        if self.alarm is not None and before is None:
            self._log.warn(
                "{alarm}; writes are refused here but for deletions: free some space in {path}",
                alarm=self.alarm,
                path=self._directory,
            )
        elif self.alarm is None and before is not None:
            self._log.info(
                "the disk of this node has room again, {free} in {path}: it takes all writes",
                free=_mib(seen.free),
                path=self._directory,
            )

    def _judge(self, free: int) -> str | None:
        # Asked in any case, for that has it tried again.
        cramped = self.cramped()
        high = self._marks.disk_high_bytes
        if free < (high if self.low else self._marks.disk_low_bytes):
            return (
                f"the disk of this node is nearly full: {_mib(free)} are free, and it takes all"
                f" writes again from {_mib(high)} on"
            )
        if cramped:
            return "the disk of this node has no room for its journal to grow: is there a quota?"
        return None

    def _tell_of_reserve(self, seen: Look) -> None:
        if self.held and not seen.held:
            self._log.warn(
                "the reserve of {size} was given up, to go on with: free some space in {path}",
                size=_mib(self._marks.reserve_bytes),
                path=self._directory,
            )
        self.held = seen.held
        self._complain(seen.trouble)

    def _failed(self, failure: Failure) -> None:
        failure.trap(DiskError)
        if isinstance(failure.value, PlaceGone):
            self.gone(failure.value)
        else:
            self._blind(failure.getErrorMessage())

    def _blind(self, trouble: str) -> None:
        # It keeps nobody from anything: the journal will notice if there is no room.
        self.free = None
        self._complain(trouble)

    def _complain(self, trouble: str | None) -> None:
        """Say once what is wrong."""
        if trouble is not None and trouble != self._trouble:
            self._log.warn("the disk is not watched as it should be: {why}", why=trouble)
        self._trouble = trouble


def watched(
    cluster: ClusterConfig,
    node: NodeConfig,
    journal: Path,
    reactor: Any,  # noqa: ANN401  (as above)
) -> Space:
    """Return what watches the disks of ``node``, that of its ``journal`` among them; if any."""
    directory, marks = Path(node.data), Marks.of(cluster.storage)
    reserve = Reserve(directory, marks.reserve_bytes)
    room = Room((directory, journal), marks, reserve, OS_FILES.free_bytes)
    return Space(directory, marks, None if cluster.options.volatile else room, reactor)


def _mib(size: int) -> str:
    return f"{size / _MIB:.0f} MiB"

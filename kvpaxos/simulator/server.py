"""One simulated machine with the disk of one node, and whichever process of that node it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import NoReturn

from greenlet import getcurrent
from twisted.logger import LogEvent

from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.errors import KvPaxosError
from kvpaxos.journal.log import Journal
from kvpaxos.node.face import Face
from kvpaxos.node.member import Member
from kvpaxos.node.node import Node
from kvpaxos.node.opening import open_journal
from kvpaxos.node.repairs import Repairs
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.checker import Checker
from kvpaxos.simulator.chronicle import Chronicle
from kvpaxos.simulator.contents import Left, Manner
from kvpaxos.simulator.drive import Drive
from kvpaxos.simulator.logs import Log, Paper
from kvpaxos.simulator.platform import SimulatedPlatform
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.reactor import Clock, Reactor
from kvpaxos.simulator.shelf import KeptShelf
from kvpaxos.simulator.switchboard import Switchboard
from kvpaxos.simulator.threads import SimulatedThreads

DIGEST_BYTES = 16

UNFORESEEN = "unforeseen"
"""What a node says of an error that nobody has thought of."""


def _nothing() -> None:
    pass


class Server:
    """Starts, pauses, kills and starts again one node. It knows nothing of why.

    :ivar directory: where the disk of the node is mounted.
    :ivar face: what clients ask; None while the node does not serve.
    :ivar process: the one that runs, or the last one.
    :ivar stopping: whether that one was asked to end.
    :ivar rested: whether the one before it was stopped in good order, and its disk served it well.
    :ivar ended: called when a process has ended by itself, whatever the reason.
    :ivar counts: what was done to it.
    :ivar paper: what it logs to; None if it does not.
    """

    def __init__(
        self,
        cluster: ClusterConfig,
        config: NodeConfig,
        *,
        agenda: Agenda,
        board: Switchboard,
        drive: Drive,
        clock: Clock,
        random: Random,
        replica: type[Replica],
        piece_bytes: int,
        checker: Checker,
        chronicle: Chronicle,
        ended: Callable[[Server], None],
        place: str = "",
        logs: bool = False,
    ) -> None:
        """Make a machine that does nothing yet.

        :param piece_bytes: as much of a state as it sends at once.
        :param logs: whether what its processes log goes through the log of a node.
        :param place: is added to its addresses: nobody dials it by these. Empty for the machine
            that the others know.
        """
        self.node = config.node
        self.place = config.node + place
        self.directory = Path(config.data)
        self.drive = drive
        self.clock = clock
        self.face: Face | None = None
        self.member: Member | None = None
        self.process: Process | None = None
        self.reactor: Reactor | None = None
        self.stopping = False
        self.rested = False
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._config = config
        self._agenda = agenda
        self._board = board
        self._random = random
        self._replica = replica
        self._piece_bytes = piece_bytes
        self._checker = checker
        self._chronicle = chronicle
        self._ended = ended
        self._apart = place
        self.paper = Paper(agenda) if logs else None
        self._log: Log | None = None
        self._rests = False
        self._refused_before = 0

    @property
    def up(self) -> bool:
        """Whether a process of the node is there, paused or not."""
        return self.process is not None and self.process.alive

    @property
    def remembered(self) -> dict[str, int]:
        """How many records of others the journal of the node that runs has told it were seen."""
        assert self.member is not None
        seen = self.member.node.journal.recovered.seen
        return {one.node: one.records for one in seen}

    def start(self, replica: type[Replica] | None = None) -> None:
        """Start the node. It takes the time that its disk takes.

        :param replica: what it is to be a shell of, this time.
        """
        assert not self.up, f"{self.node} runs"
        self._chronicle.did(f"start {self.place}")
        self._chronicle.became(self.place, "runs")
        self._board.lit(self.place)
        self.stopping = False
        self.rested, self._rests = self._rests, False
        self._refused_before = self.drive.counts["refused calls"]
        self.process = process = Process(self._agenda, self.node)
        self.reactor = reactor = Reactor(self._agenda, self.clock, process)
        process.died = partial(self._died, process, reactor)
        self.drive.attach(process)
        self.drive.synced = self._synced
        threads = SimulatedThreads(process, reactor)
        if self.paper is not None:
            self._log = Log(self.node, self.paper, process, threads)
        platform = SimulatedPlatform(
            process,
            self.place,
            board=self._board,
            files=self.drive.files,
            threads=threads,
            piece_bytes=self._piece_bytes,
            replica=replica or self._replica,
            apart=self._apart,
            served=partial(self._served, process),
        )
        random = Random(self._random.getrandbits(64))
        process.run(partial(self._begin, process, reactor, platform, random))

    def kill(self) -> None:
        """End the process without a warning. The system keeps what it was given."""
        if self.process is not None and self.process.alive:
            self._chronicle.did(f"kill {self.place}")
            self.process.kill()

    def cut_power(self, manner: Manner = "any") -> Counter[Left]:
        """Take the power away, with all that is not on the disk. Count what is left of that."""
        self._chronicle.did(f"cut the power of {self.node}")
        if self.process is not None:
            self.process.power_cut = True
            self.process.kill()
        return self.drive.cut_power(manner)

    def jump(self, seconds: float) -> None:
        """Let the clock show so much more."""
        self._chronicle.did(f"jump {self.node} {seconds:.3f}")
        if self.reactor is not None:
            self.reactor.jump(seconds)

    def freeze(self, seconds: float) -> None:
        """Let the clock stand still for so long."""
        self._chronicle.did(f"freeze {self.node} {seconds:.3f}")
        if self.reactor is not None:
            self.reactor.freeze(seconds)

    def lose_disk(self) -> None:
        """Have an empty disk in the place of the old one. The node must be down."""
        assert not self.up
        self._chronicle.did(f"replace the disk of {self.node}")
        self.drive.replace()

    def pause(self) -> None:
        """Let nothing of the process run, until `resume`."""
        if self.process is not None and self.process.alive:
            self._chronicle.did(f"pause {self.node}")
            self._chronicle.became(self.place, "paused")
            self.process.pause()

    def resume(self) -> None:
        """Let the process run again."""
        if self.process is not None and self.process.paused:
            self._chronicle.did(f"resume {self.node}")
            self._chronicle.became(self.place, "runs")
            self.process.resume()

    def heal(self) -> None:
        """Be sound from now on, but for what is lost, and run if it stood still."""
        self.resume()
        self.drive.heal()
        if self.reactor is not None:
            self.reactor.thaw()
        if self.paper is not None:
            self.paper.stuck_until = 0.0

    def logged(self, event: LogEvent) -> None:
        """Take what was logged, if it was by a thread of the process that runs."""
        log, process = self._log, self.process
        if log is None or process is None or not process.owns(getcurrent()):
            return
        log.write(event)
        if log.waited:
            self._checker.fail(f"{self.node} has waited for its log")

    def stop(self, then: Callable[[], object] = _nothing) -> None:
        """Ask the node to stop in good order; its process ends once it has, and then is called."""
        process, member = self.process, self.member
        if process is None or member is None or not process.alive:
            return
        self._chronicle.did(f"stop {self.node}")
        self.stopping = True

        def end() -> None:
            refused = self.drive.counts["refused calls"] > self._refused_before
            self._rests = process.alive and not refused
            process.kill()
            then()

        def stop() -> None:
            member.stopService().addBoth(lambda _: self._agenda.after(0.0, end))

        process.run(stop)

    def _begin(
        self,
        process: Process,
        reactor: Reactor,
        platform: SimulatedPlatform,
        random: Random,
    ) -> None:
        """Do what `kvpaxos.node.service` does for a process of its own."""
        cluster, config = self._cluster, self._config
        repairs = Repairs(Path(config.data), platform.files)
        opening = partial(
            open_journal, open_at=self._opener(platform, random), files=platform.files
        )

        def make(
            refuse: Callable[[KvPaxosError], NoReturn], fatal: Callable[[Exception], None]
        ) -> Node:
            return Node(
                cluster,
                config,
                opening(cluster, config, repairs, shelf=self._shelf),
                self._shelf(),
                repairs,
                may_rejoin=self.drive.replaced,
                reactor=reactor,
                random=random,
                refuse=refuse,
                fatal=fatal,
                shutdown=self.stop,
                monotonic=reactor.seconds,
                platform=platform,
            )

        try:
            self.member = member = Member(
                make,
                repairs,
                self._shelf,
                alone=len(cluster.members) == 1,
                refuse=_refuse,
                fatal=partial(self._fatal, process),
                monotonic=reactor.seconds,
            )
            member.startService()
        except KvPaxosError as error:
            self._fatal(process, str(error))

    def _shelf(self) -> KeptShelf:
        checker = self._checker
        wrote, took_over = checker.wrote, checker.keeping.took_over
        return KeptShelf(self.drive, partial(wrote, self.node), partial(took_over, self.node))

    def _opener(self, platform: SimulatedPlatform, random: Random) -> Callable[[Path], Journal]:
        return partial(
            Journal.open,
            segment_bytes=self._cluster.storage.segment_bytes,
            files=platform.files,
            salt=random.randbytes(DIGEST_BYTES),
            new_lock=platform.threads.lock,
        )

    def _synced(self, begun: float) -> None:
        self._chronicle.synced(self.place, begun)
        self._checker.synced(self.place, begun)

    def _served(self, process: Process, face: Face) -> None:
        if process.alive:
            self.face = face

    def _fatal(self, process: Process, sentence: str) -> None:
        """Be as `twistd` is: the process ends, and says why, unless it has ended already."""
        if not process.alive:
            return
        self._chronicle.said(f"  {self.place} ends: {sentence}")
        self.counts["ended by itself"] += 1
        if UNFORESEEN in sentence or "not foreseen" in sentence:
            self._checker.fail(f"{self.node}: {sentence}")
        self._agenda.after(0.0, process.kill)
        self._agenda.after(0.0, self._ended, self)

    def _died(self, process: Process, reactor: Reactor) -> None:
        reactor.stop()
        self._chronicle.became(self.place, "down")
        self.face = self.member = None
        self._board.died(process, self.place, power_cut=process.power_cut)
        self.drive.kill()


def _refuse(error: KvPaxosError) -> NoReturn:
    raise error

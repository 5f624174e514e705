"""The log of a simulated node: the real one, on a sink that may stand still."""

from __future__ import annotations

from typing import Final

from twisted.logger import LogEvent
from typing_extensions import override

from kvpaxos.node.lines import Sink
from kvpaxos.node.logs import LogSettings, NodeLog
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.threads import SimulatedThreads

LINES_BYTES_MAX: Final = 300
"""What waits for the sink: little, so that lines are lost soon."""


class Paper:
    """What a node logs to, whichever process it runs.

    :ivar stuck_until: nothing is written before this time of the world.
    :ivar lost: how many lines were lost.
    """

    def __init__(self, agenda: Agenda) -> None:
        self.stuck_until = 0.0
        self.agenda = agenda
        self.lost = 0


class Log:
    """The log of one process.

    :ivar waited: whether it has kept somebody waiting who logs.
    """

    def __init__(
        self, node: str, paper: Paper, process: Process, threads: SimulatedThreads
    ) -> None:
        self.waited = False
        self._paper = paper
        self._log = NodeLog(
            LogSettings(node),
            _Pen(paper, process),
            bytes_max=LINES_BYTES_MAX,
            threads=threads,
        )
        self._log.writer.start()

    def write(self, event: LogEvent) -> None:
        """Take what one of the threads of the process logs."""
        began, dropped = self._paper.agenda.now, self._log.writer.dropped
        self._log(event)
        self.waited = self.waited or self._paper.agenda.now > began
        self._paper.lost += self._log.writer.dropped - dropped


class _Pen(Sink):
    def __init__(self, paper: Paper, process: Process) -> None:
        self._paper = paper
        self._process = process

    @override
    def write(self, data: bytes) -> None:
        stuck_s = self._paper.stuck_until - self._paper.agenda.now
        if stuck_s > 0:
            self._process.sleep(stuck_s)

"""A cluster of node processes under one manager."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from typing_extensions import override

import kvpaxos
from kvpaxos.cli.child import STOP_GRACE_S

LINE_BYTES_MAX: Final = 64 * 1024
"""A longer line of a node's output is broken."""


def command(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs ``twistd`` on ``arguments``, with this very kvpaxos.

    It works from an installed package and from a checkout alike.
    """
    assert kvpaxos.__file__ is not None
    root = str(Path(kvpaxos.__file__).absolute().parent.parent)
    program = (
        f"import sys; root = {root!r}; root in sys.path or sys.path.insert(0, root);"
        " from kvpaxos.cli.child import run; run()"
    )
    # -P: what lies in the current directory must not be imported by mistake.
    return [sys.executable, "-P", "-c", program, *arguments]


class Processes:
    """Runs one process for each node, shows what they print, and lets none outlive itself.

    A node that ends is not started again: who plays with a cluster wants to see it missing.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        spawner: IReactorProcess,
        clock: IReactorTime,
        show: Callable[[str, str], None],
        announce: Callable[[str], None],
    ) -> None:
        self._commands = commands
        self._spawner = spawner
        self._clock = clock
        self._show = show
        self._announce = announce
        self._running: dict[str, _NodeProcess] = {}
        self._ended: Deferred[None] = Deferred()
        self._stopping = False
        self._kill: IDelayedCall | None = None

    @property
    def running(self) -> tuple[str, ...]:
        """The nodes whose process has not ended."""
        return tuple(self._running)

    def start(self) -> Deferred[None]:
        """Start every node; fire when all have ended."""
        for node, arguments in self._commands.items():
            process = _NodeProcess(node, self._show, self._on_end)
            self._running[node] = process
            transport = self._spawner.spawnProcess(
                process, arguments[0], arguments, env=None, childFDs={0: "w", 1: "r", 2: "r"}
            )
            self._announce(f"{node} runs as process {transport.pid}")
        return self._ended

    def stop(self) -> None:
        """Ask every node to stop, and kill what is left after a while. Called again: kill now."""
        if self._stopping:
            self._signal_all(signal.SIGKILL)
            return
        self._stopping = True
        self._signal_all(signal.SIGTERM)
        if self._running:
            self._kill = self._clock.callLater(STOP_GRACE_S, self._signal_all, signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._running.values():
            process.signal(number)

    def _on_end(self, node: str, how: str) -> None:
        del self._running[node]
        left = f"; {', '.join(self._running)} going on" if self._running else ""
        self._announce(f"{node} {how}{'' if self._stopping else left}")
        if not self._running:
            if self._kill is not None and self._kill.active():
                self._kill.cancel()
            self._ended.callback(None)


class _NodeProcess(ProcessProtocol):
    """One node's process: its output as lines, its end as words."""

    def __init__(
        self, node: str, show: Callable[[str, str], None], ended: Callable[[str, str], None]
    ) -> None:
        self._node = node
        self._show = show
        self._ended = ended
        self._rest = {1: b"", 2: b""}

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, unless it has ended."""
        assert self.transport is not None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    @override
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._rest[childFD] + data).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            lines.append(rest)
            rest = b""
        self._rest[childFD] = rest
        for line in lines:
            self._show(self._node, line.decode(errors="backslashreplace"))

    @override
    def processEnded(self, reason: Failure) -> None:
        for rest in self._rest.values():
            if rest:
                self._show(self._node, rest.decode(errors="backslashreplace"))
        self._ended(self._node, _how(reason))


def _how(reason: Failure) -> str:
    ended = reason.value
    assert isinstance(ended, ProcessDone | ProcessTerminated)
    # twistd ends itself by SIGTERM after it has shut down in good order because of one.
    if ended.exitCode == 0 or ended.signal == signal.SIGTERM:
        return "has stopped"
    if ended.signal is not None:
        return f"was killed by {signal.Signals(ended.signal).name}"
    return f"has ended with status {ended.exitCode}"

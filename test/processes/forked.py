"""Nodes that need not load their code: they are forked from a process that has.

That takes a fraction of the time in which a command starts, for tests that start many nodes. What
is forked is a process like any other, and runs what the command ``twistd`` runs.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TextIO

_PRELOADED: Final = (
    "__main__",
    "twisted.scripts.twistd",
    "twisted.web.server",
    "werkzeug.routing",
    "werkzeug.wrappers",
    "kvpaxos.node.departure",
    "kvpaxos.node.face",
    "kvpaxos.node.http.openapi",
    "kvpaxos.node.joining",
    "kvpaxos.node.options",
    "kvpaxos.node.overview",
    "kvpaxos.node.preflight",
    "kvpaxos.node.states",
)
"""Most of what a node needs. Klein is not there: it installs a reactor, which cannot be forked."""

_CONTEXT: Final = multiprocessing.get_context("forkserver")


class Forked:
    """A node's process, with as much of `subprocess.Popen` as tests need.

    :param arguments: what comes after ``twistd`` in a command.
    :ivar stdout: what it says, on standard output and on standard error.
    """

    def __init__(self, arguments: Sequence[str], directory: Path) -> None:
        _CONTEXT.set_forkserver_preload(list(_PRELOADED))
        reader, writer = _CONTEXT.Pipe(duplex=False)
        # A daemon: it must not outlive the tests, nor they wait for it.
        self._process = _CONTEXT.Process(
            target=_run, args=(arguments, directory, writer), daemon=True
        )
        self._process.start()
        writer.close()
        self.stdout: TextIO | None = os.fdopen(os.dup(reader.fileno()))
        reader.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float) -> int:
        """Return its exit status, or less than nothing: the signal that ended it.

        :raises TimeoutError: it still runs.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid} does not end")
        return self._process.exitcode


def _run(arguments: Sequence[str], directory: Path, output: Connection) -> None:
    from twisted.scripts import twistd  # noqa: PLC0415 -- not where tests run, who have a reactor

    assert "twisted.internet.reactor" not in sys.modules, "nodes would share one reactor"
    os.chdir(directory)
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    sys.argv = ["twistd", *arguments]
    try:
        twistd.run()
    finally:
        # They say how a node ended, and are left out where a process was forked.
        atexit._run_exitfuncs()

"""The command ``kvpaxos`` as users run it, against a cluster of real nodes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from test.processes.cluster import ROOT

PATIENCE_S = 60.0
"""No command of the tests takes so long on the slowest machine."""


@dataclass
class Done:
    """How a command ended."""

    status: int
    output: bytes
    errors: str

    @property
    def json(self) -> Any:
        """What it printed: one object."""
        return json.loads(self.output)


@dataclass
class Shell:
    """Where commands are run.

    :ivar nodes: the nodes that they are to ask.
    """

    directory: Path
    nodes: str
    options: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "KVPAXOS_NODES": self.nodes, **self.options}

    def start(self, *arguments: str | bytes, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command."""
        return subprocess.Popen(  # noqa: S603 -- our own command
            [sys.executable, "-m", "kvpaxos", *arguments],
            cwd=self.directory,
            env=self.environment,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *arguments: str | bytes, stdin: bytes = b"") -> Done:
        """Run a command to its end."""
        with self.start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            output, errors = process.communicate(stdin, timeout=PATIENCE_S)
        return Done(process.returncode, output, errors.decode())

    def show(self, *arguments: str | bytes) -> Done:
        """Run a command whose output is a terminal."""
        screen, terminal = pty.openpty()
        with self.start(*arguments, stdin=subprocess.DEVNULL, stdout=terminal) as process:
            os.close(terminal)
            _, errors = process.communicate(timeout=PATIENCE_S)
        output = _all_of(screen)
        os.close(screen)
        return Done(process.returncode, output.replace(b"\r\n", b"\n"), errors.decode())


def _all_of(screen: int) -> bytes:
    """Return what was written to a terminal that is closed now."""
    shown = b""
    while True:
        try:
            piece = os.read(screen, 4096)
        except OSError:
            # Linux says so instead of an end.
            return shown
        if not piece:
            return shown
        shown += piece

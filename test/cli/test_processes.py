"""Processes under a manager: what they print, how they end, and that none outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import Clock

from kvpaxos.cli.child import STOP_GRACE_S
from kvpaxos.cli.processes import LINE_BYTES_MAX, Processes, command

pytestmark = pytest.mark.timeout(60)

STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True);"
    " signal.pause()"
)


class Screen:
    """What a manager shows, and a way to wait for it."""

    def __init__(self, **programs: str) -> None:
        from twisted.internet import reactor

        self.lines: list[str] = []
        self.clock = Clock()
        self._awaited: dict[str, Deferred[None]] = {}
        self.processes = Processes(
            {node: [sys.executable, "-c", program] for node, program in programs.items()},
            spawner=cast(IReactorProcess, reactor),
            clock=self.clock,
            show=lambda node, line: self._add(f"{node}> {line}"),
            announce=self._add,
        )

    async def until(self, line: str) -> None:
        """Return once ``line`` has been shown."""
        if line not in self.lines:
            await self._awaited.setdefault(line, Deferred())

    def announced(self) -> list[str]:
        """Return what the manager said of itself, but for how it started."""
        return [line for line in self.lines if ">" not in line and "runs as process" not in line]

    def _add(self, line: str) -> None:
        self.lines.append(line)
        if line in self._awaited:
            self._awaited.pop(line).callback(None)


@pytest_twisted.ensureDeferred
async def test_what_a_node_prints_is_shown_line_by_line() -> None:
    screen = Screen(
        n01=(
            "import sys; sys.stdout.buffer.write(b'one\\ntwo \\xff\\nno end');"
            " sys.stdout.flush(); print('bad', file=sys.stderr)"
        )
    )
    await screen.processes.start()
    shown = sorted(line for line in screen.lines if line.startswith("n01>"))
    assert shown == ["n01> bad", "n01> no end", "n01> one", "n01> two \\xff"]


@pytest_twisted.ensureDeferred
async def test_a_line_without_end_is_broken() -> None:
    size = 3 * LINE_BYTES_MAX
    screen = Screen(n01=f"print('x' * {size})")
    await screen.processes.start()
    shown = [line.removeprefix("n01> ") for line in screen.lines if line.startswith("n01>")]
    assert len(shown) > 1
    assert "".join(shown) == "x" * size


@pytest_twisted.ensureDeferred
async def test_a_node_that_ends_is_reported_and_the_others_go_on() -> None:
    screen = Screen(
        n01="import sys; sys.exit(3)",
        n02="import signal; signal.pause()",
    )
    ended = screen.processes.start()
    await screen.until("n01 has ended with status 3; n02 going on")
    assert screen.processes.running == ("n02",)
    screen.processes.stop()
    await ended
    assert screen.announced()[1:] == ["n02 has stopped"]


@pytest_twisted.ensureDeferred
async def test_a_node_that_does_not_stop_is_killed_after_a_while() -> None:
    screen = Screen(n01=STUBBORN)
    ended = screen.processes.start()
    await screen.until("n01> deaf")
    screen.processes.stop()
    screen.clock.advance(STOP_GRACE_S - 0.1)
    assert screen.processes.running == ("n01",)
    screen.clock.advance(0.1)
    await ended
    assert screen.announced() == ["n01 was killed by SIGKILL"]


@pytest_twisted.ensureDeferred
async def test_who_asks_twice_does_not_wait() -> None:
    screen = Screen(n01=STUBBORN)
    ended = screen.processes.start()
    await screen.until("n01> deaf")
    screen.processes.stop()
    screen.processes.stop()
    await ended
    assert screen.announced() == ["n01 was killed by SIGKILL"]
    assert screen.clock.getDelayedCalls() == []


def test_twistd_runs_from_any_directory_and_takes_nothing_from_it(tmp_path: Path) -> None:
    for name in ("twisted", "kvpaxos", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    with started(["--version"], tmp_path) as node:
        assert node.stdout is not None
        assert node.stdout.read().startswith("twistd (the Twisted daemon)")
        assert node.wait() == 0


def test_a_node_stops_when_its_manager_is_gone(tmp_path: Path) -> None:
    # Any service will do: what is tested is around it.
    arguments = ["--nodaemon", "--pidfile=", "web", "--path=.", "--listen=tcp:0"]
    with started(arguments, tmp_path) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        assert any("Starting factory" in line for line in node.stdout)
        # However a manager dies, the system closes its end of this pipe.
        node.stdin.close()
        assert node.wait() == -signal.SIGTERM


def started(arguments: list[str], directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 -- our own command
        command(arguments),
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

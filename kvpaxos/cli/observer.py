"""Looks at all nodes of a cluster, once or again and again, and shows what it saw."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final, Protocol, TextIO

from rich.live import Live
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from kvpaxos.cli.asking import Answer, asking
from kvpaxos.cli.report import ClusterReport, NodeReport, read_report
from kvpaxos.cli.running import run
from kvpaxos.cli.table import console, drawn

WATCH_S: Final = 1.0
"""Between two looks of ``--watch``."""


def observe(nodes: Sequence[tuple[str, str]], *, watch: bool, as_json: bool) -> int:
    """Show ``nodes``, each a name and a URL, and return the exit status that says how they are.

    :param watch: look again and again, until a signal ends it.
    """

    async def look(reactor: Any) -> int:  # noqa: ANN401 -- several interfaces at once
        observer = Observer(nodes, asking(reactor), sys.stdout, as_json=as_json)
        if watch:
            await observer.watch(reactor)
        return await observer.once()

    return run(look)


def look_at(nodes: Sequence[tuple[str, str]]) -> list[NodeReport]:
    """Return what ``nodes``, each a name and a URL, say of themselves, as far as they answer."""

    async def look(reactor: Any) -> list[NodeReport]:  # noqa: ANN401 -- several interfaces at once
        return await _reports(nodes, asking(reactor))

    return run(look)


class Asks(Protocol):
    """Asks a node over HTTP."""

    def get(self, url: str) -> Deferred[Answer]:
        """Fire with what is at ``url``. Never fails."""
        ...


class Observer:
    """Looks at nodes and shows what it saw."""

    def __init__(
        self, nodes: Sequence[tuple[str, str]], asks: Asks, output: TextIO, *, as_json: bool
    ) -> None:
        self._nodes = nodes
        self._asks = asks
        self._output = output
        self._as_json = as_json
        self._console = console(output)

    async def once(self) -> int:
        """Show the cluster as it is, and return the exit status that says how it is."""
        report = await self._look()
        if self._as_json:
            self._print_json(report)
        else:
            self._console.print(drawn(report, self._console.width))
        return report.exit_status

    async def watch(self, clock: Any) -> None:  # noqa: ANN401 -- a reactor or a Clock
        """Show the cluster again and again: in one place, if the output is a terminal."""
        if self._as_json or not self._console.is_terminal:
            while True:
                await self.once()
                await deferLater(clock, WATCH_S)
        with Live(console=self._console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(drawn(await self._look(), self._console.width), refresh=True)
                await deferLater(clock, WATCH_S)

    async def _look(self) -> ClusterReport:
        return ClusterReport(tuple(await _reports(self._nodes, self._asks)))

    def _print_json(self, report: ClusterReport) -> None:
        self._output.write(json.dumps(report.as_json()) + "\n")
        self._output.flush()


async def _reports(nodes: Sequence[tuple[str, str]], asks: Asks) -> list[NodeReport]:
    answers = await gatherResults([asks.get(f"{url}/kvman/status") for _, url in nodes])
    pairs = zip(nodes, answers, strict=True)
    return [_report(node, url, answer) for (node, url), answer in pairs]


def _report(node: str, url: str, answer: Answer) -> NodeReport:
    if answer.trouble is not None:
        where = "" if node == url else f"{url}: "
        return NodeReport(node, url, answered=False, trouble=f"{where}{answer.trouble}")
    return read_report(node, url, answer.table)

"""``kvpaxos status``: what every node of a cluster says of itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import click
from rich.console import Console
from rich.live import Live
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from kvpaxos.cli.asking import Answer, asking
from kvpaxos.cli.report import ClusterReport, NodeReport, read_report
from kvpaxos.cli.table import drawn
from kvpaxos.cli.up import SETTINGS_NAME
from kvpaxos.config.cluster import DATA_DIRECTORY
from kvpaxos.errors import ConfigError
from kvpaxos.node.options import read_settings

WATCH_S: Final = 1.0
"""Between two looks of ``--watch``."""

PLAIN_WIDTH: Final = 160
"""Columns of what goes into a file or a pipe."""


@click.command()
@click.option("--config", metavar="FILE", help="Ask the nodes that this settings file names.")
@click.option("--url", "urls", multiple=True, help="Ask the node at this URL; may be repeated.")
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a look.")
def status(config: str | None, urls: tuple[str, ...], *, watch: bool, as_json: bool) -> None:
    """Show role, ballot, progress, links and sizes of every node.

    Without options it asks the cluster of data/settings.conf, where "kvpaxos up" leaves its own,
    or else the one of conf/settings.conf, or else three nodes on 127.0.0.1.

    Exit status: 0 all nodes serve, 1 some do not, 3 no majority follows a leader, 2 bad options.
    """
    if config is not None and urls:
        raise ConfigError("--config and --url both name the nodes; leave one of them out.")
    nodes = [(url, url.rstrip("/")) for url in urls] or _nodes(config)

    async def look(reactor: Any) -> None:  # noqa: ANN401 -- several interfaces at once
        observer = Observer(nodes, asking(reactor), sys.stdout, as_json=as_json)
        if watch:
            await observer.watch(reactor)
        sys.exit(await observer.once())

    react(lambda reactor: Deferred.fromCoroutine(look(reactor)))


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
        width = None if output.isatty() else PLAIN_WIDTH
        self._console = Console(file=output, highlight=False, width=width)

    async def once(self) -> int:
        """Show the cluster as it is, and return the exit status that says how it is."""
        report = await self._look()
        if self._as_json:
            self._print_json(report)
        else:
            self._console.print(drawn(report, self._console.width))
        return report.exit_status

    async def watch(self, clock: Any) -> None:  # noqa: ANN401 -- a reactor or a Clock
        """Show the cluster again and again."""
        if self._as_json:
            while True:
                self._print_json(await self._look())
                await deferLater(clock, WATCH_S)
        with Live(
            console=self._console, auto_refresh=False, screen=self._console.is_terminal
        ) as live:
            while True:
                live.update(drawn(await self._look(), self._console.width), refresh=True)
                await deferLater(clock, WATCH_S)

    async def _look(self) -> ClusterReport:
        answers = await gatherResults(
            [self._asks.get(f"{url}/kvman/status") for _, url in self._nodes]
        )
        pairs = zip(self._nodes, answers, strict=True)
        return ClusterReport(tuple(_report(node, url, answer) for (node, url), answer in pairs))

    def _print_json(self, report: ClusterReport) -> None:
        self._output.write(json.dumps(report.as_json()) + "\n")
        self._output.flush()


def _report(node: str, url: str, answer: Answer) -> NodeReport:
    if answer.trouble is not None:
        return NodeReport(node, url, answered=False, trouble=f"{url}: {answer.trouble}")
    return read_report(node, url, answer.table)


def _nodes(config: str | None) -> list[tuple[str, str]]:
    """Return name and URL of every node."""
    last = Path(DATA_DIRECTORY) / SETTINGS_NAME
    if config is None and last.exists():
        config = str(last)
    return [(node.node, node.url) for node in read_settings(config).nodes]

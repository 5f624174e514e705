"""The foreground process of ``kvpaxos up``."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from twisted.internet.defer import Deferred

from kvpaxos.cli.paint import Painter
from kvpaxos.cli.processes import Processes, command
from kvpaxos.cli.readiness import until_ready
from kvpaxos.node.lines import DescriptorSink, LineWriter

_URLS_SHOWN_MAX: Final = 5
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Manager:
    """Runs the nodes of a cluster, says when they serve, and stops them all when told to.

    Its exit status is 0 if it was told to stop, and 1 if all nodes ended by themselves.

    :param urls: where each node will be.
    :param arguments: what ``twistd`` is given for each node.
    """

    def __init__(
        self, urls: Mapping[str, str], arguments: Mapping[str, Sequence[str]], painter: Painter
    ) -> None:
        # Not at the top: only a command that needs a reactor should bring one about.
        from twisted.internet import reactor

        self._reactor = cast("Any", reactor)
        self._urls = urls
        self._painter = painter
        self._told_to_stop = False
        # Nodes must not wait for this terminal, and so neither may their manager.
        self._output = LineWriter(DescriptorSink(1), self._losses)
        self._processes = Processes(
            {node: command(given) for node, given in arguments.items()},
            spawner=self._reactor,
            clock=self._reactor,
            show=lambda node, line: self._output.write(painter.line(node, line)),
            announce=self._announce,
        )

    def run(self) -> int:
        """Run until all nodes have ended, and return the exit status."""
        self._output.start()
        self._reactor.callWhenRunning(self._start)
        self._reactor.run()
        self._output.close()
        return 0 if self._told_to_stop else 1

    def _start(self) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        ended = self._processes.start()
        ended.addBoth(lambda _: self._reactor.stop())
        Deferred.fromCoroutine(self._tell_when_ready()).addErrback(
            lambda failure: self._announce(failure.getTraceback())
        )

    def _on_signal(self, number: int, _frame: object) -> None:
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _stop(self, why: str) -> None:
        if not self._told_to_stop:
            self._announce(f"{why}: stopping {', '.join(self._processes.running)}")
        self._told_to_stop = True
        self._processes.stop()

    async def _tell_when_ready(self) -> None:
        # Not at the top: the nodes can start while this is imported.
        from kvpaxos.cli.asking import asking  # noqa: PLC0415

        serving = await until_ready(
            self._urls,
            asking(self._reactor).ready,
            clock=self._reactor,
            running=lambda: self._processes.running,
            announce=self._announce,
        )
        if serving and not self._told_to_stop:
            urls = [self._urls[node] for node in serving]
            self._announce(f"{_count(len(urls), len(self._urls))} serving at {_shown(urls)}")
            self._announce(f"try: curl -d key=hello -d value=world {urls[0]}/kv/insert")

    def _announce(self, text: str) -> None:
        self._output.write(self._painter.announcement(text))

    def _losses(self, count: int) -> bytes:
        return self._painter.announcement(f"{count} lines of output were lost here")


def _count(serving: int, nodes: int) -> str:
    if serving < nodes:
        return f"{serving} of {nodes} nodes"
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _shown(urls: Sequence[str]) -> str:
    return f"{urls[0]} … {urls[-1]}" if len(urls) > _URLS_SHOWN_MAX else " ".join(urls)

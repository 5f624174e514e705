"""A cluster of real processes on loopback, for tests that kill them.

Everything waits for an event: a line of a node's log, an answer, or the end of a process.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol
from urllib.parse import urlencode

from test.processes.forked import Forked

START_S = 60.0
"""No node takes so long to start, or a cluster to find a leader, on the slowest machine."""

PORTS = 50
"""Each process of tests chooses from so many ports of its own."""

ROOT = Path(__file__).parents[2]

TWISTD = str(Path(sys.executable).with_name("twistd"))


@dataclass(frozen=True)
class Reply:
    """An HTTP reply: its status, what its JSON says, and its headers in lower case."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def done(self) -> bool:
        """Whether the request succeeded."""
        return self.status == 200 and self.body.get("success") == "true"


class Unreachable(Exception):
    """The node does not answer; what it did with the request is unknown."""


class Process(Protocol):
    """What a cluster needs of a process: as much of `subprocess.Popen` as this."""

    @property
    def pid(self) -> int: ...

    @property
    def stdout(self) -> IO[str] | None: ...

    def send_signal(self, sig: int, /) -> None: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float) -> int: ...


@dataclass
class Node:
    """One process. It is started, killed and stopped by its `Cluster`."""

    name: str
    port: int
    process: Process | None = None
    lines: list[str] = field(default_factory=list)
    news: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def ask(self, method: str, path: str, timeout_s: float = 15.0, **parameters: str) -> Reply:
        """Send one request; parameters go into the query of a GET and the body of a POST."""
        return self.send(method, path, parameters, timeout_s)

    def send(
        self, method: str, path: str, parameters: Mapping[str, str], timeout_s: float = 15.0
    ) -> Reply:
        """Do as `ask` does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        encoded = urlencode(parameters)
        try:
            if method == "GET":
                connection.request("GET", f"{path}?{encoded}" if encoded else path)
            else:
                connection.request(method, path, body=encoded)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.name}: {error!r}") from error
        finally:
            connection.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, json.loads(body), headers)

    def wait_for_line(self, text: str) -> str:
        """Return the first line of the log, from now on, that holds ``text``."""
        deadline = time.monotonic() + START_S
        while True:
            line = self.news.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, f"{self.name} ended:\n" + "\n".join(self.lines)
            if text in line:
                return line


class Cluster:
    """Some nodes, their settings and their directories.

    :param transport: what peers meet over, ``tcp`` or ``unix``.
    :param replies: the dialect of the nodes.
    :param ports: two for each node, if the cluster shall not look for free ones itself. Several
        clusters that are to run together need that: what nobody has taken yet seems free to all.
    :param storage: the section of that name in the settings; ``limits`` likewise.
    :ivar twistd: the command that starts a node, and its options follow; nodes are forked, which
        takes less time, where there is none.
    """

    def __init__(
        self,
        directory: Path,
        nodes: int = 3,
        transport: str = "tcp",
        replies: str = "seed",
        ports: Sequence[int] = (),
        *,
        storage: Mapping[str, int] = MappingProxyType({}),
        limits: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.directory = directory
        self.transport = transport
        self.replies = replies
        self.storage = dict(storage)
        self.limits = dict(limits)
        self.twistd: tuple[str, ...] = ()
        ports = ports or free_ports(2 * nodes)
        self.nodes = [
            Node(f"n{number:02}", port) for number, port in enumerate(ports[:nodes], start=1)
        ]
        self._peer_ports = dict(zip(self.nodes_by_name(), ports[nodes:], strict=True))
        self.settings = directory / "settings.conf"
        self.settings.write_text(json.dumps(self._settings()))

    def nodes_by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def _settings(self) -> dict[str, object]:
        return {
            "nodes": {
                node.name: {
                    "http": f"tcp:{node.port}:interface=127.0.0.1",
                    "peer": self._peer(node),
                    "data": str(self.directory / node.name),
                }
                for node in self.nodes
            },
            "storage": self.storage,
            "limits": self.limits,
            "options": {"replies": self.replies},
        }

    def _peer(self, node: Node) -> str:
        if self.transport == "unix":
            return f"unix:{self.directory / node.name}.sock"
        return f"tcp:{self._peer_ports[node.name]}:interface=127.0.0.1"

    def start(self, *nodes: Node, options: tuple[str, ...] = ()) -> None:
        """Start ``nodes``, or all, and wait until each has done a linearizable read."""
        chosen = nodes or tuple(self.nodes)
        self.launch(*chosen, options=options)
        for node in chosen:
            node.wait_for_line("ready")

    def launch(self, *nodes: Node, options: tuple[str, ...] = ()) -> None:
        """Start ``nodes`` and wait for nothing."""
        for node in nodes:
            assert node.process is None, f"{node.name} runs already"
            node.process = self._spawn(
                ["-n", "kvpaxos", "--node", node.name, "--config", str(self.settings), *options]
            )
            node.news = queue.Queue()
            threading.Thread(
                target=_listen, args=(node, node.process, node.news), daemon=True
            ).start()

    def _spawn(self, arguments: Sequence[str]) -> Process:
        """Start what ``twistd`` starts with ``arguments``."""
        if not self.twistd:
            return Forked(arguments, self.directory)
        return subprocess.Popen(  # noqa: S603  (our own command)
            [*self.twistd, *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def signal(self, node: Node, number: signal.Signals) -> int:
        """Send ``node`` a signal that ends it, and return its exit status."""
        assert node.process is not None
        node.process.send_signal(number)
        status = node.process.wait(timeout=START_S)
        node.process = None
        return status

    def kill(self, *nodes: Node) -> None:
        """Kill ``nodes`` with SIGKILL, all at once."""
        for node in nodes:
            assert node.process is not None
            node.process.kill()
        for node in nodes:
            assert node.process is not None
            node.process.wait(timeout=START_S)
            node.process = None

    def leader(self) -> Node:
        """Return the node that leads, as the running ones say with one voice."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            running = [node for node in self.nodes if node.process is not None]
            replies = [node.ask("GET", "/kv/get", key="?") for node in running]
            leaders = {reply.headers.get("x-kvpaxos-leader", "") for reply in replies}
            if len(leaders) == 1 and "" not in leaders:
                return self.nodes_by_name()[leaders.pop()]
        raise AssertionError("the nodes do not agree on a leader")

    def close(self) -> None:
        """Kill whatever still runs."""
        self.kill(*(node for node in self.nodes if node.process is not None))


@contextmanager
def cluster(
    directory: Path,
    nodes: int = 3,
    transport: str = "tcp",
    storage: Mapping[str, int] = MappingProxyType({}),
    limits: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Cluster]:
    """Provide a cluster that has not been started, and leave no process behind."""
    made = Cluster(directory, nodes, transport, storage=storage, limits=limits)
    try:
        yield made
    finally:
        made.close()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that were free a moment ago, below the ephemeral range."""
    found: list[int] = []
    # Processes that run tests side by side have neighboring ids, and must not meet.
    first = 20000 + os.getpid() * PORTS % 10000
    for port in range(first, first + PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def _listen(node: Node, process: Process, news: queue.Queue[str | None]) -> None:
    # Its own news: the node may have been started again before these are all read.
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            node.lines.append(line.rstrip())
            news.put(line.rstrip())
    news.put(None)

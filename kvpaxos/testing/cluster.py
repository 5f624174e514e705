"""A cluster in memory, for tests of whatever uses one."""

# mypy: allow-untyped-calls
# The factories of twisted.web have no annotations.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvpaxos.client.blocking import Blocking
from kvpaxos.client.client import LANES_MAX, TIMEOUT_S, Client
from kvpaxos.client.exchange import Body
from kvpaxos.client.requests import Text, to_bytes
from kvpaxos.node.http.site import make_site
from kvpaxos.store.commands import Set, encode_operation
from kvpaxos.testing.agreement import Agreement, Fault
from kvpaxos.testing.node import FakeNode
from kvpaxos.testing.state import State
from kvpaxos.testing.wires import Network

T = TypeVar("T")

NODES_MAX: Final = 99

PATIENCE_S: Final = 3600.0
"""Simulated seconds after which nobody waits any more."""


class FakeCluster:
    """Nodes with the HTTP face and the state machine of real ones, without sockets or a reactor.

    Time is a `twisted.internet.task.Clock`, which moves only when the test lets it: by
    `result_of`, or by ``clock.advance``. The same test does the same every time.

    What it leaves out is the consensus: its nodes agree at once, as long as a majority of them is
    neither stopped nor cut off; elections take no time; and a node that was stopped has lost
    nothing.

    :param nodes: how many there are; they are called n01, n02, and so on.
    :param dialect: how their replies are spelled.
    :param seed: what the names of clients and their pauses are drawn from.
    :ivar clock: the time.
    :ivar treq: a `treq.client.HTTPClient` that reaches the nodes.
    :ivar urls: where it reaches them, by their names.
    """

    def __init__(self, nodes: int = 3, *, dialect: str = "seed", seed: int = 0) -> None:
        if not 1 <= nodes <= NODES_MAX:
            raise ValueError(f"a cluster has 1 to {NODES_MAX} nodes, and not {nodes}")
        names = [f"n{number:02}" for number in range(1, nodes + 1)]
        self.clock = Clock()
        self.urls: Mapping[str, str] = {name: f"http://{name}:8801" for name in names}
        self._network = Network(self.clock)
        self.treq = HTTPClient(self._network.agent(), data_to_body_producer=Body)
        self._random = Random(seed)  # noqa: S311 -- it must be the same every time
        self._agreement = Agreement(names)
        self._nodes = {name: self._make_node(name) for name in names}
        self._sites = {
            name: make_site(node, reactor=self.clock, dialect=dialect, names=names)
            for name, node in self._nodes.items()
        }
        self._stopped = set(names)
        self._cut_off: set[str] = set()
        for name in names:
            self.start(name)

    # Clients.

    def client(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        lanes_max: int = LANES_MAX,
        exactly_once: bool = True,
    ) -> Client:
        """Return a client of this cluster, for Twisted."""
        return Client(
            self.urls,
            timeout_s=timeout_s,
            lanes_max=lanes_max,
            exactly_once=exactly_once,
            reactor=self.clock,
            treq=self.treq,
            random=Random(self._random.random()),  # noqa: S311
        )

    def blocking_client(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        lanes_max: int = LANES_MAX,
        exactly_once: bool = True,
    ) -> Blocking:
        """Return a client with the methods of a `BlockingClient`, each of which lets time pass."""
        client = self.client(timeout_s=timeout_s, lanes_max=lanes_max, exactly_once=exactly_once)
        return Blocking(client, self._wait)

    def result_of(self, awaitable: Awaitable[T]) -> T:
        """Let time pass until ``awaitable`` has its result; return or raise it.

        :raises AssertionError: nothing that is still to happen will ever bring it.
        """
        outcome: list[T | Failure] = []
        Deferred.fromCoroutine(_awaited(awaitable)).addBoth(outcome.append)
        give_up_at = self.clock.seconds() + PATIENCE_S
        while not outcome:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=give_up_at)
            assert due < give_up_at, "it waits for something that will not happen"
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def pairs(self) -> dict[bytes, bytes]:
        """Return what the cluster holds, by what was decided, whoever is stopped or cut off."""
        state = State()
        state.catch_up(self._agreement.log)
        return dict(state.pairs())

    def fill(self, pairs: Mapping[Text, Text]) -> None:
        """Store ``pairs`` without a client."""
        for key, value in pairs.items():
            operation = Set(to_bytes("key", key), to_bytes("value", value))
            self._agreement.decide(encode_operation(operation))

    # Faults.

    @property
    def leader(self) -> str | None:
        """The node that leads, or None if no majority is together."""
        return self._agreement.leader or None

    def stop(self, *names: str) -> None:
        """Stop nodes as a kill does: they refuse connections, and those they have break."""
        for name in self._known(names):
            if name not in self._stopped:
                self._stopped.add(name)
                self._settle(name)
                self._network.go_dark(name)
                self._sites[name].doStop()

    def start(self, *names: str) -> None:
        """Start nodes that were stopped."""
        for name in self._known(names):
            if name in self._stopped:
                self._stopped.discard(name)
                self._sites[name].doStart()
                self._network.listen(name, self._sites[name].buildProtocol)
                self._settle(name)

    def cut_off(self, *names: str) -> None:
        """Take nodes from the others. They take requests, and say at the deadline that they fail.

        What they answer is stale reads, of what they had applied until now.
        """
        for name in self._known(names):
            self._cut_off.add(name)
            self._settle(name)

    def heal(self) -> None:
        """Bring back all nodes that were cut off."""
        healed, self._cut_off = self._cut_off, set()
        for name in sorted(healed):
            self._settle(name)

    def hold_back(self, *names: str) -> None:
        """Let nodes apply nothing until they must: their stale reads are stale now.

        A linearizable read or a write brings such a node up to date, as it does a real one.
        """
        for name in self._known(names):
            self._nodes[name].lags = True

    def let_go(self) -> None:
        """Let all nodes apply again what is decided."""
        for node in self._nodes.values():
            node.lags = False
        self._agreement.tell()

    def refuse_writes(self, count: int = 1) -> None:
        """Let the next writes, at whichever nodes, be refused as not applied, with status 503."""
        self._agreement.faults += ["refused"] * count

    def lose_writes(self, count: int = 1, *, applied: bool) -> None:
        """Let the next writes break their connections instead of bringing an answer.

        :param applied: whether they are carried out all the same.
        """
        fault: Fault = "applied and lost" if applied else "lost"
        self._agreement.faults += [fault] * count

    def stall_writes(self, count: int = 1, *, applied: bool) -> None:
        """Let the next writes end at their deadline as unknown, with status 504.

        :param applied: whether they are carried out all the same.
        """
        fault: Fault = "applied and stalled" if applied else "stalled"
        self._agreement.faults += [fault] * count

    def _make_node(self, name: str) -> FakeNode:
        return FakeNode(
            name,
            self._agreement,
            self.clock,
            hang_up=self._network.hang_up,
            stop=lambda: self.stop(name),
        )

    def _settle(self, name: str) -> None:
        if name in self._stopped | self._cut_off:
            self._agreement.part(name)
        else:
            self._agreement.join(name)

    def _known(self, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in self._nodes:
                raise ValueError(f"no node is called {name}: use {', '.join(self._nodes)}")
        return names

    def _wait(self, work: Callable[[], Awaitable[T]]) -> T:
        return self.result_of(work())


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable

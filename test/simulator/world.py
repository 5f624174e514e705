"""A whole cluster in one thread, with every source of chance under one seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId
from kvpaxos.paxos.effects import Effects, Event
from kvpaxos.paxos.formation import Stands
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.simulator.show import show
from test.simulator.agenda import Agenda
from test.simulator.appenders import Appender
from test.simulator.checker import Checker
from test.simulator.clients import Clients, Request
from test.simulator.disk import Disk
from test.simulator.network import Network, Weather
from test.simulator.process import Process, Storage

TRACE_STEPS = 150
"""How many of the last steps are told when something went wrong."""


class World:
    """Runs processes against a simulated clock, network and set of disks.

    :ivar leaders: the ballots of all that ever led, in the order in which they were first seen.
    """

    def __init__(
        self,
        seed: int = 0,
        nodes: int = 3,
        *,
        weather: Weather | None = None,
        sync_s: tuple[float, float] = (0.0002, 0.001),
        limits: Limits | None = None,
        timing: Timing | None = None,
        tick_s: float = 0.02,
        journal_slots_max: int = 0,
        piece_bytes: int = 200,
    ) -> None:
        """Make a world in which nobody is up.

        :param journal_slots_max: how many slots a journal holds for those that lag; 0 if it may
            hold any number.
        :param piece_bytes: how much of a state is sent at once.
        """
        self.agenda = Agenda()
        self.random = Random(seed)
        self.names = [NodeId(name) for name in "abcdefg"[:nodes]]
        self.quorum = Quorum(frozenset(self.names))
        self.checker = Checker(self.quorum)
        self.network = Network(
            self.agenda,
            self.random,
            self.names,
            weather or Weather(),
            self._post,
            meet=self._meet,
            hear=self._hear,
        )
        self.clients = Clients(self.agenda, self.checker, self._post)
        self.appenders: list[Appender] = []
        self.leaders: list[Ballot] = []
        self._trace: deque[tuple[float, NodeId, Event, Effects]] = deque(maxlen=TRACE_STEPS)
        self._storage = Storage(journal_slots_max, piece_bytes, Random(f"{seed} of states"))
        self.nodes = {
            name: self._process(name, sync_s, limits or Limits(), timing or Timing(), tick_s)
            for name in self.names
        }

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.agenda.now

    @property
    def leader(self) -> NodeId | None:
        """The node that leads with the highest ballot, if any does."""
        leading = [
            node.replica.leader for node in self.nodes.values() if node.replica and node.leads
        ]
        return max(leading).node if leading else None

    def start(self, *names: NodeId) -> None:
        """Start these nodes, or all that are down."""
        for name in names or self.names:
            if not self.nodes[name].up:
                self.nodes[name].start()

    def crash(self, name: NodeId) -> None:
        """Stop a node, without a warning."""
        if self.nodes[name].up:
            self.nodes[name].crash()

    def slow_down(self, name: NodeId, sync_s: tuple[float, float]) -> None:
        """Give a node a disk whose syncs take at least, and at most, so many seconds."""
        self.nodes[name].disk.sync_s = partial(self.random.uniform, *sync_s)

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        try:
            self.agenda.run(self.agenda.now + seconds)
        except AssertionError as error:
            error.add_note(self.transcript())
            raise

    def run_until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until ``reached``, but no more than ``seconds``; return whether it was."""
        end = self.now + seconds
        while not reached() and self.now < end:
            self.run(0.01)
        return reached()

    def write(self, name: NodeId, key: str = "k", patience_s: float = 5.0) -> Request:
        """Write a new value through a node."""
        return self.clients.write(name, key, patience_s)

    def read(self, name: NodeId, key: str = "k", patience_s: float = 5.0) -> Request:
        """Read through a node."""
        return self.clients.read(name, key, patience_s)

    def append(self, name: str, *, numbered: bool, pause_s: float) -> Appender:
        """Let a client append elements from now on, sending its requests again."""
        appender = Appender(
            name,
            self.agenda,
            self.random,
            self.clients,
            self.nodes,
            numbered=numbered,
            pause_s=pause_s,
        )
        self.appenders.append(appender)
        return appender

    def transcript(self) -> str:
        """Return the last steps, as text."""
        lines: list[str] = []
        for time, node, event, effects in self._trace:
            lines.append(f"{time:9.4f} {node} {show(event)}")
            for kind in ("sends", "records", "decided", "answers", "reads", "expired", "replies"):
                lines += [f"            {kind}: {show(one)}" for one in getattr(effects, kind)]
        return "\n".join(lines)

    def _process(
        self,
        name: NodeId,
        sync_s: tuple[float, float],
        limits: Limits,
        timing: Timing,
        tick_s: float,
    ) -> Process:
        process = Process(
            name,
            agenda=self.agenda,
            random=self.random,
            quorum=self.quorum,
            disk=Disk(
                self.agenda,
                partial(self.random.uniform, *sync_s),
                partial(self.checker.survives, name),
            ),
            checker=self.checker,
            limits=limits,
            timing=timing,
            tick_s=tick_s,
            storage=self._storage,
            trace=self._note,
        )
        process.network = self.network
        process.clients = self.clients
        return process

    def _post(self, to: NodeId, event: Event) -> None:
        self.nodes[to].post(event)

    def _meet(self, dialer: NodeId, listener: NodeId) -> None:
        one, other = self.nodes[dialer], self.nodes[listener]
        shown, seen = one.introduction(), other.introduction()
        one.heard(listener, *seen)
        other.heard(dialer, *shown)

    def _hear(self, to: NodeId, peer: NodeId, news: Stands) -> None:
        self.nodes[to].heard(peer, news.standing, news.incarnations)

    def _note(self, node: NodeId, event: Event, effects: Effects) -> None:
        self._trace.append((self.now, node, event, effects))
        replica = self.nodes[node].replica
        assert replica is not None
        ballot = replica.leader
        if ballot != ZERO_BALLOT and ballot.node == node and ballot not in self.leaders:
            self.leaders.append(ballot)

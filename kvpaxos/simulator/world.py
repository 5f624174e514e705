"""A cluster of real nodes in one thread, with every source of chance under one seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from typing_extensions import override

from kvpaxos.config.cluster import NodeConfig
from kvpaxos.paxos.effects import Effects, Event
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.proposer import Leading
from kvpaxos.paxos.records import Installed, Rejoined
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.checker import Checker
from kvpaxos.simulator.chronicle import Chronicle
from kvpaxos.simulator.clients import Client, Manners
from kvpaxos.simulator.climate import Climate, settings
from kvpaxos.simulator.drive import Drive
from kvpaxos.simulator.network import Network, Weather
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.reactor import Clock
from kvpaxos.simulator.recorder import Recorder
from kvpaxos.simulator.requests import Request
from kvpaxos.simulator.server import Server
from kvpaxos.simulator.swaps import Swaps
from kvpaxos.simulator.switchboard import Switchboard
from kvpaxos.simulator.watch import Observer, watched
from kvpaxos.store.commands import Operation

AHEAD_S_MAX: Final = 100_000.0
"""How far apart the clocks of two nodes may be: what they show means nothing to others."""

RESTART_S: Final = 0.5
"""How long after its end a process is started again by whoever runs it."""


class World(Observer):
    """Nodes, their disks, the network between them, and their clients.

    :param write: takes the lines of a transcript; None for none.
    :param recorder: keeps what is drawn; None if nothing is.
    :ivar frail: the nodes whose disks may lose what was synced: never so many that nobody is left
        who knows.
    :ivar clients: all that there are or were.
    :ivar is_calm: whether no fault must begin any more.
    :ivar counts: what clients have met.
    :ivar struck: faults that come later than they are asked for, and how often they came.
    :ivar gone: the nodes that are not started again, whatever was to happen before they went.
    :ivar alive_s: how long a majority took in the end to serve once it was left alone.
    :ivar swaps: the wrong disks that are in nodes now.
    """

    def __init__(
        self,
        seed: int,
        climate: Climate,
        write: Callable[[str], object] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.agenda = Agenda()
        self.random = random = Random(f"{seed} of faults")
        self.climate = climate
        self.is_calm = False
        self.checker = Checker(self.agenda)
        self.chronicle = Chronicle(self.agenda, write, recorder)
        self.network = Network(self.agenda, Random(f"{seed} of the network"), climate.weather)
        self.network.noted = self.chronicle.arrived
        self.board = Switchboard(self.network)
        self.counts: Counter[str] = Counter()
        cluster = settings(climate)
        self.names = list(cluster.members)
        self.frail = frozenset(random.sample(self.names, (len(self.names) - 1) // 2))
        self._begun: dict[str, tuple[Process | None, Replica]] = {}
        self.struck: Counter[str] = Counter()
        self.swaps = Swaps(self)
        self.alive_s: float | None = None
        self.gone: set[str] = set()
        self._cluster = cluster
        self._seed = seed
        observers: list[Observer] = [self.checker, self.chronicle, self]
        if recorder is not None:
            recorder.attach(self.agenda)
            observers.append(recorder)
        self._replica_watched = watched(*observers)
        self.servers = [self._server(config, "") for config in cluster.nodes]
        self.clients = [
            self._client(f"c{number}", climate.manners) for number in range(climate.clients)
        ]

    @property
    def leader(self) -> str | None:
        """The node that leads with the highest ballot, if any does."""
        replicas = filter(None, map(self._replica, self.servers))
        leading = [replica.leader for replica in replicas if isinstance(replica.role, Leading)]
        return max(leading).node if leading else None

    @property
    def is_whole(self) -> bool:
        """Whether all nodes run, vote, and would serve."""
        return all(map(self._is_whole, self.servers))

    def _is_whole(self, server: Server) -> bool:
        # A node that repairs its disk goes on in its process, with another replica soon.
        replica, member = self._replica(server), server.member
        serves = member is not None and member.trouble() is None and not server.stopping
        if not serves or replica is None or replica.probation is not None:
            return False
        # Without its state it may be the one that knows what was decided, and cannot say so.
        return replica.learner.decided_through + 1 >= replica.learner.kept_from

    def _replica(self, server: Server) -> Replica | None:
        """Return the replica of a node that runs and takes part, not that of an earlier process."""
        process, replica = self._begun.get(server.node, (None, None))
        return replica if server.up and process is server.process else None

    def is_settled(self, lost: Collection[str], quiet_s: float) -> bool:
        """Whether nobody has stood for leader lately, and none of the ``lost`` nodes leads."""
        if self.agenda.now - self.chronicle.restless_at < quiet_s:
            return False
        return not any(self._leads(self.server(name)) for name in lost)

    def _leads(self, server: Server) -> bool:
        replica = self._replica(server)
        if replica is None or server.process is None or server.process.paused:
            return False
        # Whoever has halted does nothing any more, whatever it was.
        if server.member is None or server.member.trouble() is not None:
            return False
        return isinstance(replica.role, Leading)

    @property
    def missing(self) -> str:
        """Which nodes do not run, or do not vote."""
        return " ".join(server.node for server in self.servers if not self._is_whole(server))

    @property
    def requests(self) -> list[Request]:
        """All requests that clients have made."""
        return [request for client in self.clients for request in client.requests]

    def server(self, node: str) -> Server:
        """Return the machine of ``node``."""
        return self.servers[self.names.index(node)]

    def start_after(self, server: Server, seconds: float) -> None:
        """Start a node after so many seconds, unless it runs by then."""

        def start() -> None:
            self.swaps.end(server)
            if not server.up and server.node not in self.gone:
                server.start()

        self.agenda.after(seconds, start)

    def resume_after(self, server: Server, seconds: float) -> None:
        """Let a node that stands still go on after so many seconds, unless all do by then."""

        def resume() -> None:
            if not self.is_calm:
                server.resume()

        self.agenda.after(seconds, resume)

    def twin(self, server: Server) -> Server:
        """Return another machine that takes itself for the node of ``server``. Nobody dials it."""
        number = self.counts["twins"] = self.counts["twins"] + 1
        config = next(one for one in self._cluster.nodes if one.node == server.node)
        return self._server(config, f"-{number}")

    def _server(self, config: NodeConfig, place: str) -> Server:
        name, climate = f"{config.node}{place}", self.climate
        return Server(
            self._cluster,
            config,
            agenda=self.agenda,
            board=self.board,
            drive=Drive(self.agenda, Random(f"{self._seed} of the disk of {name}"), climate.sync_s),
            clock=Clock(
                self.agenda,
                rate=1 + self.random.uniform(-climate.drift, climate.drift),
                ahead_s=self.random.uniform(0, AHEAD_S_MAX),
            ),
            random=Random(f"{self._seed} of {name}"),
            replica=self._replica_watched,
            piece_bytes=climate.piece_bytes,
            checker=self.checker,
            chronicle=self.chronicle,
            ended=self._ended,
            place=place,
            logs="stuck log" in climate.faults_s,
        )

    def burst(self, count: int) -> None:
        """Have so many clients more ask something once, all at the same time."""
        self.chronicle.did(f"burst {count}")
        for _ in range(count):
            client = self._client(f"b{len(self.clients)}", self.climate.manners)
            self.clients.append(client)
            client.ask_anything()

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let so much time pass, or less if ``until``; return whether that was so.

        It ends early, too, once a rule is broken.
        """
        end = self.agenda.now + seconds
        agenda, checker = self.agenda, self.checker
        try:
            while checker.wrong is None and not until() and agenda.step(end):
                pass
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what was sought)
            checker.fail(f"an error that was not foreseen came out of a process: {error!r}")
        return until()

    def end(self) -> None:
        """End all processes: nothing of this world goes on when it is forgotten."""
        self.swaps.end_all()
        for server in self.servers:
            if server.process is not None:
                server.process.kill()

    def clear_up(self) -> None:
        """Let nothing be wrong any more but what is lost, and have everything started again."""
        self.is_calm = True
        self.chronicle.did("clear up")
        self.swaps.end_all()
        self.network.heal_all()
        self.network.weather = Weather()
        for server in self.servers:
            server.heal()
            if not server.up:
                server.start()

    @override
    def began(self, replica: Replica, memory: Memory) -> None:
        node, server = replica.node, self.server(replica.node)
        server.drive.damaged = False
        self.swaps.remembered(node, server.remembered)
        _, before = self._begun.get(node, (None, None)) if server.rested else (None, None)
        self.checker.keeping.began(replica, memory, before, frail=node in self.frail)
        self._begun[node] = server.process, replica

    @override
    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        self.checker.keeping.stepped(replica, event, self.server(replica.node).drive.state.durable)
        if isinstance(event, Installed):
            self.counts["states installed"] += 1
        if effects.records and any(isinstance(one, Rejoined) for one in effects.records):
            self.counts["disks rejoined"] += 1

    def ask(self, operation: Operation, node: str) -> Request:
        """Have a patient client of its own ask ``node`` for something, and nobody else."""
        manners = replace(self.climate.manners, gives_up=0.0, asks_twice=0.0)
        client = self._client(f"a{len(self.clients)}", manners, [self.server(node)])
        self.clients.append(client)
        return client.ask(operation, self.server(node))

    def _client(
        self, name: str, manners: Manners, servers: Sequence[Server] | None = None
    ) -> Client:
        return Client(
            name,
            servers or self.servers,
            agenda=self.agenda,
            random=Random(self.random.getrandbits(64)),
            manners=manners,
            counts=self.counts,
            done=self._done,
        )

    def _done(self, request: Request) -> None:
        self.chronicle.said(
            f"  {request.client} {request.ending} {request.opid}:"
            f" {'' if request.answer is None else request.answer.result.outcome}"
        )

    def _ended(self, server: Server) -> None:
        self.counts["processes ended"] += 1
        if server not in self.servers:
            return
        self.start_after(server, RESTART_S)

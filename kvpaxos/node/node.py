"""One node: its parts, in the order in which they start and stop.

It starts bottom up (state, journal, links, and, once the cluster is formed, the replica), and
stops top down, so that whatever still runs can rely on what is below it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.engine.shelf import MemoryShelf, Shelf
from kvpaxos.errors import KvPaxosError, StartError
from kvpaxos.journal.log import Journal
from kvpaxos.node.departure import Departure
from kvpaxos.node.disk import Disk
from kvpaxos.node.doubts import outside
from kvpaxos.node.driver import Driver
from kvpaxos.node.face import JOURNAL_PAGE_BYTES_MAX, Face
from kvpaxos.node.http.store import Described, LinkChange
from kvpaxos.node.joining import doors, introduction
from kvpaxos.node.links import Links
from kvpaxos.node.mender import mender_of
from kvpaxos.node.overview import Overview, core_limits
from kvpaxos.node.persister import Persister
from kvpaxos.node.platform import SYSTEM, Platform
from kvpaxos.node.prober import Prober
from kvpaxos.node.recovery import GROUP, durable_through, remember, replay
from kvpaxos.node.repairs import Repairs
from kvpaxos.node.replacement import clear
from kvpaxos.node.requests import Requests
from kvpaxos.node.scanner import scanner_of
from kvpaxos.node.states import States, open_state
from kvpaxos.node.switches import Switches
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Decision, Event, Persisted, Received
from kvpaxos.paxos.formation import Formation
from kvpaxos.paxos.messages import Message
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import Record, Started


class Node(MultiService):
    """A member of a cluster, as a service.

    :param shelf: where its state is. The node opens and closes it.
    :param repairs: what was set aside of its disk. Without its journal, the disk is a new one.
    :param may_rejoin: with an empty disk, it may come back into the cluster that knows it.
    :param refuse: is told why the node cannot start, and does not return.
    :param fatal: is told once why the node had to stop by itself. It answers no requests any
        more by then; whoever runs it should stop the service.
    :param shutdown: is called when a client asks for the node to be stopped in good order.
    """

    _log = Logger()

    def __init__(
        self,
        cluster: ClusterConfig,
        config: NodeConfig,
        journal: Journal,
        shelf: Shelf,
        repairs: Repairs,
        *,
        may_rejoin: bool,
        reactor: Any,  # noqa: ANN401  (no interface names all that a reactor provides)
        random: Random,
        refuse: Callable[[KvPaxosError], NoReturn],
        fatal: Callable[[Exception], None],
        shutdown: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        platform: Platform = SYSTEM,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.node = NodeId(config.node)
        self.journal = journal
        # A journal that stands in for another one has no state.
        self._shelf = MemoryShelf() if repairs.mending else shelf
        self._repairs = repairs
        self._may_rejoin = may_rejoin or repairs.without_journal
        self._members = tuple(map(NodeId, cluster.members))
        self._cluster, self._config = cluster, config
        self._reactor, self._random = reactor, random
        self._refuse, self._fatal, self._shutdown = refuse, fatal, shutdown
        self._monotonic, self._platform = monotonic, platform
        self._boot = journal.recovered.boot + 1
        self._overview = Overview(config.node, cluster, monotonic, repairs)
        self._requests = Requests(self._post, monotonic, self.leader)
        self._driver: Driver | None = None
        self._early: list[Event] = []
        self._http: IListeningPort | None = None
        self._starting: Deferred[None] | None = None
        self._trouble: str | None = "this node is starting"

    @override
    def startService(self) -> None:
        """Start, unless state and journal do not belong together, or the disk refuses."""
        try:
            with ExitStack() as opened:
                self._open(opened)
                opened.pop_all()
        except KvPaxosError as error:
            self._refuse(error)
        self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._broken)

    def _open(self, opened: ExitStack) -> None:
        """Open everything that is on the disk, and make the parts that need no network.

        :param opened: closes what was opened, should something go wrong after that.
        :raises StartError: state and journal do not belong together, or another process has them.
        :raises DiskError: the disk refuses.
        :raises ConfigError: an endpoint names nothing.
        """
        opened.callback(self.journal.close)
        # First: what is opened next may need the room of the reserve.
        watched = self._platform.watched
        self._space = watched(self._cluster, self._config, self.journal.path, self._reactor)
        opened.callback(self._shelf.close)
        alone = len(self._members) == 1
        limit = self._cluster.limits.value_bytes_max
        self._state = open_state(self._shelf, self._repairs, value_bytes_max=limit, alone=alone)
        for mended in filter(None, (self.journal.recovered.torn, *self.journal.recovered.mended)):
            self._log.warn("journal: {mended}", mended=mended)
        durable = durable_through(self.journal, self._state)
        if replayed := replay(self.journal, self._state, alone=alone):
            self._log.info("executed {count} slots from the journal", count=replayed)
        self._links = self._make_links()
        parts = (self._config, self._repairs, self._platform, self._reactor)
        self._mender = mender_of(self._links, *parts, over=self.halt, failed=self._broken)
        # Its threads own the journal from here on: nothing that follows can fail.
        self._disk = Disk(
            self.journal,
            reactor=self._reactor,
            durable=self._durable,
            failed=self.halt,
            monotonic=self._monotonic,
            threads=self._platform.threads,
        )
        self._space.cramped, self._space.gone = self._disk.seek_room, self.halt
        self._persister = self._make_persister(durable)
        self._states = self._make_states()
        trust = self._states.comparer
        self._face = Face(self._state, self._requests, self, trust, monotonic=self._monotonic)
        read = partial(self._face.read, stale=False)
        self._prober = Prober(read, doubt=self.doubt, clock=self._reactor)
        self._overview.opened(self._disk, self._links, self._persister, self._space, self._states)
        owned = (self._cluster, self.journal, self._state, self._repairs, self._platform.threads)
        self._scanner = scanner_of(*owned, reactor=self._reactor, failed=self._broken)
        self._overview.scanner, self._overview.mender = self._scanner, self._mender

    async def _start(self) -> None:
        # Nobody is to see this run of the node before it is sure to count it.
        await self._persist([Started(self._boot)])
        if self.halted():
            return
        serve = self._platform.serve
        self._http = await serve(self._face, self._cluster, self._config, self._reactor)
        if self.halted():
            return
        self._trouble = outside(self.node, self._members, self._overview.remains())
        always = (self._links, self._persister, self._prober, self._space, self._scanner)
        for part in (*always, self._states.comparer, self._mender):
            part.setServiceParent(self)  # type: ignore[no-untyped-call]
        MultiService.startService(self)

    @override
    def stopService(self) -> Deferred[None]:
        """Hand leadership over, let requests under way end, and close all files in order."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._starting is None:
            self.journal.close()
            return
        await self._starting
        # The port is closed to newcomers; what is on its way is still answered.
        closing = succeed(None) if self._http is None else self._http.stopListening()
        if self._driver is not None and self._trouble is None:
            self._prober.stopService()
            await Departure(
                self._driver.replica,
                self._requests,
                post=self._post,
                clock=self._reactor,
                monotonic=self._monotonic,
            ).begin()
        self._trouble = self._trouble or "this node is stopping"
        self._requests.close(self._trouble)
        if self._driver is not None:
            self._driver.stop()
        await (closing or succeed(None))
        await self._states.stop()
        await MultiService.stopService(self)
        await self._disk.stop()
        self._shelf.close()
        self._log.info("stopped")

    def halt(self, error: Exception) -> None:
        """Stop at once, because of ``error``: promise nothing, vote for nothing, answer nothing."""
        if self.halted():
            return
        self._overview.halted = True
        self._trouble = str(error)
        if self._driver is not None:
            self._driver.stop()
        self._requests.close(f"the node had to stop: {error}")
        # In a turn of its own: whoever is told may want to stop this service.
        self._reactor.callLater(0, self._fatal, error)

    def _broken(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, KvPaxosError):
            self._log.failure("an error that was not foreseen", failure)
            error = KvPaxosError(f"an error that was not foreseen: {failure.getErrorMessage()}")
        self.halt(error)

    def _make_states(self) -> States:
        return States(
            self._state,
            self._shelf,
            self._persister,
            self.journal,
            node=self.node,
            members=self._members,
            journal_bytes_max=self._cluster.storage.journal_bytes_max,
            send=lambda to, message: self._links.send(GROUP, to, message),
            install=self._installed,
            failed=self._broken,
            reactor=self._reactor,
            random=self._random,
            piece_bytes=self._platform.piece_bytes,
            threads=self._platform.threads,
        )

    def _make_persister(self, durable: Slot) -> Persister:
        return Persister(
            self._state,
            durable_through=durable,
            snapshot_slots=self._cluster.storage.snapshot_slots,
            turn=self._members.index(self.node) / len(self._members),
            clear=self._shelf.clear,
            sync=lambda: self._disk.when_durable(self._disk.sync()),
            reactor=self._reactor,
            persisted=self._persisted,
            failed=self._broken,
            may_flush=self._space.may_flush,
            threads=self._platform.threads,
        )

    def _make_links(self) -> Links:
        own = (self._cluster, self.node, self.journal, self._state)
        is_mending = self._repairs.mending is not None
        handshake = introduction(
            *own, may_rejoin=self._may_rejoin, is_mending=is_mending, random=self._random
        )
        return Links(
            self._reactor,
            handshake=handshake,
            peers=doors(self._cluster, self.node, partial(self._platform.dialing, self._reactor)),
            listener=self._platform.listening(self._reactor, self._config.peer),
            switches=Switches(
                self.node,
                self._members,
                random=self._random,
                allowed=self._cluster.options.allow_partitions,
            ),
            persist=self._persist,
            deliver=self._deliver,
            recall=lambda *told: self._mender.take(*told),  # noqa: PLW0108  (it is made later)
            changed=self._post,
            formed=lambda cluster: self._formed(cluster, handshake.formation),
            fatal=lambda sentence: self.halt(StartError(sentence)),
            broken=self._broken,
            random=self._random,
            monotonic=self._monotonic,
            message_bytes_max=self._cluster.limits.message_bytes_max,
        )

    def _formed(self, cluster: str, formation: Formation) -> None:
        if self._requests.closed:  # This node stops, or has halted.
            return
        clear(Path(self._config.data), self._platform.files)
        memory = remember(self.journal, self._state, self._boot, formation.incarnation)
        replica = self._platform.replica(
            self.node,
            Quorum(frozenset(self._members)),
            memory,
            random=self._random,
            now=self._monotonic(),
            limits=core_limits(self._cluster),
        )
        formation.disks = replica.disks
        self._driver = Driver(
            replica,
            self._state,
            applied=self._state.applied,
            group=GROUP,
            life=memory.life,
            disk=self._disk,
            peers=self._links,
            requests=self._requests,
            clock=self._reactor,
            monotonic=self._monotonic,
            led_by=self._led_by,
            fetch=self._states.fetch,
            halt=self._broken,
            low=lambda: self._space.low,
            executed=self._states.comparer.executed,
        )
        self._overview.formed(self._driver, cluster, memory.life)
        self._trouble = None
        self._driver.start()
        while self._early:
            self._driver.post(self._early.pop(0))

    def _persist(self, records: Sequence[Record]) -> Deferred[None]:
        return self._disk.when_durable(self._disk.append(GROUP, records))

    def _durable(self, _: int) -> None:
        if self._driver is not None:
            self._driver.synced()

    def _post(self, event: Event) -> None:
        if self._driver is None:
            self._early.append(event)
        else:
            self._driver.post(event)

    def _deliver(self, sender: NodeId, group: int, message: Message) -> None:
        if group == GROUP and not self._states.takes(sender, message):
            self._post(Received(sender, message))

    def _persisted(self, through: Slot) -> None:
        self._post(Persisted(through, self._states.surplus_through(through)))

    def _installed(self, slot: Slot) -> None:
        if self._driver is not None and not self.halted():
            self._driver.installed(slot)

    def _led_by(self, leader: Ballot) -> None:
        if not leader.round:
            self._log.info("no leader is heard")
            return
        who = "this node" if leader.node == self.node else leader.node
        self._log.info("{who} leads, with ballot {round}", who=who, round=leader.round)

    # What the faces ask.

    def leader(self) -> str:
        """Return the node that leads, as far as this one knows, or the empty string."""
        return "" if self._driver is None else self._driver.replica.leader.node

    def halted(self) -> bool:
        """Whether this node has stopped itself."""
        return self._overview.halted

    def trouble(self) -> str | None:
        """Return why this node cannot serve at all now, or None."""
        return self._trouble and (self._overview.delay() or self._trouble)

    def alarm(self) -> str | None:
        """Return why this node takes no writes but deletions, or None if it takes all."""
        return self._space.alarm

    def doubt(self) -> str | None:
        """Return why this node cannot do its part yet, or None if it can."""
        return self._overview.doubt()

    def describe(self) -> dict[str, object]:
        """Describe the node's parts."""
        return self._overview.describe()

    def limits(self) -> dict[str, object]:
        """Return the named limits of the node's parts."""
        return self._overview.limits()

    def links(self) -> Sequence[Described]:
        """Describe the links and their switches."""
        return self._links.switches.all()

    def set_link(self, change: LinkChange) -> Sequence[Described]:
        """Throw switches of the links that begin or end here."""
        sender, receiver = change.from_node, change.to_node
        state, delay_s, loss = change.state, change.delay_s, change.loss
        self._links.switches.set(sender, receiver, state=state, delay_s=delay_s, loss=loss)
        return self.links()

    def deafen(self) -> Deferred[None]:
        """Let no peer dial this node, and drop what peers have dialed, until `listen` is called."""
        return self._links.deafen()

    def listen(self) -> Deferred[None]:
        """Let peers dial this node, unless that is so already."""
        return self._links.listen()

    def decided(self, from_slot: Slot, limit: int) -> Deferred[list[Decision]]:
        """Read decided slots back from the journal."""
        first = max(from_slot, self.journal.kept_from(GROUP))
        last = Slot(min(self._state.applied, first + limit - 1))
        if last < first:
            return succeed([])
        return self._disk.decided(GROUP, first, last, JOURNAL_PAGE_BYTES_MAX)

    def shutdown(self) -> None:
        """Stop the node in good order. A second call changes nothing."""
        self._shutdown()

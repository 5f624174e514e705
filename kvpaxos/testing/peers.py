"""A group of members that agree slot by slot, for tests of trial. See docs/testing.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from kvpaxos.node.addresses import dialing_endpoint, listening_endpoint
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.decisions import Agreed
from kvpaxos.testing.partition import Partition
from kvpaxos.testing.peer import Journal, Peer
from kvpaxos.testing.waiting import Waiting

WAIT_S: Final = 31.0
"""How long `PeerGroup.wait` waits: as long as the labs do, in 30 looks that grow rarer."""


class Disagreement(AssertionError):
    """Two members decided different values."""


class PeerGroup:
    """Members over UNIX sockets in one directory.

    They go by their places, from 0. Everything can be done to them while they run.

    :ivar peers: the runs, by place; those that were ended, or not started yet, are missing.
    :ivar values: what was decided so far, by number, whoever knows it.
    """

    def __init__(self, count: int, directory: Path, *, reactor: Any, random: Random) -> None:  # noqa: ANN401  (as in `Peer`)
        """Make a group in which nobody runs yet.

        :param directory: for the sockets; a path of less than 100 bytes.
        """
        self.peers: dict[int, Peer] = {}
        self.values: dict[int, bytes] = {}
        self._nodes = [NodeId(f"n{place + 1:02}") for place in range(count)]
        self._reactor = reactor
        self._random = random
        self._unreliable: set[int] = set()
        self._deaf: set[int] = set()
        self._ended: Counter[str] = Counter()
        self._journals = [Journal() for _ in self._nodes]
        self._partition = Partition(self._nodes)
        self._waiting = Waiting(reactor)
        self._addresses = {node: f"unix:{directory / node}" for node in self._nodes}

    def __getitem__(self, place: int) -> Peer:
        return self.peers[place]

    # Life.

    async def begin(self, *places: int) -> None:
        """Start the members at ``places``, or all, and wait until all that run are connected."""
        for place in places or range(len(self._nodes)):
            peer = self._make(place)
            self.peers[place] = peer
            self._deaf.discard(place)
            self._partition.attach(peer.node, peer.switch)
            peer.begin()
        await self.until(self._all_connected, "all to be connected")

    async def end(self, *places: int) -> None:
        """Stop the members at ``places``, or all, at once: their journals remain."""
        ending = [self.peers.pop(place) for place in places or tuple(self.peers)]
        for peer in ending:
            self._partition.detach(peer.node)
        self._ended = sum((peer.requests for peer in ending), self._ended)
        await gatherResults([peer.end() for peer in ending])

    async def restart(self, place: int) -> None:
        """End the run at ``place``, and begin the next one from its journal."""
        await self.end(place)
        await self.begin(place)

    # What goes wrong.

    def divide(self, *sides: Collection[int]) -> None:
        """Let only those hear each other that are on one side. Who is on no side is alone."""
        self._partition.divide(*([self._nodes[place] for place in side] for side in sides))

    def cut(self, *directions: tuple[int, int]) -> None:
        """Cut exactly these directions, as (sender, receiver), and heal all others."""
        nodes = self._nodes
        self._partition.cut((nodes[sender], nodes[receiver]) for sender, receiver in directions)

    def heal(self) -> None:
        """Let everybody hear everybody."""
        self._partition.heal()

    async def deafen(self, *places: int) -> None:
        """Take away sockets, and the connections that were accepted there.

        Their members can still dial, and get replies to what they ask.
        """
        self._deaf.update(places)
        await gatherResults([self.peers[place].deafen() for place in places])

    async def listen(self, *places: int) -> None:
        """Let members that were made deaf listen again, and wait until they are connected."""
        self._deaf.difference_update(places)
        await gatherResults([self.peers[place].listen() for place in places])
        await self.until(self._all_connected, "all to be connected")

    def be_unreliable(self, *places: int) -> None:
        """Let members, or all, lose some requests, and some replies: see `Peer`."""
        self._unreliable.update(places or range(len(self._nodes)))
        self._set_reliability()

    def be_reliable(self, *places: int) -> None:
        """Let members, or all, lose nothing any more."""
        self._unreliable.difference_update(places or range(len(self._nodes)))
        self._set_reliability()

    # What is known.

    def count(self, number: int) -> int:
        """Return how many members know what is decided on ``number``.

        :raises Disagreement: if two of them ever knew different values, on any number.
        """
        self._waiting.check()
        return sum(isinstance(peer.status(number), Agreed) for peer in self.peers.values())

    @property
    def majority(self) -> int:
        """How many members make a majority."""
        return len(self._nodes) // 2 + 1

    def requests(self) -> Counter[str]:
        """Return how many requests members have taken so far, by kind."""
        return sum((peer.requests for peer in self.peers.values()), self._ended)

    async def wait(self, number: int, count: int | None = None) -> None:
        """Wait until ``count`` members, or all that run, know what is decided on ``number``.

        :raises Disagreement: at once if two members know different values, on any number.
        :raises NotInTime: after `WAIT_S`.
        """
        wanted = len(self.peers) if count is None else count
        what = f"{wanted} members to know what is decided on number {number}"
        await self.until(lambda: self.count(number) >= wanted, what)

    def until(
        self, happened: Callable[[], bool], what: str, within_s: float = WAIT_S
    ) -> Deferred[None]:
        """Fire once ``happened()`` is true; it is asked whenever a member may have learned more.

        Fails as `Waiting.until` does, and if a member had to stop.
        """
        return self._waiting.until(happened, within_s, what)

    def _make(self, place: int) -> Peer:
        node = self._nodes[place]
        peer = Peer(
            node,
            self._journals[place],
            listener=listening_endpoint(self._reactor, self._addresses[node]),
            dialers={
                member: dialing_endpoint(self._reactor, address)
                for member, address in self._addresses.items()
            },
            reactor=self._reactor,
            random=Random(self._random.getrandbits(64)),  # noqa: S311  (chance, and no secret)
            happened=self._waiting.look,
            decided=partial(self._decided, node),
            broken=self._waiting.fail,
        )
        peer.unreliable = place in self._unreliable
        return peer

    def _decided(self, node: NodeId, number: int, value: bytes) -> None:
        known = self.values.setdefault(number, value)
        if known != value:
            sentence = f"number {number} is {known!r:.80}, but {node} knows {value!r:.80}"
            self._waiting.fail(Failure(Disagreement(sentence)))

    def _set_reliability(self) -> None:
        for place, peer in self.peers.items():
            peer.unreliable = place in self._unreliable

    def _all_connected(self) -> bool:
        return all(
            peer.reaches(self._nodes[other])
            for place, peer in self.peers.items()
            for other in self.peers
            if other not in (place, *self._deaf)
        )

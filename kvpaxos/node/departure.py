"""How a node that is to be stopped leaves: clients get their answers, and another node leads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from kvpaxos.node.requests import Requests
from kvpaxos.paxos.ballot import Ballot, NodeId
from kvpaxos.paxos.effects import Event, Leaving
from kvpaxos.paxos.peers import Peers

LEAVE_S_MAX: Final = 2.0
"""How long a node that stops waits for requests under way, and for another to lead."""

LOOK_S: Final = 0.02
"""How often it looks whether it still has to. Who is reached is a matter of time alone."""


class Leader(Protocol):
    """What is asked of a replica."""

    node: NodeId
    peers: Peers

    @property
    def leader(self) -> Ballot:
        """The ballot of the leader that it hears, or its own."""


class Departure:
    """Waits for what only this node can see to an end, and for nothing that cannot come.

    That is: for its requests while a quorum is reached, and, if it led, for another leader
    while there is somebody who can lead. When a whole cluster is stopped, there soon is none.
    """

    _log = Logger()

    def __init__(
        self,
        replica: Leader,
        requests: Requests,
        *,
        post: Callable[[Event], None],
        clock: IReactorTime,
        monotonic: Callable[[], float],
    ) -> None:
        self._replica = replica
        self._requests = requests
        self._post = post
        self._monotonic = monotonic
        self._led = replica.leader.node == replica.node and bool(replica.peers.heirs(monotonic()))
        self._deadline = monotonic() + LEAVE_S_MAX
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def begin(self) -> Deferred[LoopingCall]:
        """Take no more requests, and fire once this node may stop."""
        self._idle = self._requests.refuse("this node is stopping")
        self._post(Leaving())
        return self._looking.start(LOOK_S)

    def _look(self) -> None:
        now = self._monotonic()
        leader = self._replica.leader
        followed = bool(leader.round) and leader.node != self._replica.node
        heirless = not self._replica.peers.heirs(now)
        answered = self._idle.called
        hopeless = not answered and self._replica.peers.cut_off(now)
        if now >= self._deadline or hopeless:
            self._log.warn("did not wait longer for requests, or for another node to lead")
        elif not answered or (self._led and not followed and not heirless):
            return
        elif self._led and followed:
            self._log.info("leadership was handed over")
        elif self._led:
            self._log.info("there is no node to hand leadership over to")
        self._looking.stop()

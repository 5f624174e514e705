"""A replica that is looked at in every step."""

from __future__ import annotations

from random import Random
from typing import Protocol

from typing_extensions import override

from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.effects import Effects, Event
from kvpaxos.paxos.limits import Limits, Timing
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.replica import Replica


class Observer(Protocol):
    """Who looks. It must change nothing."""

    def began(self, replica: Replica, memory: Memory) -> None:
        """Take note of a life that begins."""

    def stepped(self, replica: Replica, event: Event, effects: Effects) -> None:
        """Take note of what came of ``event``."""


def watched(*observers: Observer) -> type[Replica]:
    """Return a class of replicas that show ``observers`` all that they do."""

    class Watched(Replica):
        @override
        def __init__(
            self,
            node: NodeId,
            quorum: Quorum,
            memory: Memory,
            *,
            random: Random,
            now: float,
            limits: Limits | None = None,
            timing: Timing | None = None,
        ) -> None:
            super().__init__(
                node, quorum, memory, random=random, now=now, limits=limits, timing=timing
            )
            for observer in observers:
                observer.began(self, memory)

        @override
        def step(self, event: Event, now: float) -> Effects:
            effects = super().step(event, now)
            for observer in observers:
                observer.stepped(self, event, effects)
            return effects

    return Watched

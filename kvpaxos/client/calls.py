"""Calls: the retry rules, carried out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeAlias, TypeVar, assert_never

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from kvpaxos.client.exchange import Exchange
from kvpaxos.client.replies import Failed, Outcome, Reply, Understood, read_table
from kvpaxos.client.requests import Request
from kvpaxos.client.retrying import (
    Accept,
    GiveUp,
    Happened,
    Kind,
    Nodes,
    Rejected,
    Retrying,
    Settled,
    Trouble,
    Try,
)
from kvpaxos.errors import Applied, ConditionFailed, KvPaxosError, OutcomeUnknown, Unavailable

T = TypeVar("T")

Attempt: TypeAlias = Callable[[Try], Awaitable[Understood[T]]]

NAMING_S_MAX: Final = 1.0
"""A node that is asked for its name has so long to say it."""

NAMING_PAUSE_S: Final = 5.0
"""Nodes that did not say their names are asked again after this."""

STATUS: Final = Request("GET", "/kvman/status", {}, {})


class Calls:
    """Makes attempts until the retry rules say that it is enough."""

    _log = Logger()

    def __init__(
        self, nodes: Nodes, exchange: Exchange, clock: IReactorTime, random: Random
    ) -> None:
        self._nodes = nodes
        self._exchange = exchange
        self._clock = clock
        self._random = random
        self._naming: Deferred[None] | None = None
        self._named_at = float("-inf")

    async def request(
        self, kind: Kind, request: Request, read: Callable[[Reply], Understood[T]], deadline: float
    ) -> T:
        """Return what ``read`` makes of the reply to ``request``.

        :raises KvPaxosError: what the node said, or that none said anything in time.
        """

        async def attempt(step: Try) -> Understood[T]:
            reply = await self._exchange.ask(step.node, request.sent(step.timeout_s), step.wait_s)
            if isinstance(reply, Trouble):
                return reply
            self.hear(reply)
            return read(reply)

        leader_first = kind is not Kind.READ
        return await self.call(kind, attempt, deadline, leader_first=leader_first)

    async def call(
        self, kind: Kind, attempt: Attempt[T], deadline: float, *, leader_first: bool
    ) -> T:
        """Return what the first attempt brings that brings anything.

        :raises KvPaxosError: as in `request`.
        """
        retrying = Retrying(
            kind, self._nodes, self._random, leader_first=leader_first, deadline=deadline
        )
        step = retrying.first(self._clock.seconds())
        while True:
            if isinstance(step, GiveUp):
                raise failure(step.why, step.applied)
            if step.delay_s:
                await deferLater(self._clock, step.delay_s)
            understood = await attempt(step)
            following = retrying.after(_happened(understood), self._clock.seconds())
            match following:
                case Try() | GiveUp():
                    step = following
                case Accept():
                    return _accept(understood)
                case _:
                    assert_never(following)

    def hear(self, reply: Reply) -> None:
        """Take note of who leads; if that is nobody known by name, ask the nodes for theirs."""
        useful = self._nodes.hear(reply.receipt.leader)
        if useful or self._naming is not None:
            return
        if self._clock.seconds() - self._named_at >= NAMING_PAUSE_S:
            self._naming = Deferred.fromCoroutine(self._learn_names())
            self._naming.addErrback(lambda failure: failure.trap(CancelledError))
            self._naming.addErrback(
                lambda failure: self._log.failure("while asking nodes for their names", failure)
            )
            self._naming.addBoth(self._end_naming)

    def close(self) -> None:
        """Ask nobody for names any more."""
        if self._naming is not None:
            self._naming.cancel()

    async def _learn_names(self) -> None:
        for url in self._nodes.nameless:
            reply = await self._exchange.ask(url, STATUS.sent(), NAMING_S_MAX)
            if isinstance(reply, Reply):
                self._learn_name(url, reply)

    def _end_naming(self, _: object) -> None:
        self._naming = None
        self._named_at = self._clock.seconds()

    def _learn_name(self, url: str, reply: Reply) -> None:
        match read_table(reply):
            case Outcome(table) if isinstance(name := table.get("node"), str):
                self._nodes.learn(name, url)
            case _:
                pass


def failure(why: str, applied: Applied) -> KvPaxosError:
    """Return the error of a call that was given up because of ``why``."""
    if applied == "no":
        return Unavailable(
            f"No node could carry the request out ({why});"
            " nothing was changed, and it is safe to send the request again."
        )
    return OutcomeUnknown(
        f"No node said what became of the request ({why});"
        " it may or may not be carried out: read the key before you send it again."
    )


def _happened(understood: Understood[T]) -> Happened:
    match understood:
        case Trouble():
            return understood
        case Failed(error) if not isinstance(error, ConditionFailed):
            return Rejected(str(error))
        case _:
            return Settled()


def _accept(understood: Understood[T]) -> T:
    match understood:
        case Outcome(value):
            return value
        case Failed(error):
            raise error
        case Trouble():
            raise AssertionError("no attempt that failed is accepted")
        case _:
            assert_never(understood)

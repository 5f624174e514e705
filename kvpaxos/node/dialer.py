"""Keeps one connection to one member: dials it again whenever it breaks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NoReturn, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.node.connection import Connection, ConnectionFactory, LinkError

RETRY_S_MIN: Final = 0.02
"""How long after a connection that was good has broken it is dialed again, at most."""

RETRY_S_MAX: Final = 1.0
"""The longest pause between two attempts."""

CONNECT_S_MAX: Final = 2.0
"""An attempt that has come to nothing for so long is given up, and made anew."""

_GROWTH: Final = 1.5


def retry_delay_s(attempt: int, random: Random) -> float:
    """Return how long to wait before ``attempt``, which is 0 right after a good connection.

    It grows from `RETRY_S_MIN` to `RETRY_S_MAX`; chance takes off up to a half, so that
    nodes which lost each other at once do not all come back at once.
    """
    # The exponent is bounded so that the power is, too.
    whole = min(RETRY_S_MIN * _GROWTH ** min(attempt, 20), RETRY_S_MAX)
    return whole * (0.5 + random.random() / 2)


class Dialer(Service):
    """Dials one endpoint for ever, while it runs."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        make: Callable[[], Connection],
        *,
        clock: IReactorTime,
        random: Random,
        failed: Callable[[LinkError], None],
        broken: Callable[[Failure], None],
    ) -> None:
        """Make a dialer.

        :param make: makes the connection for each attempt.
        :param failed: is told of each attempt that did not end in greetings.
        :param broken: is told of an error that was not foreseen, after which it dials no more.
        """
        self._endpoint = endpoint
        self._make = make
        self._clock = clock
        self._random = random
        self._failed = failed
        self._broken = broken
        self._attempt = 0
        self._connecting: Deferred[IProtocol] | None = None
        self._connection: Connection | None = None
        self._resting: Deferred[None] | None = None
        self._done: Deferred[None] | None = None

    @override
    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._done = Deferred.fromCoroutine(self._dial_for_ever()).addErrback(self._broken)

    @override
    def stopService(self) -> Deferred[None] | None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close(LinkError("lost", "this node stops"))
        self.hurry()
        done, self._done = self._done, None
        return done

    def hurry(self) -> None:
        """Make the next attempt now: there is a reason to hope."""
        if self._resting is not None:
            self._resting.cancel()

    async def _dial_for_ever(self) -> None:
        while self.running:
            error = await self._dial()
            if error is not None and self.running:
                self._failed(error)
            if self.running:
                await self._rest(retry_delay_s(self._attempt, self._random))
                self._attempt += 1

    async def _dial(self) -> LinkError | None:
        """Dial, and wait until the connection has ended. Return why it never came about."""
        try:
            connecting = self._endpoint.connect(ConnectionFactory(self._make))
            self._connecting = connecting.addTimeout(CONNECT_S_MAX, self._clock, _timed_out)
            connection = cast(Connection, await connecting)
        except Exception as failure:  # noqa: BLE001 -- each kind of endpoint fails in its own ways
            return LinkError("unreachable", f"cannot be reached: {failure}")
        finally:
            self._connecting = None
        self._connection = connection
        try:
            error = await connection.ready
            if error is None:
                self._attempt = 0
                await connection.ended
        finally:
            self._connection = None
        return error

    async def _rest(self, seconds: float) -> None:
        self._resting = deferLater(self._clock, seconds)
        try:
            await self._resting
        except CancelledError:
            # Somebody is in a hurry.
            return
        finally:
            self._resting = None


def _timed_out(_: object, seconds: float) -> NoReturn:
    raise LinkError("unreachable", f"no answer within {seconds:g} s")

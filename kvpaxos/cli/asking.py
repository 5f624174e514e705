"""Questions to nodes over HTTP. Whatever goes wrong is an answer too, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import treq
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import HTTPConnectionPool, ResponseFailed
from twisted.web.http import OK

from kvpaxos.client.connecting import treq_of

TIMEOUT_S: Final = 2.0
"""How long an answer may take, unless said otherwise."""

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""How long an answer may be, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said, or why it said nothing.

    :ivar table: the JSON object that it sent.
    :ivar trouble: why there is none, or why it is no good news.
    """

    table: Mapping[str, object]
    trouble: str | None = None


class Asking:
    """Asks nodes.

    :param timeout_s: a node that has not answered by then does not answer.
    :param bytes_max: a longer answer is not read.
    """

    def __init__(
        self,
        client: HTTPClient,
        clock: IReactorTime,
        *,
        timeout_s: float = TIMEOUT_S,
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        self._client = client
        self._clock = clock
        self._timeout_s = timeout_s
        self._bytes_max = bytes_max

    def get(self, url: str) -> Deferred[Answer]:
        """Fire with what is at ``url``, or with why nothing came in time.

        It fails only if it is canceled.
        """
        return Deferred.fromCoroutine(self._ask(url))

    def ready(self, url: str) -> Deferred[str | None]:
        """Fire with None if the node at ``url`` serves, or else with why it does not."""
        return self.get(f"{url}/readyz").addCallback(lambda answer: answer.trouble)

    async def _ask(self, url: str) -> Answer:
        asked = Deferred.fromCoroutine(self._get(url))
        timer = self._clock.callLater(self._timeout_s, asked.cancel)
        try:
            return await asked
        except Exception as broken:  # noqa: BLE001 -- it is told, whatever it is
            if not timer.active():
                return Answer({}, f"no answer within {self._timeout_s:g} s")
            if _was_canceled(broken):
                raise CancelledError from None
            return Answer({}, _trouble(broken))
        finally:
            if timer.active():
                timer.cancel()

    async def _get(self, url: str) -> Answer:
        response = await self._client.get(url)
        body = bytearray()

        def collect(piece: bytes) -> None:
            if len(body) + len(piece) > self._bytes_max:
                raise ValueError("its answer has no end")
            body.extend(piece)

        await treq.collect(response, collect)
        try:
            table = json.loads(body)
        except ValueError:
            table = None
        if not isinstance(table, dict):
            return Answer({}, "it does not answer in JSON, as a node would")
        if response.code != OK:
            return Answer(table, _reason(table, response.code))
        return Answer(table)


def asking(
    reactor: Any,  # noqa: ANN401 -- several interfaces at once
    *,
    timeout_s: float = TIMEOUT_S,
    bytes_max: int = ANSWER_BYTES_MAX,
) -> Asking:
    """Return what asks through ``reactor``. It keeps no connection open."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    return Asking(treq_of(reactor, pool), reactor, timeout_s=timeout_s, bytes_max=bytes_max)


def _reason(table: Mapping[str, object], status: int) -> str:
    for name in ("message", "reason"):
        if isinstance(table.get(name), str):
            return str(table[name]).rstrip(".")
    return f"HTTP status {status}"


def _trouble(broken: Exception) -> str:
    match broken:
        case error.ConnectionRefusedError():
            return "it refuses connections"
        case error.TimeoutError():
            return "it takes no connection"
        case ResponseFailed() | error.ConnectionClosed():
            return "it broke the connection off"
        case _:
            return str(broken)


def _was_canceled(broken: Exception) -> bool:
    """Whether a request broke off because somebody here canceled it."""
    reasons = broken.reasons if isinstance(broken, ResponseFailed) else ()
    return isinstance(broken, CancelledError | error.ConnectingCancelledError) or any(
        reason.check(CancelledError) for reason in reasons
    )

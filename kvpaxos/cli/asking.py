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
from twisted.internet.defer import TimeoutError as NoAnswer
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http import OK

TIMEOUT_S: Final = 2.0
"""A node that has not answered by then does not answer."""

ANSWER_BYTES_MAX: Final = 1024 * 1024
"""No honest answer is longer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said, or why it said nothing.

    :ivar table: the JSON object that it sent.
    :ivar trouble: why there is none, or why it is no good news.
    """

    table: Mapping[str, object]
    trouble: str | None = None


class Asking:
    """Asks nodes."""

    def __init__(self, client: HTTPClient, clock: IReactorTime) -> None:
        self._client = client
        self._clock = clock

    def get(self, url: str) -> Deferred[Answer]:
        """Fire with what is at ``url`` by `TIMEOUT_S` at the latest. Never fails."""
        asking: Deferred[Answer] = Deferred.fromCoroutine(self._get(url))
        asking.addTimeout(TIMEOUT_S, self._clock)
        return asking.addErrback(_trouble)

    def ready(self, url: str) -> Deferred[str | None]:
        """Fire with None if the node at ``url`` serves, or else with why it does not."""
        return self.get(f"{url}/readyz").addCallback(lambda answer: answer.trouble)

    async def _get(self, url: str) -> Answer:
        response = await self._client.get(url)
        body = bytearray()

        def collect(piece: bytes) -> None:
            if len(body) + len(piece) > ANSWER_BYTES_MAX:
                raise ValueError("its answer has no end")
            body.extend(piece)

        await treq.collect(response, collect)
        try:
            table = json.loads(body)
        except ValueError:
            table = None
        if not isinstance(table, dict):
            return Answer({}, "it does not answer in JSON: is it a node?")
        if response.code != OK:
            return Answer(table, _reason(table, response.code))
        return Answer(table)


def asking(reactor: Any) -> Asking:  # noqa: ANN401 -- several interfaces at once
    """Return what asks through ``reactor``. It keeps no connection open."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    return Asking(HTTPClient(Agent(reactor, pool=pool)), reactor)


def _reason(table: Mapping[str, object], status: int) -> str:
    for name in ("message", "reason"):
        if isinstance(table.get(name), str):
            return str(table[name]).rstrip(".")
    return f"HTTP status {status}"


def _trouble(failure: Failure) -> Answer:
    if failure.check(error.ConnectionRefusedError):
        return Answer({}, "it refuses connections")
    if failure.check(NoAnswer, error.TimeoutError) or _was_given_up(failure.value):
        return Answer({}, f"no answer within {TIMEOUT_S:g} s")
    if failure.check(ResponseFailed, error.ConnectionClosed):
        return Answer({}, "it broke the connection off")
    return Answer({}, failure.getErrorMessage())


def _was_given_up(error: object) -> bool:
    """Whether a request broke off because its time was up here."""
    reasons = error.reasons if isinstance(error, ResponseFailed) else ()
    return any(reason.check(CancelledError) for reason in reasons)

"""Reads now and then, so that a node knows whether it could."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.errors import Unavailable
from kvpaxos.node.http.store import Receipt

PROBE_S: Final = 1.0
"""How often a read is tried."""

EAGER_S: Final = 0.02
"""The same before the first one has succeeded."""

TOLD_S: Final = 60.0
"""How often it is said at the most why a node does not serve that waits for others."""


class Read(Protocol):
    """Begins a linearizable read."""

    def __call__(self, *, timeout_s: float) -> Deferred[Receipt]:
        """Fire once the state may be read.

        :raises Unavailable: the node cannot serve.
        """


class Prober(Service):
    """Keeps readiness honest: it is a linearizable read that has finished lately, and no less.

    A node whose clients read all the time proves it with their reads; the probe is for the
    others. Its first success is what the log calls ``ready``.

    :param doubt: returns why the node cannot do its part, though it does all that it can; or None.
    """

    _log = Logger()

    def __init__(
        self,
        read: Read,
        *,
        doubt: Callable[[], str | None],
        clock: IReactorTime,
    ) -> None:
        self.ready = False
        self._read = read
        self._doubt = doubt
        self._told: str | None = None
        self._told_at = 0.0
        self._clock = clock
        self._next: IDelayedCall | None = None

    @override
    def startService(self) -> None:
        Service.startService(self)
        self._probe()

    @override
    def stopService(self) -> None:
        Service.stopService(self)
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _probe(self) -> None:
        try:
            reading = self._read(timeout_s=PROBE_S)
        except Unavailable as error:
            self._lost(str(error))
            self._again(None)
        else:
            reading.addCallbacks(self._succeeded, self._failed).addBoth(self._again)

    def _succeeded(self, _: object) -> None:
        if not self.ready:
            self.ready, self._told = True, None
            self._log.info("ready: a linearizable read has finished")

    def _failed(self, failure: Failure) -> None:
        failure.trap(Unavailable)
        self._lost(failure.getErrorMessage())

    def _lost(self, why: str) -> None:
        if self.ready:
            self.ready = False
            self._log.warn("no longer ready: {error}", error=why)

    def _again(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("a probe failed in an unforeseen way", failure)
        if self.running:
            self._tell()
            wait_s = PROBE_S if self.ready else EAGER_S
            self._next = self._clock.callLater(wait_s, self._probe)

    def _tell(self) -> None:
        """Say what this node waits for, unless that was said, or something like it just now."""
        doubt, now = None if self.ready else self._doubt(), self._clock.seconds()
        if doubt in (None, self._told) or (self._told is not None and now < self._told_at + TOLD_S):
            return
        self._told, self._told_at = doubt, now
        self._log.warn("does not serve: {doubt}", doubt=doubt)

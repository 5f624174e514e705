"""The whole HTTP face as one factory, ready to listen on any endpoint."""

# mypy: allow-untyped-calls
# The factories of twisted.web have no annotations.

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.interfaces import IReactorTime
from twisted.web import http, server
from typing_extensions import override

from kvpaxos.errors import ConfigError
from kvpaxos.node.http.connection import Channel, Request
from kvpaxos.node.http.dialects import DIALECTS
from kvpaxos.node.http.guard import Guard
from kvpaxos.node.http.ledger import Ledger
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.replies import Replies
from kvpaxos.node.http.routes import Routes
from kvpaxos.node.http.store import Store


def make_site(
    store: Store,
    *,
    reactor: IReactorTime,
    dialect: str = "seed",
    limits: HttpLimits | None = None,
    names: Collection[str] = (),
    open_to_all: bool = False,
) -> Site:
    """Return the HTTP face of the node behind ``store``.

    When its last port stops listening, it breaks off the dumps under way, closes idle
    connections, and closes the others after their reply.

    :param dialect: how replies are spelled, a name in `DIALECTS`.
    :param names: host names by which the paths for those who run the node may be asked, besides
        addresses and localhost. See `kvpaxos.node.http.guard`.
    :param open_to_all: whether these paths answer other machines too.
    :raises ConfigError: there is no such dialect.
    """
    if dialect not in DIALECTS:
        raise ConfigError(f'no dialect is called "{dialect}": use {" or ".join(DIALECTS)}')
    limits = limits or HttpLimits()
    guard = Guard(names, open_to_all=open_to_all)
    routes = Routes(store, Replies(DIALECTS[dialect]), limits, reactor, guard)
    return Site(routes, reactor)


class Site(server.Site):
    """Makes the connections of one node's HTTP face, and keeps no access log."""

    noisy = False

    def __init__(self, routes: Routes, reactor: IReactorTime) -> None:
        super().__init__(
            routes.router.resource(),
            requestFactory=Request,
            reactor=reactor,
            timeout=routes.limits.idle_s_max,
            # The routes read bodies themselves: twisted.web believes their
            # Content-Type, and drops the connection of one it cannot parse.
            parsePOSTFormSubmission=False,
        )
        self._routes = routes
        self._ledger = Ledger(routes.limits)
        # The class that twisted.web names here is a wrapper that can change
        # over to HTTP/2, which is not spoken here.
        self.protocol = self._connect  # type: ignore[assignment]

    @override
    def startFactory(self) -> None:
        """Do nothing. A site with an access log would begin to count its seconds."""

    @override
    def stopFactory(self) -> None:
        """Bring what is under way to an end: no port listens any more."""
        self._routes.close()
        self._ledger.close()

    @override
    def log(self, request: http.Request) -> None:
        """Write no line: that could block the node, and fill its disk."""

    def _connect(self) -> Channel:
        return Channel(
            self._ledger, self._routes.limits, self._routes.replies, self._routes.receipt
        )

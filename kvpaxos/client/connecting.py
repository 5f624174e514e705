"""Where nodes are, and what connects to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

from hyperlink import URL
from treq.client import HTTPClient
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from typing_extensions import override
from zope.interface import implementer

from kvpaxos.client.exchange import CONNECT_S_MAX, Body
from kvpaxos.errors import ConfigError

KEPT_S_MAX: Final = 30
"""An idle connection is kept so long: nodes close theirs after a minute."""


def addresses(
    nodes: Sequence[str] | Mapping[str, str],
) -> tuple[list[str], dict[str, str]]:
    """Return the addresses of nodes, and which of these belong to which name.

    :raises ConfigError: there is none, or one makes no sense.
    """
    if isinstance(nodes, str):
        raise ConfigError(f'Nodes are a list of addresses: write ["{nodes}"].')
    if isinstance(nodes, Mapping):
        names = {name: _address(url) for name, url in nodes.items()}
        urls = list(names.values())
    else:
        names = {}
        urls = [_address(url) for url in nodes]
    if not urls:
        raise ConfigError("A client needs the address of at least one node.")
    return list(dict.fromkeys(urls)), names


def _address(url: str) -> str:
    address = (url if "://" in url else f"http://{url}").rstrip("/")
    try:
        parts = urlsplit(address)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f'"{url}" is no address of a node: write it as http://127.0.0.1:8801.')
    return address


def reactor_of_the_process() -> IReactorTime:
    """Return the reactor that everybody here uses."""
    # Here, since to import it installs it.
    from twisted.internet import reactor

    return cast(IReactorTime, reactor)


def pool_of(clock: IReactorTime, connections_max: int) -> HTTPConnectionPool:
    """Return what keeps connections open, at most ``connections_max`` idle ones to a node."""
    pool = HTTPConnectionPool(clock, persistent=True)
    pool.maxPersistentPerHost = connections_max
    pool.cachedConnectionTimeout = KEPT_S_MAX
    # What is sent again, and when, is decided in one place only.
    pool.retryAutomatically = False
    return pool


def treq_of(clock: IReactorTime, pool: HTTPConnectionPool | None) -> HTTPClient:
    """Return what sends requests over connections of ``pool``."""
    agent = Agent.usingEndpointFactory(clock, _Endpoints(clock), pool)
    return _HTTPClient(agent, data_to_body_producer=Body)


def endpoint_of(clock: IReactorTime, host: str, port: int) -> IStreamClientEndpoint:
    """Return what dials ``host``, an address or a name, for `CONNECT_S_MAX` seconds at most."""
    # What dials names tries several addresses in turn, 0.3 s apart, and so notices only then that
    # the only one refuses. To an address, that is known at once, and the next node can be asked.
    if isIPAddress(host):
        return TCP4ClientEndpoint(clock, host, port, timeout=CONNECT_S_MAX)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(clock, host, port, timeout=CONNECT_S_MAX)
    return HostnameEndpoint(clock, host, port, timeout=CONNECT_S_MAX)


class _HTTPClient(HTTPClient):
    """Sends requests to addresses of IPv6 too, which treq takes for host names that are wrong."""

    @override
    def request(self, method: str, url: Any, **options: Any) -> Any:
        if isinstance(url, str) and "://[" in url:
            url = _Address.from_text(url)
        return super().request(method, url, **options)


class _Address(URL):
    """A URL that is in ASCII as it is."""

    __slots__ = ()

    @override
    def to_uri(self) -> Self:
        return self


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where an agent connects to for a URL."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._policy = BrowserLikePolicyForHTTPS()

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 (Twisted names it)
        """Return what connects to ``uri``."""
        endpoint = endpoint_of(self._clock, uri.host.decode("ascii"), uri.port)
        if uri.scheme == b"http":
            return endpoint
        return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)

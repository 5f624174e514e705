"""Where nodes are, and what connects to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent, HTTPConnectionPool

from kvpaxos.client.exchange import CONNECT_S_MAX, Body, Treq
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


def treq_of(clock: IReactorTime, pool: HTTPConnectionPool | None) -> Treq:
    """Return what sends requests over connections of ``pool``."""
    agent = Agent(clock, connectTimeout=CONNECT_S_MAX, pool=pool)
    return HTTPClient(agent, data_to_body_producer=Body)

"""The port on which a node serves HTTP."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.errors import StartError
from kvpaxos.node.addresses import listening_endpoint
from kvpaxos.node.face import Face
from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.site import make_site

_log = Logger()


async def serve(
    face: Face,
    cluster: ClusterConfig,
    config: NodeConfig,
    reactor: Any,  # noqa: ANN401  (no interface names all that a reactor provides)
) -> IListeningPort:
    """Serve HTTP as the settings say, and return the port.

    :raises StartError: the address is taken, or cannot be had.
    """
    if cluster.options.admin_from_anywhere:
        _log.warn("shutdown, links, journal and backup answer callers from anywhere")
    site = make_site(
        face,
        reactor=reactor,
        dialect=cluster.options.replies,
        limits=HttpLimits.of(cluster.limits),
        names=config.hosts,
        open_to_all=cluster.options.admin_from_anywhere,
    )
    try:
        port: IListeningPort = await listening_endpoint(reactor, config.http).listen(site)
    except CannotListenError as error:
        raise StartError(f"cannot serve HTTP at {config.http}: {error}") from error
    _log.info("serving HTTP at {endpoint}", endpoint=config.http)
    return port

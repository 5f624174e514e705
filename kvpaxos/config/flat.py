"""The three shapes of settings that courses hand out: one flat table of strings.

1. ``n01`` … are addresses, and all nodes serve HTTP on ``port``.
2. ``n01`` … are ``address:peer port``.
3. ``port_n01`` … and ``RPC_port_n01`` … name the HTTP and the peer port of each node.

Where they name too little, nodes that share an address take ``port``, ``port`` + 1, … in the
order of their ids; a node without a peer port takes its HTTP port less 1100, and the Redis
protocol is given the HTTP port less 2000 where that one is free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from kvpaxos.config import endpoints
from kvpaxos.config.cluster import (
    DATA_DIRECTORY,
    NODE_ID,
    NODES_MAX,
    PEER_BELOW_HTTP,
    RESP_BELOW_HTTP,
    STORAGE_RANGES,
    ClusterConfig,
    NodeConfig,
    checked,
)
from kvpaxos.config.endpoints import PORT_MAX, EndpointError
from kvpaxos.config.full import OPTION_KEYS, read_options, read_storage
from kvpaxos.config.section import Section

_CLUSTER_KEYS: Final = (
    "port",
    "nservers",
    "use_different_port",
    "data",
    *OPTION_KEYS,
    *STORAGE_RANGES,
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one node is, as far as the settings say so."""

    node: str
    host: str
    http: int | None
    peer: int | None


def read_flat(settings: Section) -> ClusterConfig:
    """Return the cluster that the flat table ``settings`` describes.

    :raises ConfigError: naming the key that is wrong or missing, and the mend.
    """
    nodes = sorted(key for key in settings if NODE_ID.fullmatch(key))
    settings.refuse_unknown(_known(nodes))
    if not nodes:
        raise settings.wrong("n01", "is missing", 'name the nodes: "n01": "127.0.0.1"')
    _check_count(settings, len(nodes))
    places = [_place(settings, node) for node in nodes]
    http = dict(_http_ports(settings, places))
    peers = {place.node: _peer_port(settings, place, http[place.node]) for place in places}
    directory = settings.text("data") if "data" in settings else DATA_DIRECTORY
    cluster = ClusterConfig(
        tuple(
            _node(place, http[place.node], peers[place.node], f"{directory}/{place.node}")
            for place in places
        ),
        storage=read_storage(settings),
        options=read_options(settings),
        source=settings.source,
    )
    return _with_resp(checked(cluster), places, http, peers)


def _known(nodes: list[str]) -> Iterator[str]:
    yield from _CLUSTER_KEYS
    yield from nodes
    for node in nodes:
        yield f"port_{node}"
        yield f"RPC_port_{node}"
    if not nodes:
        yield "n01"


def _check_count(settings: Section, count: int) -> None:
    if "nservers" not in settings:
        return
    named = settings.number("nservers", 1, NODES_MAX)
    if named != count:
        raise settings.wrong(
            "nservers", f"is {named}, but the nodes named are {count}", f"make it {count}"
        )


def _place(settings: Section, node: str) -> _Place:
    host, peer = _address(settings, node)
    own_ports = not ("use_different_port" in settings and not settings.flag("use_different_port"))
    http = None
    if own_ports and f"port_{node}" in settings:
        http = settings.number(f"port_{node}", 1, PORT_MAX)
    if f"RPC_port_{node}" in settings:
        named = settings.number(f"RPC_port_{node}", 1, PORT_MAX)
        if peer not in (None, named):
            raise settings.wrong(
                f"RPC_port_{node}", f'is {named}, but "{node}" says {peer}', "keep one of them"
            )
        peer = named
    return _Place(node, host, http, peer)


def _address(settings: Section, node: str) -> tuple[str, int | None]:
    """Return the host and, if the address holds one, the peer port of ``node``."""
    text = settings.text(node)
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        host = endpoints.canonical_host(host)
        peer = endpoints.port_number(port) if port or text.endswith(":") else None
    except EndpointError as error:
        raise settings.wrong(node, f'is "{text}", {error}', "correct it") from None
    if not host:
        # Peers must be told where to dial, and "everywhere" is nowhere.
        raise settings.wrong(
            node,
            f'is "{text}", which is every address and none',
            "name the one that its peers reach",
        )
    return host, peer


def _http_ports(settings: Section, places: list[_Place]) -> Iterator[tuple[str, int]]:
    """Yield each node with its HTTP port: its own, or the next of those that share its address."""
    sharing: Counter[str] = Counter()
    for place in places:
        if place.http is not None:
            yield place.node, place.http
            continue
        if "port" not in settings:
            raise settings.wrong(
                "port", f"is missing and {place.node} has no port of its own", 'add "port": "8801"'
            )
        port = settings.number("port", 1, PORT_MAX) + sharing[place.host]
        sharing[place.host] += 1
        if port > PORT_MAX:
            raise settings.wrong(
                "port", f"leaves {place.node} with port {port}", "begin lower for so many nodes"
            )
        yield place.node, port


def _peer_port(settings: Section, place: _Place, http: int) -> int:
    if place.peer is not None:
        return place.peer
    peer = http - PEER_BELOW_HTTP
    if peer < 1:
        raise settings.wrong(
            f"RPC_port_{place.node}",
            f"is missing, and no port is {PEER_BELOW_HTTP} below the HTTP port {http}",
            "add it",
        )
    return peer


def _node(place: _Place, http: int, peer: int, data: str) -> NodeConfig:
    listening = endpoints.tcp(place.host, peer)
    dial = endpoints.dial(listening)
    assert dial is not None, "the host is named"
    return NodeConfig(
        node=place.node,
        http=endpoints.tcp(place.host, http),
        peer=listening,
        dial=dial,
        resp=None,
        data=data,
    )


def _with_resp(
    cluster: ClusterConfig, places: list[_Place], http: dict[str, int], peers: dict[str, int]
) -> ClusterConfig:
    """Give each node a RESP port where that port is free.

    No course file can name one, so none is refused because of it.
    """
    taken = {(place.host, ports[place.node]) for place in places for ports in (http, peers)}
    nodes = []
    for node, place in zip(cluster.nodes, places, strict=True):
        port = http[place.node] - RESP_BELOW_HTTP
        free = port >= 1 and (place.host, port) not in taken
        nodes.append(replace(node, resp=endpoints.tcp(place.host, port)) if free else node)
    return replace(cluster, nodes=tuple(nodes))

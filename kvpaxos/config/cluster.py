"""A cluster and its nodes, as settings describe them: frozen, complete and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from kvpaxos.config import endpoints
from kvpaxos.config.endpoints import EndpointError, Other, Tcp, Unix
from kvpaxos.errors import ConfigError

NODES_MAX: Final = 99
"""The most nodes that a cluster can have: n01 to n99."""

NODE_ID: Final = re.compile(r"n(?!00)[0-9]{2}")
"""What the id of a node looks like."""

HTTP_PORT: Final = 8801
"""The HTTP port of the first node where nothing else is said."""

PEER_BELOW_HTTP: Final = 1100
"""A node without a peer port takes its HTTP port less this."""

RESP_BELOW_HTTP: Final = 2000
"""A node without a RESP port takes its HTTP port less this."""

LOOPBACK: Final = "127.0.0.1"
"""Where a cluster lives that nobody has given an address."""

DATA_DIRECTORY: Final = "data"
"""Below it each node keeps its own directory, unless settings say otherwise."""

REPLY_DIALECTS: Final = ("seed", "handout", "plain")
"""The shapes of HTTP replies that can be chosen."""

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """Limits that must be equal on all nodes, since replicas must refuse the same commands.

    :ivar value_bytes_max: the longest value, in bytes.
    """

    value_bytes_max: int = _MIB

    @property
    def command_bytes_max(self) -> int:
        """The longest command: a compare-and-set of two longest values, with key and identity."""
        return 2 * self.value_bytes_max + 8 * 1024

    @property
    def message_bytes_max(self) -> int:
        """The longest message between nodes: pieces are cut at 2 MiB, but one command fits."""
        return max(self.command_bytes_max, 2 * _MIB) + _MIB


LIMIT_RANGES: Final = {
    "value_bytes_max": (1024, 16 * _MIB),
}
"""What each limit may be set to."""

JOURNAL_COMMANDS_MIN: Final = 4
"""A journal that cannot keep so many of the longest commands keeps hardly anything for others."""

MEMORY_VALUES_MIN: Final = 2
"""The engine holds what was written last in memory: with room for fewer of the longest values it
would take more memory than it was given."""


@dataclass(frozen=True, slots=True)
class ClusterStorage:
    """How much a node takes of its machine. It need not be equal on all nodes.

    :ivar memory_bytes: what the engine of the state may take for its caches and buffers.
    :ivar journal_bytes_max: how long a journal grows, while the state allows it, for the sake of
        a member that lags; at least `JOURNAL_SEGMENTS_MIN` segments.
    :ivar scan_bytes_per_s: how much of journal and state is read in a second to find damage; 0 for
        nothing.
    :ivar scan_every_s: from the beginning of one such scan to that of the next, at least.
    :ivar segment_bytes: the size of the journal's segments, a multiple of `SEGMENT_BYTES_STEP`.
    :ivar snapshot_slots: the state is flushed at least every so many slots.
    """

    memory_bytes: int = 64 * _MIB
    journal_bytes_max: int = 256 * _MIB
    scan_bytes_per_s: int = 8 * _MIB
    scan_every_s: int = 24 * 60 * 60
    segment_bytes: int = 16 * _MIB
    snapshot_slots: int = 100_000


STORAGE_RANGES: Final = {
    "memory_bytes": (4 * _MIB, 1024 * 1024 * _MIB),
    "journal_bytes_max": (128 * 1024, 1024 * 1024 * _MIB),
    "scan_bytes_per_s": (0, 1024 * 1024 * _MIB),
    "scan_every_s": (1, 1_000_000_000),
    "segment_bytes": (32 * 1024, 2048 * _MIB),
    "snapshot_slots": (50, 1_000_000_000),
}
"""What each part of `ClusterStorage` may be set to."""

SEGMENT_BYTES_STEP: Final = 4096
"""Segments are a multiple of this, as disks have it."""

JOURNAL_SEGMENTS_MIN: Final = 4
"""A journal is deleted by whole segments, and the last one is being written: with fewer than these
hardly anything would be kept for a member that was away for a moment."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Choices that a whole cluster shares.

    :ivar replies: the dialect of the HTTP replies.
    :ivar allow_partitions: links may be cut and slowed through the HTTP interface.
    :ivar admin_from_anywhere: shutdown, links and journal answer callers beyond loopback too.
    :ivar volatile: nodes keep nothing on a disk.
    """

    replies: str = "seed"
    allow_partitions: bool = False
    admin_from_anywhere: bool = False
    volatile: bool = False


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One node.

    :ivar node: its id, such as ``n01``.
    :ivar http: the endpoint on which it serves HTTP.
    :ivar peer: the endpoint on which it listens for its peers.
    :ivar dial: the client endpoint by which its peers reach it.
    :ivar resp: the endpoint kept for the Redis protocol, or None.
    :ivar data: the directory that holds its journal and its state.
    """

    node: str
    http: str
    peer: str
    dial: str
    resp: str | None
    data: str

    @property
    def url(self) -> str:
        """Where the node's HTTP interface is, without a slash at the end.

        A node that serves on all its addresses is sought where its peers dial it.

        :raises ConfigError: if it does not serve HTTP on a TCP port.
        """
        match endpoints.endpoint(self.http):
            case Tcp(host, port):
                named = host or endpoints.dialed_host(self.dial) or LOOPBACK
                return f"http://{endpoints.url_host(named)}:{port}"
            case _:
                raise ConfigError(f"{self.node} serves HTTP at {self.http}, which has no URL.")

    @property
    def hosts(self) -> frozenset[str]:
        """The host names and addresses by which the settings call the node."""
        served = endpoints.endpoint(self.http)
        own = served.host if isinstance(served, Tcp) else None
        return frozenset(filter(None, (own, endpoints.dialed_host(self.dial))))


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """All nodes, in the order of their ids, and what they share.

    :ivar source: where the settings came from, for error messages.
    """

    nodes: tuple[NodeConfig, ...]
    limits: ClusterLimits = ClusterLimits()
    storage: ClusterStorage = ClusterStorage()
    options: ClusterOptions = ClusterOptions()
    source: str = field(default="the built-in settings", compare=False)

    @property
    def members(self) -> tuple[str, ...]:
        """The ids of all nodes, in order."""
        return tuple(node.node for node in self.nodes)

    def node(self, node: str) -> NodeConfig:
        """Return the settings of ``node``.

        :raises ConfigError: if there is no such node.
        """
        for found in self.nodes:
            if found.node == node:
                return found
        raise ConfigError(
            f"{self.source}: there is no node {node!r}; name {_either(self.members)}."
        )


def default_cluster(
    nodes: int = 3,
    *,
    directory: str = DATA_DIRECTORY,
    transport: str = "tcp",
    base_port: int = HTTP_PORT,
) -> ClusterConfig:
    """Return a cluster on loopback that needs no settings file.

    HTTP is on ``base_port`` and the ports after it, peers 1100 below, RESP 2000 below; with the
    transport ``unix`` the peers meet in sockets in ``directory`` instead.

    :raises ConfigError: if the nodes are too many, a port is impossible or a path too long.
    """
    assert transport in {"tcp", "unix"}, transport
    source = "the built-in settings"
    if not 1 <= nodes <= NODES_MAX:
        raise ConfigError(f"A cluster of {nodes} nodes is none; it can have 1 to {NODES_MAX}.")
    low, high = RESP_BELOW_HTTP + 1, endpoints.PORT_MAX - nodes + 1
    if not low <= base_port <= high:
        raise ConfigError(
            f"The first HTTP port cannot be {base_port}; with {nodes} nodes, and their other ports"
            f" {PEER_BELOW_HTTP} and {RESP_BELOW_HTTP} below it, choose from {low} to {high}."
        )
    return checked(
        ClusterConfig(
            tuple(
                _default_node(f"n{index + 1:02}", base_port + index, directory, transport)
                for index in range(nodes)
            ),
            source=source,
        )
    )


def checked(cluster: ClusterConfig) -> ClusterConfig:
    """Return ``cluster`` if no two of its endpoints, no two directories, and no limits clash.

    :raises ConfigError: naming both that clash.
    """
    _check_room(cluster)
    takers: dict[object, str] = {}
    for what, place, shown in _places(cluster):
        other = takers.setdefault(place, what)
        if other != what:
            raise ConfigError(
                f"{cluster.source}: {what} and {other} are both {shown}; give each its own."
            )
    return cluster


def _check_room(cluster: ClusterConfig) -> None:
    """See whether a node has room for values that are longer than by default."""
    limits, storage = cluster.limits, cluster.storage
    if limits.value_bytes_max <= ClusterLimits().value_bytes_max:
        return
    longest = f"values of {limits.value_bytes_max} bytes"
    for key, held, least, what in (
        (
            "journal_bytes_max",
            storage.journal_bytes_max,
            JOURNAL_COMMANDS_MIN * limits.command_bytes_max,
            f"{JOURNAL_COMMANDS_MIN} compare-and-sets of {longest} take",
        ),
        (
            "memory_bytes",
            storage.memory_bytes,
            MEMORY_VALUES_MIN * limits.value_bytes_max,
            f"{MEMORY_VALUES_MIN} {longest} take",
        ),
    ):
        if held < least:
            raise ConfigError(
                f'{cluster.source}: "storage.{key}" is {held}, less than {what};'
                f' make it {least} or more, or "limits.value_bytes_max" less.'
            )


def _places(cluster: ClusterConfig) -> Iterator[tuple[str, object, str]]:
    """Yield (what it is, what it occupies, how to show it) for all that must not be shared."""
    for node in cluster.nodes:
        machine = endpoints.dialed_host(node.dial)
        for face, text in (("http", node.http), ("peer", node.peer), ("resp", node.resp)):
            if text is None:
                continue
            what = f'"{face}" of {node.node}'
            try:
                parsed = endpoints.endpoint(text)
            except EndpointError as error:
                raise ConfigError(f'{cluster.source}: {what} is "{text}", {error}.') from None
            match parsed:
                case Tcp(host, port):
                    # Open on every address it clashes at least with what peers dial: two
                    # machines may well use one port number each.
                    on = host or machine or ""
                    yield what, (on, port), f"port {port} of {on or 'every address'}"
                case Unix(path):
                    yield what, path, f"the socket {path}"
                case Other():
                    yield what, text, text
        yield f'"data" of {node.node}', ("data", machine, node.data), f"the directory {node.data}"


def _default_node(node: str, http: int, directory: str, transport: str) -> NodeConfig:
    peer = (
        endpoints.unix(f"{directory}/{node}.sock")
        if transport == "unix"
        else endpoints.tcp(LOOPBACK, http - PEER_BELOW_HTTP)
    )
    try:
        dial = endpoints.dial(peer)
    except EndpointError as error:
        raise ConfigError(
            f'{node} would listen at "{peer}", {error}; choose a shorter directory.'
        ) from None
    assert dial is not None, "both transports name where they are"
    return NodeConfig(
        node=node,
        http=endpoints.tcp(LOOPBACK, http),
        peer=peer,
        dial=dial,
        resp=endpoints.tcp(LOOPBACK, http - RESP_BELOW_HTTP),
        data=f"{directory}/{node}",
    )


def _either(names: tuple[str, ...]) -> str:
    if len(names) > 4:  # noqa: PLR2004 -- more than that is shown as a range
        return f"one of {names[0]} to {names[-1]}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"

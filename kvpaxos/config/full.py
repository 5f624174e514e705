"""The full form of settings: each node with its endpoints, the cluster with limits and options.

    {
      "nodes": {
        "n01": {
          "http": "tcp:8801:interface=127.0.0.1",
          "peer": "tcp:7701:interface=127.0.0.1",
          "resp": "tcp:6801:interface=127.0.0.1",
          "data": "data/n01"
        }
      },
      "limits": {"value_bytes_max": 1048576},
      "storage": {"memory_bytes": 67108864},
      "options": {"replies": "seed"}
    }

``http`` and ``peer`` must be there. ``dial`` is the client endpoint by which peers reach the
node; it is needed only where ``peer`` alone does not tell, as when that one is open on every
address. ``data`` is ``data/<node>`` unless said otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Final

from kvpaxos.config import endpoints
from kvpaxos.config.cluster import (
    DATA_DIRECTORY,
    JOURNAL_SEGMENTS_MIN,
    LIMIT_RANGES,
    NODE_ID,
    REPLY_DIALECTS,
    SEGMENT_BYTES_STEP,
    STORAGE_RANGES,
    ClusterConfig,
    ClusterLimits,
    ClusterOptions,
    ClusterStorage,
    NodeConfig,
    checked,
)
from kvpaxos.config.endpoints import EndpointError
from kvpaxos.config.section import Section

OPTION_KEYS: Final = tuple(option.name for option in fields(ClusterOptions))
"""The options of a cluster; in a flat table of settings they stand beside the nodes."""

_NODE_KEYS: Final = ("http", "peer", "dial", "resp", "data")


def read_full(settings: Section) -> ClusterConfig:
    """Return the cluster that ``settings`` in the full form describe.

    :raises ConfigError: naming the key that is wrong or missing, and the mend.
    """
    settings.refuse_unknown(("nodes", "limits", "storage", "options"))
    nodes = settings.section("nodes")
    if not nodes.table:
        raise settings.wrong("nodes", "names no node", 'begin with "n01": {…}')
    return checked(
        ClusterConfig(
            tuple(_node(nodes, node) for node in sorted(nodes)),
            limits=_limits(settings),
            storage=_storage(settings),
            options=_options(settings),
            source=settings.source,
        )
    )


def read_options(section: Section) -> ClusterOptions:
    """Return the options that ``section`` sets; the others keep their defaults."""

    def flag(key: str) -> bool:
        return key in section and section.flag(key)

    replies = REPLY_DIALECTS[0]
    if "replies" in section:
        replies = section.choice("replies", REPLY_DIALECTS)
    return ClusterOptions(
        replies=replies,
        allow_partitions=flag("allow_partitions"),
        admin_from_anywhere=flag("admin_from_anywhere"),
        volatile=flag("volatile"),
    )


def read_storage(section: Section) -> ClusterStorage:
    """Return what ``section`` sets of a node's storage; the rest keeps its defaults."""
    numbers = {
        key: section.number(key, *bounds)
        for key, bounds in STORAGE_RANGES.items()
        if key in section
    }
    storage = replace(ClusterStorage(), **numbers)
    if storage.segment_bytes % SEGMENT_BYTES_STEP:
        raise section.wrong(
            "segment_bytes",
            f"is {storage.segment_bytes}",
            f"make it a multiple of {SEGMENT_BYTES_STEP}",
        )
    least = JOURNAL_SEGMENTS_MIN * storage.segment_bytes
    if storage.journal_bytes_max < least:
        raise section.wrong(
            "journal_bytes_max",
            f"is {storage.journal_bytes_max}, less than {JOURNAL_SEGMENTS_MIN} segments of"
            f" {storage.segment_bytes} bytes",
            f'make it {least} or more, or "segment_bytes" less',
        )
    return storage


def write_full(cluster: ClusterConfig) -> dict[str, object]:
    """Return ``cluster`` in the full form, so that `read_full` makes the same one of it."""
    nodes: dict[str, object] = {}
    for config in cluster.nodes:
        node = {key: value for key, value in asdict(config).items() if value is not None}
        del node["node"]
        if node["dial"] == endpoints.dial(config.peer):
            del node["dial"]
        nodes[config.node] = node
    return {
        "nodes": nodes,
        "limits": asdict(cluster.limits),
        "storage": asdict(cluster.storage),
        "options": asdict(cluster.options),
    }


def _node(nodes: Section, node: str) -> NodeConfig:
    if not NODE_ID.fullmatch(node):
        raise nodes.wrong(node, "is no id of a node", "call the nodes n01 to n99")
    settings = nodes.section(node)
    settings.refuse_unknown(_NODE_KEYS)
    peer = _endpoint(settings, "peer")
    return NodeConfig(
        node=node,
        http=_endpoint(settings, "http"),
        peer=peer,
        dial=_dial(settings, peer),
        resp=_endpoint(settings, "resp") if "resp" in settings else None,
        data=settings.text("data") if "data" in settings else f"{DATA_DIRECTORY}/{node}",
    )


def _endpoint(settings: Section, key: str) -> str:
    text = settings.text(key)
    try:
        endpoints.endpoint(text)
    except EndpointError as error:
        mend = 'write it as "tcp:PORT:interface=ADDRESS" or "unix:PATH"'
        raise settings.wrong(key, f'is "{text}", {error}', mend) from None
    return text


def _dial(settings: Section, peer: str) -> str:
    if "dial" in settings:
        return settings.text("dial")
    derived = endpoints.dial(peer)
    if derived is None:
        raise settings.wrong(
            "dial",
            f'is missing, and "{peer}" does not say where peers reach the node',
            'add it: "tcp:host=ADDRESS:port=PORT"',
        )
    return derived


def _limits(settings: Section) -> ClusterLimits:
    limits = ClusterLimits()
    if "limits" in settings:
        section = settings.section("limits")
        section.refuse_unknown(LIMIT_RANGES)
        for key in section:
            limits = replace(limits, **{key: section.number(key, *LIMIT_RANGES[key])})
    return limits


def _storage(settings: Section) -> ClusterStorage:
    if "storage" not in settings:
        return ClusterStorage()
    section = settings.section("storage")
    section.refuse_unknown(STORAGE_RANGES)
    return read_storage(section)


def _options(settings: Section) -> ClusterOptions:
    if "options" not in settings:
        return ClusterOptions()
    section = settings.section("options")
    section.refuse_unknown(OPTION_KEYS)
    return read_options(section)

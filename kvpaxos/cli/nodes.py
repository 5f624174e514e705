"""Which cluster a command means, and where its nodes are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from kvpaxos.config.cluster import DATA_DIRECTORY, HTTP_PORT, ClusterConfig
from kvpaxos.config.endpoints import EndpointError, canonical_host, url_host
from kvpaxos.errors import ConfigError
from kvpaxos.node.settings import read_settings

NODES: Final = "KVPAXOS_NODES"
"""An environment variable that names the nodes where no option does."""

SETTINGS_NAME: Final = "settings.conf"
"""Below its directory, `kvpaxos up` writes the settings of its cluster into a file of this name."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def node_options(command: _Command) -> _Command:
    """Give a command the options ``nodes`` and ``settings``, which `named_nodes` takes."""
    nodes = click.option(
        "--nodes",
        "--url",
        "nodes",
        metavar="URL,...",
        multiple=True,
        help=f"Ask these nodes, such as 127.0.0.1:8801. [default: the variable {NODES}]",
    )
    return nodes(settings_option("Ask the nodes that this settings file names.")(command))


def settings_option(meaning: str, name: str = "settings") -> Callable[[_Command], _Command]:
    """Return what gives a command the option of a settings file.

    :param name: what the command calls it.
    """
    return click.option(
        "--settings", "--config", name, metavar="FILE", type=click.Path(), help=meaning
    )


def named_nodes(nodes: Sequence[str], settings: str | None) -> list[tuple[str, str]]:
    """Return the name and the URL of every node that is meant.

    Options come first, then the environment, then data/settings.conf, where "kvpaxos up" leaves
    its own, then conf/settings.conf, then three nodes on 127.0.0.1. A node that is named by its
    URL has that for its name.

    :raises ConfigError: if they are named twice, or wrongly.
    """
    if nodes and settings is not None:
        raise ConfigError("--nodes and --settings both name the nodes; leave one of them out.")
    if nodes:
        return [(url, url) for text in nodes for url in _urls("--nodes", text)]
    environment = os.environ.get(NODES)
    if environment and settings is None:
        return [(url, url) for url in _urls(NODES, environment)]
    return [(node.node, node.url) for node in read_cluster(settings).nodes]


def read_cluster(settings: str | None) -> ClusterConfig:
    """Return the cluster that ``settings`` describe, or those that lie where they are expected."""
    last = Path(DATA_DIRECTORY) / SETTINGS_NAME
    return read_settings(str(last) if settings is None and last.exists() else settings)


def _urls(where: str, text: str) -> Iterator[str]:
    """Yield the URLs in ``text``, which stand between commas or blanks."""
    names = [name for name in re.split(r"[\s,]+", text) if name]
    if not names:
        raise ConfigError(f"{where} names no node; write it as 127.0.0.1:8801,127.0.0.1:8802.")
    for name in names:
        try:
            yield _url(name)
        except EndpointError as error:
            raise ConfigError(
                f'{where} names the node "{name}", {error}; write it as 127.0.0.1:8801 or'
                " http://127.0.0.1:8801."
            ) from None


def _url(name: str) -> str:
    """Return the URL of the node ``name``, without a slash at the end.

    :raises EndpointError: if it names none.
    """
    bare = "://" not in name
    try:
        parts = urlsplit(f"http://{name}" if bare else name)
        port = parts.port
    except ValueError:
        raise EndpointError("whose address or port is none") from None
    if parts.scheme not in {"http", "https"}:
        raise EndpointError("which is not reached by HTTP")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise EndpointError("which says more than an address and a port")
    host = canonical_host(parts.hostname or "")
    if not host or port == 0:
        raise EndpointError("which nobody can dial")
    if port is None and bare:
        port = HTTP_PORT
    return f"{parts.scheme}://{url_host(host)}{'' if port is None else f':{port}'}"

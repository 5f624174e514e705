"""``kvpaxos up``: a whole cluster in one terminal."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from kvpaxos.cli.command import Command
from kvpaxos.cli.nodes import SETTINGS_NAME, read_cluster, settings_option
from kvpaxos.cli.paint import Painter
from kvpaxos.config.cluster import (
    DATA_DIRECTORY,
    HTTP_PORT,
    NODES_MAX,
    ClusterConfig,
    NodeConfig,
    default_cluster,
)
from kvpaxos.config.settings import render
from kvpaxos.errors import ConfigError, StartError

LOG_LEVELS = ("debug", "info", "warn", "error", "critical")
"""Those of Twisted, for which nobody who only asks for help should wait."""


@click.command(
    cls=Command,
    statuses={
        0: "it was told to stop",
        1: "all nodes have ended by themselves",
        2: "it cannot start anything",
    },
    examples=[
        "kvpaxos up",
        "kvpaxos up --nodes 5 --dir /tmp/five --base-port 9801",
        "kvpaxos up --config conf/settings.conf --allow-partitions",
    ],
)
@click.option("--nodes", type=click.IntRange(1, NODES_MAX), default=3, show_default=True)
@click.option(
    "--transport",
    type=click.Choice(["tcp", "unix"]),
    default="tcp",
    show_default=True,
    help="What connects the nodes with each other.",
)
@click.option(
    "--dir",
    "directory",
    default=DATA_DIRECTORY,
    show_default=True,
    help="Where data, sockets and the settings of the cluster go.",
)
@click.option(
    "--base-port",
    type=int,
    default=HTTP_PORT,
    show_default=True,
    help="The HTTP port of n01; the others take those after it.",
)
@settings_option("Run the cluster that this settings file describes.", name="config")
@click.option("--allow-partitions", is_flag=True, help="Links may be cut through /kvman/links.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True)
@click.option("--color/--no-color", default=None, help="Default: if this is a terminal.")
def up(  # noqa: PLR0917 -- click passes them by name
    nodes: int,
    transport: str,
    directory: str,
    base_port: int,
    config: str | None,
    allow_partitions: bool,  # noqa: FBT001
    log_level: str,
    color: bool | None,  # noqa: FBT001
) -> None:
    """Run a cluster on this machine until Ctrl-C.

    Three nodes on 127.0.0.1, their data below ./data, unless told otherwise. No settings file is
    needed; one that describes the cluster is written to DIR/settings.conf, for other commands.

    A node that ends is reported and not started again. A second Ctrl-C kills what has not stopped.
    """
    if not __debug__:
        raise StartError("kvpaxos checks itself with assertions, which python -O removes.")
    if config is not None:
        _refuse_beside_config()
        cluster = read_cluster(config)
    else:
        cluster = default_cluster(
            nodes, directory=directory, transport=transport, base_port=base_port
        )
    options = cluster.options
    options = replace(
        options,
        allow_partitions=allow_partitions or options.allow_partitions,
    )
    cluster = replace(cluster, options=options)
    urls = {node.node: node.url for node in cluster.nodes}
    _check(cluster, make=None if config is not None else directory)
    settings = config or _write_settings(cluster, Path(directory))
    arguments = {node.node: _twistd(node, cluster, settings, log_level) for node in cluster.nodes}
    painter = Painter(cluster.members, colors=_colors() if color is None else color)
    # Not at the top: help and completion must not wait for it.
    from kvpaxos.cli.manager import Manager  # noqa: PLC0415

    sys.exit(Manager(urls, arguments, painter).run())


def _refuse_beside_config() -> None:
    context = click.get_current_context()
    for name in ("nodes", "transport", "directory", "base_port"):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = "dir" if name == "directory" else name.replace("_", "-")
            raise ConfigError(f"--config says it all; leave out --{option} beside it.")


def _check(cluster: ClusterConfig, *, make: str | None) -> None:
    """See, before anything is started, whether all nodes can have what they need."""
    # Nor this at the top.
    from kvpaxos.node import preflight  # noqa: PLC0415

    if make is not None:
        try:
            Path(make).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            stands = isinstance(error, FileExistsError)
            what = "it is a file" if stands else error.strerror
            raise StartError(f"{make}: {what}; choose another with --dir.") from None
    for node in cluster.nodes:
        preflight.check_places(node)
        preflight.check_directory(node)


def _write_settings(cluster: ClusterConfig, directory: Path) -> str:
    path = directory / SETTINGS_NAME
    draft = directory / f"{SETTINGS_NAME}.new"
    try:
        draft.write_text(render(cluster), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}; choose another with --dir.") from None
    return str(path)


def _twistd(node: NodeConfig, cluster: ClusterConfig, settings: str, log_level: str) -> list[str]:
    """Return the arguments of ``twistd`` that run ``node``."""
    # No pid file: the manager knows its nodes, and what a crash leaves would only mislead twistd.
    arguments = ["--nodaemon", "--pidfile=", "kvpaxos", "--node", node.node, "--config", settings]
    arguments += ["--log-format", "text", "--log-level", log_level]
    arguments += ["--allow-partitions"] * cluster.options.allow_partitions
    return arguments


def _colors() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")

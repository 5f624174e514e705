"""A cluster as its settings plan it, for people and for programs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rich.console import Group
from rich.table import Table
from rich.text import Text

from kvpaxos.cli.output import counted
from kvpaxos.cli.table import columns, console
from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.config.endpoints import Other, Tcp, Unix, endpoint, url_host
from kvpaxos.config.full import write_full
from kvpaxos.node.settings import read_settings


class Plan:
    """Shows what settings say."""

    def __init__(self, cluster: ClusterConfig) -> None:
        self._cluster = cluster

    @classmethod
    def read(cls, file: str | None) -> Plan:
        """Return what ``file`` says, or what a node would read here.

        :raises ConfigError: it is not sound.
        """
        return cls(read_settings(file))

    def show_addresses(self) -> None:
        """Print that the settings are sound, and where each node will be."""
        table = columns("node", "http", "peer", "resp", "data")
        for node in self._cluster.nodes:
            places = [_address(text) for text in (node.http, node.peer, node.resp)]
            table.add_row(node.node, *places, node.data)
        self._print(Text(f"{self._cluster.source}: sound, with {self._count()}"), table)

    def show_all(self) -> None:
        """Print everything, in the full form's own words."""
        parts: list[Table | Text] = [
            Text(f"{self._cluster.source}: {self._count()}"),
            self._nodes(),
        ]
        for title, settings in (
            ("limits", self._cluster.limits),
            ("storage", self._cluster.storage),
            ("options", self._cluster.options),
        ):
            table = columns(title, "")
            for name, value in asdict(settings).items():
                table.add_row(name, json.dumps(value))
            parts += [Text(), table]
        self._print(*parts)

    def as_json(self) -> str:
        """Return it as a settings file in which nothing is left open."""
        settings = write_full(self._cluster)
        settings["nodes"] = {node.node: _all_of(node) for node in self._cluster.nodes}
        return json.dumps(settings, indent=2, ensure_ascii=False)

    def _nodes(self) -> Table:
        table = columns("node", "", "")
        for node in self._cluster.nodes:
            for index, (key, value) in enumerate(_all_of(node).items()):
                table.add_row("" if index else node.node, key, value)
        return table

    def _count(self) -> str:
        return counted(len(self._cluster.nodes), "node")

    def _print(self, *parts: Table | Text) -> None:
        console(sys.stdout).print(Group(*parts))


def _all_of(node: NodeConfig) -> dict[str, str]:
    """Return all settings of ``node`` but its name."""
    return {key: value for key, value in asdict(node).items() if value and key != "node"}


def _address(text: str | None) -> str:
    if text is None:
        return "-"
    match endpoint(text):
        case Tcp(host, port):
            return f"{url_host(host) or '*'}:{port}"
        case Unix(path):
            return path
        case Other():
            return text

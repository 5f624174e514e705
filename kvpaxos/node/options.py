"""The command line of one node: ``twistd kvpaxos --node n01`` and ``twist kvpaxos --node n01``.

Whatever is wrong ends the process with one sentence on standard error and exit status 2. Embedded
in somebody's own application, where no process is ours to end, it is raised instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from twisted.logger import InvalidLogLevelError, LogLevel
from twisted.python import usage
from typing_extensions import override

from kvpaxos.config import endpoints
from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.config.endpoints import EndpointError
from kvpaxos.errors import ConfigError, KvPaxosError, StartError
from kvpaxos.node import logs, preflight
from kvpaxos.node.recovery import check_restored
from kvpaxos.node.replacement import is_marked
from kvpaxos.node.settings import SETTINGS_FILE, read_settings
from kvpaxos.version import VERSION

EXIT_REFUSED: Final = 2
"""The exit status of a process that cannot start as it was told to."""


class Options(usage.Options):
    """The options of one node. Options given here win over the settings file."""

    synopsis = "[options]"

    longdesc = (
        "Runs one node of a kvpaxos cluster. The settings file names all nodes; without one there"
        " are three on 127.0.0.1, and their data goes to ./data."
    )

    optParameters: ClassVar = [
        ["node", "N", None, "Which node of the settings this one is, such as n01."],
        ["config", "c", None, f"The settings file. [default: {SETTINGS_FILE}, if it is there]"],
        ["data", None, None, "The directory for the node's journal and state."],
        ["http", None, None, "Serve HTTP at this endpoint, such as tcp:8801:interface=127.0.0.1."],
        ["peer", None, None, "Listen for peers at this endpoint."],
        ["log-format", None, None, "text, or json: one object a line. [default: text]"],
        ["log-level", None, "info", "Leave out of the log what is below this level."],
    ]

    optFlags: ClassVar = [
        ["allow-partitions", None, "Let callers of /kvman/links cut and slow the links."],
        ["volatile", None, "Keep nothing on a disk: after a restart, learn it all from the peers."],
        ["rejoin", None, "With an empty disk, come back into the cluster that has lost this node."],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self._cluster: ClusterConfig | None = None
        self._node: NodeConfig | None = None

    def cluster_config(self) -> ClusterConfig:
        """Return the settings of the cluster, with what this command line changes in them."""
        assert self._cluster is not None, "parse the options first"
        return self._cluster

    def node_config(self) -> NodeConfig:
        """Return the settings of this node, with what this command line changes in them.

        Its data directory is absolute.
        """
        assert self._node is not None, "parse the options first"
        return self._node

    def may_rejoin(self) -> bool:
        """Return whether the node may come back with an empty disk into a cluster that formed.

        One that keeps nothing comes back in no other way. A directory may be marked for it.
        """
        told = bool(self["rejoin"]) or is_marked(Path(self.node_config().data))
        return told or self.cluster_config().options.volatile

    def refuse(self, error: KvPaxosError) -> NoReturn:
        """End the process because of ``error``; embedded, raise it.

        To be called when something is wrong that shows itself only after the options are read.
        """
        if self.parent is None:
            raise error
        _forget_pid(self.parent)
        _tell_starter(self.parent, str(error))
        refuse(str(error))

    @override
    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            self.refuse(
                ConfigError(f"{str(error).rstrip('.')}; --help lists the options of a node.")
            )
        except (ConfigError, StartError) as error:
            self.refuse(error)

    @override
    def opt_version(self) -> NoReturn:
        """Print the version of kvpaxos and exit."""
        print(f"kvpaxos {VERSION}")  # noqa: T201 -- asked for on the command line
        sys.exit(0)

    @override
    def postOptions(self) -> None:
        if not __debug__:
            raise StartError(
                "kvpaxos checks itself with assertions, which python -O removes; start it without."
            )
        self._settle()
        if self.parent is not None:
            self._name_files(self.parent, self.node_config().node)
            self._choose_log(self.parent, self.node_config().node)
            preflight.check_places(self.node_config())
            if not self.cluster_config().options.volatile:
                preflight.check_directory(self.node_config())
                check_restored(Path(self.node_config().data))

    def _settle(self) -> None:
        """Make one whole of the settings file and the options."""
        cluster = read_settings(self["config"])
        named = self["node"]
        if named is None and len(cluster.nodes) > 1:
            raise ConfigError(
                f"--node is missing; say which of {', '.join(cluster.members)} it is."
            )
        node = cluster.node(named or cluster.members[0])
        changes = {face: self._endpoint(face) for face in ("http", "peer") if self[face]}
        node = replace(node, **changes, data=str(Path(self["data"] or node.data).absolute()))
        self._node = node
        self._cluster = replace(
            cluster,
            nodes=tuple(node if other.node == node.node else other for other in cluster.nodes),
            options=replace(
                cluster.options,
                allow_partitions=cluster.options.allow_partitions or bool(self["allow-partitions"]),
                volatile=cluster.options.volatile or bool(self["volatile"]),
            ),
        )

    def _endpoint(self, face: str) -> str:
        text = str(self[face])
        try:
            endpoints.endpoint(text)
        except EndpointError as error:
            raise ConfigError(
                f'--{face} is "{text}", {error}; write it as "tcp:PORT:interface=ADDRESS".'
            ) from None
        return text

    def _name_files(self, parent: usage.Options, node: str) -> None:
        """Give each node its own pid file and log, so that several may run in one directory."""
        if parent.get("pidfile") == "twistd.pid":
            parent["pidfile"] = f"kvpaxos-{node}.pid"
        if _daemonizes(parent) and parent["logfile"] is None:
            parent["logfile"] = f"kvpaxos-{node}.log"
        if _daemonizes(parent) and parent["logfile"] == "-":
            raise ConfigError("A daemon has no standard output; name a file with --logfile.")

    def _choose_log(self, parent: usage.Options, node: str) -> None:
        """Have our observer log, unless the command line names another."""
        form = self["log-format"] or parent.get("logFormat", "text")
        if form not in logs.FORMS:
            raise ConfigError(f'--log-format is "{form}"; make it {" or ".join(logs.FORMS)}.')
        path = parent.get("logfile")
        settings = logs.LogSettings(
            node=node, form=form, level=self._log_level(), path=None if path == "-" else path
        )
        if "fileLogObserverFactory" in parent:
            parent["fileLogObserverFactory"] = partial(logs.observer_of, settings)
        elif "logger" in parent and parent["logger"] is None and not parent.get("syslog"):
            parent["logger"] = logs.choose(settings)

    def _log_level(self) -> str:
        level = str(self["log-level"])
        try:
            LogLevel.levelWithName(level)
        except InvalidLogLevelError:
            names = ", ".join(constant.name for constant in LogLevel.iterconstants())
            raise ConfigError(f'--log-level is "{level}"; choose from {names}.') from None
        return level


def refuse(sentence: str) -> NoReturn:
    """Say ``sentence`` on standard error and end the process with status 2."""
    # Not sys.stderr: once logging has begun, that one leads into the log.
    assert sys.__stderr__ is not None
    sys.__stderr__.write(f"kvpaxos: {sentence}\n")
    sys.__stderr__.flush()
    sys.exit(EXIT_REFUSED)


def _daemonizes(parent: usage.Options) -> bool:
    return "nodaemon" in parent and not parent["nodaemon"] and not parent["debug"]


def _forget_pid(parent: usage.Options) -> None:
    """Remove the pid file if it is about this process: twistd does so only after a clean run."""
    path = parent.get("pidfile")
    if path and Path(path).exists() and Path(path).read_text().strip() == str(os.getpid()):
        Path(path).unlink()


def _tell_starter(parent: usage.Options, sentence: str) -> None:
    """Pass ``sentence`` to the process that daemonized this one and waits to hear of it."""
    pipe = parent.get("statusPipe")
    if pipe is not None:
        # twistd reads a digit, a blank and at most 98 bytes more.
        os.write(pipe, b"1 " + sentence.encode("ascii", "replace")[:98])
        os.close(pipe)

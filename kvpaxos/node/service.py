"""The door to a node: its options, and the service that they describe.

``twistd`` and ``twist`` come in here by way of the plugin, and so does anybody who wants a
node in an application of their own::

    options = Options()
    options.parseOptions(["--node", "n01", "--config", "settings.conf"])
    node = makeService(options, fatal=print)
    node.setServiceParent(application)
"""

from __future__ import annotations

import atexit
import gc
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, NoReturn

from twisted.logger import Logger

from kvpaxos.errors import DiskError, KvPaxosError, StartError
from kvpaxos.node.member import Make, Member
from kvpaxos.node.node import Node
from kvpaxos.node.opening import open_journal, shelf_of
from kvpaxos.node.options import Options
from kvpaxos.node.repairs import Repairs

__all__ = ["Options", "makeService"]

OPEN_FILES: Final = 4096
"""Enough for all connections and all files at once. Otherwise many clients could keep the disk
from opening a file of its own, and so stop the node."""

_log = Logger()


def makeService(
    options: Options,
    *,
    fatal: Callable[[str], None] | None = None,
    shutdown: Callable[[], None] | None = None,
) -> Member:
    """Return the node that ``options`` describe. It holds its journal from now on.

    A volatile one has its journal and its state in memory, and makes no directory. What is damaged
    on the disk of any other is set aside if there are other members, and got from them.

    :param fatal: told in one sentence why the node had to stop by itself. Without it, the
        reactor is stopped and the process ends with status 1.
    :param shutdown: called when a client asks for the node to be stopped. Without it, the
        reactor is stopped.
    :raises StartError: the journal is in use, another node's, or damaged in a cluster of one node;
        in a process of our own that ends it with status 2 instead.
    :raises DiskError: the disk refuses; likewise.
    """
    from twisted.internet import reactor

    if options.parent is not None:
        # The process is ours, and nothing is scheduled yet. The reactor's own clock is the
        # wall clock: set back, it would hold up every heartbeat, deadline and election.
        reactor.seconds = time.monotonic  # type: ignore[method-assign]
        _allow_open_files()
        # To read the journal makes millions of objects and no garbage in cycles: looking for
        # it would take a quarter of the time.
        gc.disable()
        reactor.callWhenRunning(_collect_garbage)
    cluster, config = options.cluster_config(), options.node_config()
    try:
        repairs = Repairs(Path(config.data))
        return Member(
            _maker(options, repairs, reactor, shutdown or _stop_reactor),
            repairs,
            partial(shelf_of, cluster, config),
            alone=len(cluster.members) == 1,
            refuse=options.refuse,
            fatal=fatal or _end_process(),
        )
    except (DiskError, StartError) as error:
        options.refuse(error)


def _maker(
    options: Options,
    repairs: Repairs,
    reactor: Any,  # noqa: ANN401  (no interface names all that a reactor provides)
    shutdown: Callable[[], None],
) -> Make:
    """Return what makes the runs of the node that ``options`` describe."""
    cluster, config = options.cluster_config(), options.node_config()

    def make(
        refuse: Callable[[KvPaxosError], NoReturn], fatal: Callable[[Exception], None]
    ) -> Node:
        return Node(
            cluster,
            config,
            open_journal(cluster, config, repairs),
            shelf_of(cluster, config),
            repairs,
            may_rejoin=options.may_rejoin(),
            reactor=reactor,
            random=SystemRandom(),
            refuse=refuse,
            fatal=fatal,
            shutdown=shutdown,
        )

    return make


def _collect_garbage() -> None:
    """Look for garbage from now on, but not among what is there by now.

    That stays: the code above all. To look through it again and again would stop the node for
    some 30 ms each time.
    """
    gc.freeze()
    gc.enable()


def _allow_open_files() -> None:
    """Have this process be allowed `OPEN_FILES`, or as many as the system lets it ask for."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _stop_reactor() -> None:
    from twisted.internet import reactor

    if reactor.running:
        reactor.stop()


def _end_process() -> Callable[[str], None]:
    """Return what ends the process with status 1, in good order, once it is called."""
    failed = False

    def leave() -> None:
        if failed:
            os._exit(1)

    def fatal(sentence: str) -> None:
        nonlocal failed
        failed = True
        _log.critical("{sentence}", sentence=sentence)
        _stop_reactor()

    # The reactor cannot be told an exit status, and what is registered first runs last: after
    # the log has been written out.
    atexit.register(leave)
    return fatal

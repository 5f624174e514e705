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
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom

from twisted.logger import Logger

from kvpaxos.errors import DiskError, StartError
from kvpaxos.journal.log import Journal
from kvpaxos.node.node import Node
from kvpaxos.node.options import Options
from kvpaxos.node.recovery import formation_of

__all__ = ["Options", "makeService"]

_log = Logger()


def makeService(
    options: Options,
    *,
    fatal: Callable[[str], None] | None = None,
    shutdown: Callable[[], None] | None = None,
) -> Node:
    """Return the node that ``options`` describe. It holds its journal from now on.

    :param fatal: told in one sentence why the node had to stop by itself. Without it, the
        reactor is stopped and the process ends with status 1.
    :param shutdown: called when a client asks for the node to be stopped. Without it, the
        reactor is stopped.
    :raises StartError: the journal is damaged, in use, or another node's; in a process of our
        own that ends it with status 2 instead.
    :raises DiskError: the disk refuses; likewise.
    """
    from twisted.internet import reactor

    if options.parent is not None:
        # The process is ours, and nothing is scheduled yet. The reactor's own clock is the
        # wall clock: set back, it would hold up every heartbeat, deadline and election.
        reactor.seconds = time.monotonic  # type: ignore[method-assign]
    config = options.node_config()
    try:
        journal = Journal.open(Path(config.data) / "journal")
        formation_of(journal, config.node, options.cluster_config().members, "")
    except (DiskError, StartError) as error:
        options.refuse(error)

    return Node(
        options.cluster_config(),
        config,
        journal,
        reactor=reactor,
        random=SystemRandom(),
        refuse=options.refuse,
        fatal=fatal or _end_process(),
        shutdown=shutdown or _stop_reactor,
    )


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

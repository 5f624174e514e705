"""What `kvpaxos up` runs for each node: ``twistd``, tied to the life of its manager."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Final

STOP_GRACE_S: Final = 10.0
"""How long a node that was asked to stop may take before it is killed."""


def run() -> None:
    """Be ``twistd`` until standard input ends.

    The manager holds the other end of it. However the manager dies, the system closes that end,
    so no node outlives it.
    """
    # Ctrl-C is for the manager, which then stops its nodes one and all.
    os.setsid()
    threading.Thread(target=_watch, args=[sys.stdin.fileno()], name="lifeline", daemon=True).start()

    # Not at the top: from here on the lifeline is watched while the rest is imported.
    from twisted.scripts import twistd  # noqa: PLC0415

    sys.argv[0] = "twistd"
    twistd.run()


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)

"""What all the scenarios need: a place for sockets, chance with a seed, time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from twisted.internet import reactor as installed_reactor  # noqa: TID253 -- sockets are real here
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from typing_extensions import override

REACTOR: Any = installed_reactor


class Scenario(TestCase):
    """One test, with a directory of its own.

    :ivar random: all chance of the test comes from here.
    """

    timeout = 120

    @override
    def setUp(self) -> Any:
        seed = int(os.environ.get("KVPAXOS_SEED") or SystemRandom().getrandbits(32))
        self.say(f"seed {seed}")
        self.random = Random(seed)
        # Short, since the path of a UNIX socket can have little more than 100 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="kvp"))
        self.addCleanup(shutil.rmtree, self.directory)

    def repeatedly(
        self, act: Callable[[], None], pause_s: Callable[[], float]
    ) -> Callable[[], None]:
        """Do ``act`` now, and again after each ``pause_s()``, until what is returned is called."""
        call: IDelayedCall

        def again() -> None:
            nonlocal call
            call = REACTOR.callLater(pause_s(), again)
            act()

        def stop() -> None:
            if call.active():
                call.cancel()

        again()
        self.addCleanup(stop)
        return stop

    def say(self, what: str) -> None:
        """Print something about this test."""
        name = ".".join(self.id().split(".")[-2:])
        print(f"\n{name}: {what}", flush=True)  # noqa: T201 -- trial shows it with the test's result

    def sleep(self, seconds: float) -> Deferred[None]:
        """Let time pass: to see that something does not happen, there is nothing to wait for."""
        return deferLater(REACTOR, seconds)

"""A node of kvpaxos inside a Twisted application of one's own.

    python docs/examples/embedded.py [options of a node, such as --data /tmp/embedded]

It runs a cluster of one node, writes a key and reads it back over HTTP, and stops.
"""

# ruff: noqa: INP001, T201  (a script, which is there to print)

from __future__ import annotations

import sys
from pathlib import Path

import treq
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, race
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure
from twisted.web.http import OK

from kvpaxos.node.service import Options, makeService

SETTINGS = Path(__file__).with_name("embedded.conf")


async def main(reactor: IReactorTime, *arguments: str) -> None:
    """Run the application until its work is done, or until the node cannot go on."""
    options = Options()
    options.parseOptions(["--config", str(SETTINGS), *arguments])
    broken: Deferred[str | None] = Deferred()

    def fatal(sentence: str) -> None:
        # In a turn of its own, so that the node is not in the middle of anything when
        # it is stopped because of this.
        reactor.callLater(0, broken.callback, sentence)

    application = MultiService()
    makeService(options, fatal=fatal).setServiceParent(application)
    application.startService()
    try:
        work = Deferred.fromCoroutine(talk(reactor, options.node_config().url))
        _, trouble = await race([work.addErrback(Failure.getErrorMessage), broken])
    finally:
        # It fires when all files are closed and all ports are free.
        await application.stopService()
    if trouble is not None:
        raise SystemExit(trouble)


async def talk(reactor: IReactorTime, url: str) -> None:
    """Be a client of the node."""
    while not await is_ready(url):
        await deferLater(reactor, 0.05)

    reply = await treq.post(f"{url}/kv/set", data={"key": "color", "value": "blue"})
    print("set:", await treq.json_content(reply))

    reply = await treq.get(f"{url}/kv/get", params={"key": "color"})
    print("get:", await treq.json_content(reply))


async def is_ready(url: str) -> bool:
    """Return whether the node answers linearizable reads by now."""
    try:
        reply = await treq.get(f"{url}/readyz")
    except ConnectError:
        # It does not listen yet.
        return False
    await treq.content(reply)
    return bool(reply.code == OK)


def run(reactor: IReactorTime, *arguments: str) -> Deferred[None]:
    """Do as `main` does, for `react`."""
    return Deferred.fromCoroutine(main(reactor, *arguments))


if __name__ == "__main__":
    react(run, sys.argv[1:])

"""``kvpaxos backup``, carried out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol as BytesProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import OK
from typing_extensions import override

from kvpaxos.cli.archive import Archive, check, described, reader_of, replacing
from kvpaxos.cli.arguments import Asked
from kvpaxos.cli.bar import Bar
from kvpaxos.cli.nodes import named_nodes
from kvpaxos.cli.output import counted, print_json
from kvpaxos.cli.running import run
from kvpaxos.cli.statuses import NOT_APPLIED, Told
from kvpaxos.client.connecting import treq_of
from kvpaxos.client.exchange import Exchange, headers_of
from kvpaxos.client.replies import Failed, Reply, read_refusal
from kvpaxos.client.requests import Request
from kvpaxos.client.retrying import Trouble
from kvpaxos.errors import BackupDamaged, BackupUnreadable
from kvpaxos.store.backup import Header

_REFUSAL_BYTES_MAX: Final = 64 * 1024


class BrokenOff(Exception):
    """A node began a backup and did not end it; the message says why."""


def backup(asked: Asked, name: str, *, force: bool, stale: bool) -> None:
    """Write a backup into the file ``name``, and tell what is in it."""
    nodes = named_nodes(asked.nodes, asked.settings)
    with replacing(Path(name), force=force) as (draft, file):

        async def fetch(reactor: Any) -> Header:  # noqa: ANN401 -- several interfaces at once
            return await Fetching(reactor, file, asked.timeout_s).fetch(nodes, stale=stale)

        header = run(fetch)
        file.flush()
        os.fsync(file.fileno())
        size = draft.stat().st_size
        check(draft, header)
    if asked.as_json:
        print_json({"success": True, "file": name, "bytes": size, **described(header)})
    else:
        print(  # noqa: T201 -- it is what was asked for
            f"{counted(header.count, 'key')} written to {name}, {size} bytes: the state after slot"
            f" {header.slot}, revision {header.revision}, digest {header.digest:032x}"
        )


class Fetching:
    """Fetches a backup from a node into ``file``.

    :param timeout_s: how long it may take to begin, and every wait for more of it.
    """

    def __init__(self, reactor: Any, file: BinaryIO, timeout_s: float) -> None:  # noqa: ANN401
        self._reactor = reactor
        self._file = file
        self._timeout_s = timeout_s
        treq = treq_of(reactor, None)
        self._exchange = Exchange(treq, reactor, answer_bytes_max=_REFUSAL_BYTES_MAX)

    async def fetch(self, nodes: Sequence[tuple[str, str]], *, stale: bool) -> Header:
        """Return what the backup is of that the first node gave which could.

        :raises Told: none could.
        """
        consistency = b"stale" if stale else None
        request = Request("GET", "/kvman/backup", {"consistency": consistency}, {})
        troubles = []
        for name, url in nodes:
            try:
                return await self._fetch(url, request)
            except (BrokenOff, BackupDamaged, BackupUnreadable) as why:
                troubles.append(f"{name}: {str(why).rstrip('.')}")
        raise Told(
            f"no node gave a backup ({'; '.join(troubles)}). Run this on the machine of a node that"
            " serves.",
            NOT_APPLIED,
        )

    async def _fetch(self, url: str, request: Request) -> Header:
        wait_s = self._timeout_s
        opened = await self._exchange.within(wait_s, self._open(url, request))
        if isinstance(opened, Trouble):
            raise BrokenOff(opened.why)
        self._file.seek(0)
        self._file.truncate()
        with ExitStack() as shown:
            receiver = Receiver(self._reactor, self._file, shown, idle_s_max=wait_s)
            opened.deliverBody(receiver)
            return await receiver.received

    async def _open(self, url: str, request: Request) -> Any:  # noqa: ANN401 -- an IResponse
        # The node answers before we give it up.
        response = await self._exchange.open(url, request.sent(min(self._timeout_s, 60.0)))
        if response.code == OK:
            return response
        body = await self._exchange.collect(response)
        match read_refusal(Reply(url, response.code, headers_of(response), body)):
            case Trouble(why=why):
                raise BrokenOff(why)
            case Failed(error):
                raise BrokenOff(str(error))


class Receiver(BytesProtocol):
    """Takes the body of a backup, proves it, and writes it into ``file``.

    It takes no more until that is written: so the node sends no faster than that.

    :ivar received: fires with what it is of when all is written. To cancel it closes the
        connection.
    :param shown: where to show how far it has come.
    """

    def __init__(
        self,
        clock: Any,  # noqa: ANN401 -- several interfaces at once
        file: BinaryIO,
        shown: ExitStack,
        *,
        idle_s_max: float,
    ) -> None:
        self.received: Deferred[Header] = Deferred(lambda _: self._close())
        self._clock = clock
        self._file = file
        self._shown = shown
        self._idle_s_max = idle_s_max
        self._reader = reader_of("what the node sends")
        self._archive: Archive | None = None
        self._bar: Bar | None = None
        self._timer: IDelayedCall | None = None

    @override
    def connectionMade(self) -> None:
        self._wait()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self.received.called:
            return
        try:
            for piece in self._reader.feed(data):
                self._begun().add(piece)
            if self._bar is not None:
                self._bar.show(self._reader.tally.keys, self._reader.tally.keys)
        except Exception:  # noqa: BLE001 -- whoever waits is told
            self._end(Failure())
            return
        self._wait()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.received.called:
            return
        if not reason.check(ResponseDone):
            self._end(Failure(BrokenOff("it broke the backup off")))
            return
        try:
            header = self._reader.finish()
            self._begun().end()
        except Exception:  # noqa: BLE001 -- whoever waits is told
            self._end(Failure())
        else:
            self._end(header)

    def _begun(self) -> Archive:
        if self._archive is None:
            header = self._reader.header
            assert header is not None, "it comes first"
            self._archive = Archive(self._file, header)
            bar = Bar("backup", header.count, things="keys")
            self._bar = self._shown.enter_context(bar)
        return self._archive

    def _wait(self) -> None:
        self._cancel()
        self._timer = self._clock.callLater(self._idle_s_max, self._give_up)

    def _give_up(self) -> None:
        self._end(Failure(BrokenOff(f"nothing came for {self._idle_s_max:g} s")))

    def _end(self, outcome: Header | Failure) -> None:
        self._close()
        self.received.callback(cast("Header", outcome))

    def _close(self) -> None:
        self._cancel()
        cast("Any", self.transport).stopProducing()

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

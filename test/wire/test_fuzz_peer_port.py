"""Whatever strangers say at the peer ports of nodes under load: writes go on, little is kept."""

from __future__ import annotations

import gc
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, TypeAlias, cast
from weakref import WeakSet

import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from kvpaxos.node.connection import Connection
from kvpaxos.node.links import STRANGERS_MAX
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.testing.nodes import NodeGroup
from kvpaxos.wire.codec import encode
from kvpaxos.wire.framing import FRAME_VERSION, HEADER_BYTES, frame
from kvpaxos.wire.greeting import (
    GREETING_BYTES_MAX,
    PROTOCOL_VERSION,
    Hello,
    Identity,
    Welcome,
    encode_greeting,
)
from test.node.members import REACTOR, soon
from test.wire.strategies import any_message, counts
from test.wire.test_greeting import STRATEGIES as GREETINGS

READ_BYTES: Final = 64 * 1024
"""What a transport reads at once, and a buffer may hold until it is looked at."""

MEMBERS: Final = tuple(map(NodeId, ("n01", "n02", "n03")))

Ending: TypeAlias = Literal["close", "abort", "stay"]

Attack: TypeAlias = list[tuple[int, list[bytes], Ending]]
"""Which nodes are dialed, what is said there, and how it ends."""


@implementer(ILogObserver)
class Tracebacks:
    """Keeps what is logged with a traceback."""

    def __init__(self) -> None:
        self.failures: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.failures.append(event)


class Stranger(Protocol):
    """Somebody who dials a node, and does not listen."""

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)

    def end(self, how: Ending) -> None:
        transport = cast(ITCPTransport, self.transport)
        if how == "close":
            transport.loseConnection()
        elif how == "abort":
            transport.abortConnection()


class Load:
    """A client that counts, one write after another."""

    def __init__(self, group: NodeGroup) -> None:
        self.done = 0
        self._going = True
        self._client = group.client()
        self.ended: Deferred[None] = Deferred.fromCoroutine(self._count())

    async def _count(self) -> None:
        await self._client.set("count", "0")
        while self._going:
            await self._client.cas("count", str(self.done), str(self.done + 1))
            self.done += 1

    def stop(self) -> Deferred[None]:
        self._going = False
        return self.ended


@pytest.fixture(scope="module")
def group() -> Iterator[NodeGroup]:
    # Short, since the path of a UNIX socket can have little more than 100 bytes.
    directory = Path(tempfile.mkdtemp(prefix="kvp"))
    tracebacks = Tracebacks()
    globalLogPublisher.addObserver(tracebacks)
    group = NodeGroup(3, directory, reactor=REACTOR, random=Random(0))
    pytest_twisted.blockon(Deferred.fromCoroutine(group.begin()))
    yield group
    pytest_twisted.blockon(Deferred.fromCoroutine(group.end()))
    globalLogPublisher.removeObserver(tracebacks)
    shutil.rmtree(directory)
    assert tracebacks.failures == []


def lie(length: int, checksum: int, rest: bytes) -> bytes:
    """Return a header that announces what does not come, and some bytes."""
    return struct.pack(">BII", FRAME_VERSION, length, checksum) + rest


def damaged(data: bytes, at: int, bit: int, end: int) -> bytes:
    """Return ``data`` with one bit flipped, cut off somewhere."""
    changed = bytearray(data)
    changed[at % len(data)] ^= 1 << bit
    return bytes(changed[: end % (2 * len(data)) + 1])


# Who pretends to be a member, of this cluster or of another one, on its first disk or a later one.
_texts = st.text(max_size=20)
_pretenders = st.builds(
    Identity,
    st.sampled_from([*MEMBERS, NodeId("n09")]),
    st.sampled_from([MEMBERS, MEMBERS[:2], ()]),
    st.sampled_from(["", "c" * 32]),
    st.booleans(),
    counts,
    counts,
    _texts,
    counts,
    _texts,
    st.sampled_from(["value_bytes_max=1048576", ""]),
)
_greetings = st.one_of(
    st.builds(Hello, st.just(PROTOCOL_VERSION), st.sampled_from(MEMBERS), _pretenders),
    st.builds(Welcome, _pretenders),
    *GREETINGS.values(),
)
_frames = st.one_of(
    _greetings.map(encode_greeting),
    st.builds(encode, st.just(0), any_message),
    st.binary(max_size=300),
).map(frame)
_pieces = st.one_of(
    _frames,
    st.binary(max_size=100),
    st.builds(lie, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=100)),
    st.builds(damaged, _frames, st.integers(0, 2**16), st.integers(0, 7), st.integers(0, 2**16)),
    # As much as a node takes before it knows whom it talks to, and much more than that.
    st.sampled_from([GREETING_BYTES_MAX, 1_000_000]).map(lambda size: lie(size, 0, bytes(size))),
)
_endings: st.SearchStrategy[Ending] = st.sampled_from(("close", "abort", "stay"))
_guests = st.tuples(st.integers(0, 2), st.lists(_pieces, max_size=5), _endings)
_attacks: st.SearchStrategy[Attack] = st.lists(_guests, min_size=1, max_size=6)


def plans(count: int) -> list[Attack]:
    """Return attacks. They are made in advance: nothing can be awaited while hypothesis runs."""
    made: list[Attack] = []

    @settings(max_examples=count, suppress_health_check=[HealthCheck.too_slow])
    @given(_attacks)
    def make(attack: Attack) -> None:
        made.append(attack)

    make()
    return made


class Attackers:
    """Strangers who dial the nodes of a group."""

    def __init__(self, group: NodeGroup) -> None:
        self._doors: list[Any] = [
            UNIXClientEndpoint(REACTOR, node._config.peer.removeprefix("unix:"))
            for node in group.nodes.values()
        ]
        self._all: list[Stranger] = []

    async def come(self, attack: Attack) -> None:
        """Dial all at once, and say everything."""
        dialing = [connectProtocol(self._doors[place], Stranger()) for place, _, _ in attack]
        for stranger, (_, pieces, ending) in zip(await gatherResults(dialing), attack, strict=True):
            self._all.append(stranger)
            for piece in pieces:
                stranger.transport.write(piece)
            stranger.end(ending)

    async def go(self) -> None:
        """Hang up, all of them."""
        for stranger in self._all:
            stranger.end("abort")
        await gatherResults([stranger.gone for stranger in self._all])


def strangers(group: NodeGroup) -> list[Connection]:
    """Return those who have not greeted; fail if a node keeps too many, or too much of one."""
    for node in group.nodes.values():
        assert len(node._links._strangers) <= STRANGERS_MAX
    known = [one for node in group.nodes.values() for one in node._links._strangers]
    for one in known:
        assert one._frames.bytes_held <= GREETING_BYTES_MAX + HEADER_BYTES + READ_BYTES
    return known


def connections() -> WeakSet[Connection]:
    """Return all connections in memory, those included that nobody uses any more."""
    gc.collect()
    return WeakSet(one for one in gc.get_objects() if isinstance(one, Connection))


def links(group: NodeGroup) -> WeakSet[Connection]:
    """Return the connections that the nodes have with each other."""
    ends = [link for node in group.nodes.values() for link in node._links._links.values()]
    return WeakSet(one for link in ends for one in link.connections())


@pytest_twisted.ensureDeferred
async def test_strangers_are_in_nobodys_way_and_leave_nothing_behind(group: NodeGroup) -> None:
    before = connections()
    load, attackers = Load(group), Attackers(group)
    for attack in plans(100):
        done = load.done
        await attackers.come(attack)
        await soon(lambda done=done: load.done > done or load.ended.called)  # type: ignore[misc]
        assert group.stopped == [], attack
        assert not load.ended.called, attack
        strangers(group)
    await attackers.go()
    await soon(lambda: not strangers(group))
    await load.stop()
    # Other tests may have left some, which are gone by now, or are not.
    assert list(connections() - before - links(group)) == []
    heard = [kind for node in group.nodes.values() for kind in node._links.complaints.counts]
    # The attacks came as far as they were meant to.
    assert {"garbage", "refused"} <= set(heard)
    # Those that pretended to be members have not come between these.
    for node in group.nodes.values():
        rows: Any = node.describe()["peers"]
        assert all(row["dialed"] and row["accepted"] for row in rows)

"""One connection between two members, seen from one of its ends."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Final, Protocol, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IReactorTime,
    IReadWriteDescriptor,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.errors import KvPaxosError, WireError
from kvpaxos.node.outgoing import Outgoing, queue_bytes_max
from kvpaxos.paxos.ballot import NO_SLOT, NodeId
from kvpaxos.paxos.formation import Stands
from kvpaxos.wire.chunks import MESSAGE_BYTES_MAX, Joiner
from kvpaxos.wire.framing import FRAME_BYTES_MAX, FrameBuffer, frame
from kvpaxos.wire.greeting import (
    GREETING_BYTES_MAX,
    PROTOCOL_VERSION,
    REFUSES,
    Frame,
    Greeting,
    Hello,
    Identity,
    Refused,
    VersionError,
    Welcome,
    decode_frame,
    encode_greeting,
)

HANDSHAKE_S_MAX: Final = 3.0
"""A connection on which no greeting came about for so long is dropped."""

CLOSE_S_MAX: Final = 1.0
"""A connection that is being closed is dropped after so long, sent out or not."""

DEAD_S_MAX: Final = 5
"""A TCP connection whose other end has acknowledged nothing for so long is given up."""


UNFINISHED_MAX: Final = 3
"""So many times in a row a connection may be reviewed amid one frame, and no more."""

_TCP_OPTIONS: Final = {
    "TCP_USER_TIMEOUT": DEAD_S_MAX * 1000,
    "TCP_KEEPIDLE": DEAD_S_MAX // 2,
    "TCP_KEEPINTVL": 1,
    "TCP_KEEPCNT": DEAD_S_MAX // 2,
}


class LinkError(KvPaxosError):
    """A connection was given up. The message is a sentence for the operator.

    :ivar kind: one of a few words: ``refused``, ``garbage``, ``version``, ``silent``, ``lost``.
    """

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


class Host(Protocol):
    """Whom connections belong to, and who decides."""

    def identity(self) -> Identity:
        """Say who this node is."""

    def examine(self, connection: Connection, theirs: Identity, meant: NodeId) -> str | None:
        """Say what is wrong with ``theirs`` at the other end, or None.

        :param meant: the node that was dialed: by us, or by them.
        """

    def greeted(self, connection: Connection) -> None:
        """Take note that ``connection`` may be used from now on."""

    def received(self, connection: Connection, group: int, content: Frame) -> None:
        """Take what came by ``connection`` after the greetings."""

    def lost(self, connection: Connection, error: LinkError) -> None:
        """Take note that ``connection`` is gone."""


class Wire(Protocol):
    """What a connection needs of its transport: all of Twisted's streams have it."""

    def write(self, data: bytes) -> None:
        """Send ``data`` some time."""

    def loseConnection(self) -> None:  # noqa: N802 -- Twisted names it
        """Close once all is written."""

    def abortConnection(self) -> None:  # noqa: N802
        """Close at once."""

    def pauseProducing(self) -> None:  # noqa: N802
        """Stop reading."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Read again."""

    def registerProducer(self, producer: Outgoing, streaming: bool) -> None:  # noqa: N802, FBT001
        """Tell ``producer`` when there is enough to write, and when there is room again."""

    def unregisterProducer(self) -> None:  # noqa: N802
        """Forget the producer."""

    def getHandle(self) -> socket.socket:  # noqa: N802
        """Return the socket."""


class Connection(TwistedProtocol):
    """Greets the other end, and then turns bytes into messages and back.

    It decides nothing about them: its host does.

    :ivar meant: the member that we dialed; None if the other end dialed us.
    :ivar theirs: who is at the other end; None before the greetings.
    :ivar floor: how many durable records it had shown before it was greeted here: what it
        answers to that cannot be less.
    :ivar told_through: how much was decided, by the last heartbeat that overtook nothing.
    :ivar ready: fires with None when the greetings are over, or else with what went wrong.
    :ivar ended: fires with the reason when the connection is gone.
    """

    def __init__(
        self,
        host: Host,
        *,
        meant: NodeId | None,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        """Make one end of a connection.

        :param message_bytes_max: the longest message that is taken, once both have greeted.
        """
        self.meant = meant
        self.theirs: Identity | None = None
        self.floor = 0
        self.told_through = NO_SLOT
        self.ready: Deferred[LinkError | None] = Deferred()
        self.ended: Deferred[LinkError] = Deferred()
        self._host = host
        self._clock = clock
        self._monotonic = monotonic
        self._message_bytes_max = message_bytes_max
        self._frames = FrameBuffer(frame_bytes_max=GREETING_BYTES_MAX)
        self._joiner = Joiner(message_bytes_max=0)
        self._outgoing: Outgoing | None = None
        self._guest: Identity | None = None
        self._error: LinkError | None = None
        self._timer: IDelayedCall | None = None
        self._paused = False
        self._reading = False
        self._has_read = False
        self._unfinished = 0

    @property
    def outgoing(self) -> Outgoing:
        """What waits to leave. There is none before the connection is made."""
        assert self._outgoing is not None, "not connected"
        return self._outgoing

    @override
    def connectionMade(self) -> None:
        _tune(self._wire)
        self._outgoing = Outgoing(
            self._wire,
            clock=self._clock,
            monotonic=self._monotonic,
            bytes_max=queue_bytes_max(self._message_bytes_max),
            hurry=_hurry_of(self._wire),
        )
        self._wire.registerProducer(self._outgoing, streaming=True)
        self._timer = self._clock.callLater(HANDSHAKE_S_MAX, self._too_late)
        if self.meant is not None:
            self.greet(Hello(PROTOCOL_VERSION, self.meant, self._host.identity()))

    @override
    def dataReceived(self, data: bytes) -> None:
        # While we close, the other end may go on sending.
        if self._error is None:
            self._read(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        if self._outgoing is not None:
            self._outgoing.close()
        if self._error is None:
            self._error = LinkError("lost", f"the connection was lost: {reason.getErrorMessage()}")
        self._host.lost(self, self._error)
        if not self.ready.called:
            self.ready.callback(self._error)
        self.ended.callback(self._error)

    def greet(self, greeting: Greeting) -> None:
        """Send ``greeting``, past all switches but not past what is waiting."""
        self.outgoing.put(frame(encode_greeting(greeting)))

    def refuse(self, sentence: str) -> None:
        """Tell the other end what is wrong, and close."""
        if self._error is None:
            self.greet(Refused(sentence))
            self.close(LinkError("refused", sentence))

    def close(self, error: LinkError) -> None:
        """Close the connection once all that was written is out, or after `CLOSE_S_MAX`."""
        if self._error is not None:
            return
        self._error = error
        self._stop_timer()
        self._timer = self._clock.callLater(CLOSE_S_MAX, self._abort)
        self.outgoing.close()
        # A transport that is paused would not notice that the other end has closed.
        self._wire.resumeProducing()
        # A transport with a producer would wait for its last word before it closes.
        self._wire.unregisterProducer()
        self._wire.loseConnection()

    def drop(self, error: LinkError) -> None:
        """Cut the connection, whatever is on its way."""
        if self._error is None:
            self._error = error
            self._abort()

    def review(self) -> None:
        """Drop the connection if one frame takes too long. It is called once in a while.

        The longest frame needs some tenths of a second. A bit that was flipped in its length, where
        no checksum of TCP has noticed, makes it longer than what will come: whatever is sent would
        be swallowed, heartbeats too. It is counted how often this was called, and not for how long:
        if this process stood still, nobody was late.
        """
        unfinished = self._frames.bytes_held > 0 and not self._paused and not self._has_read
        self._unfinished = self._unfinished + 1 if unfinished else 0
        self._has_read = False
        if self._unfinished > UNFINISHED_MAX:
            self.drop(LinkError("garbage", "began a frame, and has not sent the rest of it"))

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and self._error is None:
            self._paused = True
            self._wire.pauseProducing()

    def resume(self) -> None:
        """Read on, beginning with what was read but not yet taken."""
        if self._paused and self._error is None:
            self._paused = False
            self._wire.resumeProducing()
            # Whoever takes a message may resume us: the loop that gave it goes on by itself.
            if not self._reading:
                self._read(b"")

    @property
    def _wire(self) -> Wire:
        assert self.transport is not None, "not connected"
        return cast(Wire, self.transport)

    def _read(self, data: bytes) -> None:
        self._reading = True
        try:
            with closing(self._frames.receive(data)) as frames:
                while not self._paused and self._error is None:
                    payload = next(frames, None)
                    if payload is None:
                        break
                    self._has_read = True
                    message = self._joiner.take(payload)
                    if message is not None:
                        self._take(*decode_frame(message))
        except VersionError as error:
            self.refuse(f"{error}: all nodes must run releases that fit together")
        except WireError as error:
            self.drop(LinkError("garbage", f"sent what is no frame of this protocol: {error}"))
        finally:
            self._reading = False

    def _take(self, group: int, content: Frame) -> None:
        if isinstance(content, Refused):
            self.close(LinkError("refused", REFUSES.format(content.reason)))
        elif self.theirs is not None:
            self._host.received(self, group, content)
        else:
            self._take_greeting(content)

    def _take_greeting(self, greeting: Frame) -> None:
        """Go on with the greetings: hello, welcome, and where the one that dialed stands.

        The last of them tells the one that was dialed that it was not found wanting, either.
        """
        match greeting:
            case Hello(_, meant, theirs) if self.meant is None and self._guest is None:
                if self._in_order(theirs, meant):
                    self._guest = theirs
                    self.greet(Welcome(self._host.identity()))
            case Welcome(theirs) if self.meant is not None:
                if self._in_order(theirs, self.meant):
                    identity = self._host.identity()
                    self.greet(Stands(identity.standing, identity.incarnations))
                    self._greeted(theirs)
            case Stands() if self._guest is not None:
                self._greeted(self._guest)
                self._host.received(self, 0, greeting)
            case _:
                raise WireError(f"{type(greeting).__name__} before the greetings were over")

    def _in_order(self, theirs: Identity, meant: NodeId) -> bool:
        objection = self._host.examine(self, theirs, meant)
        if objection is not None:
            self.refuse(objection)
        return objection is None

    def _greeted(self, theirs: Identity) -> None:
        self.theirs = theirs
        self._stop_timer()
        self._frames.frame_bytes_max = FRAME_BYTES_MAX
        self._joiner.message_bytes_max = self._message_bytes_max
        self._host.greeted(self)
        self.ready.callback(None)

    def _too_late(self) -> None:
        self.drop(LinkError("silent", f"no greeting within {HANDSHAKE_S_MAX:g} s"))

    def _abort(self) -> None:
        self._wire.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class ConnectionFactory(Factory):
    """Makes connections for one host, all alike."""

    noisy = False

    def __init__(self, make: Callable[[], Connection]) -> None:
        self._make = make

    @override
    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return self._make()


def _hurry_of(wire: Wire) -> Callable[[], None]:
    """Return what has ``wire`` send now what it was given, if it is a socket."""
    if not IReadWriteDescriptor.providedBy(wire):
        return lambda: None
    descriptor = cast(FileDescriptor, wire)

    def hurry() -> None:
        # What went wrong with it is for the reactor to find out, in a turn of its own.
        if descriptor.doWrite() is not None:
            descriptor.startWriting()

    return hurry


def _tune(wire: Wire) -> None:
    """Let small messages leave at once, and a connection to a machine that is gone end soon."""
    if not ITCPTransport.providedBy(wire):
        return
    # Twisted's UNIX sockets claim to be TCP transports, too.
    if wire.getHandle().family not in (socket.AF_INET, socket.AF_INET6):
        return
    tcp = cast(ITCPTransport, wire)
    tcp.setTcpNoDelay(enabled=True)
    tcp.setTcpKeepAlive(enabled=True)
    handle = wire.getHandle()
    for name, value in _TCP_OPTIONS.items():
        # Not every system has every option.
        option = getattr(socket, name, None)
        if option is not None:
            handle.setsockopt(socket.IPPROTO_TCP, option, value)

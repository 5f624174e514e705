"""Which messages go which way to a peer, and what carries them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, get_args

from kvpaxos.node.connection import Connection
from kvpaxos.paxos.messages import (
    Accepted,
    AskReadSlot,
    Confirm,
    Confirmed,
    Message,
    Nack,
    Ping,
    Pong,
    Prepare,
    ReadSlot,
    Reply,
    Request,
    Withdraw,
)
from kvpaxos.wire.chunks import Parcel, packed
from kvpaxos.wire.codec import encode
from kvpaxos.wire.greeting import Frame

REQUESTS: Final[frozenset[type[Frame]]] = frozenset(get_args(Request))
REPLIES: Final[frozenset[type[Frame]]] = frozenset(get_args(Reply))
MESSAGES: Final = REQUESTS | REPLIES

EXPRESS: Final[frozenset[type[Message]]] = frozenset(
    (Ping, Pong, Prepare, Withdraw, Confirm, Confirmed, AskReadSlot, ReadSlot, Accepted, Nack)
)
"""Messages that are short, and true whether or not what was sent before them has come: they
overtake it where it waits. Heartbeats are made true, by `as_told`."""


class Packer:
    """Makes what carries a message, once, though it may go to several peers."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._last: tuple[int, Message, bytes | Parcel] | None = None

    def pack(self, group: int, message: Message) -> bytes | Parcel | None:
        """Return the frame or the parcel of ``message``; None if it is too long."""
        if self._last is not None:
            last_group, last_message, parcel = self._last
            if last_message is message and last_group == group:
                return parcel
        data = encode(group, message)
        if len(data) > self._message_bytes_max:
            return None
        parcel = packed(data)
        self._last = (group, message, parcel)
        return parcel


def as_told(connection: Connection, message: Message) -> Message:
    """Return ``message``, or if it is a heartbeat that overtakes others, one that may do so.

    Who hears that a slot is decided, and was not offered it by then, takes the offer for lost
    and has it sent once more. So a heartbeat says no more than the last one that overtook none.
    """
    if not isinstance(message, Ping | Pong):
        return message
    health = message.health
    if not connection.outgoing.is_behind:
        connection.told_through = health.decided_through
        return message
    told_through = min(connection.told_through, health.decided_through)
    return replace(message, health=replace(health, decided_through=told_through))

"""What travels on a link besides Paxos messages: greetings, forming a cluster, mending journals.

They share the shape of messages, ``[0, tag, field, ...]``, under tags of their own.
The tag and the number of fields of `Hello` and `Refused`, and the place of the version in the
one, never change: that is how two releases that cannot talk tell each other so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from kvpaxos.errors import WireError
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.formation import Form, Standing, Stands
from kvpaxos.paxos.messages import Incarnations, Message
from kvpaxos.paxos.recall import Recall, Recalled, RecallMessage, Told
from kvpaxos.wire.codec import MESSAGES, PARTS, batch, incarnations
from kvpaxos.wire.table import Kind, Table, count, flag, items, made, nodes, text

PROTOCOL_VERSION: Final = 2
"""Nodes of different versions do not talk to each other. 1 had no chunks, and longer frames."""

GREETING_BYTES_MAX: Final = 16 * 1024
"""The longest frame that a peer may send before it has greeted."""


class VersionError(WireError):
    """The peer speaks another version of this protocol."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is, and where its journal stands.

    :ivar cluster: the id of its cluster; empty if it has agreed to none.
    :ivar formed: whether that cluster is formed, to its knowledge.
    :ivar incarnation: which disk of the node this is; 0 if it has agreed to no cluster.
    :ivar boot: how often the node was started on this disk.
    :ivar process: a random word that tells this run from that of a copy of the disk.
    :ivar records: how many records of its journal would survive a power cut.
    :ivar head: the chain's hash after the last of those, in hexadecimal digits.
    :ivar rules: the settings that replicas must share, such as ``value_bytes_max=1048576``:
        with others they would refuse other commands, and their states would part.
    :ivar incarnations: which disks it knows of, its own included, but for first ones.
    """

    node: NodeId
    members: tuple[NodeId, ...]
    cluster: str
    formed: bool
    incarnation: int
    boot: int
    process: str
    records: int
    head: str
    rules: str
    incarnations: Incarnations = ()

    @property
    def standing(self) -> Standing:
        """How far it has come into its cluster."""
        return Standing(self.cluster, self.formed)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first that the node that dials says.

    :ivar to: the member that it means to have dialed.
    """

    version: int
    to: NodeId
    identity: Identity


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answers a `Hello` that was found in order."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Holds:
    """A node says how far its journal has come since it was greeted. See `Identity`."""

    records: int
    head: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers a greeting that was not found in order; the connection ends here.

    :ivar reason: a sentence for the operator.
    """

    reason: str


REFUSES: Final = "it refuses this node: {}"
"""What a node says that was refused: with the reason that it was told."""

Greeting: TypeAlias = Hello | Welcome | Refused | Form | Stands | Holds | RecallMessage
"""What travels on a link besides Paxos messages."""

Frame: TypeAlias = Message | Greeting
"""Whatever a frame can hold."""


def encode_greeting(greeting: Greeting) -> bytes:
    """Return the bytes that `decode_frame` turns back into ``greeting``, in group 0."""
    return _TABLE.pack(0, greeting)


def decode_frame(data: bytes | bytearray) -> tuple[int, Frame]:
    """Return the group and the message, or 0 and the greeting, that ``data`` encodes.

    :raises VersionError: if it greets in another version of the protocol.
    :raises WireError: if ``data`` is neither. Nothing else escapes, whatever the bytes.
    """
    return _TABLE.unpack(data)


def _version(field: object) -> int:
    version = count(field)
    if version != PROTOCOL_VERSION:
        raise VersionError(f"protocol version {version}, not {PROTOCOL_VERSION}")
    return version


def _identity(field: object) -> Identity:
    kinds = (text, nodes, text, flag, count, count, text, count, text, text, incarnations)
    return made(Identity, kinds, items(field))


def _standing(field: object) -> Standing:
    return made(Standing, (text, flag), items(field))


def _slots(field: object) -> tuple[Slot, ...]:
    return tuple(Slot(count(item)) for item in items(field))


GREETINGS: Final = (
    Kind(65, Hello, (_version, text, _identity)),
    Kind(66, Welcome, (_identity,)),
    Kind(67, Refused, (text,)),
    Kind(68, Form, (text, nodes)),
    Kind(69, Stands, (_standing, incarnations)),
    Kind(70, Holds, (count, text)),
    Kind(71, Recall, (count, _slots)),
    Kind(72, Told, (count, count, batch)),
    Kind(73, Recalled, (count, _slots, count)),
)
"""Their tags follow those of messages."""

_TABLE: Final = Table[Frame]((*MESSAGES, *GREETINGS), parts=(*PARTS, Identity, Standing))

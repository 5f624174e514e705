"""Which key of the engine holds what.

Every key begins with its group, so that one engine serves several groups, and a kind::

    group (4 bytes, big-endian) | kind (1 byte) | the rest

    kind 00  the meta record: format, count, revision, digest
    kind 01  how far the state was applied: written by the driver, unknown to the state machine
    kind 10  a node's session                  rest: node
    kind 11  an answer kept for a node         rest: node, sequence (8 bytes, big-endian)
    kind 12  a client's session                rest: client
    kind 13  the answer in it                  rest: client
    kind 14  a request id                      rest: requestid
    kind 15  the answer to it                  rest: requestid
    kind f0  a client's key                    rest: the key

Kinds from `REPLICATED` on are equal on all replicas, and the digest covers them; those below
are not, or not as they stand. Clients' keys come last, so that a scan of them never runs into
the answers, which are removed as fast as they come and leave holes that cost time to cross.
"""

from __future__ import annotations

import struct
from typing import Final

from kvpaxos.store.limits import GROUP_MAX

_GROUP: Final = struct.Struct(">I")
_SEQUENCE: Final = struct.Struct(">Q")

_META: Final = b"\x00"
_APPLIED: Final = b"\x01"
_SESSION: Final = b"\x10"
_ANSWER: Final = b"\x11"
_CLIENT_SESSION: Final = b"\x12"
_CLIENT_ANSWER: Final = b"\x13"
_REQUEST_ID: Final = b"\x14"
_REQUEST_ANSWER: Final = b"\x15"
_USER: Final = b"\xf0"
_END: Final = b"\xff"

REPLICATED: Final = b"\x10"
"""The first kind that the digest covers."""


def applied_key(group: int) -> bytes:
    """Return the key where the driver of ``group`` writes, in every batch, how far it applied."""
    return _prefix(group) + _APPLIED


class NamedPlaces:
    """The keys of things that have a name and an answer, each in a record of its own.

    :ivar records: start and end of the records without the answers.
    """

    def __init__(self, record: bytes, answer: bytes) -> None:
        self.records = _range(record)
        self._record = record
        self._answer = answer

    def record(self, name: bytes) -> bytes:
        """Return where the record of ``name`` is."""
        return self._record + name

    def answer(self, name: bytes) -> bytes:
        """Return where the answer for ``name`` is."""
        return self._answer + name

    def name_of(self, place: bytes) -> bytes:
        """Return whose record is at ``place``."""
        return place[len(self._record) :]


class Layout:
    """The keys of one group.

    :ivar meta: the key of the meta record.
    :ivar replicated: start and end of everything that the digest covers.
    :ivar sessions: start and end of the sessions of nodes.
    :ivar answers: start and end of the answers kept for nodes.
    :ivar client_sessions: the sessions of clients, with their answers.
    :ivar request_ids: the request ids, with their answers.
    :ivar users: start and end of the clients' keys.
    """

    def __init__(self, group: int) -> None:
        prefix = _prefix(group)
        self.meta = prefix + _META
        self.replicated = (prefix + REPLICATED, prefix + _END)
        self.sessions = _range(prefix + _SESSION)
        self.answers = _range(prefix + _ANSWER)
        self.client_sessions = NamedPlaces(prefix + _CLIENT_SESSION, prefix + _CLIENT_ANSWER)
        self.request_ids = NamedPlaces(prefix + _REQUEST_ID, prefix + _REQUEST_ANSWER)
        self.users = _range(prefix + _USER)
        self._session = prefix + _SESSION
        self._answer = prefix + _ANSWER
        self._user = prefix + _USER
        self._rest = len(prefix) + 1

    def user(self, key: bytes) -> bytes:
        """Return where the client's ``key`` is."""
        return self._user + key

    def after_user(self, key: bytes) -> bytes:
        """Return where the clients' keys above ``key`` begin."""
        return self._user + key + b"\x00"

    def user_of(self, place: bytes) -> bytes:
        """Return the client's key that is at ``place``."""
        return place[self._rest :]

    def session(self, node: str) -> bytes:
        """Return where the session of ``node`` is."""
        return self._session + node.encode()

    def node_of(self, place: bytes) -> str:
        """Return whose session is at ``place``."""
        return place[self._rest :].decode()

    def answer(self, node: str, sequence: int) -> bytes:
        """Return where the answer to the ``sequence``-th command of ``node`` is kept."""
        return self._answer + node.encode() + _SEQUENCE.pack(sequence)

    def command_of(self, place: bytes) -> tuple[str, int]:
        """Return which command, as node and sequence, is answered at ``place``."""
        node = place[self._rest : -_SEQUENCE.size]
        (sequence,) = _SEQUENCE.unpack(place[-_SEQUENCE.size :])
        return node.decode(), sequence


def _prefix(group: int) -> bytes:
    assert 0 <= group <= GROUP_MAX, f"no such group: {group}"
    return _GROUP.pack(group)


def _range(prefix: bytes) -> tuple[bytes, bytes]:
    # No kind is ff, so adding one to the last byte never overflows.
    return prefix, prefix[:-1] + bytes([prefix[-1] + 1])

"""Requests: operations with, perhaps, an identity by which a repetition is known.

A request without an identity is the bytes of its operation alone. Others have it before them::

    Numbered    tag | length of client (1) | client | opid (8) | operation
    Named       tag | length of requestid (1) | requestid | operation

Numbers are big-endian. These bytes are in journals: a tag never gets another meaning, and no
operation has one of these.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from kvpaxos.errors import CommandError
from kvpaxos.store.commands import Operation, decode_operation, encode_operation
from kvpaxos.store.limits import IDENTIFIER_BYTES_MAX, OPID_MAX


@dataclass(frozen=True, slots=True)
class Numbered:
    """The request of a client that numbers its requests, each greater than the ones before.

    :ivar client: the client's name, of at most ``IDENTIFIER_BYTES_MAX`` bytes; empty for the one
        anonymous client.
    :ivar opid: from 0 to ``OPID_MAX``.
    """

    client: bytes
    opid: int


@dataclass(frozen=True, slots=True)
class Named:
    """A request with a name of its own, in no order.

    :ivar requestid: at most ``IDENTIFIER_BYTES_MAX`` bytes.
    """

    requestid: bytes


Identity: TypeAlias = Numbered | Named

_NUMBERED: Final = 0x40
_NAMED: Final = 0x41

_PREFIX: Final = struct.Struct(">BB")
_OPID: Final = struct.Struct(">Q")


def encode_request(operation: Operation, identity: Identity | None = None) -> bytes:
    """Return ``operation`` as bytes, with ``identity`` if it has one."""
    body = encode_operation(operation)
    match identity:
        case None:
            return body
        case Numbered(client, opid):
            assert 0 <= opid <= OPID_MAX, f"no such opid: {opid}"
            return _named(_NUMBERED, client) + _OPID.pack(opid) + body
        case Named(requestid):
            return _named(_NAMED, requestid) + body
        case _:
            assert_never(identity)


def decode_request(data: bytes) -> tuple[Operation, Identity | None]:
    """Return the operation that ``data`` holds, and its identity if it has one.

    :raises CommandError: it holds no request.
    """
    identity, body = split_request(data)
    return decode_operation(body), identity


def split_request(data: bytes) -> tuple[Identity | None, bytes]:
    """Return the identity in ``data``, if there is one, and the bytes of the operation.

    :raises CommandError: the identity is damaged. The operation may be so all the same.
    """
    if not data or data[0] not in {_NUMBERED, _NAMED}:
        return None, data
    if len(data) < _PREFIX.size:
        raise CommandError("the identity has no length")
    tag, length = _PREFIX.unpack_from(data)
    end = _PREFIX.size + length
    if length > IDENTIFIER_BYTES_MAX:
        raise CommandError(f"the identity has {length} bytes, over {IDENTIFIER_BYTES_MAX}")
    if end > len(data):
        raise CommandError(f"the identity should have {length} bytes, which are not there")
    name = data[_PREFIX.size : end]
    if tag == _NAMED:
        return Named(name), data[end:]
    if end + _OPID.size > len(data):
        raise CommandError("the opid is not there")
    (opid,) = _OPID.unpack_from(data, end)
    if opid > OPID_MAX:
        raise CommandError(f"opid {opid} is over {OPID_MAX}")
    return Numbered(name, opid), data[end + _OPID.size :]


def _named(tag: int, name: bytes) -> bytes:
    assert len(name) <= IDENTIFIER_BYTES_MAX, f"{len(name)} bytes are too many for a name"
    return _PREFIX.pack(tag, len(name)) + name

"""What clients can ask of the state, and how it is written as bytes.

An operation is one byte that says which it is, the key with its length before it, and the rest.
Reads are operations only if they go through the log::

    Insert, Update, Set, Append    tag | length of key (4) | key | value
    Delete, Get                    tag | length of key (4) | key
    Count                          tag | 0 (4)
    CompareAndSet, expecting None  tag | length of key (4) | key | value
    CompareAndSet, else            tag | length of key (4) | key | length (4) | expect | value

Numbers are big-endian. These bytes are in journals: a tag never gets another meaning.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from kvpaxos.errors import CommandError


@dataclass(frozen=True, slots=True)
class Insert:
    """Store ``value`` under a ``key`` that is not there yet."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the value of a ``key`` that is there."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a ``key`` that is there."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Set:
    """Store ``value`` under ``key``, whether it is there or not."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Store ``value`` if ``key`` now holds ``expect``; None expects that it is not there."""

    key: bytes
    expect: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """Add ``value`` to the end of what ``key`` holds, or create it."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Get:
    """Show what ``key`` holds. Only a read with an identity goes through the log."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Count:
    """Show how many keys there are. Only a read with an identity goes through the log."""


Write: TypeAlias = Insert | Update | Delete | Set | CompareAndSet | Append
"""An operation that may change the state."""

Operation: TypeAlias = Write | Get | Count

_LENGTH: Final = struct.Struct(">I")
_HEADER: Final = struct.Struct(">BI")

_INSERT: Final = 1
_UPDATE: Final = 2
_DELETE: Final = 3
_SET: Final = 4
_APPEND: Final = 5
_CREATE: Final = 6
_REPLACE: Final = 7
_GET: Final = 8
_COUNT: Final = 9


def encode_operation(operation: Operation) -> bytes:
    """Return ``operation`` as bytes."""
    match operation:
        case Set(_, rest):
            tag = _SET
        case Insert(_, rest):
            tag = _INSERT
        case Update(_, rest):
            tag = _UPDATE
        case Append(_, rest):
            tag = _APPEND
        case Delete():
            tag, rest = _DELETE, b""
        case Get():
            tag, rest = _GET, b""
        case Count():
            return _HEADER.pack(_COUNT, 0)
        case CompareAndSet(_, None, rest):
            tag = _CREATE
        case CompareAndSet(_, expect, value):
            assert expect is not None, "the case above"
            tag, rest = _REPLACE, _LENGTH.pack(len(expect)) + expect + value
        case _:
            assert_never(operation)
    return _HEADER.pack(tag, len(operation.key)) + operation.key + rest


def decode_operation(data: bytes) -> Operation:
    """Return the operation that ``data`` holds.

    :raises CommandError: it holds none.
    """
    if len(data) < _HEADER.size:
        raise CommandError(f"{len(data)} bytes are too few for an operation")
    tag, length = _HEADER.unpack_from(data)
    end = _HEADER.size + length
    if end > len(data):
        raise CommandError(f"the key should have {length} bytes, which are not there")
    decode = _DECODERS.get(tag)
    if decode is None:
        raise CommandError(f"no operation has the tag {tag}")
    return decode(data[_HEADER.size : end], data[end:])


def _delete(key: bytes, rest: bytes) -> Operation:
    if rest:
        raise CommandError(f"{len(rest)} bytes too many after a deletion")
    return Delete(key)


def _get(key: bytes, rest: bytes) -> Operation:
    if rest:
        raise CommandError(f"{len(rest)} bytes too many after a read")
    return Get(key)


def _count(key: bytes, rest: bytes) -> Operation:
    if key or rest:
        raise CommandError(f"{len(key) + len(rest)} bytes too many after a count")
    return Count()


def _create(key: bytes, rest: bytes) -> Operation:
    return CompareAndSet(key, None, rest)


def _replace(key: bytes, rest: bytes) -> Operation:
    if len(rest) < _LENGTH.size:
        raise CommandError("the expected value has no length")
    (length,) = _LENGTH.unpack_from(rest)
    end = _LENGTH.size + length
    if end > len(rest):
        raise CommandError(f"the expected value should have {length} bytes, which are not there")
    return CompareAndSet(key, rest[_LENGTH.size : end], rest[end:])


_DECODERS: Final[dict[int, Callable[[bytes, bytes], Operation]]] = {
    _INSERT: Insert,
    _UPDATE: Update,
    _DELETE: _delete,
    _SET: Set,
    _APPEND: Append,
    _CREATE: _create,
    _REPLACE: _replace,
    _GET: _get,
    _COUNT: _count,
}

"""Requests as bytes: operations with and without an identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.errors import CommandError
from kvpaxos.store.commands import Count, Delete, Get, Operation, Set, encode_operation
from kvpaxos.store.limits import IDENTIFIER_BYTES_MAX, OPID_MAX
from kvpaxos.store.requests import (
    Identity,
    Named,
    Numbered,
    decode_request,
    encode_request,
    split_request,
)
from test.store.test_commands import BYTES, operations

LONGEST = b"x" * IDENTIFIER_BYTES_MAX
DELETION = b"\x03\0\0\0\x03key"

IDENTIFIED = {
    "numbered": (
        Delete(b"key"),
        Numbered(b"me", 7),
        b"\x40\x02me\0\0\0\0\0\0\0\x07" + DELETION,
    ),
    "of the anonymous client": (
        Delete(b"key"),
        Numbered(b"", 0),
        b"\x40\x00\0\0\0\0\0\0\0\0" + DELETION,
    ),
    "with the greatest opid": (
        Delete(b"key"),
        Numbered(LONGEST, OPID_MAX),
        b"\x40\x80" + LONGEST + b"\x7f\xff\xff\xff\xff\xff\xff\xff" + DELETION,
    ),
    "named": (Delete(b"key"), Named(b"\0\xff"), b"\x41\x02\0\xff" + DELETION),
    "with the longest name": (Delete(b"key"), Named(LONGEST), b"\x41\x80" + LONGEST + DELETION),
    "a read": (Get(b"key"), Named(b"id"), b"\x41\x02id\x08\0\0\0\x03key"),
    "a count": (Count(), Named(b"id"), b"\x41\x02id\x09\0\0\0\0"),
}

GARBAGE = {
    "nothing": b"",
    "an identity without a length": b"\x40",
    "a name without a length": b"\x41",
    "a client that is not there": b"\x40\x03me",
    "a client and no opid": b"\x40\x02me",
    "a client and half an opid": b"\x40\x02me\0\0\0\0\0\0\0",
    "an opid that is too great": b"\x40\x02me\x80\0\0\0\0\0\0\0" + DELETION,
    "a client that is too long": b"\x40\x81" + LONGEST + b"x" + bytes(8) + DELETION,
    "a requestid that is not there": b"\x41\x03id",
    "a requestid that is too long": b"\x41\x81" + LONGEST + b"x" + DELETION,
    "a client without an operation": b"\x40\x02me" + bytes(8),
    "a requestid without an operation": b"\x41\x02id",
    "a numbered request of garbage": b"\x40\x02me" + bytes(8) + b"\xff\0\0\0\0",
    "a named request of garbage": b"\x41\x02id" + DELETION[:-1],
    "an identity in an identity": b"\x41\x02id" + b"\x41\x02id" + DELETION,
    "a tag that no identity has": b"\x42\x02id" + DELETION,
}

names = st.binary(max_size=IDENTIFIER_BYTES_MAX)
identities: st.SearchStrategy[Identity | None] = st.one_of(
    st.none(),
    st.builds(Numbered, names, st.integers(0, OPID_MAX)),
    st.builds(Named, names),
)


@pytest.mark.parametrize(("operation", "data"), BYTES.values(), ids=BYTES.keys())
def test_a_request_without_an_identity_is_its_operation(operation: Operation, data: bytes) -> None:
    assert encode_request(operation) == data
    assert decode_request(data) == (operation, None)


@pytest.mark.parametrize(
    ("operation", "identity", "data"), IDENTIFIED.values(), ids=IDENTIFIED.keys()
)
def test_the_bytes_of_a_request_never_change(
    operation: Operation, identity: Identity, data: bytes
) -> None:
    assert encode_request(operation, identity) == data
    assert decode_request(data) == (operation, identity)


@given(operations, identities)
def test_what_is_encoded_decodes_to_itself(operation: Operation, identity: Identity | None) -> None:
    data = encode_request(operation, identity)
    assert decode_request(data) == (operation, identity)
    assert split_request(data) == (identity, encode_operation(operation))


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_no_request(data: bytes) -> None:
    with pytest.raises(CommandError):
        decode_request(data)


@given(st.sampled_from([b"", b"\x40", b"\x41", b"\x40\x02me", b"\x41\x02id"]), st.binary())
def test_garbage_gives_a_request_of_the_same_bytes_or_a_command_error(
    start: bytes, rest: bytes
) -> None:
    data = start + rest
    try:
        operation, identity = decode_request(data)
    except CommandError:
        return
    assert encode_request(operation, identity) == data


@pytest.mark.parametrize(
    "identity",
    [
        Numbered(LONGEST + b"x", 1),
        Numbered(b"me", -1),
        Numbered(b"me", OPID_MAX + 1),
        Named(LONGEST + b"x"),
    ],
    ids=["a long client", "a negative opid", "a great opid", "a long requestid"],
)
def test_an_identity_over_its_bounds_is_a_mistake_of_ours(identity: Identity) -> None:
    with pytest.raises(AssertionError):
        encode_request(Set(b"key", b"value"), identity)

"""Operations as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.errors import CommandError
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    Update,
    decode_operation,
    encode_operation,
)

BYTES = {
    "insert": (Insert(b"key", b"value"), b"\x01\0\0\0\x03keyvalue"),
    "update": (Update(b"key", b""), b"\x02\0\0\0\x03key"),
    "delete": (Delete(b"key"), b"\x03\0\0\0\x03key"),
    "set": (Set(b"", b"value"), b"\x04\0\0\0\x00value"),
    "append": (Append(b"key", b"value"), b"\x05\0\0\0\x03keyvalue"),
    "cas from nothing": (CompareAndSet(b"key", None, b"value"), b"\x06\0\0\0\x03keyvalue"),
    "cas from a value": (
        CompareAndSet(b"key", b"old", b"new"),
        b"\x07\0\0\0\x03key\0\0\0\x03oldnew",
    ),
    "cas from an empty value": (
        CompareAndSet(b"key", b"", b"new"),
        b"\x07\0\0\0\x03key\0\0\0\x00new",
    ),
    "get": (Get(b"key"), b"\x08\0\0\0\x03key"),
    "count": (Count(), b"\x09\0\0\0\x00"),
}

GARBAGE = {
    "nothing": b"",
    "half a header": b"\x04\0\0",
    "a tag that no operation has": b"\x0a\0\0\0\x00",
    "bytes after a read": b"\x08\0\0\0\x03keyx",
    "a count with a key": b"\x09\0\0\0\x03key",
    "bytes after a count": b"\x09\0\0\0\x00x",
    "the tag zero": b"\x00\0\0\0\x00",
    "a key that is not there": b"\x04\0\0\0\x04key",
    "a key of absurd length": b"\x04\xff\xff\xff\xffkey",
    "bytes after a deletion": b"\x03\0\0\0\x03keyx",
    "an expected value without its length": b"\x07\0\0\0\x03key\0\0\0",
    "an expected value that is not there": b"\x07\0\0\0\x03key\0\0\0\x04old",
}

keys = st.binary(max_size=20)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Insert, keys, keys),
    st.builds(Update, keys, keys),
    st.builds(Delete, keys),
    st.builds(Set, keys, keys),
    st.builds(Append, keys, keys),
    st.builds(CompareAndSet, keys, st.none() | keys, keys),
    st.builds(Get, keys),
    st.just(Count()),
)


@pytest.mark.parametrize(("operation", "data"), BYTES.values(), ids=BYTES.keys())
def test_the_bytes_of_an_operation_never_change(operation: Operation, data: bytes) -> None:
    assert encode_operation(operation) == data
    assert decode_operation(data) == operation


@given(operations)
def test_what_is_encoded_decodes_to_itself(operation: Operation) -> None:
    assert decode_operation(encode_operation(operation)) == operation


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_no_operation(data: bytes) -> None:
    with pytest.raises(CommandError):
        decode_operation(data)


@given(st.binary(max_size=40))
def test_garbage_gives_an_operation_of_the_same_bytes_or_a_command_error(data: bytes) -> None:
    try:
        operation = decode_operation(data)
    except CommandError:
        return
    assert encode_operation(operation) == data

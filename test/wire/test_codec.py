"""Every message and record comes back as it was; anything else is a `WireError`."""

from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType, Timestamp, packb

from kvpaxos.errors import WireError
from kvpaxos.paxos.ballot import ROUND_MAX, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Accept, Accepted, Command, Message, Ping, Reply, Request
from kvpaxos.paxos.records import Record
from kvpaxos.wire.codec import MESSAGES as MESSAGE_KINDS
from kvpaxos.wire.codec import RECORDS as RECORD_KINDS
from kvpaxos.wire.codec import decode, decode_record, encode, encode_record
from kvpaxos.wire.table import COUNT_MAX, ITEMS_MAX
from test.wire.strategies import MESSAGES, RECORDS, any_message, any_record, counts, healths

ACCEPTED = 34
"""The tag of `Accepted`: three fields, a ballot, a slot and incarnations."""

NAME = NodeId("n01")


def test_every_class_of_message_has_a_tag_of_its_own() -> None:
    assert [kind.make for kind in MESSAGE_KINDS] == [*get_args(Request), *get_args(Reply)]
    assert len({kind.tag for kind in MESSAGE_KINDS}) == len(get_args(Message)) == len(MESSAGES)


def test_every_class_of_record_has_a_tag_of_its_own() -> None:
    assert {kind.make for kind in RECORD_KINDS} == set(get_args(Record)) == set(RECORDS)
    assert len({kind.tag for kind in RECORD_KINDS}) == len(get_args(Record))


def test_tags_are_never_given_to_another_class() -> None:
    """Journals and peers outlive a release: this list may only grow."""
    assert {kind.tag: kind.make.__name__ for kind in RECORD_KINDS} == {
        1: "Promised",
        2: "Vote",
        3: "DecidedThrough",
        4: "Learned",
        5: "Forming",
        6: "Formed",
        7: "Started",
        8: "Installed",
        9: "Renewed",
        10: "Rejoined",
        11: "Seen",
    }
    assert {kind.tag: kind.make.__name__ for kind in MESSAGE_KINDS} == {
        1: "Prepare",
        2: "Accept",
        3: "Watermark",
        4: "Ping",
        5: "Forward",
        6: "CatchUp",
        7: "AskReadSlot",
        8: "Confirm",
        9: "TakeOver",
        10: "Chosen",
        11: "Rejoin",
        12: "AskState",
        13: "StateDigest",
        14: "Withdraw",
        33: "Promise",
        34: "Accepted",
        35: "Nack",
        36: "Pong",
        37: "Decided",
        38: "ReadSlot",
        39: "Confirmed",
        40: "Report",
        41: "StatePiece",
        42: "NoState",
    }


# The properties stand inside the tests: pytest-twisted wraps a property anew for every
# parameter, and each time around the last wrapping.


@pytest.mark.parametrize("make", MESSAGES, ids=lambda make: str(make.__name__))
def test_a_message_comes_back_as_it_was(make: type[Message]) -> None:
    @given(MESSAGES[make], counts)
    def comes_back(message: Message, group: int) -> None:
        decoded = decode(encode(group, message))
        assert decoded == (group, message)
        assert _classes(decoded[1]) == _classes(message)

    comes_back()


@pytest.mark.parametrize("make", RECORDS, ids=lambda make: str(make.__name__))
def test_a_record_comes_back_as_it_was(make: type[Record]) -> None:
    @given(RECORDS[make], counts)
    def comes_back(record: Record, group: int) -> None:
        decoded = decode_record(encode_record(group, record))
        assert decoded == (group, record)
        assert _classes(decoded[1]) == _classes(record)

    comes_back()


@given(healths, st.integers(-(2**50), 2**50))
def test_an_instant_may_be_a_whole_number(health: Any, instant: int) -> None:
    assert decode(encode(0, Ping(health, instant))) == (0, Ping(health, float(instant)))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    _decodes_or_refuses(data)


@given(any_message, st.data())
def test_a_changed_message_is_another_message_or_refused(message: Message, data: Any) -> None:
    _decodes_or_refuses(data.draw(_mutations(encode(0, message))))


@given(any_record, st.data())
def test_a_changed_record_is_another_record_or_refused(record: Record, data: Any) -> None:
    _decodes_or_refuses(data.draw(_mutations(encode_record(0, record))))


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.builds(ExtType, st.integers(0, 127), st.binary(max_size=4)),
    st.builds(Timestamp, st.integers(0, 2**40)),
)
_trees = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@given(st.sampled_from([kind.tag for kind in (*MESSAGE_KINDS, *RECORD_KINDS)]), st.lists(_trees))
def test_any_fields_under_a_true_tag_are_a_message_or_refused(tag: int, fields: list[Any]) -> None:
    _decodes_or_refuses(packb([0, tag, *fields]))


GARBAGE: dict[str, Any] = {
    "nothing": None,
    "a number": 7,
    "an empty array": [],
    "a group alone": [0],
    "a map": {},
    "an unknown tag": [0, 200, [1, "n"], 1, []],
    "a tag that is a flag": [0, True, [1, "n"], 1, []],
    "a tag that is a float": [0, 34.0, [1, "n"], 1, []],
    "a tag that cannot be hashed": [0, [34], [1, "n"], 1, []],
    "a negative group": [-1, ACCEPTED, [1, "n"], 1, []],
    "a group that is a flag": [True, ACCEPTED, [1, "n"], 1, []],
    "a field too few": [0, ACCEPTED, [1, "n"], 1],
    "a field too many": [0, ACCEPTED, [1, "n"], 1, [], 1],
    "a negative slot": [0, ACCEPTED, [1, "n"], -1, []],
    "a slot that is a flag": [0, ACCEPTED, [1, "n"], True, []],
    "a slot that is a float": [0, ACCEPTED, [1, "n"], 1.0, []],
    "a slot that is text": [0, ACCEPTED, [1, "n"], "1", []],
    "a slot out of reach": [0, ACCEPTED, [1, "n"], COUNT_MAX + 1, []],
    "the largest number there is": [0, ACCEPTED, [1, "n"], 2**64 - 1, []],
    "a negative round": [0, ACCEPTED, [-1, "n"], 1, []],
    "a round that is a flag": [0, ACCEPTED, [True, "n"], 1, []],
    "a round out of reach": [0, ACCEPTED, [ROUND_MAX + 1, "n"], 1, []],
    "a node that is bytes": [0, ACCEPTED, [1, b"n"], 1, []],
    "a node that is a number": [0, ACCEPTED, [1, 1], 1, []],
    "incarnations that are a map": [0, ACCEPTED, [1, "n"], 1, {"n": 2}],
    "an incarnation alone": [0, ACCEPTED, [1, "n"], 1, [2]],
    "an incarnation of nobody": [0, ACCEPTED, [1, "n"], 1, [[2]]],
    "an incarnation that is a flag": [0, ACCEPTED, [1, "n"], 1, [["n", True]]],
    "a negative incarnation": [0, ACCEPTED, [1, "n"], 1, [["n", -1]]],
    "a piece of a state that is text": [0, 41, 1, b"", 1, b"", [["place", "held"]]],
    "a piece of a state without a value": [0, 41, 1, b"", 1, b"", [[b"place"]]],
    "a digest that is text": [0, 41, 1, b"", 1, "", []],
    "a place that is a number": [0, 12, 1, 1],
    "half a ballot": [0, ACCEPTED, [1], 1, []],
    "a ballot and a half": [0, ACCEPTED, [1, "n", 1], 1, []],
    "a ballot that is text": [0, ACCEPTED, "no", 1, []],
    "a time stamp": [0, ACCEPTED, [1, "n"], Timestamp(1), []],
    "an extension": [0, ACCEPTED, [1, "n"], ExtType(5, b""), []],
    "a map for a ballot": [0, ACCEPTED, {1: "n"}, 1, []],
    "a body that is text": [0, 2, [1, "n"], 1, [["n", 1, 1, 0, "body"]], 0],
    "a sequence that is a flag": [0, 2, [1, "n"], 1, [["n", 1, True, 0, b""]], 0],
    "a command too short": [0, 2, [1, "n"], 1, [["n", 1, 1, b""]], 0],
    "a batch that is bytes": [0, 2, [1, "n"], 1, b"", 0],
    "a health that is short": [0, 4, [[1, "n"], True, 1, 1], 0.0],
    "a flag that is a number": [0, 4, [[1, "n"], 1, 1, 1, 1], 0.0],
    "an instant that is a flag": [0, 4, [[1, "n"], True, 1, 1, 1], False],
}


@pytest.mark.parametrize("unpacked", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused(unpacked: Any) -> None:
    with pytest.raises(WireError):
        decode(packb(unpacked))
    with pytest.raises(WireError):
        decode_record(packb(unpacked))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        packb([0, ACCEPTED, [1, "n"], 1, []]) + b"\x00",
        packb([0, ACCEPTED, [1, "n"], 1, []])[:-1],
        b"\x94\x00\x22\x92\x01\xa1\xff\x01",
        b"\x91" * 100_000,
        b"\x91" * 900 + b"\x00",
        b"\xdd\xff\xff\xff\xff" * 50,
        b"\x94\x00\x22\x92\x01\xdb\xff\xff\xff\xff",
        b"\x94\x00\x22\x92\x01\xa1n\xd7\xff" + b"\xff" * 8,
    ],
    ids=[
        "no bytes",
        "the byte that MessagePack never uses",
        "a byte too many",
        "a byte too few",
        "a name that is not UTF-8",
        "too many levels",
        "many levels",
        "arrays that cannot be there",
        "a text that cannot be there",
        "a time stamp out of range",
    ],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)
    with pytest.raises(WireError):
        decode_record(data)


def test_an_error_stays_short_however_long_the_field() -> None:
    with pytest.raises(WireError) as caught:
        decode(packb([0, ACCEPTED, [1, "n" * 1_000_000, 3], 1, []]))
    assert len(str(caught.value)) < 200


def test_a_batch_of_the_most_items_passes_and_one_more_is_refused() -> None:
    command = Command(NAME, 1, 1, 0, b"")
    full = Accept(Ballot(1, NAME), Slot(1), (command,) * ITEMS_MAX, Slot(0))
    assert decode(encode(0, full)) == (0, full)
    over = Accept(full.ballot, full.slot, (command,) * (ITEMS_MAX + 1), full.decided_through)
    with pytest.raises(WireError):
        decode(encode(0, over))


def test_the_greatest_numbers_pass() -> None:
    message = Accepted(Ballot(ROUND_MAX, NAME), Slot(COUNT_MAX))
    assert decode(encode(COUNT_MAX, message)) == (COUNT_MAX, message)


def _decodes_or_refuses(data: bytes) -> None:
    """Whatever ``data`` is, nothing but `WireError` escapes, and what comes out is sound."""
    with suppress(WireError):
        group, message = decode(data)
        assert decode(encode(group, message))[0] == group
    with suppress(WireError):
        group, record = decode_record(data)
        assert decode_record(encode_record(group, record)) == (group, record)


@st.composite
def _mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """Return ``data`` with some bytes replaced, removed or put in."""
    mutated = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(mutated)))
        mutated[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(mutated)


def _classes(value: object) -> Any:
    """Return the class of ``value`` and of all in it.

    A list is equal to no tuple, but a bare tuple is equal to a `Ballot`.
    """
    if isinstance(value, tuple):
        return type(value), [_classes(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return type(value), [_classes(getattr(value, name)) for name in value.__dataclass_fields__]
    return type(value)

"""Greetings come back as they were, and versions that differ say so."""

from contextlib import suppress
from typing import Any, Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import packb, unpackb

from kvpaxos.errors import WireError
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import Form, Standing, Stands
from kvpaxos.paxos.messages import Message
from kvpaxos.paxos.recall import Recall, Recalled, Told
from kvpaxos.wire.codec import MESSAGES, decode, encode
from kvpaxos.wire.greeting import (
    GREETING_BYTES_MAX,
    GREETINGS,
    PROTOCOL_VERSION,
    Frame,
    Greeting,
    Hello,
    Holds,
    Identity,
    Refused,
    VersionError,
    Welcome,
    decode_frame,
    encode_greeting,
)
from test.wire.strategies import any_message, batches, counts, incarnations, names

texts = st.text(max_size=40)
member_lists = st.lists(names, max_size=5).map(tuple)
standings = st.builds(Standing, texts, st.booleans())
identities = st.builds(
    Identity,
    names,
    member_lists,
    texts,
    st.booleans(),
    counts,
    counts,
    texts,
    counts,
    texts,
    texts,
    incarnations,
)

slot_lists = st.lists(counts, max_size=5).map(tuple)

STRATEGIES: Final[dict[type[Greeting], st.SearchStrategy[Greeting]]] = {
    Hello: st.builds(Hello, st.just(PROTOCOL_VERSION), names, identities),
    Welcome: st.builds(Welcome, identities),
    Refused: st.builds(Refused, texts),
    Form: st.builds(Form, texts, member_lists),
    Stands: st.builds(Stands, standings, incarnations),
    Holds: st.builds(Holds, counts, texts),
    Recall: st.builds(Recall, counts, slot_lists),
    Told: st.builds(Told, counts, counts, batches),
    Recalled: st.builds(Recalled, counts, slot_lists, counts),
}

HELLO = Hello(
    PROTOCOL_VERSION,
    NodeId("n02"),
    Identity(NodeId("n01"), (NodeId("n01"),), "", False, 0, 1, "p", 0, "", ""),  # noqa: FBT003
)


def test_every_class_of_frame_has_a_tag_of_its_own() -> None:
    kinds = (*MESSAGES, *GREETINGS)
    assert {kind.make for kind in kinds} == set(get_args(Frame))
    assert {kind.make for kind in GREETINGS} == set(STRATEGIES)
    assert len({kind.tag for kind in kinds}) == len(get_args(Frame))


@pytest.mark.parametrize("make", STRATEGIES, ids=lambda make: str(make.__name__))
def test_a_greeting_comes_back_as_it_was(make: type[Greeting]) -> None:
    @given(STRATEGIES[make])
    def comes_back(greeting: Greeting) -> None:
        decoded = decode_frame(encode_greeting(greeting))
        assert decoded == (0, greeting)
        assert type(decoded[1]) is make

    comes_back()


@given(counts, any_message)
def test_messages_pass_among_greetings(group: int, message: Message) -> None:
    assert decode_frame(encode(group, message)) == (group, message)


@given(st.one_of(*STRATEGIES.values()))
def test_a_greeting_is_no_message(greeting: Greeting) -> None:
    with pytest.raises(WireError):
        decode(encode_greeting(greeting))


@given(st.binary(max_size=100))
def test_random_bytes_are_refused(data: bytes) -> None:
    with suppress(WireError):
        decode_frame(data)


@given(st.data())
def test_changed_fields_are_another_greeting_or_refused(data: st.DataObject) -> None:
    fields: list[Any] = unpackb(encode_greeting(HELLO))
    at = data.draw(st.integers(0, 4))
    leaf = st.one_of(st.none(), st.booleans(), st.integers(-1, 2**64 - 1), st.text(), st.binary())
    if at < 4:
        fields[at] = data.draw(leaf)
    else:
        fields[4][data.draw(st.integers(0, 10))] = data.draw(leaf | st.lists(leaf, max_size=2))
    with suppress(WireError):
        decode_frame(packb(fields))


@pytest.mark.parametrize("rest", [["n02", "anything"], ["n02", ["fields", "of", "later", 7]]])
def test_another_version_is_named_whatever_the_fields_behind_it(rest: list[Any]) -> None:
    data = packb([0, 65, PROTOCOL_VERSION + 1, *rest])
    with pytest.raises(
        VersionError, match=f"version {PROTOCOL_VERSION + 1}, not {PROTOCOL_VERSION}"
    ):
        decode_frame(data)


def test_the_shape_of_a_refusal_never_changes() -> None:
    assert unpackb(encode_greeting(Refused("no"))) == [0, 67, "no"]


def test_a_greeting_of_many_members_fits_its_limit() -> None:
    members = tuple(NodeId(f"a member with a rather long name, {number}") for number in range(99))
    identity = Identity(
        members[0],
        members,
        "c" * 32,
        True,  # noqa: FBT003
        2**40,
        2**40,
        "p" * 32,
        2**60,
        "h" * 64,
        "r" * 100,
        tuple((member, 2**40) for member in members),
    )
    assert len(encode_greeting(Hello(PROTOCOL_VERSION, members[1], identity))) < GREETING_BYTES_MAX

"""The bytes that are on disks: none of them may change without a new format."""

from __future__ import annotations

import pytest

from kvpaxos.errors import StartError, StateDamaged
from kvpaxos.store.digest import record_digest
from kvpaxos.store.entry import Entry, decode_entry, encode_entry
from kvpaxos.store.layout import Layout, applied_key
from kvpaxos.store.limits import GROUP_MAX
from kvpaxos.store.meta import Meta, decode_meta
from kvpaxos.store.results import Outcome, Result, decode_result, encode_result

PLACE = b"place"


def test_an_entry_is_its_history_and_its_value() -> None:
    record = bytes.fromhex("01 0000000000000002 0000000000000005 0000000000000003 0000000000000000")
    entry = Entry(b"value", 2, 5, 3)
    assert encode_entry(entry) == record + b"value"
    assert decode_entry(PLACE, record + b"value") == entry


@pytest.mark.parametrize(
    ("outcome", "number"),
    [("ok", 0), ("exists", 1), ("missing", 2), ("differs", 3), ("too_large", 4), ("invalid", 5)],
)
def test_an_outcome_keeps_its_number(outcome: Outcome, number: int) -> None:
    record = bytes([1, number, 0]) + bytes.fromhex("0000000000000007")
    assert encode_result(Result(outcome, None, 7)) == record
    assert decode_result(PLACE, record) == Result(outcome, None, 7)


@pytest.mark.parametrize("value", [None, b"", b"value"])
def test_an_answer_tells_an_empty_value_from_none(value: bytes | None) -> None:
    result = Result("ok", value, 1)
    assert decode_result(PLACE, encode_result(result)) == result


def test_the_meta_record_is_format_count_revision_and_total() -> None:
    meta = Meta(count=2, revision=5, total=2**127)
    record = bytes.fromhex("01 0000000000000002 0000000000000005 80000000000000000000000000000000")
    assert meta.encode() == record
    assert decode_meta(record) == meta


def test_the_digest_of_a_record_is_blake2b_over_key_and_record() -> None:
    # printf "\\0\\0\\0\\3keyrecord" | b2sum -l 128
    assert record_digest(b"key", b"record") == 0x3B3433F08243CBBE3B4DF4CEB1984BC0
    assert record_digest(b"ke", b"yrecord") != record_digest(b"key", b"record")


@pytest.mark.parametrize(
    "record", [b"", b"\x01", b"\x02" + bytes(40)], ids=["empty", "short", "another format"]
)
def test_what_is_no_record_is_damage(record: bytes) -> None:
    with pytest.raises(StateDamaged, match=PLACE.hex()):
        decode_entry(PLACE, record)
    with pytest.raises(StateDamaged, match=PLACE.hex()):
        decode_result(PLACE, record)


def test_an_outcome_that_nobody_knows_is_damage() -> None:
    with pytest.raises(StateDamaged):
        decode_result(PLACE, bytes([1, 6, 0]) + bytes(8))


def test_a_state_of_another_format_is_left_alone() -> None:
    with pytest.raises(StartError, match="format 2"):
        decode_meta(b"\x02" + bytes(32))


@pytest.mark.parametrize("record", [b"", b"\x01" + bytes(31)], ids=["empty", "short"])
def test_a_meta_record_of_another_size_is_damage(record: bytes) -> None:
    with pytest.raises(StateDamaged):
        decode_meta(record)


def test_keys_begin_with_their_group_and_kind() -> None:
    layout = Layout(258)
    assert layout.meta == b"\0\0\1\2" + b"\x00"
    assert applied_key(258) == b"\0\0\1\2" + b"\x01"
    assert layout.session("n01") == b"\0\0\1\2" + b"\x10" + b"n01"
    assert layout.answer("n01", 3) == b"\0\0\1\2" + b"\x11" + b"n01" + b"\0\0\0\0\0\0\0\3"
    assert layout.user(b"key") == b"\0\0\1\2" + b"\xf0" + b"key"


def test_keys_tell_what_they_are_for() -> None:
    layout = Layout(0)
    assert layout.user_of(layout.user(b"\0\xff")) == b"\0\xff"
    assert layout.node_of(layout.session("n01")) == "n01"
    assert layout.command_of(layout.answer("n01", 2**40)) == ("n01", 2**40)


@pytest.mark.parametrize("group", [0, 1, GROUP_MAX])
def test_ranges_hold_their_own_keys_and_no_others(group: int) -> None:
    layout = Layout(group)
    keys = {
        "meta": layout.meta,
        "applied": applied_key(group),
        "session": layout.session("n\U0010ffff"),
        "answer": layout.answer("n01", 2**64 - 1),
        "user": layout.user(b"\xff" * 9),
    }

    def inside(bounds: tuple[bytes, bytes]) -> set[str]:
        return {name for name, key in keys.items() if bounds[0] <= key < bounds[1]}

    assert inside(layout.sessions) == {"session"}
    assert inside(layout.answers) == {"answer"}
    assert inside(layout.users) == {"user"}
    assert inside(layout.replicated) == {"session", "answer", "user"}


def test_groups_do_not_touch() -> None:
    for one, other in ((0, 1), (255, 256), (GROUP_MAX - 1, GROUP_MAX)):
        assert Layout(one).replicated[1] <= Layout(other).meta

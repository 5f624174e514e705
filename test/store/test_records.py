"""The bytes that are on disks: none of them may change without a new format."""

from __future__ import annotations

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import StartError, StateDamaged
from kvpaxos.store.commands import Set
from kvpaxos.store.digest import record_digest
from kvpaxos.store.entry import Entry, decode_entry, encode_entry
from kvpaxos.store.layout import Layout, applied_key
from kvpaxos.store.limits import GROUP_MAX
from kvpaxos.store.machine import Machine
from kvpaxos.store.meta import Meta, decode_meta
from kvpaxos.store.requests import Numbered, encode_request
from kvpaxos.store.results import Outcome, Result, decode_result, encode_result

PLACE = b"place"


def test_an_entry_is_its_history_and_its_value() -> None:
    record = bytes.fromhex("01 0000000000000002 0000000000000005 0000000000000003 0000000000000000")
    entry = Entry(b"value", 2, 5, 3)
    assert encode_entry(entry) == record + b"value"
    assert decode_entry(PLACE, record + b"value") == entry


@pytest.mark.parametrize(
    ("outcome", "number"),
    [
        ("ok", 0),
        ("exists", 1),
        ("missing", 2),
        ("differs", 3),
        ("too_large", 4),
        ("invalid", 5),
        ("stale", 6),
        ("reused", 7),
    ],
)
def test_an_outcome_keeps_its_number(outcome: Outcome, number: int) -> None:
    record = bytes([1, number, 0]) + bytes.fromhex("0000000000000007")
    assert encode_result(Result(outcome, None, 7)) == record
    assert decode_result(PLACE, record) == Result(outcome, None, 7)


@pytest.mark.parametrize("value", [None, b"", b"value"])
def test_an_answer_tells_an_empty_value_from_none(value: bytes | None) -> None:
    result = Result("ok", value, 1)
    assert decode_result(PLACE, encode_result(result)) == result


def test_a_request_is_remembered_with_its_use_number_fingerprint_and_answer() -> None:
    machine = Machine(MemoryEngine(), 0)
    places = Layout(0).client_sessions
    body = encode_request(Set(b"key", b"value"), Numbered(b"you", 7))
    machine.apply(("n01", 1, 1, 0, body))
    body = encode_request(Set(b"key", b"value"), Numbered(b"me", 2**40))
    machine.apply(("n01", 1, 2, 0, body))
    changes = machine.take_changes()
    # printf "\\4\\0\\0\\0\\3keyvalue" | b2sum -l 128
    fingerprint = bytes.fromhex("339c4a3cf5c5eaf971c1b9c7476a6e82")
    answer = bytes.fromhex("01 00 00 0000000000000002")
    assert changes[places.answer(b"me")] == answer
    digest = record_digest(places.answer(b"me"), answer).to_bytes(16, "big")
    assert changes[places.record(b"me")] == (
        bytes.fromhex("01 0000000000000002 0000010000000000")
        + fingerprint
        + bytes.fromhex("0000000b")
        + digest
    )


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
        decode_result(PLACE, bytes([1, 8, 0]) + bytes(8))


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
    assert layout.client_sessions.record(b"me") == b"\0\0\1\2" + b"\x12" + b"me"
    assert layout.client_sessions.answer(b"me") == b"\0\0\1\2" + b"\x13" + b"me"
    assert layout.request_ids.record(b"id") == b"\0\0\1\2" + b"\x14" + b"id"
    assert layout.request_ids.answer(b"id") == b"\0\0\1\2" + b"\x15" + b"id"
    assert layout.user(b"key") == b"\0\0\1\2" + b"\xf0" + b"key"


def test_keys_tell_what_they_are_for() -> None:
    layout = Layout(0)
    assert layout.user_of(layout.user(b"\0\xff")) == b"\0\xff"
    assert layout.node_of(layout.session("n01")) == "n01"
    assert layout.command_of(layout.answer("n01", 2**40)) == ("n01", 2**40)
    for places in (layout.client_sessions, layout.request_ids):
        assert places.name_of(places.record(b"\0\xff")) == b"\0\xff"


@pytest.mark.parametrize("group", [0, 1, GROUP_MAX])
def test_ranges_hold_their_own_keys_and_no_others(group: int) -> None:
    layout = Layout(group)
    keys = {
        "meta": layout.meta,
        "applied": applied_key(group),
        "session": layout.session("n\U0010ffff"),
        "answer": layout.answer("n01", 2**64 - 1),
        "client": layout.client_sessions.record(b"\xff" * 9),
        "client's answer": layout.client_sessions.answer(b""),
        "request id": layout.request_ids.record(b""),
        "its answer": layout.request_ids.answer(b"\xff" * 9),
        "user": layout.user(b"\xff" * 9),
    }

    def inside(bounds: tuple[bytes, bytes]) -> set[str]:
        return {name for name, key in keys.items() if bounds[0] <= key < bounds[1]}

    assert inside(layout.sessions) == {"session"}
    assert inside(layout.answers) == {"answer"}
    assert inside(layout.client_sessions.records) == {"client"}
    assert inside(layout.request_ids.records) == {"request id"}
    assert inside(layout.users) == {"user"}
    assert inside(layout.replicated) == keys.keys() - {"meta", "applied"}


def test_groups_do_not_touch() -> None:
    for one, other in ((0, 1), (255, 256), (GROUP_MAX - 1, GROUP_MAX)):
        assert Layout(one).replicated[1] <= Layout(other).meta

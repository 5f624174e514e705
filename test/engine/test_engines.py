"""What holds for every engine."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kvpaxos.engine.scanning import CHUNK_BYTES_MAX, CHUNK_RECORDS_MAX
from kvpaxos.errors import StateClosed
from kvpaxos.store.engine import Engine, Snapshot

FIRST = b""
LAST = b"\xff" * 8
MANY = 2 * CHUNK_RECORDS_MAX + 1


def numbered(numbers: Iterable[int], value: bytes = b"v") -> dict[bytes, bytes | None]:
    return {b"%06d" % number: value for number in numbers}


def everything(source: Snapshot) -> dict[bytes, bytes | None]:
    """Return all records, and see to it that they came in order."""
    records = list(source.scan(FIRST, LAST))
    assert [key for key, _ in records] == sorted(key for key, _ in records)
    return dict(records)


def test_a_new_engine_is_empty(engine: Engine) -> None:
    assert engine.get(b"key") is None
    assert everything(engine.snapshot()) == {}


def test_what_is_written_is_there(engine: Engine) -> None:
    engine.write({b"a": b"1", b"b": b"", b"c": b"\0" * 3})
    assert [engine.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"1", b"", b"\0" * 3, None]


def test_none_removes_a_key(engine: Engine) -> None:
    engine.write({b"a": b"1", b"b": b"1"})
    engine.write({b"a": None, b"never": None})
    assert everything(engine.snapshot()) == {b"b": b"1"}


def test_the_last_write_wins(engine: Engine) -> None:
    engine.write({b"a": b"1"})
    engine.write({b"a": None})
    engine.write({b"a": b"2"})
    assert engine.get(b"a") == b"2"


def test_to_write_nothing_is_harmless(engine: Engine) -> None:
    engine.write({})
    assert everything(engine.snapshot()) == {}


def test_a_large_record_is_kept_whole(engine: Engine) -> None:
    record = bytes(range(256)) * 8192
    engine.write({b"large": record})
    assert engine.get(b"large") == record
    assert engine.snapshot().get(b"large") == record


def test_keys_are_in_the_order_of_their_bytes(engine: Engine) -> None:
    keys = [b"\0", b"\0\0", b"a", b"a\0", b"aa", b"a\xff", b"b", b"\x7f", b"\x80", b"\xff"]
    engine.write(dict.fromkeys(reversed(keys), b""))
    assert list(everything(engine.snapshot())) == keys


@pytest.mark.parametrize(
    ("start", "end", "keys"),
    [
        (b"b", b"d", [b"b", b"c"]),
        (b"b", b"d\0", [b"b", b"c", b"d"]),
        (b"b\0", b"z", [b"c", b"d"]),
        (b"b", b"b", []),
        (b"d", b"b", []),
        (b"e", b"z", []),
        (b"", b"a", []),
    ],
)
def test_a_scan_goes_from_start_up_to_end(
    engine: Engine, start: bytes, end: bytes, keys: list[bytes]
) -> None:
    engine.write({b"a": b"1", b"b": b"1", b"c": b"1", b"d": b"1"})
    assert [key for key, _ in engine.snapshot().scan(start, end)] == keys


@pytest.mark.parametrize("number", [CHUNK_RECORDS_MAX - 1, CHUNK_RECORDS_MAX, MANY])
def test_a_scan_of_any_length_is_whole(engine: Engine, number: int) -> None:
    records = numbered(range(number))
    engine.write(records)
    assert everything(engine.snapshot()) == records


def test_a_scan_of_keys_that_are_next_to_each_other_is_whole(engine: Engine) -> None:
    records: dict[bytes, bytes | None] = {b"\0" * length: b"v" for length in range(MANY)}
    engine.write(records)
    assert everything(engine.snapshot()) == records


def test_a_scan_of_large_records_is_whole(engine: Engine) -> None:
    records = numbered(range(5), b"x" * (CHUNK_BYTES_MAX - 100))
    engine.write(records)
    assert everything(engine.snapshot()) == records


def test_scans_of_one_snapshot_do_not_disturb_each_other(engine: Engine) -> None:
    records = numbered(range(MANY))
    engine.write(records)
    snapshot = engine.snapshot()
    scans = [snapshot.scan(FIRST, LAST) for _ in range(3)]
    taken: list[list[bytes]] = [[], [], []]
    for one, other, third in zip(*scans, strict=True):
        for keys, (key, _) in zip(taken, (one, other, third), strict=True):
            keys.append(key)
            assert snapshot.get(b"%06d" % (MANY - 1)) == b"v"
    assert taken == [list(records)] * 3


def test_a_snapshot_shows_one_moment(engine: Engine) -> None:
    before = numbered(range(0, MANY, 2))
    engine.write(before)
    snapshot = engine.snapshot()
    engine.write(numbered(range(1, MANY, 2), b"added"))
    engine.write(numbered(range(0, MANY, 4), b"changed"))
    engine.write(dict.fromkeys(numbered(range(0, MANY, 6))))
    engine.flush()
    assert everything(snapshot) == before
    assert snapshot.get(b"000000") == b"v"
    assert snapshot.get(b"000001") is None
    assert snapshot.get(b"nothing") is None
    assert everything(engine.snapshot()) != before


def test_a_snapshot_stays_as_it_is_while_it_is_read(engine: Engine) -> None:
    before = numbered(range(0, MANY, 2))
    engine.write(before)
    snapshot = engine.snapshot()
    seen: dict[bytes, bytes | None] = {}
    for turn, (key, record) in enumerate(snapshot.scan(FIRST, LAST)):
        seen[key] = record
        here = int(key)
        # Remove the next one, change the one after that, add one before and one behind.
        engine.write({b"%06d" % (here + 2): None, b"%06d" % (here + 4): b"changed"})
        engine.write(numbered([here - 1, here + 1, MANY + turn], b"added"))
    assert seen == before


def test_each_snapshot_shows_its_own_moment(engine: Engine) -> None:
    snapshots = []
    for number in range(5):
        engine.write({b"key": b"%d" % number})
        snapshots.append(engine.snapshot())
    engine.write({b"key": None})
    snapshots.pop(1).close()
    assert [snapshot.get(b"key") for snapshot in snapshots] == [b"0", b"2", b"3", b"4"]


def test_a_closed_snapshot_shows_nothing(engine: Engine) -> None:
    engine.write(numbered(range(MANY)))
    snapshot = engine.snapshot()
    scan = snapshot.scan(FIRST, LAST)
    next(scan)
    snapshot.close()
    snapshot.close()
    with pytest.raises(StateClosed):
        snapshot.get(b"000000")
    with pytest.raises(StateClosed):
        list(snapshot.scan(FIRST, LAST))
    with pytest.raises(StateClosed):
        list(scan)


def test_a_closed_engine_does_nothing(engine: Engine) -> None:
    engine.write({b"a": b"1"})
    snapshot = engine.snapshot()
    engine.close()
    engine.close()
    with pytest.raises(StateClosed):
        engine.get(b"a")
    with pytest.raises(StateClosed):
        engine.write({b"a": b"2"})
    with pytest.raises(StateClosed):
        engine.snapshot()
    with pytest.raises(StateClosed):
        engine.flush()
    assert set(engine.sizes().values()) == {0}
    with pytest.raises(StateClosed):
        snapshot.get(b"a")


def test_sizes_follow_what_is_written(engine: Engine) -> None:
    empty = engine.sizes()
    engine.write({b"key": b"x" * 100_000})
    full = engine.sizes()
    assert full.keys() == {"unflushed_bytes", "memory_bytes", "file_bytes"}
    assert full["memory_bytes"] >= empty["memory_bytes"] + 100_000

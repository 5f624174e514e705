"""What holds for the engine in memory alone."""

from __future__ import annotations

from kvpaxos.engine.memory import MemoryEngine


def test_the_size_is_that_of_keys_and_values() -> None:
    engine = MemoryEngine()
    engine.write({b"a": b"123", b"bb": b""})
    assert engine.sizes() == {"unflushed_bytes": 0, "memory_bytes": 6, "file_bytes": 0}
    engine.write({b"a": b"1", b"bb": None, b"never": None})
    assert engine.sizes()["memory_bytes"] == 2


def test_a_snapshot_costs_what_changed_since_and_nothing_once_closed() -> None:
    engine = MemoryEngine()
    engine.write({b"%d" % number: b"" for number in range(1000)})
    snapshot = engine.snapshot()
    assert len(snapshot._before) == 0
    for _ in range(3):
        engine.write({b"1": b"x", b"new": b"x"})
    assert dict(snapshot._before) == {b"1": b"", b"new": None}
    snapshot.close()
    engine.write({b"2": b"x"})
    assert len(snapshot._before) == 0

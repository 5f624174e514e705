"""An overlay is as an engine would be that was written to, and leaves its base as it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.overlay import Overlay
from kvpaxos.store.engine import Engine

KEYS = st.binary(max_size=2)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=20)


@given(CHANGES, CHANGES, CHANGES, KEYS, KEYS)
def test_it_holds_what_an_engine_would(
    first: dict[bytes, bytes | None],
    second: dict[bytes, bytes | None],
    third: dict[bytes, bytes | None],
    start: bytes,
    end: bytes,
) -> None:
    base, model = MemoryEngine(), MemoryEngine()
    base.write(first)
    model.write(first)
    untouched = list(base.snapshot().scan(b"", b"\xff" * 3))
    overlay = Overlay(base)
    both: tuple[Engine, ...] = (overlay, model)
    for engine in both:
        engine.write(second)
    moment, expected = overlay.snapshot(), model.snapshot()
    for engine in both:
        engine.write(third)
    for seen, meant in ((moment, expected), (overlay.snapshot(), model.snapshot())):
        assert list(seen.scan(start, end)) == list(meant.scan(start, end))
        assert list(seen.scan(b"", b"\xff" * 3)) == list(meant.scan(b"", b"\xff" * 3))
    for key in {*first, *second, *third}:
        assert overlay.get(key) == model.get(key)
        assert moment.get(key) == expected.get(key)
    assert list(base.snapshot().scan(b"", b"\xff" * 3)) == untouched

"""Both engines, for tests that hold for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.store.engine import Engine


@pytest.fixture(params=["memory", "rocks"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    in_memory = request.param == "memory"
    engine = MemoryEngine() if in_memory else RocksEngine(tmp_path / "state")
    yield engine
    engine.close()

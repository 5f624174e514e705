"""What tests of code that logs hold to: no error goes into the log unseen.

A ``conftest.py`` that imports `logged` holds every test of its folder to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogLevel, globalLogPublisher
from zope.interface import provider


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Collect what is logged as an error; a test that expects some must clear the list."""
    events: list[Any] = []

    @provider(ILogObserver)
    def observe(event: Any) -> None:
        if event.get("isError") or event.get("log_level") in {LogLevel.error, LogLevel.critical}:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
    assert events == []

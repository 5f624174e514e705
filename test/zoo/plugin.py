"""Plants a bug while tests run: ``pytest -p test.zoo.plugin --plant NAME``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from test.zoo.catalogue import BUGS


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the name of a bug."""
    parser.addoption("--plant", choices=sorted(BUGS), help="plant this bug in the running code")


@pytest.fixture(autouse=True)
def planted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the running code be wrong while a test runs."""
    name = request.config.getoption("--plant")
    if name is None:
        yield
        return
    with BUGS[name].planted():
        yield

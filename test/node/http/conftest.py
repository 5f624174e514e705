"""What every test of the HTTP face holds to: no error goes into the log unseen."""

from __future__ import annotations

import pytest

from test.logged import logged
from test.node.http.harness import Node

__all__ = ["logged", "node"]


@pytest.fixture
def node() -> Node:
    """Return a node whose key ``taken`` holds ``old``."""
    node = Node()
    node.ask("POST", "/kv/insert", b"key=taken&value=old")
    return node

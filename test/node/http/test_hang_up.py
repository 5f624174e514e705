"""A client that hangs up ends its wish to know, and not what it asked for."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kvpaxos.errors import OutcomeUnknown
from kvpaxos.node.http.routes import shielded
from test.node.http.harness import Node

WRITES = [
    "/kv/insert?key=a&value=b",
    "/kv/update?key=a&value=b",
    "/kv/delete?key=a",
    "/kv/set?key=a&value=b",
    "/kv/cas?key=a&value=b",
    "/kv/append?key=a&value=b",
]


@pytest.mark.parametrize("target", WRITES)
@pytest.mark.parametrize("ending", ["well", "badly"])
def test_a_write_goes_on_when_its_client_hangs_up(target: str, ending: str) -> None:
    node = Node()
    node.store.held = True
    client = node.connect()
    client.begin("POST", target)
    client.wire.hang_up()
    node.turn(3)
    assert node.store.canceled == []

    if ending == "well":
        node.store.carry_out()
    else:
        node.store.writes[0][2].errback(Failure(OutcomeUnknown("too late")))
    # An error that nobody took would be logged when its Deferred goes.
    node.store.writes.clear()
    gc.collect()

    assert client.silent


def test_a_read_ends_when_its_client_hangs_up() -> None:
    node = Node()
    node.store.held = True
    client = node.connect()
    client.begin("GET", "/kv/get?key=a")
    client.wire.hang_up()
    node.turn(3)

    assert node.store.canceled == [node.store.reads[0][2]]
    node.store.reads.clear()
    gc.collect()


def test_a_body_that_is_cut_off_asks_nothing(node: Node) -> None:
    client = node.connect()
    client.send(b"POST /kv/set HTTP/1.1\r\nContent-Length: 14\r\n\r\nkey=a&value=")
    client.wire.hang_up()
    node.turn(3)

    assert len(node.store.writes) == 1


def test_a_shield_passes_results_and_errors_on() -> None:
    inner: Deferred[int] = Deferred()
    seen: list[Any] = []
    shielded(inner).addBoth(seen.append)
    inner.callback(7)
    assert seen == [7]

    inner = Deferred()
    shielded(inner).addErrback(lambda failure: seen.append(failure.type))
    inner.errback(Failure(OutcomeUnknown("too late")))
    assert seen == [7, OutcomeUnknown]


def test_a_shield_that_is_canceled_leaves_the_inner_one_alone() -> None:
    canceled: list[object] = []
    inner: Deferred[int] = Deferred(canceled.append)
    seen: list[Any] = []
    outer = shielded(inner)
    outer.addErrback(lambda failure: seen.append(failure.type))
    outer.cancel()
    inner.callback(7)

    assert (canceled, seen) == ([], [CancelledError])

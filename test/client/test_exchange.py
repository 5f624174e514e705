"""What becomes of one request in a network: was it sent, was it answered, what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web._newclient import RequestNotSent
from twisted.web.client import ResponseFailed
from twisted.web.error import SchemeNotSupported

from kvpaxos.client.exchange import Exchange
from kvpaxos.client.replies import Reply
from kvpaxos.client.requests import Sent
from kvpaxos.client.retrying import Trouble
from kvpaxos.errors import Applied

GET = Sent("GET", "/kv/get?key=k", None)


class Net:
    """What sends requests; each ends as the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.canceled: list[Deferred[Any]] = []
        self.sent: list[tuple[Any, ...]] = []
        self.request_: Deferred[Any] = Deferred(self.canceled.append)

    def request(self, *arguments: Any, **options: Any) -> Deferred[Any]:
        self.sent.append((*arguments, options))
        return self.request_

    def ask(self, wait_s: float = 5.0) -> list[Reply | Trouble | Failure]:
        """Ask a node, and return a list that the outcome will be in."""
        exchange = Exchange(self, self.clock, answer_bytes_max=100)
        came: list[Reply | Trouble | Failure] = []
        self.asking = Deferred.fromCoroutine(exchange.ask("http://a", GET, wait_s))
        self.asking.addBoth(came.append)
        return came


BREAKS: list[tuple[Exception, Applied, str]] = [
    (error.ConnectionRefusedError(), "no", "it refuses connections"),
    (error.TimeoutError(), "no", "no connection within 2 s"),
    (error.NoRouteError("no route"), "no", "it cannot be reached (N"),
    (error.DNSLookupError("no such host"), "no", "it cannot be reached (DNS lookup failed: no"),
    (RequestNotSent(), "no", "it broke the connection off"),
    (error.ConnectionLost(), "unknown", "it broke the connection off"),
    (error.ConnectionDone(), "unknown", "it broke the connection off"),
    (ResponseFailed([Failure(error.ConnectionLost())]), "unknown", "it broke the connection off"),
]


@pytest.mark.parametrize(
    ("broken", "applied", "why"), BREAKS, ids=lambda value: type(value).__name__
)
def test_a_request_that_breaks_may_have_been_carried_out_unless_it_was_never_sent(
    broken: Exception, applied: Applied, why: str
) -> None:
    net = Net()
    came = net.ask()
    net.request_.errback(broken)
    (trouble,) = came
    assert isinstance(trouble, Trouble)
    assert trouble.applied == applied
    assert trouble.why.startswith(why)
    assert net.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("ending", "applied"),
    [
        (CancelledError(), "unknown"),
        (ResponseFailed([Failure(CancelledError())]), "unknown"),
        (error.ConnectingCancelledError(None), "no"),
    ],
)
def test_a_request_that_is_not_answered_in_time_is_broken_off(
    ending: Exception, applied: Applied
) -> None:
    net = Net()
    net.request_ = Deferred(lambda request: request.errback(ending))
    came = net.ask(wait_s=2.5)
    net.clock.advance(2.4)
    assert came == []
    net.clock.advance(0.1)
    assert came == [Trouble("no answer within 2.5 s", applied, silent=True)]


@pytest.mark.parametrize(
    "ending",
    [
        CancelledError(),
        ResponseFailed([Failure(CancelledError())]),
        error.ConnectingCancelledError(None),
    ],
)
def test_a_caller_who_is_canceled_is_told_that_and_not_of_trouble(ending: Exception) -> None:
    net = Net()
    net.request_ = Deferred(lambda request: request.errback(ending))
    came = net.ask()
    net.asking.cancel()
    (failure,) = came
    assert isinstance(failure, Failure)
    assert failure.check(CancelledError)
    assert net.clock.getDelayedCalls() == []


def test_a_mistake_of_ours_is_no_trouble_of_a_node() -> None:
    net = Net()
    came = net.ask()
    net.request_.errback(SchemeNotSupported("gopher"))
    (failure,) = came
    assert isinstance(failure, Failure)
    assert failure.check(SchemeNotSupported)


def test_redirects_are_not_followed_and_no_reactor_but_the_given_one_is_used() -> None:
    net = Net()
    net.ask()
    ((method, url, options),) = net.sent
    assert (method, url) == ("GET", "http://a/kv/get?key=k")
    assert options == {"allow_redirects": False, "unbuffered": True, "reactor": net.clock}

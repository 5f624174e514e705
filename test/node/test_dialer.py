"""The dialer: when it tries again, on a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from kvpaxos.node.connection import Connection, LinkError
from kvpaxos.node.dialer import CONNECT_S_MAX, RETRY_S_MAX, RETRY_S_MIN, Dialer, retry_delay_s


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Keeps the attempts that are made, for the test to decide them."""

    def __init__(self) -> None:
        self.attempts: list[Deferred[IProtocol]] = []
        self.error: Exception | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        if self.error is not None:
            raise self.error
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def refuse(self) -> None:
        self.attempts[-1].errback(Failure(Refused()))


class FakeConnection:
    """A connection whose fate the test decides."""

    def __init__(self) -> None:
        self.ready: Deferred[LinkError | None] = Deferred()
        self.ended: Deferred[LinkError] = Deferred()

    def close(self, error: LinkError) -> None:
        self.ended.callback(error)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def failures() -> list[LinkError]:
    return []


@pytest.fixture
def broken() -> list[Failure]:
    return []


@pytest.fixture
def dialer(
    endpoint: Endpoint, clock: Clock, failures: list[LinkError], broken: list[Failure]
) -> Iterator[Dialer]:
    def make() -> Connection:
        raise AssertionError("nothing connects here")

    dialer = Dialer(
        endpoint,
        make,
        clock=clock,
        random=Random(0),
        failed=failures.append,
        broken=broken.append,
    )
    dialer.startService()
    yield dialer
    assert broken == []


def test_delays_grow_from_the_least_to_the_greatest() -> None:
    random = Random(0)
    assert all(RETRY_S_MIN / 2 <= retry_delay_s(0, random) <= RETRY_S_MIN for _ in range(100))
    assert all(RETRY_S_MAX / 2 <= retry_delay_s(11, random) <= RETRY_S_MAX for _ in range(100))
    assert RETRY_S_MAX / 2 <= retry_delay_s(10**9, random) <= RETRY_S_MAX
    assert len({retry_delay_s(0, random) for _ in range(100)}) == 100


@pytest.mark.usefixtures("dialer")
def test_a_failed_attempt_is_followed_by_others_ever_more_slowly(
    endpoint: Endpoint, clock: Clock, failures: list[LinkError]
) -> None:
    for attempt in range(30):
        endpoint.refuse()
        assert len(endpoint.attempts) == attempt + 1
        clock.advance(min(RETRY_S_MIN * 1.5**attempt, RETRY_S_MAX) / 2.01)
        assert len(endpoint.attempts) == attempt + 1
        clock.advance(RETRY_S_MAX)
        assert len(endpoint.attempts) == attempt + 2
    assert {failure.kind for failure in failures} == {"unreachable"}
    assert len(failures) == 30


@pytest.mark.usefixtures("dialer")
def test_after_a_good_connection_the_next_attempt_is_soon(endpoint: Endpoint, clock: Clock) -> None:
    for _ in range(20):
        endpoint.refuse()
        clock.advance(RETRY_S_MAX)
    connection = FakeConnection()
    endpoint.attempts[-1].callback(connection)  # type: ignore[arg-type]
    connection.ready.callback(None)
    assert len(endpoint.attempts) == 21
    connection.ended.callback(LinkError("lost", "gone"))
    clock.advance(RETRY_S_MIN)
    assert len(endpoint.attempts) == 22


@pytest.mark.usefixtures("dialer")
def test_a_connection_without_greetings_counts_as_a_failure(
    endpoint: Endpoint, clock: Clock, failures: list[LinkError]
) -> None:
    for _ in range(20):
        connection = FakeConnection()
        endpoint.attempts[-1].callback(connection)  # type: ignore[arg-type]
        connection.ready.callback(LinkError("refused", "no"))
        clock.advance(RETRY_S_MAX)
    assert [failure.kind for failure in failures] == ["refused"] * 20
    connection = FakeConnection()
    endpoint.attempts[-1].callback(connection)  # type: ignore[arg-type]
    connection.ready.callback(LinkError("refused", "no"))
    clock.advance(RETRY_S_MAX / 2.01)
    assert len(endpoint.attempts) == 21


@pytest.mark.usefixtures("dialer")
def test_an_attempt_that_comes_to_nothing_is_given_up(
    endpoint: Endpoint, clock: Clock, failures: list[LinkError]
) -> None:
    clock.advance(CONNECT_S_MAX)
    assert [str(failure) for failure in failures] == ["cannot be reached: no answer within 2 s"]
    clock.advance(RETRY_S_MIN)
    assert len(endpoint.attempts) == 2


@pytest.mark.usefixtures("dialer")
def test_an_endpoint_may_fail_in_any_way(
    endpoint: Endpoint, clock: Clock, failures: list[LinkError]
) -> None:
    endpoint.error = ValueError("no such family")
    endpoint.refuse()
    clock.advance(RETRY_S_MAX)
    assert str(failures[-1]) == "cannot be reached: no such family"
    endpoint.error = None
    clock.advance(RETRY_S_MAX)
    assert len(endpoint.attempts) == 2


def test_an_error_that_was_not_foreseen_is_told_and_not_only_logged(
    dialer: Dialer, endpoint: Endpoint, broken: list[Failure]
) -> None:
    """Otherwise a node would serve on that never again dials one of the others."""
    connection = FakeConnection()
    endpoint.attempts[-1].callback(connection)  # type: ignore[arg-type]
    connection.ready.errback(Failure(AssertionError("a bug")))
    assert broken.pop().getErrorMessage() == "a bug"
    stopping = dialer.stopService()
    assert stopping is not None
    assert stopping.called


def test_hurry_makes_the_next_attempt_at_once(dialer: Dialer, endpoint: Endpoint) -> None:
    endpoint.refuse()
    dialer.hurry()
    assert len(endpoint.attempts) == 2
    dialer.hurry()
    assert len(endpoint.attempts) == 2


@pytest.mark.parametrize("state", ["connecting", "resting", "connected"])
def test_it_stops_whatever_it_is_about(
    state: str, dialer: Dialer, endpoint: Endpoint, clock: Clock, failures: list[LinkError]
) -> None:
    if state == "resting":
        endpoint.refuse()
    if state == "connected":
        connection = FakeConnection()
        endpoint.attempts[-1].callback(connection)  # type: ignore[arg-type]
        connection.ready.callback(None)
    failures.clear()
    stopped = dialer.stopService()
    assert stopped is not None
    assert stopped.called
    assert clock.getDelayedCalls() == []
    assert len(endpoint.attempts) == 1
    assert failures == []

"""How nodes are dialed."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from kvpaxos.client.connecting import endpoint_of, treq_of
from kvpaxos.client.exchange import CONNECT_S_MAX


@implementer(IReactorTime)
class Reactor(MemoryReactorClock):
    """Dials nobody, and says whom it was to dial."""

    @property
    def dialed(self) -> tuple[str, int, float]:
        """Whom it was to dial at last, at which port, and for how many seconds."""
        host, port, _, timeout_s, _ = self.tcpClients[-1]
        return host, port, timeout_s

    def refuse(self) -> None:
        """Say that nobody listens there."""
        factory = cast(Any, self.tcpClients[-1][2])
        factory.clientConnectionFailed(cast(Any, self.connectors[-1]), Failure(Refused()))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_that_an_address_refuses_is_known_at_once(address: str) -> None:
    reactor = Reactor()
    failures: list[Failure] = []
    endpoint_of(reactor, address, 8801).connect(Factory()).addErrback(failures.append)
    assert reactor.dialed == (address, 8801, CONNECT_S_MAX)
    reactor.refuse()
    (failure,) = failures
    assert failure.check(Refused)
    assert reactor.getDelayedCalls() == []


def test_a_name_is_looked_up() -> None:
    assert isinstance(endpoint_of(Reactor(), "n01.example", 8801), HostnameEndpoint)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_what_treq_sends_goes_the_same_way(host: str) -> None:
    reactor = Reactor()
    failures: list[Failure] = []
    asked: Deferred[Any] = treq_of(reactor, None).request(
        "GET", f"http://{host}:8801/kvman/status", reactor=cast(Any, reactor)
    )
    asked.addErrback(failures.append)
    assert reactor.dialed == (host.strip("[]"), 8801, CONNECT_S_MAX)
    reactor.refuse()
    (failure,) = failures
    assert failure.check(Refused)
    assert reactor.getDelayedCalls() == []


def test_https_is_spoken_where_an_address_says_so() -> None:
    reactor = Reactor()
    asked: Deferred[Any] = treq_of(reactor, None).request(
        "GET", "https://127.0.0.1/kvman/status", reactor=cast(Any, reactor)
    )
    assert not asked.called
    assert reactor.dialed == ("127.0.0.1", 443, CONNECT_S_MAX)
    asked.addErrback(lambda failure: failure.trap(Refused))
    reactor.refuse()
    assert asked.called

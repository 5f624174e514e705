"""Endpoint strings: what is read of them, and what Twisted makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.testing import MemoryReactor

from kvpaxos.config.endpoints import (
    EndpointError,
    Other,
    Tcp,
    Unix,
    dial,
    dialed_host,
    endpoint,
    tcp,
    unix,
)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("tcp:7701:interface=127.0.0.1", Tcp("127.0.0.1", 7701)),
        ("tcp:7701:127.0.0.1:50", Tcp("127.0.0.1", 7701)),
        ("tcp:port=7701", Tcp("", 7701)),
        ("tcp:7701:interface=0.0.0.0", Tcp("", 7701)),
        (r"tcp:7701:interface=\:\:", Tcp("", 7701)),
        (r"tcp:7701:interface=0\:\:1", Tcp("::1", 7701)),
        ("tcp:7701:interface=LocalHost", Tcp("localhost", 7701)),
        ("unix:run/n01.sock:mode=600", Unix("run/n01.sock")),
        (r"unix:address=a\:b\=c", Unix("a:b=c")),
        ("tls:7701:certKey=x", Other("tls")),
    ],
)
def test_an_endpoint_is_read(text: str, parsed: Tcp | Unix | Other) -> None:
    assert endpoint(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tcp",
        "tcp:",
        "tcp:0",
        "tcp:65536",
        "tcp:-1",
        "tcp:٣",
        "tcp:7701:interface=127.0.0.300",
        "tcp:7701:interface=-bad",
        "tcp:7701:interfice=127.0.0.1",
        "tcp:7701:port=7702",
        "tcp:7701:a:5:6",
        "unix:",
        "unix:" + "a" * 108,
        "unix:mode=600",
        "7701",
        "127.0.0.1:7701",
        " tcp:7701",
        "tcp:7701\n",
        "a=b:c",
    ],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(EndpointError):
        endpoint(text)


HOSTS = st.ip_addresses().map(str).filter(lambda host: host not in {"0.0.0.0", "::"})  # noqa: S104
PATHS = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1)


@given(HOSTS, st.integers(1, 65535))
def test_twisted_listens_and_dials_where_a_tcp_string_says(host: str, port: int) -> None:
    text = tcp(host, port)
    assert endpoint(text) == Tcp(host, port)
    reached = dial(text)
    assert reached is not None
    assert dialed_host(reached) == host

    server = serverFromString(MemoryReactor(), text)
    assert (server._interface, server._port) == (host, port)
    client = clientFromString(MemoryReactor(), reached)
    assert (client._host, client._port) == (host, port)


@given(PATHS)
def test_twisted_listens_and_dials_where_a_unix_string_says(path: str) -> None:
    text = unix(path)
    assert endpoint(text) == Unix(path)
    reached = dial(text)
    assert reached is not None
    assert dialed_host(reached) is None

    assert serverFromString(MemoryReactor(), text)._address == path
    assert clientFromString(MemoryReactor(), reached)._path == path


@pytest.mark.parametrize("text", ["tcp:7701", "tcp:7701:interface=0.0.0.0", "tls:7701"])
def test_an_endpoint_that_does_not_say_where_it_is_cannot_be_dialed(text: str) -> None:
    assert dial(text) is None


@given(st.text(max_size=40))
def test_garbage_gives_an_endpoint_error_and_nothing_else(text: str) -> None:
    try:
        endpoint(text)
    except EndpointError as error:
        assert str(error)  # noqa: PT017 -- either outcome is right

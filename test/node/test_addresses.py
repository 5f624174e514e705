"""Endpoints out of strings, and what is left of sockets after a kill -9."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory

from kvpaxos.errors import ConfigError, StartError
from kvpaxos.node.addresses import dialing_endpoint, listening_endpoint, remove_stale_socket
from test.node.members import REACTOR


@pytest.fixture
def path(tmp_path_factory: Any) -> str:
    return str(tmp_path_factory.mktemp("s") / "socket")


@pytest.fixture
def listening(path: str) -> Iterator[socket.socket]:
    """Listen on a socket that, once closed, leaves its file behind."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        yield server


def test_a_socket_that_nobody_listens_on_is_removed(path: str, listening: socket.socket) -> None:
    listening.close()
    assert os.path.exists(path)  # noqa: PTH110
    remove_stale_socket(path)
    assert not os.path.exists(path)  # noqa: PTH110


@pytest.mark.usefixtures("listening")
def test_a_socket_that_is_listened_on_stays(path: str) -> None:
    for _ in range(5):
        with pytest.raises(StartError, match="another process listens on"):
            remove_stale_socket(path)
    assert os.path.exists(path)  # noqa: PTH110


def test_no_socket_is_no_trouble(path: str) -> None:
    remove_stale_socket(path)


def test_another_kind_of_file_is_left_alone(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(StartError, match="is in the way of a socket"):
        remove_stale_socket(path)
    assert Path(path).read_text() == "precious"


@pytest_twisted.ensureDeferred
async def test_an_endpoint_listens_where_a_killed_process_did(
    path: str, listening: socket.socket
) -> None:
    listening.close()
    port = await listening_endpoint(REACTOR, f"unix:{path}").listen(Factory())
    await maybeDeferred(port.stopListening)
    assert os.listdir(os.path.dirname(path)) == []  # noqa: PTH120, PTH208


@pytest.mark.usefixtures("listening")
@pytest_twisted.ensureDeferred
async def test_an_endpoint_does_not_listen_where_a_process_does(path: str) -> None:
    with pytest.raises(StartError, match="another process listens on"):
        await listening_endpoint(REACTOR, f"unix:{path}").listen(Factory())


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ("unix:" + "x" * 108, "a UNIX socket's can have 107"),
        ("nonsense", "is an endpoint which is no endpoint such as"),
        ("tcp:99999", "no number from 1 to 65535"),
        ("unknown:1", "no endpoint to listen on"),
    ],
)
def test_a_wrong_listener_is_refused_with_a_sentence(description: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        listening_endpoint(REACTOR, description)


@pytest.mark.parametrize("description", ["nonsense", "tcp:", "tcp:host=a:port=b"])
def test_a_wrong_peer_is_refused_with_a_sentence(description: str) -> None:
    with pytest.raises(ConfigError, match="no endpoint to dial"):
        dialing_endpoint(REACTOR, description)

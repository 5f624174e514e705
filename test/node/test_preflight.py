"""What is tried before a node starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from kvpaxos.config.cluster import NodeConfig, default_cluster
from kvpaxos.errors import StartError
from kvpaxos.node import preflight


@pytest.fixture
def node(tmp_path: Path) -> NodeConfig:
    return replace(
        default_cluster().node("n01"),
        http=f"unix:{tmp_path}/http.sock",
        peer=f"unix:{tmp_path}/peer.sock",
        data=str(tmp_path / "data"),
    )


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening


def refused(node: NodeConfig) -> str:
    with pytest.raises(StartError) as caught:
        preflight.check_places(node)
    return str(caught.value)


def test_free_places_stay_free(node: NodeConfig, listener: socket.socket, tmp_path: Path) -> None:
    port = listener.getsockname()[1]
    listener.close()
    node = replace(node, http=f"tcp:{port}:interface=127.0.0.1")
    preflight.check_places(node)
    preflight.check_places(node)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_another_process_serves(node: NodeConfig, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    told = refused(replace(node, peer=f"tcp:{port}:interface=127.0.0.1"))
    assert told == (
        f"n01 cannot serve peer: port {port} of 127.0.0.1 is taken by another process;"
        " stop that one, or choose another port."
    )
    told = refused(replace(node, peer=f"tcp:{port}"))
    assert told.startswith(f"n01 cannot serve peer: port {port} of every address is taken by")


def test_an_address_that_is_not_ours(node: NodeConfig) -> None:
    # 192.0.2.0/24 is kept free for documents: no machine has it.
    told = refused(replace(node, http="tcp:8801:interface=192.0.2.1"))
    assert told == (
        "n01 cannot serve http: 192.0.2.1 is not an address of this machine;"
        " correct it in the settings."
    )


def test_a_host_name_that_does_not_exist(node: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    told = refused(replace(node, http="tcp:8801:interface=no-such-host.invalid"))
    assert told == (
        "n01 cannot serve http: the host name no-such-host.invalid is unknown here;"
        " correct it in the settings."
    )


def test_a_socket_at_which_somebody_answers(node: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "peer.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        told = refused(node)
    assert told == (
        f"n01 cannot serve peer: another process listens on {path} already: stop it, or give"
        " this node another path."
    )
    # What a process that was killed leaves behind is in nobody's way.
    assert path.is_socket()
    preflight.check_places(node)


def test_a_file_where_the_socket_should_be(node: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    path.write_text("mine")
    assert refused(node).endswith(
        f"{path} is in the way of a socket, and is none: move it elsewhere."
    )


def test_a_socket_whose_callers_queue_up(node: NodeConfig, tmp_path: Path) -> None:
    """Nobody takes them, as while a process replays its journal: it is alive all the same."""
    path = tmp_path / "peer.sock"
    with socket.socket(socket.AF_UNIX) as other, ExitStack() as callers:
        other.bind(str(path))
        other.listen(0)
        for _ in range(3):
            caller = callers.enter_context(socket.socket(socket.AF_UNIX))
            caller.settimeout(0)
            with suppress(BlockingIOError):
                caller.connect(str(path))
        assert "another process listens on" in refused(node)


def test_a_socket_in_a_directory_that_is_missing(node: NodeConfig, tmp_path: Path) -> None:
    told = refused(replace(node, peer=f"unix:{tmp_path}/run/peer.sock"))
    assert told.endswith(f"there is no directory {tmp_path}/run; make it first.")


def test_a_data_directory_is_not_made_before_its_time(node: NodeConfig, tmp_path: Path) -> None:
    preflight.check_directory(node)
    (tmp_path / "data").mkdir()
    preflight.check_directory(node)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_data_directory_below_a_file(node: NodeConfig, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    deep = replace(node, data=str(tmp_path / "data" / "n01"))
    with pytest.raises(StartError) as caught:
        preflight.check_directory(deep)
    assert str(caught.value) == (
        f"n01 cannot keep its data in {deep.data}: {tmp_path / 'data'} is a file;"
        " choose another directory."
    )


def test_a_data_directory_that_cannot_be_written(
    node: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The superuser may write everywhere, so the question itself is answered here.
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    with pytest.raises(StartError, match="cannot be written by this user"):
        preflight.check_directory(node)


def test_a_data_directory_whose_name_is_too_long(node: NodeConfig) -> None:
    with pytest.raises(StartError, match="File name too long"):
        preflight.check_directory(replace(node, data="/tmp/" + "d" * 300))  # noqa: S108

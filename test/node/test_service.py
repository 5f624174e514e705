"""A node inside an application: what a start that fails leaves behind, which is nothing."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from kvpaxos.errors import ConfigError, KvPaxosError, StartError
from kvpaxos.node.member import Member
from kvpaxos.node.service import Options, makeService
from test.node.members import soon
from test.processes.cluster import Node as Client
from test.processes.cluster import free_ports


class Application:
    """Whoever embeds a node: it keeps one directory, and tries to start a node there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, peer_port = free_ports(2)
        self.http = f"tcp:{self.port}:interface=127.0.0.1"
        self.peer = f"tcp:{peer_port}:interface=127.0.0.1"
        self.storage: dict[str, int] = {}
        self.told: list[str] = []

    def options(self, name: str = "n01", *more: str, **changes: str) -> Options:
        settings = {"http": self.http, "peer": self.peer, "data": str(self.directory), **changes}
        path = self.directory.parent / "settings.conf"
        path.write_text(json.dumps({"nodes": {name: settings}, "storage": self.storage}))
        options = Options()
        options.parseOptions(["--config", str(path), *more])
        return options

    def make(self, name: str = "n01", *more: str, **changes: str) -> Member:
        return makeService(self.options(name, *more, **changes), fatal=self.told.append)

    async def serve_once(self, *more: str) -> None:
        """Start a node with ``more`` options, have it write something, and stop it."""
        node = self.make("n01", *more)
        node.startService()
        await soon(lambda: node.trouble() is None)
        client = Client("n01", self.port)
        reply = await deferToThread(client.ask, "POST", "/kv/set", key="key", value="value")
        assert reply.done
        await node.stopService()
        assert self.told == []


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application(tmp_path / "data")


@pytest_twisted.ensureDeferred
async def test_the_disk_of_another_node_is_let_go(application: Application) -> None:
    await application.serve_once()
    with pytest.raises(StartError, match="that of n01, and this node is n02"):
        application.make("n02")
    await application.serve_once()


def state_is_a_file(data: Path) -> None:
    data.joinpath("state").rename(data / "away")
    data.joinpath("state").write_text("no directory")


def state_mended(data: Path) -> None:
    data.joinpath("state").unlink()
    data.joinpath("away").rename(data / "state")


def state_damaged(data: Path) -> None:
    shutil.copytree(data / "state", data / "away")
    data.joinpath("state", "CURRENT").write_bytes(b"nonsense")


def state_restored(data: Path) -> None:
    shutil.rmtree(data / "state")
    data.joinpath("away").rename(data / "state")


def journal_lost(data: Path) -> None:
    data.joinpath("journal").rename(data / "away")


def journal_found(data: Path) -> None:
    shutil.rmtree(data / "journal")
    data.joinpath("away").rename(data / "journal")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        (state_is_a_file, state_mended),
        (state_damaged, state_restored),
        (journal_lost, journal_found),
    ],
)
async def test_what_a_failed_start_had_opened_is_closed(
    broken: Callable[[Path], None], mended: Callable[[Path], None], application: Application
) -> None:
    await application.serve_once()
    broken(application.directory)
    threads = threading.active_count()
    node = application.make()
    with pytest.raises(KvPaxosError):
        node.startService()
    assert threading.active_count() == threads
    mended(application.directory)
    await application.serve_once()
    # Whoever cleans up all the same does no harm.
    await node.stopService()


@pytest_twisted.ensureDeferred
async def test_an_address_that_names_nothing_opens_nothing(application: Application) -> None:
    threads = threading.active_count()
    node = application.make(peer="nosuch:thing", dial="nosuch:thing")
    with pytest.raises(ConfigError, match='"nosuch:thing" is no endpoint'):
        node.startService()
    assert threading.active_count() == threads
    await application.serve_once()


@pytest_twisted.ensureDeferred
async def test_after_a_port_that_was_taken_the_node_can_be_stopped_and_another_one_started(
    application: Application,
) -> None:
    with socket.create_server(("127.0.0.1", application.port)):
        node = application.make()
        node.startService()
        await soon(lambda: bool(application.told))
        assert application.told.pop().startswith("cannot serve HTTP at")
        await node.stopService()
    await application.serve_once()


def files(directory: Path) -> dict[Path, tuple[int, int]]:
    """Return what is there, and when it was written last."""
    found = {path: path.stat() for path in directory.rglob("*")}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


@pytest_twisted.ensureDeferred
async def test_a_volatile_node_writes_no_file_and_makes_no_directory(
    application: Application, tmp_path: Path
) -> None:
    await application.serve_once("--volatile")
    await application.serve_once("--volatile")
    assert [path.name for path in files(tmp_path)] == ["settings.conf"]


@pytest_twisted.ensureDeferred
async def test_a_volatile_node_does_not_touch_a_disk_that_is_there(
    application: Application,
) -> None:
    await application.serve_once()
    before = files(application.directory)
    await application.serve_once("--volatile")
    assert files(application.directory) == before


@pytest_twisted.ensureDeferred
async def test_the_settings_say_how_large_segments_are(tmp_path: Path) -> None:
    application = Application(tmp_path / "data")
    application.storage = {"segment_bytes": 65536, "journal_bytes_max": 4 * 65536}
    await application.serve_once()
    segments = list(application.directory.glob("journal/*.log"))
    assert [path.stat().st_size for path in segments] == [65536]

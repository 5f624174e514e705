"""``kvpaxos restore`` and ``kvpaxos verify``: what is refused, what is found, what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import zstandard
from typing_extensions import override

from kvpaxos.cli import archive, restoring
from kvpaxos.cli.archive import Archive
from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.errors import BackupDamaged, BackupUnreadable, StartError
from kvpaxos.journal.log import Journal
from kvpaxos.node.opening import open_journal
from kvpaxos.node.recovery import origin_of, replay
from kvpaxos.node.repairs import Repairs
from kvpaxos.node.settings import read_settings
from kvpaxos.node.state import State
from kvpaxos.store.backup import FRAME_BYTES_MAX, Header
from kvpaxos.store.commands import Set
from kvpaxos.store.limits import VALUE_BYTES_MAX
from kvpaxos.store.machine import Machine
from kvpaxos.store.restoration import Restoration
from test.cli.commands import Done, Shell
from test.processes.cluster import ROOT, free_ports
from test.store.building import GROUP, Caller, write

SLOT = 77


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell in a directory with the settings of two nodes, and a backup."""
    ports = free_ports(4)
    nodes = {
        f"n0{number}": {
            "http": f"tcp:{ports[number - 1]}:interface=127.0.0.1",
            "peer": f"tcp:{ports[number + 1]}:interface=127.0.0.1",
            "data": str(tmp_path / f"n0{number}"),
        }
        for number in (1, 2)
    }
    (tmp_path / "two.conf").write_text(json.dumps({"nodes": nodes}))
    engine = MemoryEngine()
    machine = Machine(engine, GROUP)
    call = Caller(machine)
    for number in range(300):
        call(Set(b"%03d" % number, os.urandom(20)))
    write(machine, engine)
    view = machine.view()
    header = Header("c" * 32, GROUP, SLOT, view.revision, view.count, view.digest)
    with (tmp_path / "it.kvb").open("wb") as file:
        made = Archive(file, header)
        made.add(view.piece(None, 10**6))
        made.end()
    return Shell(tmp_path, "")


def restore(shell: Shell, *arguments: str) -> Done:
    return shell.run("restore", "it.kvb", "--settings", "two.conf", *arguments)


def entries(shell: Shell) -> list[str]:
    return sorted(path.name for path in shell.directory.iterdir())


UNTOUCHED = ["it.kvb", "two.conf"]


def test_restored_directories_are_whole_and_equal(shell: Shell) -> None:
    done = restore(shell)
    assert (done.status, done.errors) == (0, "")
    first, second = (shell.run("verify", name, "--json") for name in ("n01", "n02"))
    assert (first.status, second.status) == (0, 0)
    assert first.json["state"] == second.json["state"]
    assert (first.json["state"]["slot"], first.json["state"]["keys"]) == (SLOT, 300)
    for name in ("n01", "n02"):
        assert sorted(path.name for path in (shell.directory / name).iterdir()) == [
            "journal",
            "state",
        ]


def test_a_directory_that_is_not_empty_is_left_as_it_is(shell: Shell) -> None:
    (shell.directory / "n02").mkdir()
    (shell.directory / "n02" / "mine").write_text("keep")
    done = restore(shell)
    assert (done.status, "n02 is not empty" in done.errors) == (2, True)
    assert entries(shell) == ["it.kvb", "n02", "two.conf"]
    assert (shell.directory / "n02" / "mine").read_text() == "keep"
    # The others can be restored without it; but not twice.
    assert restore(shell, "--node", "n01").status == 0
    done = restore(shell, "--node", "n01")
    assert (done.status, "n01 is not empty" in done.errors) == (2, True)


@pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
def test_of_a_damaged_backup_nothing_is_left(shell: Shell, damage: str) -> None:
    file = shell.directory / "it.kvb"
    data = bytearray(file.read_bytes())
    match damage:
        case "cut":
            del data[-1]
        case "changed":
            data[len(data) // 2] ^= 1
        case _:
            data += b"\0"
    file.write_bytes(data)
    for done in (restore(shell), shell.run("verify", "it.kvb")):
        assert (done.status, "the backup is damaged" in done.errors) == (1, True)
    assert entries(shell) == UNTOUCHED


def test_what_is_no_backup_is_refused(shell: Shell) -> None:
    (shell.directory / "it.kvb").write_text('[["a","b"]]')
    for done in (restore(shell), shell.run("verify", "it.kvb")):
        assert (done.status, "no backup made by kvpaxos" in done.errors) == (2, True)
    assert shell.run("verify", "nothing").status == 2
    assert shell.run("verify", ".").status == 2
    assert entries(shell) == UNTOUCHED


def test_a_file_that_is_no_backup_is_told_before_what_is_in_the_way(shell: Shell) -> None:
    (shell.directory / "it.kvb").write_text('[["a","b"]]')
    (shell.directory / "n02").mkdir()
    (shell.directory / "n02" / "mine").write_text("keep")
    done = restore(shell)
    assert (done.status, "no backup made by kvpaxos" in done.errors) == (2, True)


LEFT = "what a restore has left that did not end"

DIES = """
import os, sys
from kvpaxos.{module} import {owner}
{owner}.{method} = lambda *_: os._exit(9)
from kvpaxos.cli.main import main
main(["restore", "it.kvb", "--settings", "two.conf", "--node", "n01"])
"""


@pytest.mark.parametrize(
    ("module", "owner", "method"),
    [
        ("store.restoration", "Restoration", "add"),
        ("store.restoration", "Restoration", "finish"),
        ("node.state", "State", "commit"),
        # All of it is on the disk then; but that it is, nobody has said.
        ("engine.rocks", "RocksEngine", "close"),
    ],
)
def test_what_a_killed_restore_leaves_does_not_start(
    shell: Shell, module: str, owner: str, method: str
) -> None:
    died = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-c", DIES.format(module=module, owner=owner, method=method)],
        cwd=shell.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert died.returncode == 9
    for command in (["restore", "it.kvb", "--node", "n01"], ["recover", "--node", "n01"]):
        done = shell.run(*command, "--settings", "two.conf")
        assert (done.status, LEFT in done.errors) == (2, True)
    done = shell.run("verify", "n01")
    assert (done.status, LEFT in done.errors, b"is whole" in done.output) == (1, True, False)
    cluster = read_settings(str(shell.directory / "two.conf"))
    config = cluster.node("n01")
    with pytest.raises(StartError, match=LEFT):
        open_journal(cluster, config, Repairs(Path(config.data)))
    # And it can be done again.
    assert restore(shell, "--node", "n01", "--set-aside").status == 0
    open_journal(cluster, config, Repairs(Path(config.data))).close()


def test_a_restored_node_starts_and_says_with_what_it_begins(shell: Shell) -> None:
    assert restore(shell, "--node", "n01").status == 0
    data = shell.directory / "n01"
    with (
        closing(Journal.open(data / "journal")) as journal,
        closing(RocksEngine(data / "state")) as engine,
    ):
        state = State(engine, GROUP, value_bytes_max=VALUE_BYTES_MAX)
        assert replay(journal, state, alone=True) == 0
        words = f"the state after slot {SLOT} with the digest {state.machine.digest:032x}"
        assert origin_of(journal, state) == words


def test_a_disk_that_refuses_leaves_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise BackupDamaged("it", 0, "it seems")

    monkeypatch.setattr(Restoration, "finish", refuse)
    monkeypatch.setattr(restoring, "look_at", lambda _: [])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackupDamaged):
        restoring.restore("it.kvb", ["n01"], "two.conf", aside=False, as_json=False)
    assert entries(shell) == UNTOUCHED


def test_a_state_that_rotted_is_found(shell: Shell) -> None:
    assert restore(shell, "--node", "n01").status == 0
    (table, *_) = (shell.directory / "n01" / "state").glob("*.sst")
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 1
    table.write_bytes(data)
    done = shell.run("verify", "n01", "--json")
    assert (done.status, done.json["success"]) == (1, False)
    assert "the state is damaged" in done.errors
    assert f"n01/state/{table.name}" in done.errors
    assert "kvpaxos-inspection" not in done.errors


def test_a_state_whose_records_are_not_those_of_its_digest_is_found(shell: Shell) -> None:
    assert restore(shell, "--node", "n01").status == 0
    with closing(RocksEngine(shell.directory / "n01" / "state")) as engine:
        (place, held), *_ = engine.snapshot().scan(b"\0\0\0\0\xf0", b"\0\0\0\0\xff")
        engine.write({place: held[:-1] + bytes([held[-1] ^ 1])})
    done = shell.run("verify", "n01")
    assert (done.status, "are not those that its digest is of" in done.errors) == (1, True)


def test_a_journal_that_belongs_to_another_state_is_found(shell: Shell) -> None:
    assert restore(shell).status == 0
    for file in (shell.directory / "n01" / "journal").iterdir():
        file.unlink()
    done = shell.run("verify", "n01")
    assert (done.status, "it was lost or swapped" in done.errors) == (1, True)


def test_packed_records_that_claim_to_be_huge_are_not_unpacked() -> None:
    packed = zstandard.ZstdCompressor().compress(bytes(FRAME_BYTES_MAX + 1))
    reader = archive.reader_of("it")
    with pytest.raises(ValueError, match="too long"):
        reader._unpack(packed)
    with pytest.raises(BackupUnreadable):
        reader.finish()


def test_nodes_that_keep_nothing_are_not_restored(shell: Shell) -> None:
    settings = json.loads((shell.directory / "two.conf").read_text())
    settings["options"] = {"volatile": True}
    (shell.directory / "two.conf").write_text(json.dumps(settings))
    done = restore(shell)
    assert (done.status, "keep nothing on a disk" in done.errors) == (2, True)
    assert entries(shell) == UNTOUCHED


# Backups that do not come.


class Odd(BaseHTTPRequestHandler):
    """Answers as no sound node does."""

    answer = 200, b"", 0

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        status, body, missing = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def odd() -> Iterator[int]:
    """Return the port of a node that is none."""
    server = HTTPServer(("127.0.0.1", free_ports(1)[0]), Odd)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("what", ["broken off", "damaged", "short", "refused"])
def test_a_backup_that_does_not_come_whole_leaves_no_file(
    shell: Shell, odd: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (shell.directory / "it.kvb").read_bytes()
    refusal = b'{"success":"false","message":"Only for friends.","applied":"no"}'
    answers = {
        "broken off": ((200, data[:500], 100), "it broke the backup off"),
        "damaged": ((200, data[:500] + b"x" + data[501:], 0), "is damaged"),
        "short": ((200, data[:-1], 0), "ends too early"),
        "refused": ((403, refusal, 0), "Only for friends"),
    }
    answer, sentence = answers[what]
    monkeypatch.setattr(Odd, "answer", answer)
    done = shell.run("backup", "--nodes", f"127.0.0.1:{odd},127.0.0.1:1", "new.kvb")
    assert (done.status, done.output) == (3, b"")
    assert sentence in done.errors
    assert "127.0.0.1:1: it refuses connections" in done.errors
    assert entries(shell) == UNTOUCHED


def test_the_next_node_is_asked_and_an_old_file_replaced_only_if_told(
    shell: Shell, odd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (shell.directory / "it.kvb").read_bytes()
    monkeypatch.setattr(Odd, "answer", (200, data, 0))
    arguments = ("backup", "--nodes", f"127.0.0.1:1,127.0.0.1:{odd}", "it.kvb")
    done = shell.run(*arguments)
    assert (done.status, "is there already" in done.errors) == (2, True)
    done = shell.run(*arguments, "--force", "--json")
    assert (done.status, done.json["slot"], done.json["keys"]) == (0, SLOT, 300)
    assert shell.run("verify", "it.kvb").status == 0
    assert entries(shell) == UNTOUCHED

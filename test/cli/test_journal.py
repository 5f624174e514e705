"""``kvpaxos journal``: the decided log, from the disk and from a node."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kvpaxos.cli.main import main
from kvpaxos.journal.log import Journal
from test.cli.commands import Done, Shell
from test.journal.values import decided, vote
from test.processes.cluster import Cluster, cluster, free_ports

pytestmark = pytest.mark.timeout(180)

SLOTS = 120


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Provide a cluster of which n03 has stopped, with some slots."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.start()
        (first, *_) = made.nodes
        for number in range(SLOTS):
            assert first.ask("POST", "/kv/set", key=f"k{number}", value="é\0").done
        made.signal(made.nodes[2], signal.SIGTERM)
        yield made


@pytest.fixture
def shell(three: Cluster) -> Shell:
    return Shell(three.directory, "")


def slots(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.output.splitlines()]


def test_a_stopped_node_shows_the_same_log_as_a_running_one(shell: Shell, three: Cluster) -> None:
    asked = shell.run("journal", "--node", f"127.0.0.1:{three.nodes[0].port}")
    assert (asked.status, asked.errors) == (0, "")
    read = shell.run("journal", "n03")
    assert (read.status, read.errors) == (0, "")
    log = slots(asked)
    assert [slot["slot"] for slot in log] == list(range(1, len(log) + 1))
    for slot in log:
        assert {"slot", "ballot", "commands", "digest"} <= slot.keys()
    wishes = [command for slot in log for command in slot["commands"]]
    assert [(w["operation"], w["key"], w["value"]) for w in wishes] == [
        ("set", f"k{number}", "é\0") for number in range(SLOTS)
    ]
    # The disk of a node may know less of what is decided than the cluster does.
    assert len(slots(read)) >= SLOTS - 10
    bare = [{**slot, "ballot": ""} for slot in log]
    assert [{**slot, "ballot": ""} for slot in slots(read)] == bare[: len(slots(read))]


def test_a_part_of_the_log(shell: Shell, three: Cluster) -> None:
    part = ["--from", "5", "--limit", "105"]
    settings = ["--settings", str(three.settings)]
    asked = shell.run("journal", "--node", "n01", *settings, *part)
    read = shell.run("journal", "n03/journal", *part)
    for done in (asked, read):
        assert done.status == 0
        assert [slot["slot"] for slot in slots(done)] == list(range(5, 110))
    beyond = shell.run("journal", "--node", "n01", *settings, "--from", "100000")
    assert (beyond.status, beyond.output) == (0, b"")


def test_the_owner_of_a_journal_is_named_and_not_disturbed(shell: Shell, three: Cluster) -> None:
    node = three.nodes[1]
    assert node.process is not None
    done = shell.run("journal", "n02")
    assert done.status == 0
    assert len(slots(done)) > 0
    assert done.errors == (
        f"kvpaxos: process {node.process.pid} is using this journal; what it writes just now may"
        " look damaged, so ask the node itself with --node, or stop it first\n"
    )
    assert node.ask("POST", "/kv/set", key="k0", value="v").done


def test_a_node_that_does_not_answer_is_said(shell: Shell) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = shell.run("journal", "--node", url)
    assert (done.status, done.output) == (3, b"")
    assert done.errors == (
        f"kvpaxos: {url}: it refuses connections; see whether the node runs there, or name the"
        " directory of its journal.\n"
    )


# Without any node.


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return the directory of a node, in which slots 1 to 3 are decided."""
    made = Journal.open(tmp_path / "n01" / "journal")
    for records in ([vote(1), vote(2), vote(3)], [decided(3)]):
        made.append(0, records)
        made.sync()
    made.close()
    return tmp_path / "n01"


def run(*arguments: str) -> tuple[int, list[int], str]:
    """Return exit status, slots and standard error."""
    done = CliRunner().invoke(main, ["journal", *arguments])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.exit_code, [line["slot"] for line in lines], done.stderr


def segment(journal: Path) -> Path:
    return journal / "journal" / "journal-0000000001.log"


def test_a_damaged_journal_is_named_and_read_as_far_as_it_goes(journal: Path) -> None:
    file = segment(journal)
    data = bytearray(file.read_bytes())
    for slot in (b"2:xxx", b"3:xxx"):
        data[data.index(slot) + 1] ^= 1
    file.write_bytes(data)
    status, shown, errors = run(str(journal))
    assert (status, shown) == (1, [1])
    second, third, advice = errors.splitlines()
    assert second.startswith(f"kvpaxos: {file}: Vote in slot 2, ballot 1.n01 at byte ")
    assert third.startswith(f"kvpaxos: {file}: Vote in slot 3, ballot 1.n01 at byte ")
    assert second.endswith(" is damaged")
    assert advice.startswith("kvpaxos: what is printed may lack slots; restore the journal from ")
    assert file.read_bytes() == data
    # Whoever wants one slot is told of all damage too.
    status, shown, errors = run(str(journal), "--limit", "1")
    assert (status, shown, errors.count("\n")) == (1, [1], 3)


def test_what_a_start_would_mend_is_said_and_not_mended(journal: Path) -> None:
    file = segment(journal)
    data = bytearray(file.read_bytes())
    data[4096 + 20] ^= 1
    file.write_bytes(data)
    status, shown, errors = run(str(journal))
    assert (status, shown) == (0, [1, 2, 3])
    assert errors == (
        "kvpaxos: the node will mend this at its next start: journal-0000000001.log:"
        " one copy of the header is not like the other\n"
    )
    assert file.read_bytes() == data


def test_where_there_is_no_journal(tmp_path: Path) -> None:
    missing, empty = tmp_path / "no", tmp_path
    assert run(str(missing)) == (
        2,
        [],
        f"kvpaxos: {missing}: there is no such directory; name that of a node.\n",
    )
    assert run(str(empty)) == (
        2,
        [],
        f"kvpaxos: {empty}: there is no journal here; name the directory of a node.\n",
    )


def test_a_journal_that_may_not_be_read(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: object, path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("kvpaxos.journal.inspection.ReadOnlyFiles.open", refuse)
    assert run(str(journal)) == (
        2,
        [],
        f"kvpaxos: {segment(journal)}: this user may not read it; become one who may.\n",
    )


@pytest.mark.parametrize("arguments", [[], ["data", "--node", "n01"]])
def test_a_directory_or_a_node_and_not_both(arguments: list[str]) -> None:
    sentence = "kvpaxos: Name the directory of a journal, or a node with --node: one of them.\n"
    assert run(*arguments) == (2, [], sentence)


def test_a_node_that_is_not_in_the_settings_is_answered_with_those_that_are() -> None:
    status, _, errors = run("--node", "n44")
    assert status == 2
    assert errors.endswith("there is no node 'n44'; name n01, n02 or n03.\n")

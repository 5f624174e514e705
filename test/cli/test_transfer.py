"""``kvpaxos dump`` and ``kvpaxos load``, against real nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvpaxos.cli.pairs import pair_line
from test.cli.commands import PATIENCE_S, Done, Shell
from test.processes.cluster import Cluster, cluster, free_ports

pytestmark = pytest.mark.timeout(180)

AWKWARD = [
    b" ",
    b'"quoted"',
    b"&=+%25",
    b"\n",
    b"\r\n",
    b"\0",
    b"\\",
    "键".encode(),
    "🔑".encode(),
    "\u2028\u0085\ufeff".encode(),
    b"\xff",
    b"\xed\xa0\x80",
    b"{}",
    b"-",
]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        made.start()
        yield made


@pytest.fixture
def shell(three: Cluster, tmp_path: Path) -> Shell:
    """Return a shell in an empty directory, with an empty cluster."""
    (node, *_) = three.nodes
    reply = node.ask("GET", "/kvman/dump")
    for pair in reply.body:
        keys = {"key": pair[0]} if isinstance(pair, list) else _named(pair)
        assert node.ask("POST", "/kv/delete", **keys).done
    return Shell(tmp_path, ",".join(f"127.0.0.1:{node.port}" for node in three.nodes))


def _named(pair: dict[str, str]) -> dict[str, str]:
    """Return the key of a pair as a request names it."""
    return {name: text for name, text in pair.items() if name.startswith("key") and text}


def numbered(count: int) -> list[bytes]:
    """Return so many lines, in the order of their keys."""
    return [pair_line(b"key %06d" % number, b"value %d" % number) for number in range(count)]


def dumped(shell: Shell) -> bytes:
    done = shell.run("dump")
    assert (done.status, done.errors) == (0, "")
    return done.output


def checkpoint(file: Path) -> Path:
    return file.with_name(file.name + ".kvpaxos-load")


# Both ways.


def test_what_is_dumped_and_loaded_and_dumped_is_the_same_byte_for_byte(shell: Shell) -> None:
    keys = sorted([*AWKWARD, *(b"long" * 1000 + b"%d" % number for number in range(3))])
    lines = [pair_line(key, key * 3 if number % 2 else b"") for number, key in enumerate(keys)]
    file = shell.directory / "pairs.jsonl"
    file.write_bytes(b"".join(reversed(lines)))
    loaded = shell.run("load", "pairs.jsonl", "--json")
    assert (loaded.status, loaded.errors) == (0, "")
    told = loaded.json
    assert told.pop("seconds") > 0
    assert told == {"success": True, "loaded_through": len(keys), "skipped": 0}
    assert dumped(shell) == b"".join(lines)

    # The other way to dump, and the other way to load.
    done = shell.run("dump", "again.jsonl")
    assert (done.status, done.output) == (0, b"")
    assert (shell.directory / "again.jsonl").read_bytes() == b"".join(lines)
    assert shell.run("load", "-", stdin=b"".join(lines)).status == 0
    assert dumped(shell) == b"".join(lines)
    assert sorted(path.name for path in shell.directory.iterdir()) == ["again.jsonl", "pairs.jsonl"]


# Dump.


def test_a_part_of_a_dump(shell: Shell) -> None:
    lines = numbered(7)
    shell.run("load", "-", stdin=b"".join(lines))
    done = shell.run("dump", "--after", "key 000001", "--limit", "4", "--page", "3")
    assert (done.status, done.output) == (0, b"".join(lines[2:6]))


def test_a_reader_who_has_enough_ends_a_dump_without_a_word(shell: Shell) -> None:
    shell.run("load", "-", stdin=b"".join(pair_line(b"%d" % n, b"x" * 90_000) for n in range(9)))
    with shell.start("dump", stdout=subprocess.PIPE) as dump:
        assert dump.stdout is not None
        assert dump.stderr is not None
        assert dump.stdout.readline().startswith(b'{"key":"0","value":"xxx')
        dump.stdout.close()
        assert dump.stderr.read() == b""
    assert dump.returncode == 141


def test_a_dump_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    nobody = Shell(tmp_path, f"127.0.0.1:{free_ports(1)[0]}")
    (tmp_path / "pairs.jsonl").write_bytes(b"mine\n")
    done = nobody.run("dump", "pairs.jsonl", "--timeout", "0.5")
    assert (done.status, done.output) == (3, b"")
    assert done.errors.startswith("kvpaxos: No node could carry the request out")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
    assert (tmp_path / "pairs.jsonl").read_bytes() == b"mine\n"


def test_a_dump_goes_through_a_link_and_into_what_is_no_file(shell: Shell) -> None:
    lines = numbered(3)
    shell.run("load", "-", stdin=b"".join(lines))
    (shell.directory / "link").symlink_to("behind")
    assert shell.run("dump", "link").status == 0
    assert (shell.directory / "link").is_symlink()
    assert (shell.directory / "behind").read_bytes() == b"".join(lines)

    os.mkfifo(shell.directory / "pipe")
    with shell.start("dump", "pipe", stdout=subprocess.DEVNULL) as dump:
        assert (shell.directory / "pipe").read_bytes() == b"".join(lines)
        assert dump.wait(PATIENCE_S) == 0
    assert (shell.directory / "pipe").is_fifo()


def test_a_file_that_cannot_be_written_is_said(shell: Shell) -> None:
    done = shell.run("dump", "no/such.jsonl")
    assert done.status == 2
    assert done.errors == (
        "kvpaxos: no/such.jsonl: No such file or directory; name a file that can be written.\n"
    )


def test_people_are_told_how_much_was_written(shell: Shell) -> None:
    shell.run("set", "k", "v")
    assert shell.show("dump", "out.jsonl").output == b"1 pair written to out.jsonl\n"


# Load.


def interrupted(shell: Shell, three: Cluster, file: Path, number: signal.Signals) -> Done:
    """Begin to load a file, and send a signal once some of it is stored."""
    with shell.start(
        "load", str(file), "--concurrency", "1", "--json", stdout=subprocess.PIPE
    ) as load:
        while three.nodes[0].ask("GET", "/kvman/countkey").body["result"] < 20:
            assert load.poll() is None
        load.send_signal(number)
        output, errors = load.communicate(timeout=PATIENCE_S)
    return Done(load.returncode, output, errors.decode())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_load_that_was_interrupted_goes_on_where_it_was(
    shell: Shell, three: Cluster, number: signal.Signals
) -> None:
    lines = numbered(300)
    file = shell.directory / "pairs.jsonl"
    file.write_bytes(b"".join(lines))
    done = interrupted(shell, three, file, number)
    assert done.status == 128 + number
    through = done.json["loaded_through"]
    assert 0 < through < 300
    assert done.json["success"] is False
    assert done.errors == (
        f"kvpaxos: Lines 1 to {through} are loaded;"
        " the same command goes on behind them when you try again.\n"
    )
    assert json.loads(checkpoint(file).read_text())["lines"] == through
    # What is said to be loaded is: take that away from the rest, and all is there in the end.
    rest = shell.run("load", str(file), "--json")
    assert rest.status == 0
    assert rest.json["skipped"] == through
    assert rest.json["loaded_through"] == 300
    assert rest.errors.startswith(f"kvpaxos: going on behind line {through} of {file}, as ")
    assert dumped(shell) == b"".join(lines)
    assert not checkpoint(file).exists()


def test_a_load_that_was_killed_goes_on_from_its_last_checkpoint(
    shell: Shell, three: Cluster
) -> None:
    lines = numbered(300)
    file = shell.directory / "pairs.jsonl"
    file.write_bytes(b"".join(lines))
    assert interrupted(shell, three, file, signal.SIGKILL).status == -signal.SIGKILL
    assert checkpoint(file).exists()
    assert shell.run("load", str(file)).status == 0
    assert dumped(shell) == b"".join(lines)


def test_a_bad_line_is_named_and_once_it_is_mended_the_load_goes_on(shell: Shell) -> None:
    lines = numbered(40)
    good = lines[29]
    lines[29] = b'{"key":"key 000029","valeu":"value 29"}\n'
    file = shell.directory / "pairs.jsonl"
    file.write_bytes(b"".join(lines))
    done = shell.run("load", "pairs.jsonl")
    assert done.status == 2
    assert done.errors == (
        'kvpaxos: pairs.jsonl: line 30: "valeu" is no member of a pair; leave it out.'
        " Lines 1 to 29 are loaded; the same command goes on behind them when you try again.\n"
    )
    assert dumped(shell) == b"".join(lines[:29])
    lines[29] = good
    file.write_bytes(b"".join(lines))
    rest = shell.run("load", "pairs.jsonl", "--json")
    assert (rest.status, rest.json["skipped"]) == (0, 29)
    assert dumped(shell) == b"".join(lines)


def test_a_line_that_the_cluster_refuses_is_named(shell: Shell) -> None:
    lines = numbered(3)
    lines[1] = pair_line(b"k" * 5000, b"v")
    done = shell.run("load", "-", "--json", stdin=b"".join(lines))
    assert done.status == 2
    assert (done.json["line"], done.json["loaded_through"]) == (2, 1)
    assert done.errors.startswith(
        "kvpaxos: standard input: line 2: The key has 5000 bytes, and the limit is"
    )
    assert " Line 1 is loaded; leave it out when you try again.\n" in done.errors


def test_a_file_that_has_changed_where_it_was_loaded_is_loaded_anew(shell: Shell) -> None:
    lines = numbered(5)
    file = shell.directory / "pairs.jsonl"
    file.write_bytes(b"".join([*lines, b"bad\n"]))
    assert shell.run("load", "pairs.jsonl").status == 2
    lines[0] = pair_line(b"key 000000", b"another value")
    file.write_bytes(b"".join(lines))
    done = shell.run("load", "pairs.jsonl", "--json")
    assert (done.status, done.json["skipped"]) == (0, 0)
    assert "has changed where it was loaded already; loading all of it again" in done.errors
    assert dumped(shell) == b"".join(lines)


def test_who_wants_to_begins_with_the_first_line(shell: Shell) -> None:
    file = shell.directory / "pairs.jsonl"
    file.write_bytes(b"".join([*numbered(5), b"bad\n"]))
    assert shell.run("load", "pairs.jsonl").status == 2
    again = shell.run("load", "pairs.jsonl", "--restart", "--json")
    assert (again.status, again.json["skipped"], again.json["line"]) == (2, 0, 6)


def test_of_several_lines_with_one_key_the_last_one_counts(shell: Shell) -> None:
    lines = [pair_line(b"one key", b"%d" % number) for number in range(200)]
    assert shell.run("load", "-", stdin=b"".join(lines)).status == 0
    assert dumped(shell) == lines[-1]


def test_where_nobody_answers_nothing_is_loaded(tmp_path: Path) -> None:
    nobody = Shell(tmp_path, f"127.0.0.1:{free_ports(1)[0]}")
    (tmp_path / "pairs.jsonl").write_bytes(numbered(1)[0])
    done = nobody.run("load", "pairs.jsonl", "--timeout", "0.5", "--json")
    assert done.status == 3
    assert (done.json["success"], done.json["loaded_through"]) == (False, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_file_that_is_not_there_is_said(shell: Shell) -> None:
    done = shell.run("load", "no.jsonl")
    assert done.status == 2
    assert done.errors == (
        "kvpaxos: no.jsonl: No such file or directory; name a file that can be read.\n"
    )


def test_people_see_a_bar_and_are_told_the_sum(shell: Shell) -> None:
    (shell.directory / "pairs.jsonl").write_bytes(b"".join(numbered(10)))
    done = shell.show("load", "pairs.jsonl")
    assert done.status == 0
    assert done.output.startswith(b"10 lines loaded in ")

"""``kvpaxos get`` and the other commands for keys, against real nodes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from test.cli.commands import Shell
from test.processes.cluster import cluster, free_ports

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    directory = tmp_path_factory.mktemp("cluster")
    with cluster(directory) as three:
        three.start()
        yield Shell(directory, ",".join(f"127.0.0.1:{node.port}" for node in three.nodes))


@pytest.fixture
def nobody(tmp_path: Path) -> Shell:
    """Return a shell whose cluster is down."""
    return Shell(tmp_path, f"127.0.0.1:{free_ports(1)[0]}")


def test_what_was_stored_is_got_by_its_very_bytes(shell: Shell) -> None:
    value = b"\x00\xff\r\n\x1b'\" " + "键🔑".encode()
    key = b"\xff key\n"
    done = shell.run("set", key, "-", stdin=value)
    assert (done.status, done.output, done.errors) == (0, b"", "")
    done = shell.run("get", key)
    assert (done.status, done.output, done.errors) == (0, value, "")
    shown = shell.run("get", key, "--json").json
    assert (shown["key_base64"], shown["value_base64"]) == ("/yBrZXkK", "AP8NChsnIiDplK7wn5SR")
    assert "key" not in shown
    assert shown["read"] == "quorum"


def test_a_key_that_is_there_is_not_inserted_again(shell: Shell) -> None:
    assert shell.run("insert", "insert", "blue").status == 0
    done = shell.run("insert", "insert", "green")
    assert (done.status, done.output) == (1, b"")
    assert done.errors.startswith("kvpaxos: The key exists, so nothing was changed;")
    assert shell.run("get", "insert").output == b"blue"


def test_a_key_that_is_missing_is_a_failure_of_its_own(shell: Shell) -> None:
    for arguments in (["get", "no"], ["update", "no", "x"], ["delete", "no"]):
        done = shell.run(*arguments)
        assert (done.status, done.output) == (1, b"")
        assert done.errors.startswith("kvpaxos: There is no such key, so ")
    told = shell.run("get", "no", "--json")
    assert told.status == 1
    assert told.json["success"] is False
    assert told.json["applied"] == "no"
    assert told.json["message"] in told.errors


def test_what_a_write_replaces_is_printed(shell: Shell) -> None:
    shell.run("set", "color", "blue")
    assert shell.run("update", "color", "green").output == b"blue"
    assert shell.run("append", "color", "ish").output == b"greenish"
    assert shell.run("delete", "color").output == b"greenish"
    told = shell.run("append", "color", "red", "--json").json
    assert told.pop("slot") > 0
    assert told.pop("leader") in {"n01", "n02", "n03"}
    assert told.pop("node").removeprefix("http://") in shell.nodes.split(",")
    assert told == {"success": True, "key": "color", "value": "red", "read": "logged"}


def test_cas_replaces_what_it_expects_and_nothing_else(shell: Shell) -> None:
    assert shell.run("cas", "lock", "mine", "--absent").status == 0
    done = shell.run("cas", "lock", "yours", "--expect", "theirs")
    assert done.status == 1
    assert done.errors.endswith(" It holds: mine\n")
    told = shell.run("cas", "lock", "yours", "--absent", "--json")
    assert (told.status, told.json["value"]) == (1, "mine")
    assert shell.run("cas", "lock", "yours", "--expect", "mine").status == 0
    assert shell.run("get", "lock").output == b"yours"
    for options in ([], ["--absent", "--expect", "x"]):
        done = shell.run("cas", "lock", "x", *options)
        assert done.status == 2
        assert done.errors == (
            "kvpaxos: Say what the key must hold, with --expect VALUE or with --absent, and not"
            " with both.\n"
        )


def test_a_request_that_has_a_name_is_carried_out_once(shell: Shell) -> None:
    first = shell.run("append", "once", "x", "--id", "one", "--json")
    again = shell.run("append", "once", "x", "--id", "one", "--json")
    assert first.json["value"] == again.json["value"] == "x"
    other = shell.run("append", "once", "y", "--id", "one")
    assert other.status == 2
    assert other.errors == (
        "kvpaxos: Another request, with other parameters, has the same --id; nothing was changed:"
        " mend the request before you send it again.\n"
    )
    told = shell.run("cas", "once", "y", "--absent", "--id", "one", "--json")
    assert (told.status, told.json["applied"]) == (2, "no")
    assert told.json["message"] == other.errors.removeprefix("kvpaxos: ").rstrip()
    assert shell.run("get", "once").output == b"x"


BAD_IDS = {
    "empty": ("", "it is empty; give it 1 to 128 bytes, or leave it out."),
    "too long": ("n" * 129, "it has 129 bytes, and the limit is 128."),
    "too long in UTF-8": ("é" * 65, "it has 130 bytes, and the limit is 128."),
    "no UTF-8": (b"\xff", "it is not UTF-8."),
}


@pytest.mark.parametrize(("given", "why"), BAD_IDS.values(), ids=BAD_IDS)
def test_a_bad_name_of_a_request_is_refused_before_anybody_is_asked(
    given: str | bytes, why: str, nobody: Shell
) -> None:
    done = nobody.run("append", "once", "x", "--id", given)
    assert (done.status, done.output) == (2, b"")
    assert done.errors.endswith(f"Error: Invalid value for '--id': {why}\n")


def test_a_read_may_be_stale(shell: Shell) -> None:
    shell.run("set", "stale", "x")
    assert shell.run("get", "stale", "--stale", "--json").json["read"] == "stale"


def test_the_number_of_keys(shell: Shell) -> None:
    before = int(shell.run("count").output)
    shell.run("set", "one more", "x")
    done = shell.run("count")
    assert (done.status, done.output) == (0, b"%d\n" % (before + 1))
    assert shell.run("count", "--json").json == {"success": True, "count": before + 1}


def test_a_terminal_is_told_what_happened(shell: Shell) -> None:
    told = [
        (["insert", "shown", "a\x1b"], b"inserted\n"),
        (["get", "shown"], b"a\\x1b\n"),
        (["update", "shown", "b"], b"updated; it held: a\\x1b\n"),
        (["append", "shown", "c"], b"appended; it holds: bc\n"),
        (["cas", "shown", "d", "--expect", "bc"], b"set\n"),
        (["set", "shown", "e"], b"set\n"),
        (["delete", "shown"], b"deleted; it held: e\n"),
    ]
    for arguments, words in told:
        done = shell.show(*arguments)
        assert (done.status, done.output, done.errors) == (0, words, "")


def test_what_makes_no_sense_is_refused_with_the_mend(shell: Shell) -> None:
    empty = shell.run("set", "", "x")
    assert empty.status == 2
    assert empty.errors.startswith("kvpaxos: The key is empty; nothing was changed")
    long = shell.run("set", "long", "-", stdin=b"x" * (1024 * 1024 + 1))
    assert long.status == 2
    assert "1048577 bytes, and the limit is 1048576; nothing was changed" in long.errors
    assert shell.run("get", "long").status == 1


def test_where_nobody_answers_nothing_was_changed(nobody: Shell) -> None:
    for arguments in (["get", "k"], ["count"], ["set", "k", "v"]):
        done = nobody.run(*arguments, "--timeout", "0.5")
        assert (done.status, done.output) == (3, b"")
        assert "nothing was changed" in done.errors
        assert done.errors.count("\n") == 1
    told = nobody.run("set", "k", "v", "--timeout", "0.5", "--json")
    assert told.status == 3
    assert (told.json["success"], told.json["applied"]) == (False, "no")


def test_where_a_write_is_taken_and_not_answered_its_outcome_is_unknown(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        shell = Shell(tmp_path, f"127.0.0.1:{silent.getsockname()[1]}")
        told = shell.run("append", "k", "v", "--timeout", "0.5", "--json")
    assert told.status == 4
    assert (told.json["success"], told.json["applied"]) == (False, "unknown")
    assert "it may or may not be carried out" in told.errors

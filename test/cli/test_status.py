"""What is shown of a cluster, and what a script learns from it."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

import pytest
from click.testing import CliRunner
from rich.console import Console
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from kvpaxos.cli.asking import Answer
from kvpaxos.cli.main import main
from kvpaxos.cli.observer import WATCH_S, Observer
from kvpaxos.cli.report import ClusterReport, NodeReport, Peer, read_report
from kvpaxos.cli.table import drawn, size

Table = dict[str, object]


def described(node: str, leader: str, **others: object) -> Table:
    """Return what a node answers."""
    peers = [
        {"peer": peer, "dialed": True, "accepted": peer != "n03", "round_trip_ms": 0.42}
        for peer in ("n01", "n02", "n03")
        if peer != node
    ]
    return {
        "node": node,
        "role": "leading" if node == leader else "following",
        "ballot": f"3.{leader}" if leader else "",
        "leader": leader,
        "decided": 12,
        "applied": 11,
        "peers": peers,
        "journal": {"bytes": 16 * 1024 * 1024, "segments": 1},
        "state": {"keys": 7, "file_bytes": 5000, "unflushed_bytes": 120},
        "trouble": None,
        **others,
    }


def report(*tables: Table | None) -> ClusterReport:
    reports = []
    for number, table in enumerate(tables, start=1):
        node, url = f"n{number:02}", f"http://127.0.0.1:{8800 + number}"
        if table is None:
            reports.append(NodeReport(node, url, answered=False, trouble="it refuses connections"))
        else:
            reports.append(read_report(node, url, table))
    return ClusterReport(tuple(reports))


N01, N02, N03 = (described(node, "n02") for node in ("n01", "n02", "n03"))


def test_a_report_is_what_the_node_says() -> None:
    assert read_report("?", "u", N01) == NodeReport(
        node="n01",
        url="u",
        answered=True,
        trouble=None,
        role="following",
        ballot="3.n02",
        leader="n02",
        decided=12,
        applied=11,
        keys=7,
        journal_bytes=16 * 1024 * 1024,
        state_bytes=5120,
        peers=(
            Peer("n02", up=True, round_trip_ms=0.42, linked=True),
            Peer("n03", up=False, round_trip_ms=0.42, linked=True),
        ),
        described=N01,
    )


@pytest.mark.parametrize(
    "table",
    [{}, {"journal": 5, "state": [], "peers": {}, "role": None, "decided": "12"}],
)
def test_what_another_version_says_otherwise_stays_empty(table: Table) -> None:
    empty = NodeReport("n01", "u", answered=True, trouble=None, described=table)
    assert read_report("n01", "u", table) == empty


STALE = described("n01", "n01", trouble="no quorum")
LEADERLESS = described("n03", "", trouble="no leader is known")
FULL = described("n03", "n02", alarm="the disk of this node is nearly full")


@pytest.mark.parametrize(
    ("nodes", "leader", "exit_status", "verdict"),
    [
        ((N01, N02, N03), "n02", 0, "n02 leads; all 3 nodes serve"),
        ((N01, N02, None), "n02", 1, "n02 leads; 2 of 3 nodes serve"),
        ((N01, N02, LEADERLESS), "n02", 1, "n02 leads; 2 of 3 nodes serve"),
        ((STALE, N02, N03), "n02", 1, "n02 leads; 2 of 3 nodes serve"),
        ((N01, N02, FULL), "n02", 1, "n02 leads; all 3 nodes serve; 1 with an alarm"),
        ((STALE, N02, FULL), "n02", 1, "n02 leads; 2 of 3 nodes serve; 1 with an alarm"),
        ((STALE, N02, None), "", 3, "no majority of the 3 nodes follows a leader: not serving"),
        ((N01, None, None), "", 3, "no majority of the 3 nodes follows a leader: not serving"),
        ((None, None, None), "", 3, "no majority of the 3 nodes follows a leader: not serving"),
        ((N02,), "n02", 0, "n02 leads; all 1 nodes serve"),
    ],
)
def test_a_cluster_serves_if_a_majority_follows_one_leader(
    nodes: tuple[Table | None, ...], leader: str, exit_status: int, verdict: str
) -> None:
    seen = report(*nodes)
    assert (seen.leader, seen.exit_status, seen.verdict) == (leader, exit_status, verdict)


def test_the_table_has_a_row_for_every_node_and_the_reasons_below() -> None:
    output = io.StringIO()
    Console(file=output, width=100).print(drawn(report(N01, N02, None), 100))
    lines = [" ".join(line.split()) for line in output.getvalue().splitlines()]
    assert lines == [
        "node role ballot leader decided applied keys journal state peers (ms)",
        "n01 following 3.n02 n02 12 11 7 16 MiB 5.0 KiB n02:0.4 n03:down",
        "n02 leading 3.n02 n02 12 11 7 16 MiB 5.0 KiB n01:0.4 n03:down",
        "n03 unreachable",
        "n02 leads; 2 of 3 nodes serve",
        "n03: it refuses connections",
    ]


def test_nodes_that_wait_for_each_other_and_what_is_left_are_told_below_the_table() -> None:
    left = described("n01", "", trouble="no majority can vote")
    lost = {"decided": 0, "role": "forming", "trouble": "it waits"}
    waiting = described("n02", "", waits_for=["n03"], **lost)
    known = (
        "n01 holds every slot through 12; n02 waits for word from n03. Start n03, on the disks"
        ' they had. If too many disks are gone for good, "kvpaxos recover" says what can be saved'
    )
    assert report(left, waiting, None).advice == known
    output = io.StringIO()
    Console(file=output, width=100).print(drawn(report(left, waiting, None), 100))
    assert known in " ".join(output.getvalue().split())
    here = described("n03", "", **lost)
    assert "Start" not in (report(left, waiting, here).advice or "")
    volatile = report(left, {**waiting, "volatile": True}, None).advice
    assert volatile == (
        "n01 holds every slot through 12; n02 waits for word from n03. They keep nothing on disks,"
        ' and too few remember anything. "kvpaxos backup FILE --stale" saves what one of the others'
        " holds. Once all are stopped, and started again, they form a new, empty cluster"
    )
    # As long as anybody leads, a node that waits is nothing to worry about.
    assert report(N01, N02, waiting).advice is None


def test_what_nodes_that_are_here_have_against_each_other_is_told_once() -> None:
    def linked(peer: str, complaint: str | None, *, up: bool = False) -> Table:
        return {"peer": peer, "dialed": up, "accepted": up, "complaint": complaint}

    old = "n03 shows run 1 of its disk, but run 2 was seen already"
    n01 = described("n01", "n02", peers=[linked("n02", "slow", up=True), linked("n03", old)])
    n02 = described("n02", "n02", peers=[linked("n01", None), linked("n03", old)])
    n03 = described("n03", "", peers=[linked("n01", f"it refuses this node: {old}")])
    seen = report(n03, n01, n02)
    assert seen.objections == (f"n03 and n01 do not talk: {old}",)
    # Of a node that does not answer it is no news that it cannot be reached.
    assert report(n01, n02, None).objections == ()
    output = io.StringIO()
    Console(file=output, width=100).print(drawn(seen, 100))
    assert f"do not talk: {old}" in " ".join(output.getvalue().split())


def test_an_alarm_stands_in_a_line_below_the_table() -> None:
    output = io.StringIO()
    Console(file=output, width=100).print(drawn(report(N01, N02, FULL), 100))
    assert [line.rstrip() for line in output.getvalue().splitlines()[4:]] == [
        "n02 leads; all 3 nodes serve; 1 with an alarm",
        "n03: alarm: the disk of this node is nearly full",
    ]


def test_the_table_of_three_nodes_fits_into_eighty_columns() -> None:
    output = io.StringIO()
    links = [
        {"peer": peer, "dialed": True, "accepted": True, "round_trip_ms": 12.3}
        for peer in ("n01", "n02")
    ]
    node = described("n03", "n03", peers=links)
    Console(file=output, width=80).print(drawn(report(node, node, node), 80))
    assert len(output.getvalue().splitlines()) == 5
    assert "…" not in output.getvalue()


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10 * 1024, "10 KiB"),
        (3 * 1024**4, "3.0 TiB"),
        (3000 * 1024**4, "3000 TiB"),
    ],
)
def test_sizes_are_shown_in_the_unit_that_fits(count: int | None, shown: str) -> None:
    assert size(count) == shown


class Asked:
    """Answers for three nodes."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self.urls: list[str] = []

    def get(self, url: str) -> Deferred[Answer]:
        self.urls.append(url)
        table = self.tables.get(url)
        return succeed(Answer({}, "no answer") if table is None else Answer(table))


NODES = [("n01", "http://a"), ("n02", "http://b")]
TABLES = {"http://a/kvman/status": N01, "http://b/kvman/status": N02}


class ObserverTests(SynchronousTestCase):
    """`Observer`."""

    def test_one_look_prints_json_that_holds_all_that_was_said(self) -> None:
        output = io.StringIO()
        observer = Observer(NODES, Asked(TABLES), output, as_json=True)
        assert self.successResultOf(Deferred.fromCoroutine(observer.once())) == 0
        assert json.loads(output.getvalue()) == {
            "verdict": "n02 leads; all 2 nodes serve",
            "leader": "n02",
            "advice": None,
            "objections": [],
            "nodes": {"n01": {"url": "http://a", **N01}, "n02": {"url": "http://b", **N02}},
        }

    def test_a_node_that_does_not_answer_is_told_by_its_url(self) -> None:
        output = io.StringIO()
        observer = Observer(NODES, Asked({}), output, as_json=False)
        assert self.successResultOf(Deferred.fromCoroutine(observer.once())) == 3
        assert "unreachable" in output.getvalue()
        assert "n02: http://b: no answer" in output.getvalue()

    def test_a_node_without_a_name_is_told_once(self) -> None:
        output = io.StringIO()
        observer = Observer([("http://a", "http://a")], Asked({}), output, as_json=False)
        assert self.successResultOf(Deferred.fromCoroutine(observer.once())) == 3
        assert "http://a: no answer" in output.getvalue().splitlines()

    def watch(self, output: io.StringIO, *, as_json: bool) -> Asked:
        """Watch for three looks, and end that."""
        clock, asked = Clock(), Asked(TABLES)
        watching = Deferred.fromCoroutine(
            Observer(NODES, asked, output, as_json=as_json).watch(clock)
        )
        clock.pump([WATCH_S, WATCH_S])
        watching.cancel()
        self.failureResultOf(watching, CancelledError)
        return asked

    def test_a_watcher_looks_again_and_again(self) -> None:
        output = io.StringIO()
        asked = self.watch(output, as_json=True)
        assert len(asked.urls) == 6
        assert output.getvalue().count("\n") == 3

    def test_what_is_no_terminal_gets_one_table_after_another(self) -> None:
        output = io.StringIO()
        self.watch(output, as_json=False)
        assert output.getvalue().count("n02 leads; all 2 nodes serve") == 3
        assert "\x1b" not in output.getvalue()

    def test_a_terminal_is_drawn_anew_and_left_as_it_was(self) -> None:
        output = Screen()
        self.watch(output, as_json=False)
        drawn_at_home = output.getvalue().count("\x1b[H")
        assert drawn_at_home >= 3
        assert output.getvalue().startswith("\x1b[?1049h")
        assert output.getvalue().endswith("\x1b[?25h\x1b[?1049l")


class Screen(io.StringIO):
    """A terminal."""

    @override
    def isatty(self) -> bool:
        return True


@pytest.mark.timeout(60)
def test_ctrl_c_ends_a_watch_at_once_though_a_node_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        watching = subprocess.Popen(  # noqa: S603 -- our own command
            [sys.executable, "-m", "kvpaxos", "status", "--watch", "--nodes", f"127.0.0.1:{port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()
        with connection:
            # It has asked, and waits for an answer that will not come.
            assert connection.recv(65536).startswith(b"GET /kvman/status")
            watching.send_signal(signal.SIGINT)
            assert watching.communicate() == (b"", b"")
        assert watching.returncode == 130


@pytest.mark.parametrize("option", ["--config", "--settings"])
def test_two_ways_to_name_the_nodes_are_one_too_many(option: str) -> None:
    done = CliRunner().invoke(main, ["status", option, "a", "--url", "http://b"])
    assert done.exit_code == 2
    assert done.stderr == (
        "kvpaxos: --nodes and --settings both name the nodes; leave one of them out.\n"
    )


def test_settings_that_are_wrong_are_named() -> None:
    done = CliRunner().invoke(main, ["status", "--config", "/no/such.conf"])
    assert done.exit_code == 2
    assert done.stderr == (
        "kvpaxos: /no/such.conf: No such file or directory; name a settings file that can be"
        " read.\n"
    )

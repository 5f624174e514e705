"""Backups over HTTP: one view, whole or visibly not, and only for those who run the node."""

from __future__ import annotations

from typing import Any

import pytest

from kvpaxos.errors import BackupDamaged, DiskError, Unavailable
from kvpaxos.store.backup import BackupReader, Header
from kvpaxos.store.commands import Set
from kvpaxos.store.view import Record
from test.node.http.harness import ELSEWHERE, Client, Node, Reply

TARGET = "/kvman/backup"


def never(_packed: bytes) -> bytes:
    raise AssertionError("a node packs nothing")


def read(body: bytes) -> tuple[Header, list[Record]]:
    reader = BackupReader("the backup", never)
    records = [record for piece in reader.feed(body) for record in piece]
    return reader.finish(), records


def backup(node: Node, target: str = TARGET) -> Reply:
    client = node.connect()
    client.begin("GET", target)
    node.turn(200)
    return client.reply()


def slow_client(node: Node) -> Client:
    """Return a client that has asked for a backup and reads nothing of it."""
    client = node.connect()
    client.wire.reads_at_once = False
    client.begin("GET", TARGET)
    return client


def drain(node: Node, client: Client) -> None:
    """Read until nothing more comes."""
    client.wire.read_all()
    node.turn()
    while client.wire.unread_bytes:
        client.wire.read_all()
        node.turn()


def closings(node: Node) -> list[int]:
    return [view.closings for view in node.store.views]


@pytest.fixture
def full() -> Node:
    """Return a node whose backup has about 25 pages."""
    node = Node()
    node.store.fill(400, b"v" * 4096)
    return node


def test_a_backup_is_the_whole_state_and_says_of_which_slot(full: Node) -> None:
    reply = backup(full)
    assert (reply.status, reply.whole) == (200, True)
    assert reply.headers["content-type"] == "application/octet-stream"
    header, records = read(reply.body)
    assert (header.cluster, header.slot, header.count) == ("c" * 32, 400, 400)
    assert int(reply.headers["x-kvpaxos-slot"]) == header.slot
    # The keys, the meta record, and the session of the node that stored them.
    assert len(records) >= 402
    assert closings(full) == [1]


def test_a_backup_of_nothing_is_whole() -> None:
    header, records = read(backup(Node()).body)
    assert (header.count, records) == (0, [])


def test_a_backup_is_a_linearizable_read_unless_a_stale_one_is_asked_for(full: Node) -> None:
    assert backup(full, f"{TARGET}?timeout=7").headers["x-kvpaxos-read"] == "quorum"
    stale = backup(full, f"{TARGET}?consistency=stale")
    assert stale.headers["x-kvpaxos-read"] == "stale"
    assert [read[:2] for read in full.store.reads] == [(False, 7.0), (True, 5.0)]


def test_a_backup_shows_one_moment_whatever_is_written_meanwhile(full: Node) -> None:
    client = slow_client(full)
    full.store.apply(Set(b"key 00399", b"new"))
    full.store.apply(Set(b"zzz", b"new"))
    drain(full, client)
    header, records = read(client.reply().body)
    assert (header.slot, header.count) == (400, 400)
    assert not any(held.endswith(b"new") for _, held in records)


def test_a_slow_client_is_sent_no_more_than_about_a_page(full: Node) -> None:
    client = slow_client(full)
    most = turns = 0
    while client.wire.unread_bytes:
        full.turn(2)
        pages = full.store.views[0].pages
        full.turn(20)
        assert full.store.views[0].pages == pages
        most = max(most, client.wire.unread_bytes)
        turns += 1
        client.wire.read_all()
        full.turn(2)
    read(client.reply().body)
    assert turns > 10
    assert most < 3 * full.limits.page_bytes_max


def test_a_client_that_reads_no_page_in_time_is_cut_off_and_sees_it(full: Node) -> None:
    client = slow_client(full)
    full.turn(3)
    full.clock.advance(full.limits.page_s_max)
    assert (client.wire.aborted, closings(full)) == (True, [1])


def test_a_node_that_stops_breaks_backups_off(full: Node) -> None:
    client = slow_client(full)
    full.site.stopFactory()
    client.wire.read_all()
    full.turn(5)
    reply = client.reply()
    assert (client.wire.aborted, reply.whole, closings(full)) == (True, False, [1])
    with pytest.raises(BackupDamaged, match="ends too early"):
        read(reply.body)


def test_a_page_that_cannot_be_read_breaks_the_connection(full: Node, logged: list[Any]) -> None:
    client = slow_client(full)
    full.store.views[0].broken = DiskError("the disk")
    client.wire.read_all()
    full.turn(3)
    assert (client.wire.aborted, closings(full)) == (True, [1])
    assert not client.reply().whole
    assert {error.value.args for error in (event["log_failure"] for event in logged)} == {
        ("the disk",)
    }
    logged.clear()


def test_backups_and_dumps_together_are_no_more_than_may_hold_a_view(full: Node) -> None:
    for _ in range(full.limits.dumps_max):
        slow_client(full)
    for target in (TARGET, "/kvman/dump"):
        reply = full.ask("GET", target)
        assert (reply.status, "4 dumps are under way" in reply.json["message"]) == (503, True)
    assert len(full.store.views) == full.limits.dumps_max


def test_a_node_of_no_cluster_makes_no_backup() -> None:
    node = Node()
    node.store.unformed = Unavailable("the cluster has not formed yet")
    reply = node.ask("GET", f"{TARGET}?consistency=stale")
    assert (reply.status, reply.headers["content-type"]) == (503, "application/json")


def test_who_asks_from_elsewhere_gets_nothing(full: Node) -> None:
    assert full.connect(ELSEWHERE).ask("GET", TARGET).status == 403
    assert full.store.reads == []


def test_head_opens_and_closes_the_state_and_sends_none_of_it(full: Node) -> None:
    reply = full.ask("HEAD", TARGET)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/octet-stream")
    assert closings(full) == [1]

"""Journals that are damaged on all nodes at once: they mend each other, or say what is missing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, zip_longest
from pathlib import Path

import pytest

from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import (
    HEADER_BYTES,
    RECORD_HEADER,
    SEGMENT_BYTES_MIN,
    Sound,
    segment_numbers,
)
from kvpaxos.journal.recollection import recollect
from kvpaxos.journal.recovery import find_segments, scan_segment
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import Learned, Record
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.corruption import Strike
from kvpaxos.simulator.files import VirtualFiles
from kvpaxos.simulator.history import judge
from kvpaxos.simulator.prepared import PreparedCluster
from kvpaxos.simulator.server import Server
from kvpaxos.store.commands import Get, Set


def apart(run: Callable[[], None]) -> None:
    """Run a world. Its threads are greenlets, which must not meet those of these tests."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def places_of(disk: VirtualFiles, place: Path) -> dict[Slot, tuple[Path, int]]:
    """Return the slots that a sound journal has records of, and where the first one of each is."""
    places: dict[Slot, tuple[Path, int]] = {}
    path = place

    def visit(sound: Sound, _group: int, record: Record) -> None:
        if isinstance(record, Vote | Learned):
            places.setdefault(record.slot, (path, sound.offset))

    directory = Directory(disk.copy(), place)
    segments, _ = find_segments(directory, segment_numbers(directory.names()))
    for segment, following in zip_longest(segments, segments[1:]):
        path = place / segment.name
        scan_segment(directory, segment, following, visit)
    return places


def slots_on(disk: VirtualFiles, place: Path, through: int) -> set[int]:
    """Return the slots through that one of which a journal, damaged or not, can tell the batch."""
    slots = [Slot(slot) for slot in range(1, through + 1)]
    told = recollect(Directory(disk.copy(), place), 0, slots)
    return {slot for slot, batches in told.items() if batches}


def stopped_cluster(nodes: int) -> PreparedCluster:
    cluster = PreparedCluster(SEGMENT_BYTES_MIN, scans=False, nodes=nodes)
    for server in cluster.world.servers:
        server.kill()
    cluster.settle()
    return cluster


def journal_of(server: Server) -> Path:
    return Path(f"/{server.node}/journal")


def lose(server: Server, slot: Slot) -> None:
    """Damage the first record of a slot, and nothing of any other one."""
    disk = server.drive.files
    path, offset = places_of(disk, journal_of(server))[slot]
    file = disk.files()[path]
    for image in (file.seen, file.durable):
        image[offset + RECORD_HEADER.size] ^= 1


def lose_header(server: Server) -> None:
    path = journal_of(server) / "journal-0000000001.log"
    for sector in (0, HEADER_BYTES // SECTOR):
        assert Strike(server.node, path, sector, "zeroed").carry_out(server.drive.files)


def comes_back(cluster: PreparedCluster, asides: dict[str, int]) -> None:
    """Start all nodes, and see that nobody needs to help them, and that nothing is lost.

    :param asides: how many journals each of them has set aside in the end.
    """
    world = cluster.world
    cluster.start_all()
    cluster.become_whole()
    for server in world.servers:
        assert not server.counts["ended by itself"]
        names = [path.name for path in server.drive.files.directories()]
        aside = sum(name.startswith("journal.damaged") for name in names)
        assert aside == asides.get(server.node, 0), server.node
    # Whichever majority of three there is, it serves.
    few = (len(world.names) - 1) // 2
    for gone in list(combinations(world.servers, few))[:3]:
        for server in gone:
            server.kill()
        one = next(server for server in world.servers if server not in gone)
        cluster.ask(Set(b"after", one.node.encode()), one.node)
        cluster.ask(Get(b"k0"), one.node)
        cluster.start_all()
        cluster.become_whole()
    judge(world.checker, world.requests)
    assert world.checker.wrong is None, world.checker.wrong


@pytest.mark.parametrize("nodes", [3, 5])
def test_nodes_that_have_all_lost_another_slot_mend_each_other(nodes: int) -> None:
    def run() -> None:
        cluster = stopped_cluster(nodes)
        try:
            for number, server in enumerate(cluster.world.servers):
                lose(server, Slot(3 + 2 * number))
            comes_back(cluster, {})
        finally:
            cluster.world.end()

    apart(run)


def test_nodes_that_mend_each_other_are_those_that_one_beyond_mending_comes_back_with() -> None:
    def run() -> None:
        cluster = stopped_cluster(3)
        first, second, third = cluster.world.servers
        try:
            lose(first, Slot(3))
            lose(second, Slot(5))
            lose_header(third)
            comes_back(cluster, {third.node: 1})
        finally:
            cluster.world.end()

    apart(run)


def test_what_one_node_alone_still_has_is_told_from_a_journal_that_was_set_aside() -> None:
    def run() -> None:
        cluster = stopped_cluster(3)
        first, second, third = cluster.world.servers
        try:
            for server in (first, second):
                lose(server, Slot(30))
            lose_header(third)
            last = max(places_of(third.drive.files, journal_of(third)), default=0)
            assert last > 30
            comes_back(cluster, {third.node: 1})
        finally:
            cluster.world.end()

    apart(run)


def test_a_slot_that_is_lost_everywhere_leaves_all_waiting_who_say_so_and_keep_the_rest() -> None:
    def run() -> None:
        cluster = stopped_cluster(3)
        world = cluster.world
        decided = world.checker.decided_through
        try:
            for server in world.servers:
                lose(server, Slot(7))
            cluster.start_all()
            assert not world.run(20.0, lambda: world.is_whole)
            assert world.checker.wrong is None
            for server in world.servers:
                assert not server.counts["ended by itself"]
                assert server.member is not None
                trouble = server.member.trouble()
                assert trouble is not None
                others = ", ".join(node for node in world.names if node != server.node)
                assert f"it waits for word from 2 of {others} whose disks are sound" in trouble
                place = Path(f"/{server.node}/journal.damaged-1")
                assert str(place) in trouble
                kept = slots_on(server.drive.files, place, decided)
                assert kept == set(range(1, decided + 1)) - {7}
        finally:
            world.end()

    apart(run)


def test_power_cuts_amid_mending_only_put_it_off() -> None:
    mended: set[int] = set()

    def run() -> None:
        cluster = stopped_cluster(3)
        world = cluster.world
        try:
            for number, server in enumerate(world.servers):
                lose(server, Slot(3 + 2 * number))
            for step in range(1, 9):
                cluster.start_all()
                world.run(0.08 * step, lambda: False)
                mended.add(
                    sum(
                        server.member is not None and server.member.repairs.mended
                        for server in world.servers
                    )
                )
                for server in world.servers:
                    server.cut_power()
            comes_back(cluster, {})
        finally:
            world.end()

    apart(run)
    assert len(mended) > 1, f"it was too early, or too late: {mended}"


def test_as_long_as_others_are_silent_a_node_waits_for_them_and_says_for_whom() -> None:
    def run() -> None:
        cluster = stopped_cluster(3)
        world = cluster.world
        first, second, third = world.servers
        try:
            lose(first, Slot(7))
            lose(second, Slot(7))
            first.start()
            second.start()
            assert not world.run(20.0, lambda: third.up)
            assert first.member is not None
            trouble = first.member.trouble()
            assert trouble is not None
            assert "it asks what was in slot 7, and waits for word from n03 (not here)" in trouble
            status = first.member.node.describe()
            assert status["waits_for"] == ["n03"]
            comes_back(cluster, {})
        finally:
            world.end()

    apart(run)

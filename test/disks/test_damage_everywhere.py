"""Journals that are damaged on all nodes at once: nobody votes, everybody says why, all is kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kvpaxos.journal.files import Directory
from kvpaxos.journal.format import DATA_START, SEGMENT_BYTES_MIN, segment_number
from kvpaxos.journal.reading import read_around
from kvpaxos.journal.recovery import find_segments, opened
from kvpaxos.journal.scan import scan
from kvpaxos.paxos.messages import Vote
from kvpaxos.paxos.records import Learned
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.corruption import Strike
from kvpaxos.simulator.files import VirtualFiles
from kvpaxos.simulator.prepared import PreparedCluster


def slots_on(disk: VirtualFiles, place: Path) -> set[int]:
    """Return the slots of which a journal, damaged or not, still holds what was voted or learnt."""
    slots: set[int] = set()
    directory = Directory(disk.copy(), place)
    numbers = [one for name in directory.names() if (one := segment_number(name)) is not None]
    segments, _ = find_segments(directory, numbers)
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        file = opened(directory, segment.name)
        scan(
            file.path,
            read_around(file, segment.header.size),
            segment.header,
            following.header if following else None,
            lambda _sound, _group, record: (
                slots.add(record.slot) if isinstance(record, Vote | Learned) else None
            ),
        )
        file.close()
    return slots


def damage_everywhere() -> None:
    cluster = PreparedCluster(SEGMENT_BYTES_MIN, scans=False)
    world = cluster.world
    for server in world.servers:
        server.kill()
    cluster.settle()
    decided = world.checker.decided_through
    for number, server in enumerate(world.servers):
        disk = server.drive.files
        path = min(cluster.journal_files(server.node))
        whole = slots_on(disk, path.parent)
        sector = DATA_START // SECTOR + 4 + 10 * number
        assert Strike(server.node, path, sector, "zeroed").carry_out(disk)
        assert slots_on(disk, path.parent) < whole
    cluster.start_all()
    try:
        assert not world.run(20.0, lambda: world.is_whole)
        assert world.checker.wrong is None
        kept: set[int] = set()
        for server in world.servers:
            assert not server.counts["ended by itself"]
            assert server.member is not None
            # Two of three disks are known to be lost: so nobody forms, or votes, as if new.
            trouble = server.member.trouble()
            assert trouble is not None
            others = ", ".join(node for node in world.names if node != server.node)
            assert f"it waits for word from 2 of {others} whose disks are sound" in trouble
            place = Path(f"/{server.node}/journal.damaged-1")
            assert str(place) in trouble
            kept |= slots_on(server.drive.files, place)
        assert kept >= set(range(1, decided + 1))
    finally:
        world.end()


def test_nobody_votes_everybody_says_why_and_every_slot_is_still_on_some_disk() -> None:
    # Its threads are greenlets, which must not meet those of these tests.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(damage_everywhere).result()

"""Whenever the power fails, a journal starts with all that was acknowledged, and no halves."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kvpaxos.journal import log
from kvpaxos.journal.files import Directory, File
from kvpaxos.journal.format import segment_name
from kvpaxos.journal.header import Header, encode_header
from kvpaxos.journal.recovery import opened
from kvpaxos.journal.segment import SegmentWriter
from kvpaxos.journal.spares import Spares, _Spare
from kvpaxos.paxos.ballot import Ballot
from kvpaxos.paxos.records import Formed, Forming, Started
from kvpaxos.simulator.contents import SECTOR
from kvpaxos.simulator.crashes import Left, leavings
from kvpaxos.simulator.exhaustive import LIVES, Chunk, Count, chunks, sweep
from kvpaxos.simulator.files import VirtualFiles
from kvpaxos.simulator.lives import DIRECTORY, ME, Life, started
from kvpaxos.simulator.recoveries import Recoveries, Unrecovered, on_changes

HERE = Path("/disk/here")


def left(disk: VirtualFiles) -> list[dict[str, bytes]]:
    """Return all that a power cut may leave of the files, each once."""
    found = {one.digest: one for one in leavings(disk.directories()[HERE])}
    return [{name: version.data for name, version in one.files} for one in found.values()]


def test_of_each_file_and_of_the_names_all_prefixes_are_tried_with_each_other() -> None:
    disk = VirtualFiles.of({HERE / "a": b"0", HERE / "b": b"0"})
    for name, written in (("a", b"12"), ("b", b"3")):
        handle = disk.open(HERE / name)
        for byte in written:
            disk.write(handle, bytes([byte]), 0)
    disk.rename(HERE / "a", HERE / "c")
    expected = [
        {name: a, "b": b} for name in ("a", "c") for a in (b"0", b"1", b"2") for b in (b"0", b"3")
    ]
    found = left(disk)
    assert len(found) == len(expected) == 12
    assert all(one in found for one in expected)


def test_every_choice_among_the_changes_of_names_is_tried() -> None:
    disk = VirtualFiles.of({HERE / name: b"" for name in "abc"})
    for name in "abc":
        disk.remove(HERE / name)
    assert len(left(disk)) == 2**3


def test_a_file_of_few_sectors_is_torn_in_every_way() -> None:
    disk = VirtualFiles.of({HERE / "a": bytes(6 * SECTOR)})
    disk.write(disk.open(HERE / "a"), b"x" * 6 * SECTOR, 0)
    assert len(left(disk)) == 2**6


def test_a_file_of_many_sectors_is_torn_from_the_front_from_the_back_and_at_each() -> None:
    count = 20
    disk = VirtualFiles.of({HERE / "a": bytes(count * SECTOR)})
    disk.write(disk.open(HERE / "a"), b"x" * count * SECTOR, 0)
    found = [
        "".join(".x"[data[sector * SECTOR] == ord("x")] for sector in range(count))
        for data in (one["a"] for one in left(disk))
    ]
    for number in range(count):
        rest = count - number - 1
        assert "x" * number + "." * (rest + 1) in found
        assert "." * number + "x" * (rest + 1) in found
        assert "." * number + "x" + "." * rest in found
        assert "x" * number + "." + "x" * rest in found


def test_a_file_of_many_sectors_can_be_left_untorn() -> None:
    disk = VirtualFiles.of({HERE / "few": bytes(2 * SECTOR), HERE / "many": bytes(7 * SECTOR)})
    for name, count in (("few", 2), ("many", 7)):
        disk.write(disk.open(HERE / name), b"x" * count * SECTOR, 0)
    found = {one.digest for one in leavings(disk.directories()[HERE], long=False)}
    assert len(found) == 2**2 * 2


def test_a_state_that_a_cut_during_a_start_has_left_is_tried_whole_if_a_run_leaves_it_too() -> None:
    disk = VirtualFiles()
    disk.make_directory(DIRECTORY)
    life = Life(disk)
    life.start()
    life.add(Forming("c" * 32, ME, (ME,), 1))
    life.add(Formed("c" * 32), Started(1))
    life.vote(Ballot(1, ME), range(1, 2), size=9 * SECTOR, sync=False)
    torn = next(
        one
        for one in leavings(disk.directories()[DIRECTORY])
        if one.torn and len(trial(one, life, 1)) < len(trial(one, life, 0))
    )
    recoveries = Recoveries(life.decided)
    for depth, count in ((1, len(trial(torn, life, 1))), (0, len(trial(torn, life, 0))), (1, 0)):
        assert len(recoveries.start(torn, life.claims, depth)) == count


def trial(left: Left, life: Life, depth: int) -> list[Left]:
    return Recoveries(life.decided).start(left, life.claims, depth)


def test_a_journal_recovers_wherever_the_power_fails_in_its_first_operations() -> None:
    count = Count()
    for name in LIVES:
        count.add(sweep(Chunk(name, range(24))))
    assert len(count.states) > 15
    assert count.during
    assert count.torn


class Killed(BaseException):
    """The process ends here; what it has handed to the system stays."""


def after_a_kill(name: str, number: int) -> tuple[VirtualFiles, Life] | None:
    """Return what a life leaves that is killed before so many of its operations; None if none."""
    disk = VirtualFiles()
    disk.make_directory(DIRECTORY)
    life, left_to_do = Life(disk), [number]

    def count(_: object) -> None:
        left_to_do[0] -= 1
        if left_to_do[0] < 0:
            raise Killed

    disk.before = on_changes(count)
    try:
        LIVES[name](life)
    except Killed:
        disk.before = None
        return disk.copy(), life
    return None


@pytest.mark.parametrize("name", LIVES)
def test_a_journal_recovers_wherever_the_power_fails_in_a_start_after_a_kill(name: str) -> None:
    count = 0
    for number in itertools.count():
        killed = after_a_kill(name, number)
        if killed is None:
            break
        disk, life = killed
        found: dict[bytes, Left] = {}

        def note(_: object, disk: VirtualFiles = disk, found: dict[bytes, Left] = found) -> None:
            left_now = leavings(disk.directories()[DIRECTORY], long=False)
            found.update((one.digest, one) for one in left_now)

        disk.before = on_changes(note)
        started(disk)
        for one in found.values():
            life.claims.check(started(one.disk(DIRECTORY)).recovered)
        count += len(found)
    assert count > 30


def test_a_sweep_takes_every_operation_of_every_life_once() -> None:
    all_chunks = chunks(step=10)
    for name in LIVES:
        numbers = [
            number for chunk in all_chunks if chunk.life == name for number in chunk.operations
        ]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 30


def nothing(*_: object) -> None:
    """Do not sync."""


def mark_before_sync(self: SegmentWriter) -> None:
    self.write()
    self._mark(seals=False)
    self._file.sync()
    self._start = self._end
    self._entries.clear()
    self._entries_bytes = 0


def name_before_sync(directory: Directory, spares: Spares, header: Header) -> File:
    name, file = spares.take(header.size)
    directory.rename(name, segment_name(header.number))
    directory.sync()
    file.write(encode_header(header) * 2, 0)
    file.sync()
    return file


def used_as_it_is(
    self: _Spare, piece_bytes: int, *, fill: Callable[[_Spare, int], None] = _Spare.fill
) -> None:
    if not self.forgotten:
        fill(self, piece_bytes)
        return
    self._file = opened(self._directory, self.name)
    self.zeros = self.size


def at_the_first_votes() -> range:
    return range(16, 24)


def at_the_start() -> range:
    return range(8)


def in_a_file_used_again() -> range:
    return range(66, 74)


class Bug(NamedTuple):
    """Something else in the place of ``name`` of ``target``; found by such operations of a life."""

    what: str
    target: Any
    name: str
    instead: Any
    where: Callable[[], range]
    life: str = "a member"


BUGS: list[Bug] = [
    Bug("syncs do nothing", File, "sync", nothing, at_the_first_votes),
    Bug("names are not synced", Directory, "sync", nothing, at_the_start),
    Bug("a mark before its sync", SegmentWriter, "sync", mark_before_sync, at_the_first_votes),
    Bug("a name before it is whole", log, "create_segment", name_before_sync, at_the_start),
    Bug(
        "a file is used again as it is",
        _Spare,
        "fill",
        used_as_it_is,
        in_a_file_used_again,
        "a member that forgets",
    ),
]


@pytest.mark.parametrize("bug", BUGS, ids=[bug.what for bug in BUGS])
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bug.target, bug.name, bug.instead)
    with pytest.raises(Unrecovered, match=f"{bug.life}: power cut before operation"):
        sweep(Chunk(bug.life, bug.where()))

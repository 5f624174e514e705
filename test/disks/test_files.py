"""A disk made of memory behaves as a real one, until it is told to lose, to refuse or to rot."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvpaxos.journal.files import OS_FILES, Disk
from kvpaxos.journal.reserve import Reserve
from kvpaxos.simulator.contents import SECTOR, Contents, Fate
from kvpaxos.simulator.files import Operation, Rot, VirtualFiles, refused

HERE = Path("/disk/here")
FILE = HERE / "file"


def disk_with(data: bytes = b"") -> tuple[VirtualFiles, int]:
    """Return a disk with one file, which is open, all of it durable."""
    disk = VirtualFiles.of({FILE: data})
    return disk, disk.open(FILE)


def content(disk: VirtualFiles) -> bytes:
    return bytes(disk.files()[FILE].seen)


def crashes(disk: VirtualFiles, count: int = 200) -> list[VirtualFiles]:
    """Return what is left by many power cuts."""
    left = [disk.copy() for _ in range(count)]
    for seed, twin in enumerate(left):
        twin.crash(Random(seed))
    return left


@pytest.fixture(params=["memory", "disk"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if request.param == "disk":
        return OS_FILES
    virtual = VirtualFiles()
    virtual.make_directory(tmp_path)
    return virtual


def test_it_does_what_a_real_disk_does(disk: Disk, tmp_path: Path) -> None:
    handle = disk.create(tmp_path / "a")
    assert disk.write(handle, b"three", 3) == 5
    assert (disk.size(handle), disk.read(handle, 100, 1)) == (8, b"\0\0three")
    with pytest.raises(FileExistsError):
        disk.create(tmp_path / "a")
    disk.rename(tmp_path / "a", tmp_path / "b")
    assert disk.names(tmp_path) == ["b"]
    disk.remove(tmp_path / "b")
    assert disk.names(tmp_path) == []
    assert disk.read(handle, 2, 3) == b"th", "an open handle goes on working"
    disk.close(handle)
    for missing in (disk.open, disk.remove):
        with pytest.raises(FileNotFoundError):
            missing(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        disk.create(tmp_path / "nowhere" / "a")
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.read(handle, 1, 0)


def test_a_directory_takes_its_files_along(disk: Disk, tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "one" / "two")
    handle = disk.create(tmp_path / "one" / "two" / "file")
    disk.rename(tmp_path / "one", tmp_path / "other")
    disk.write(handle, b"x", 0)
    disk.close(handle)
    handle = disk.open(tmp_path / "other" / "two" / "file")
    assert disk.read(handle, 1, 0) == b"x"
    disk.close(handle)


def test_a_lock_is_held_until_its_handle_is_closed(disk: Disk, tmp_path: Path) -> None:
    handle = disk.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        disk.lock(tmp_path / "lock")
    disk.close(handle)
    disk.close(disk.lock(tmp_path / "lock"))


def test_a_reserve_takes_room_until_it_is_given_up() -> None:
    disk = VirtualFiles(capacity=1000)
    disk.make_directory(HERE)
    reserve = Reserve(HERE, 700, disk)
    assert (reserve.held, disk.free_bytes(HERE)) == (False, 1000)
    reserve.make()
    assert (reserve.held, disk.free_bytes(HERE)) == (True, 300)
    assert reserve.release()
    assert (reserve.held, disk.free_bytes(HERE)) == (False, 1000)


def test_a_full_disk_takes_what_fits_and_then_refuses() -> None:
    disk = VirtualFiles(capacity=10)
    disk.make_directory(HERE)
    handle = disk.create(FILE)
    assert disk.write(handle, b"123456789012", 0) == 10
    with pytest.raises(OSError, match="No space left"):
        disk.write(handle, b"3", 10)
    assert disk.write(handle, b"x", 5) == 1, "what does not grow needs no room"
    with pytest.raises(OSError, match="No space left"):
        disk.allocate(handle, 11)


def test_what_is_synced_survives_every_power_cut() -> None:
    disk, handle = disk_with()
    disk.write(handle, b"x" * 3000, 0)
    disk.sync(handle)
    disk.write(handle, b"y" * 3000, 3000)
    assert {content(left)[:3000] for left in crashes(disk)} == {b"x" * 3000}


def test_each_sector_that_is_not_synced_is_as_it_was_at_some_moment_since() -> None:
    disk, handle = disk_with(bytes(3 * SECTOR))
    disk.write(handle, b"a" * 2 * SECTOR, SECTOR // 2)
    disk.write(handle, b"b" * SECTOR, SECTOR)
    empty, a, b = bytes(SECTOR), b"a" * SECTOR, b"b" * SECTOR
    half, third = bytes(SECTOR // 2) + a[: SECTOR // 2], a[: SECTOR // 2] + bytes(SECTOR // 2)
    possible = {
        first + second + last
        for first in (empty, half)
        for second in (empty, a, b)
        for last in (empty, third)
    }
    assert {content(left) for left in crashes(disk)} == possible


def test_names_are_durable_only_once_their_directory_is_synced() -> None:
    disk = VirtualFiles.of({FILE: b"old", HERE / "gone": b""})
    disk.close(disk.create(HERE / "new"))
    disk.rename(FILE, HERE / "renamed")
    disk.remove(HERE / "gone")
    seen = {tuple(sorted(left.names(HERE))) for left in crashes(disk)}
    assert len(seen) == 2**3, "each change got through, or not"
    assert ("file", "gone") in seen
    assert ("new", "renamed") in seen
    disk.sync_directory(HERE)
    assert {tuple(sorted(left.names(HERE))) for left in crashes(disk)} == {("new", "renamed")}


def test_a_file_may_be_durable_without_its_name_and_have_a_name_without_bytes() -> None:
    disk = VirtualFiles()
    disk.make_directory(HERE)
    handle = disk.create(FILE)
    disk.write(handle, b"x", 0)
    found = {bytes(left.files()[FILE].seen) if left.files() else None for left in crashes(disk)}
    assert found == {None, b"", b"\0", b"x"}


def test_after_a_power_cut_handles_are_dead_and_locks_are_free() -> None:
    disk, handle = disk_with(b"x")
    disk.lock(HERE / "lock")
    disk.sync_directory(HERE)
    disk.crash(Random(1))
    assert disk.handles == 0
    for use in (disk.size, disk.sync, disk.close):
        with pytest.raises(OSError, match="Bad file descriptor"):
            use(handle)
    disk.lock(HERE / "lock")


def test_after_a_kill_all_writes_are_there_and_still_not_durable() -> None:
    disk, handle = disk_with(b"old")
    disk.lock(HERE / "lock")
    disk.write(handle, b"new", 0)
    disk.kill()
    assert content(disk) == b"new"
    disk.lock(HERE / "lock")
    assert {content(left) for left in crashes(disk)} == {b"old", b"new"}


def test_the_same_seed_leaves_the_same() -> None:
    disk, handle = disk_with(bytes(20 * SECTOR))
    for number in range(20):
        disk.write(handle, b"%d" % number * 700, number * 300)
    assert list(map(content, crashes(disk, 20))) == list(map(content, crashes(disk, 20)))


def refusing(deed: str, code: int = errno.EIO) -> VirtualFiles:
    def before(operation: Operation) -> None:
        if operation.deed == deed:
            raise refused(code)

    disk = VirtualFiles.of({FILE: b"old"})
    disk.before = before
    return disk


@pytest.mark.parametrize("deed", ["read", "write", "sync"])
def test_a_call_that_is_refused_changes_nothing(deed: str) -> None:
    disk = refusing(deed)
    handle = disk.open(FILE)
    uses = {
        "read": lambda: disk.read(handle, 1, 0),
        "write": lambda: disk.write(handle, b"new", 0),
        "sync": lambda: disk.sync(handle),
    }
    with pytest.raises(OSError, match="Input/output error"):
        uses[deed]()
    disk.before = None
    assert content(disk) == b"old"


def test_after_a_failed_sync_the_next_one_says_nothing_and_the_bytes_may_be_lost() -> None:
    disk = refusing("sync")
    handle = disk.open(FILE)
    disk.write(handle, b"new", 0)
    with pytest.raises(OSError, match="Input/output error"):
        disk.sync(handle)
    disk.before = None
    disk.sync(handle)
    assert content(disk) == b"new"
    assert {content(left) for left in crashes(disk)} == {b"old", b"new"}
    disk.uncache(handle)
    assert content(disk) == b"old"


def test_what_is_written_again_after_a_failed_sync_takes_its_sector_along() -> None:
    disk = refusing("sync")
    handle = disk.open(FILE)
    disk.write(handle, b"new", 0)
    with pytest.raises(OSError, match="Input/output error"):
        disk.sync(handle)
    disk.before = None
    disk.write(handle, b"!", 3)
    disk.sync(handle)
    assert {content(left) for left in crashes(disk)} == {b"new!"}


def test_the_trace_tells_what_was_done() -> None:
    disk = VirtualFiles(traced=True)
    disk.make_directory(HERE)
    handle = disk.create(FILE)
    disk.write(handle, b"12", 3)
    disk.rename(FILE, HERE / "other")
    disk.sync(handle)
    assert disk.trace == [
        Operation("make_directory", HERE),
        Operation("create", FILE),
        Operation("write", FILE, 3, 2),
        Operation("rename", FILE),
        Operation("sync", HERE / "other"),
    ]


ROTS: list[tuple[Rot, set[bytes]]] = [
    ("zeroed", {bytes(SECTOR)}),
    ("older", {b"1" * SECTOR}),
    ("other", {b"0" * SECTOR, b"3" * SECTOR}),
]


@pytest.mark.parametrize(("rot", "possible"), ROTS, ids=[rot for rot, _ in ROTS])
def test_rot_puts_something_else_in_the_place_of_a_sector(rot: Rot, possible: set[bytes]) -> None:
    seen = set()
    for seed in range(20):
        disk, handle = disk_with(b"".join(b"%d" % number * SECTOR for number in (0, 1, 3)))
        disk.write(handle, b"2" * SECTOR, SECTOR)
        disk.sync(handle)
        assert disk.strike(FILE, 1, rot, Random(seed))
        disk.crash(Random(seed))
        seen.add(content(disk)[SECTOR : 2 * SECTOR])
        assert content(disk)[:SECTOR] == b"0" * SECTOR
    assert seen == possible


def test_rot_may_turn_one_bit() -> None:
    disk, _ = disk_with(bytes(3 * SECTOR))
    assert disk.strike(FILE, 1, "flipped", Random(1))
    assert sum(byte.bit_count() for byte in content(disk)) == 1
    assert any(content(disk)[SECTOR : 2 * SECTOR])


def test_a_sector_that_cannot_be_read_is_one_until_it_is_written_again() -> None:
    disk, handle = disk_with(bytes(3 * SECTOR))
    disk.strike(FILE, 1, "unreadable", Random(1))
    disk.read(handle, SECTOR, 0)
    for offset in (1, SECTOR, 2 * SECTOR - 1):
        with pytest.raises(OSError, match="Input/output error"):
            disk.read(handle, SECTOR, offset)
    disk.write(handle, bytes(SECTOR), SECTOR)
    disk.sync(handle)
    disk.read(handle, 3 * SECTOR, 0)


def test_rot_under_bytes_that_are_not_synced_yet_is_written_over() -> None:
    disk, handle = disk_with(bytes(SECTOR))
    disk.write(handle, b"x", 0)
    disk.strike(FILE, 0, "flipped", Random(1))
    assert content(disk)[:2] == b"x\0"
    disk.sync(handle)
    assert {content(left) for left in crashes(disk)} == {b"x" + bytes(SECTOR - 1)}


writes = st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=1500)), max_size=8)


@given(writes, st.integers(0, 8))
def test_a_prefix_of_the_writes_is_what_the_first_of_them_would_have_made(
    done: list[tuple[int, bytes]], count: int
) -> None:
    file, short = Contents.of(b"x" * 1000), Contents.of(b"x" * 1000)
    for number, (offset, data) in enumerate(done):
        file.write(offset, data)
        if number < count:
            short.write(offset, data)
    count = min(count, len(done))
    assert file.survivor(file.after(count)) == short.seen
    assert file.survivor(Fate(0, {})) == b"x" * 1000

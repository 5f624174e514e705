"""Every flipped byte and every truncation of a small journal gets the right verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import DATA_START, HEADER_BYTES, RECORD_HEADER
from kvpaxos.journal.header import read_header
from kvpaxos.journal.log import Recovered
from kvpaxos.journal.marks import Mark, find_marks
from kvpaxos.paxos.records import Record, Started
from test.journal.disks import DIRECTORY, Inode, MemoryDisk
from test.journal.values import (
    FORMED,
    FORMING,
    HIGH,
    LOW,
    decided,
    learned,
    open_journal,
    promised,
    segment_path,
    vote,
    write_batches,
)

BATCHES: Final[list[list[Record]]] = [
    [FORMING],
    [FORMED, Started(1)],
    [promised()],
    [vote(1), vote(2)],
    [decided(2), vote(3, size=700)],
    [learned(3), vote(4), promised(HIGH)],
    [vote(5, HIGH), vote(6, HIGH)],
]
"""13 records of every kind, in 7 batches."""

MORE: Final[list[list[Record]]] = [
    [vote(slot, HIGH, size=size)] for slot, size in ((7, 9000), (8, 9000), (9, 60), (10, 20))
]
"""Too much for one segment together with `BATCHES`."""

STEPS: Final = {"record": 1, "mark": 1, "header": 5, "free": 13}
"""How many bytes apart the flips are, except at the edges of what is flipped."""

STEPS_OF_TWO: Final = {"record": 41, "mark": 3, "header": 41, "free": 41}
"""The same for a journal of two segments."""

Image = Mapping[Path, bytes]
"""What is on a disk."""


@dataclass(frozen=True)
class Place:
    """A stretch of a segment.

    :ivar kind: header, record, mark or free.
    :ivar record: which one it is, of all the records of the journal.
    """

    path: Path
    kind: str
    start: int
    end: int
    record: int = -1


@cache
def closed_image(*, two_segments: bool) -> Image:
    """Return what a journal leaves that was closed cleanly."""
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, BATCHES + MORE if two_segments else BATCHES)
    journal.close()
    assert journal.segments == 1 + two_segments
    return image_of(disk)


@cache
def cut_image() -> Image:
    """Return what is left if the power fails before the last end mark is on the disk."""
    disk = MemoryDisk()
    write_batches(open_journal(disk), BATCHES)
    return image_of(disk.after_power_cut())


def image_of(disk: MemoryDisk) -> Image:
    return {path: bytes(inode.data) for path, inode in disk.files.items()}


def disk_of(image: Image) -> MemoryDisk:
    disk = MemoryDisk()
    for path, data in image.items():
        disk.files[path] = Inode(bytearray(data), bytearray(data))
    disk.durable_files = dict(disk.files)
    return disk


def durable_image(disk: MemoryDisk) -> Image:
    return {path: bytes(inode.durable) for path, inode in disk.durable_files.items()}


def recovered(image: Image) -> Recovered:
    return open_journal(disk_of(image)).recovered


def places(image: Image) -> Iterator[Place]:
    """Yield what is where in the segments of ``image``, which are sound."""
    count = 0
    for path in sorted(path for path in image if path.suffix == ".log"):
        data = image[path]
        found = read_header(data, "")
        assert found is not None
        yield Place(path, "header", 0, HEADER_BYTES)
        yield Place(path, "header", HEADER_BYTES, DATA_START)
        offset, low = DATA_START, len(data)
        for mark in find_marks(data, found[0].digest):
            assert isinstance(mark, Mark)
            low = mark.offset
            yield Place(path, "mark", mark.offset, mark.offset + mark.space)
            for entry in mark.entries():
                end = offset + RECORD_HEADER.size + entry.length
                yield Place(path, "record", offset, end, count)
                offset, count = end, count + 1
        yield Place(path, "free", offset, low)


def flips(image: Image, steps: Mapping[str, int], edge: int) -> Iterator[tuple[Place, Image]]:
    """Yield ``image`` with one byte flipped, again and again, and where it is.

    :param edge: this near to where something else begins every byte is flipped.
    """
    for place in places(image):
        for offset in range(place.start, place.end):
            within = min(offset - place.start, place.end - 1 - offset)
            if within < edge or offset % steps[place.kind] == 0:
                data = bytearray(image[place.path])
                data[offset] ^= 1 << (offset % 8)
                yield place, {**image, place.path: bytes(data)}


def assert_mended(image: Image, flipped: Image, place: Place, sound: Recovered) -> None:
    """Check that nothing is lost, that it is reported, and that it is as it was, durably."""
    disk = disk_of(flipped)
    found = open_journal(disk).recovered
    assert replace(found, torn=None, mended=()) == sound
    if place.kind == "free":
        assert found.torn or found.mended
    else:
        assert found.mended
        assert found.torn is None
    assert durable_image(disk) == image


def assert_named(flipped: Image, place: Place, records: list[Record]) -> None:
    """Check that exactly this record is named, and that nothing is changed on the disk."""
    disk = disk_of(flipped)
    with pytest.raises(DamagedRecords) as caught:
        open_journal(disk)
    (damage,) = caught.value.damage
    assert (damage.path, damage.offset, damage.length) == (
        place.path,
        place.start,
        place.end - place.start,
    )
    record = records[place.record]
    assert damage.entry is not None
    assert damage.entry.kind == type(record).__name__
    assert damage.entry.slot == getattr(record, "slot", 0)
    assert damage.entry.ballot == getattr(record, "ballot", (0, ""))
    assert str(place.path) in str(caught.value)
    assert f"at byte {place.start}" in str(caught.value)
    assert image_of(disk) == flipped


@pytest.mark.parametrize("two_segments", [False, True])
def test_a_flipped_byte_is_mended_or_named_and_nothing_is_lost(two_segments: bool) -> None:  # noqa: FBT001
    image = closed_image(two_segments=two_segments)
    sound = recovered(image)
    records = [record for batch in BATCHES + MORE for record in batch]
    assert (sound.torn, sound.mended) == (None, ())
    seen: Counter[str] = Counter()
    steps, edge = (STEPS_OF_TWO, 16) if two_segments else (STEPS, 128)
    for place, flipped in flips(image, steps, edge):
        seen[place.kind] += 1
        if place.kind == "record":
            assert_named(flipped, place, records)
        else:
            assert_mended(image, flipped, place, sound)
    assert min(seen[kind] for kind in ("header", "record", "mark", "free")) > 300, seen


def test_a_flipped_byte_in_a_last_batch_without_a_mark_cuts_it_there_and_says_so() -> None:
    image = cut_image()
    marked = sum(place.kind == "record" for place in places(image))
    assert marked == sum(map(len, BATCHES)) - len(BATCHES[-1])
    start = max(place.end for place in places(image) if place.kind == "record")
    sound = recovered(image)
    assert sound.record_count == sum(map(len, BATCHES))
    (path,) = (path for path in image if path.suffix == ".log")
    end = max(place.end for place in places(closed_image(two_segments=False)) if place.record >= 0)
    ends = [place.end for place in places(closed_image(two_segments=False)) if place.record >= 0]
    for offset in range(start, end):
        data = bytearray(image[path])
        data[offset] ^= 1 << (offset % 8)
        disk = disk_of({**image, path: bytes(data)})
        found = open_journal(disk).recovered
        kept = sum(offset >= record_end for record_end in ends)
        assert found.record_count == kept
        assert found.torn is not None
        again = open_journal(disk.after_power_cut()).recovered
        assert again == replace(found, torn=None, mended=())


@pytest.mark.parametrize("two_segments", [False, True])
def test_every_truncation_is_damage(two_segments: bool) -> None:  # noqa: FBT001
    image = closed_image(two_segments=two_segments)
    # All that is looked at beyond the header is the size itself.
    dense, step = (0, 61) if two_segments else (DATA_START, 5)
    for path in (path for path in image if path.suffix == ".log"):
        disk = disk_of(image)
        for size in range(len(image[path]) - 1, -1, -1):
            if size > dense and size % step:
                continue
            disk.cut(path, size)
            with pytest.raises(DamagedRecords) as caught:
                open_journal(disk)
            assert caught.value.path == str(path)


def test_a_damaged_record_is_stepped_over_and_the_others_are_named_too() -> None:
    image = closed_image(two_segments=True)
    records = [place for place in places(image) if place.kind == "record"]
    hit = [records[4], records[6], records[-2]]
    data = {path: bytearray(content) for path, content in image.items()}
    for place in hit:
        data[place.path][place.start + 9] ^= 0xFF
    with pytest.raises(DamagedRecords) as caught:
        open_journal(disk_of({path: bytes(content) for path, content in data.items()}))
    assert [(d.path, d.offset) for d in caught.value.damage] == [(p.path, p.start) for p in hit]
    assert "the first of 3 damaged places" in str(caught.value)


def test_an_old_record_in_the_place_of_a_new_one_is_damage() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, [[vote(1)], [vote(1, HIGH)], [vote(1)]])
    journal.close()
    image = image_of(disk)
    old, _, new = (place for place in places(image) if place.kind == "record")
    path = segment_path()
    data = bytearray(image[path])
    data[new.start : new.end] = data[old.start : old.end]
    with pytest.raises(DamagedRecords) as caught:
        open_journal(disk_of({**image, path: bytes(data)}))
    assert [damage.offset for damage in caught.value.damage] == [new.start]


def twin_images() -> tuple[Image, Image]:
    """Return what two journals leave that were one, and then went different ways."""
    images = []
    for ballot in (LOW, HIGH):
        disk = MemoryDisk()
        journal = open_journal(disk)
        write_batches(journal, [*BATCHES, [vote(9, ballot), vote(10)], *MORE])
        journal.close()
        images.append(image_of(disk))
    return images[0], images[1]


def test_a_record_of_another_history_is_damage_although_it_is_whole() -> None:
    image, twin = twin_images()
    path = segment_path()
    (place,) = (p for p in places(image) if p.record == sum(map(len, BATCHES)))
    assert image[path][: place.start] == twin[path][: place.start]
    data = bytearray(image[path])
    data[place.start : place.end] = twin[path][place.start : place.end]
    with pytest.raises(DamagedRecords) as caught:
        open_journal(disk_of({**image, path: bytes(data)}))
    assert [damage.offset for damage in caught.value.damage] == [place.start]


def test_a_segment_of_another_history_is_damage_although_it_is_whole() -> None:
    image, twin = twin_images()
    with pytest.raises(DamagedRecords, match="what leads to the next segment"):
        open_journal(disk_of({**image, segment_path(): twin[segment_path()]}))


def test_a_mark_and_a_record_of_its_batch_damaged_together_are_damage() -> None:
    image = closed_image(two_segments=False)
    layout = list(places(image))
    marks = [place for place in layout if place.kind == "mark"]
    for mark in marks:
        start = layout[layout.index(mark) + 1]
        data = bytearray(image[mark.path])
        data[mark.start + 5] ^= 0xFF
        data[start.start + 9] ^= 0xFF
        with pytest.raises(DamagedRecords) as caught:
            open_journal(disk_of({**image, mark.path: bytes(data)}))
        first = caught.value.damage[0]
        assert first.offset == start.start
        assert first.entry is None


def test_a_lost_segment_is_damage() -> None:
    image = closed_image(two_segments=True)
    for number in (1, 2):
        rest = {path: data for path, data in image.items() if path != segment_path(number)}
        with pytest.raises(DamagedRecords) as caught:
            open_journal(disk_of(rest))
        assert caught.value.damage[0].path == segment_path(number)
        assert "missing" in str(caught.value)


def test_a_segment_under_another_name_is_damage() -> None:
    image = closed_image(two_segments=True)
    swapped = {
        **image,
        segment_path(1): image[segment_path(2)],
        segment_path(2): image[segment_path(1)],
    }
    with pytest.raises(DamagedRecords, match="which is of segment 2"):
        open_journal(disk_of(swapped))


def test_an_older_copy_of_a_segment_is_damage() -> None:
    disk = MemoryDisk()
    journal = open_journal(disk)
    write_batches(journal, BATCHES)
    early = bytes(disk.files[segment_path()].data)
    write_batches(journal, MORE)
    journal.close()
    assert journal.segments == 2
    with pytest.raises(DamagedRecords, match="what leads to the next segment"):
        open_journal(disk_of({**image_of(disk), segment_path(): early}))


def test_files_of_strangers_are_left_alone() -> None:
    image = {**closed_image(two_segments=False), DIRECTORY / "README": b"hello"}
    disk = disk_of(image)
    open_journal(disk)
    assert image_of(disk) == image

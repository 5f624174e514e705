"""The bytes of one file and the names of one directory: what is seen of them, and what is durable.

Between two syncs anything may reach the disk, in any order. A sector is written whole or not at
all, and what reaches it is what it was at some moment since. A name changes whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, NamedTuple, TypeAlias

SECTOR: Final = 512
"""What a disk writes whole or not at all, in bytes."""


class Write(NamedTuple):
    """Bytes that a program has written, and not synced."""

    offset: int
    data: bytes


class Fate(NamedTuple):
    """How much of a file's unsynced writes a power cut lets through.

    :ivar size: the file is as long as it was after so many of the writes.
    :ivar sectors: each of these is as it was after so many of the writes; others are as synced.
    """

    size: int
    sectors: Mapping[int, int]


Manner: TypeAlias = Literal["any", "lost", "torn", "apart"]
"""How a power cut deals with what was not synced: in any way; all is lost; each file is torn,
sector by sector; each file is lost or kept as a whole, apart from others."""

Left: TypeAlias = Literal["synced", "lost", "kept", "torn"]
"""What a power cut has left of what was not synced in a file: there was nothing; nothing; all of
it, or all through some write; anything else."""

LOST: Final = Fate(0, {})
"""Nothing gets through."""


_WAYS: Final[Mapping[Manner, tuple[int, ...]]] = {
    "any": (0, 1, 2, 3),
    "lost": (0,),
    "torn": (3,),
    "apart": (0, 1),
}


def sectors_of(offset: int, length: int) -> range:
    """Return the sectors that so many bytes from ``offset`` on touch."""
    return range(offset // SECTOR, -(-(offset + length) // SECTOR))


@dataclass(slots=True, eq=False)
class Contents:
    """The bytes of one file.

    :ivar seen: what programs read.
    :ivar durable: what is on the disk for certain.
    :ivar unsynced: what was written since the last sync, in order.
    :ivar adrift: sectors whose sync failed: the system holds them for clean, and they need not be
        on the disk.
    :ivar older: what sectors held before they were last changed on the disk.
    :ivar unreadable: sectors that the disk does not give back.
    :ivar holder: the handle that has the lock, or None.
    """

    seen: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[Write] = field(default_factory=list)
    adrift: set[int] = field(default_factory=set)
    older: dict[int, bytes] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)
    holder: int | None = None

    @classmethod
    def of(cls, data: bytes | bytearray) -> Contents:
        """Return a file that holds ``data``, durably."""
        return cls(bytearray(data), bytearray(data))

    def write(self, offset: int, data: bytes) -> None:
        """Write ``data`` where programs see it."""
        if offset > len(self.seen):
            self.seen.extend(bytes(offset - len(self.seen)))
        self.seen[offset : offset + len(data)] = data
        if self.adrift:
            touched = sectors_of(offset, len(data))
            if not self.adrift.isdisjoint(touched):
                # The rest of the sector goes to the disk with it.
                self.adrift.difference_update(touched)
                offset, end = touched.start * SECTOR, touched.stop * SECTOR
                data = bytes(self.seen[offset:end])
        self.unsynced.append(Write(offset, bytes(data)))

    def sync(self) -> None:
        """Make everything durable that is not `adrift`."""
        known = len(self.durable)
        self.durable.extend(bytes(len(self.seen) - known))
        for sector in sorted(self.unsynced_sectors()):
            self._sync_sector(sector, known)
        self.unsynced.clear()

    def fail_to_sync(self) -> None:
        """Hold everything for clean that is not on the disk, as systems do."""
        self.adrift |= self.unsynced_sectors()
        self.unsynced.clear()

    def uncache(self) -> None:
        """Let go of what need not be kept: what is seen next of it is on the disk."""
        for sector in self.adrift:
            start, end = sector * SECTOR, (sector + 1) * SECTOR
            self.seen[start:end] = self.durable[start:end].ljust(len(self.seen[start:end]), b"\0")
        self.adrift.clear()

    def unsynced_sectors(self) -> set[int]:
        """Return the sectors that were written since the last sync."""
        return {
            sector
            for write in self.unsynced
            for sector in sectors_of(write.offset, len(write.data))
        }

    def states_of(self, sector: int) -> list[bytes]:
        """Return all that ``sector`` has held since the last sync, each once, in order."""
        start, end = sector * SECTOR, min((sector + 1) * SECTOR, len(self.seen))
        data = self.durable[start:end].ljust(end - start, b"\0")
        states = [bytes(data)]
        for write in self.unsynced:
            first, last = max(write.offset, start), min(write.offset + len(write.data), end)
            if first < last:
                data[first - start : last - start] = write.data[
                    first - write.offset : last - write.offset
                ]
                states.append(bytes(data))
        return list(dict.fromkeys(states))

    def after(self, count: int) -> Fate:
        """Return the fate by which the first ``count`` unsynced writes get through, and no more."""
        return Fate(
            count,
            {
                sector: count
                for write in self.unsynced[:count]
                for sector in sectors_of(write.offset, len(write.data))
            },
        )

    def some_fate(self, random: Random, manner: Manner = "any") -> Fate:
        """Return any fate. Of all those there are, the extreme ones come often."""
        count = len(self.unsynced)
        way = random.choice(_WAYS[manner])
        if way < 2:  # noqa: PLR2004  (lost or kept, as a whole)
            return self.after(way * count)
        fate = self.after(random.randint(0, count))
        if way == 2 or not count:  # noqa: PLR2004  (in order)
            return fate
        sectors = {sector: random.randint(0, count) for sector in sorted(self.unsynced_sectors())}
        return Fate(random.randint(0, count), sectors)

    def survivor(self, fate: Fate) -> bytearray:
        """Return what is left by ``fate``."""
        data = bytearray(self.durable)
        size = max((w.offset + len(w.data) for w in self.unsynced[: fate.size]), default=0)
        data.extend(bytes(max(0, size - len(data))))
        for number, write in enumerate(self.unsynced):
            for sector in sectors_of(write.offset, len(write.data)):
                if fate.sectors.get(sector, 0) > number:
                    start = max(write.offset, sector * SECTOR)
                    end = min(write.offset + len(write.data), (sector + 1) * SECTOR, len(data))
                    if start < end:
                        data[start:end] = write.data[start - write.offset : end - write.offset]
        return data

    def cut_power(self, random: Random, manner: Manner = "any") -> Left:
        """Let chance decide what is left, and say so."""
        fate = self.some_fate(random, manner)
        left = self._left_by(fate)
        for sector in sorted(self.adrift):
            if random.random() < 0.5:  # noqa: PLR2004  (a failed sync may have done its work)
                self._sync_sector(sector, len(self.durable))
        self.durable = self.survivor(fate)
        self.seen = bytearray(self.durable)
        self.unsynced.clear()
        self.adrift.clear()
        self.holder = None
        return left

    def _left_by(self, fate: Fate) -> Left:
        if not self.unsynced:
            return "synced"
        data = self.survivor(fate)
        if data == self.survivor(LOST):
            return "lost"
        counts = range(1, len(self.unsynced) + 1)
        in_order = any(data == self.survivor(self.after(count)) for count in counts)
        return "kept" if in_order else "torn"

    def change(self, sector: int, data: bytes) -> bool:
        """Change what is on the disk in ``sector``, and say whether that differs.

        It is seen unless the system is about to write there.
        """
        start, end = sector * SECTOR, min((sector + 1) * SECTOR, len(self.durable))
        data = data[: end - start]
        if self.durable[start:end] == data:
            return False
        self.durable[start:end] = data
        if sector not in self.unsynced_sectors():
            self.seen[start:end] = data
        return True

    def _sync_sector(self, sector: int, known: int) -> None:
        start, end = sector * SECTOR, (sector + 1) * SECTOR
        data = self.seen[start : min(end, len(self.durable))]
        before = self.durable[start : start + len(data)]
        if start < known and before != data:
            self.older[sector] = bytes(before)
        self.durable[start : start + len(data)] = data
        self.unreadable.discard(sector)


class Names:
    """The names in one directory.

    :ivar seen: what programs find, each name with what it is the name of.
    :ivar durable: the same, as it is on the disk for certain.
    :ivar unsynced: what was changed since the last sync, in order; None takes a name away.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Entry] = {}
        self.durable: dict[str, Entry] = {}
        self.unsynced: list[Mapping[str, Entry | None]] = []

    def change(self, change: Mapping[str, Entry | None]) -> None:
        """Change some names at once."""
        _apply(self.seen, change)
        self.unsynced.append(change)

    def sync(self) -> None:
        """Make all names durable."""
        self.durable = dict(self.seen)
        self.unsynced.clear()

    def survivor(self, kept: Collection[int]) -> dict[str, Entry]:
        """Return the names that are left if those changes get through whose numbers are kept."""
        names = dict(self.durable)
        for number in sorted(kept):
            _apply(names, self.unsynced[number])
        return names

    def cut_power(self, random: Random, manner: Manner = "any") -> Counter[Left]:
        """Let chance decide what is left of the names, and of all that they name; count it."""
        count = len(self.unsynced)
        kept: Collection[int] = range(random.choice((0, count, random.randint(0, count))))
        if manner == "lost":
            kept = ()
        elif manner == "apart" or random.random() < 0.25:  # noqa: PLR2004  (out of order)
            kept = [number for number in range(count) if random.getrandbits(1)]
        left: Counter[Left] = Counter({"kept": len(kept), "lost": count - len(kept)})
        self.durable = self.survivor(kept)
        self.seen = dict(self.durable)
        self.unsynced.clear()
        for name in sorted(self.seen):
            found = self.seen[name].cut_power(random, manner)
            left.update(found if isinstance(found, Counter) else (found,))
        return left


Entry: TypeAlias = Contents | Names
"""What can have a name."""


def _apply(names: dict[str, Entry], change: Mapping[str, Entry | None]) -> None:
    for name, entry in change.items():
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry

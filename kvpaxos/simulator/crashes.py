"""Everything that a power cut can leave of one directory, as far as it is worth a try.

What was not synced is taken apart in two grains. By whole calls: of each file none of the writes,
the first, the first two and so on; of the directory every choice among its changes; and all of
these with each other. By sectors: one file at a time is torn, while the others and the directory
go through all that they can by whole calls. A file whose unsynced sectors are few is torn in every
way there is; of more sectors, those from the front, those from the back, each alone, and all but
each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain, combinations, product
from math import prod
from pathlib import Path
from typing import Final, NamedTuple

from typing_extensions import override

from kvpaxos.simulator.contents import SECTOR, Contents, Names
from kvpaxos.simulator.files import VirtualFiles

WAYS_MAX: Final = 64
"""A file that can be torn in more ways than this is torn in the ways that are named above."""


class Version(NamedTuple):
    """What a file may hold after a power cut.

    :ivar digest: stands for the bytes.
    """

    digest: bytes
    data: bytes


class Left(NamedTuple):
    """What a power cut may leave of a directory.

    :ivar files: each name, and what that file holds.
    :ivar torn: whether a file is torn in the middle of a write.
    """

    files: tuple[tuple[str, Version], ...]
    torn: bool

    @override
    def __repr__(self) -> str:
        return ", ".join(
            f"{name} ({len(version.data)} bytes, {version.digest.hex()[:8]})"
            for name, version in self.files
        )

    @property
    def digest(self) -> bytes:
        """What stands for all of it: equal for what is equal."""
        whole = blake2b(digest_size=16)
        for name, version in self.files:
            whole.update(b"%d:%s" % (len(name), name.encode()) + version.digest)
        return whole.digest()

    def disk(self, directory: Path) -> VirtualFiles:
        """Return a disk with this on it."""
        disk = VirtualFiles.of({directory / name: version.data for name, version in self.files})
        disk.make_directory(directory)
        return disk


def leavings(names: Names) -> Iterator[Left]:
    """Yield what a power cut may leave of a directory, some of it more than once."""
    whole: dict[int, list[Version]] = {}
    torn: dict[int, list[Version]] = {}
    for kept in _subsets(len(names.unsynced)):
        found = sorted(names.survivor(kept).items())
        files = [(name, entry) for name, entry in found if isinstance(entry, Contents)]
        assert len(files) == len(found), "a directory in a directory"
        for _, file in files:
            if id(file) not in whole:
                whole[id(file)] = _by_calls(file)
                torn[id(file)] = _by_sectors(file)
        yield from _products(files, whole, torn)


def _products(
    files: list[tuple[str, Contents]],
    whole: dict[int, list[Version]],
    torn: dict[int, list[Version]],
) -> Iterator[Left]:
    labels = [name for name, _ in files]
    by_calls = [whole[id(file)] for _, file in files]
    for versions in product(*by_calls):
        yield Left(tuple(zip(labels, versions, strict=True)), torn=False)
    for number, (_, file) in enumerate(files):
        if torn[id(file)]:
            choices = [*by_calls[:number], torn[id(file)], *by_calls[number + 1 :]]
            for versions in product(*choices):
                yield Left(tuple(zip(labels, versions, strict=True)), torn=True)


def _by_calls(file: Contents) -> list[Version]:
    counts = range(len(file.unsynced) + 1)
    return _distinct(bytes(file.survivor(file.after(count))) for count in counts)


def _by_sectors(file: Contents) -> list[Version]:
    return _distinct(_torn(file))


def _torn(file: Contents) -> Iterator[bytes]:
    states = {sector: file.states_of(sector) for sector in sorted(file.unsynced_sectors())}
    states = {sector: held for sector, held in states.items() if len(held) > 1}
    base = file.durable.ljust(len(file.seen), b"\0")
    sectors = list(states)
    if prod(map(len, states.values())) <= WAYS_MAX:
        for chosen in product(*states.values()):
            yield _patched(base, dict(zip(sectors, chosen, strict=True)))
        return
    last = {sector: held[-1] for sector, held in states.items()}
    for number, sector in enumerate(sectors):
        yield _patched(base, {one: last[one] for one in sectors[:number]})
        yield _patched(base, {one: last[one] for one in sectors[number:]})
        yield _patched(base, {sector: last[sector]})
        yield _patched(base, {one: last[one] for one in sectors if one != sector})


def _patched(base: bytearray, sectors: Mapping[int, bytes]) -> bytes:
    data = bytearray(base)
    for sector, held in sectors.items():
        data[sector * SECTOR : sector * SECTOR + len(held)] = held
    return bytes(data)


def _distinct(all_data: Iterable[bytes]) -> list[Version]:
    versions = (Version(blake2b(data, digest_size=16).digest(), data) for data in set(all_data))
    return sorted(versions)


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(range(count), size) for size in range(count + 1))

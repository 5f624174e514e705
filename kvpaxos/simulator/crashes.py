"""Everything that a power cut can leave of one directory, as far as it is worth a try.

What was not synced is taken apart in two grains. By whole calls: of each file none of the writes,
the first, the first two and so on; of the directory every choice among its changes; and all of
these with each other. By sectors: one file at a time is torn, while the others and the directory
go through all that they can by whole calls. A file whose unsynced sectors are few is torn in every
way there is; of more sectors, those from the front, those from the back, each alone, and all but
each. That can be left out: what a start zeroes is as long as what it finds torn, and cuts during
starts that set right what a cut during a start has left could go on for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
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

    Most of them have been seen before, so the bytes are not put together before they are needed.

    :ivar digest: stands for the bytes. It is a sum over sectors: one that is patched costs no more
        than what is patched.
    :ivar base: the bytes, but for the sectors in ``patches``.
    """

    digest: int
    base: bytes
    patches: Callable[[], Mapping[int, bytes]]

    @property
    def data(self) -> bytes:
        """The bytes."""
        data = bytearray(self.base)
        for sector, held in self.patches().items():
            data[sector * SECTOR : sector * SECTOR + len(held)] = held
        return bytes(data)


@dataclass(frozen=True, eq=False)
class Left:
    """What a power cut may leave of a directory.

    :ivar files: each name, and what that file holds.
    :ivar torn: whether a file is torn in the middle of a write.
    """

    files: tuple[tuple[str, Version], ...]
    torn: bool

    @override
    def __repr__(self) -> str:
        return ", ".join(
            f"{name} ({len(version.base)} bytes, {version.digest % 2**32:08x})"
            for name, version in self.files
        )

    @cached_property
    def digest(self) -> bytes:
        """What stands for all of it: equal for what is equal."""
        whole = [(name, version.digest) for name, version in self.files]
        return blake2b(repr(whole).encode(), digest_size=16).digest()

    def disk(self, directory: Path) -> VirtualFiles:
        """Return a disk with this on it."""
        disk = VirtualFiles.of({directory / name: version.data for name, version in self.files})
        disk.make_directory(directory)
        return disk


def leavings(names: Names, *, long: bool = True) -> Iterator[Left]:
    """Yield what a power cut may leave of a directory, some of it more than once.

    :param long: whether files that can be torn in more than `WAYS_MAX` ways are torn at all.
    """
    by_calls: dict[int, list[Version]] = {}
    torn: dict[int, list[Version]] = {}
    for kept in _subsets(len(names.unsynced)):
        found = sorted(names.survivor(kept).items())
        files = [(name, entry) for name, entry in found if isinstance(entry, Contents)]
        assert len(files) == len(found), "a directory in a directory"
        for _, file in files:
            if id(file) not in by_calls:
                by_calls[id(file)] = _by_calls(file)
                torn[id(file)] = _by_sectors(file, long=long)
        yield from _products(files, by_calls, torn)


def whole(names: Names) -> Left:
    """Return all that is seen of a directory, as if it were durable."""
    found = sorted(names.seen.items())
    files = [(name, _whole(bytes(one.seen))) for name, one in found if isinstance(one, Contents)]
    return Left(tuple(files), torn=False)


def _products(
    files: list[tuple[str, Contents]],
    versions_of: dict[int, list[Version]],
    torn: dict[int, list[Version]],
) -> Iterator[Left]:
    labels = [name for name, _ in files]
    by_calls = [versions_of[id(file)] for _, file in files]
    for versions in product(*by_calls):
        yield Left(tuple(zip(labels, versions, strict=True)), torn=False)
    for number, (_, file) in enumerate(files):
        if torn[id(file)]:
            choices = [*by_calls[:number], torn[id(file)], *by_calls[number + 1 :]]
            for versions in product(*choices):
                yield Left(tuple(zip(labels, versions, strict=True)), torn=True)


def _by_calls(file: Contents) -> list[Version]:
    counts = range(len(file.unsynced) + 1)
    return _distinct(_whole(bytes(file.survivor(file.after(count)))) for count in counts)


def _by_sectors(file: Contents, *, long: bool) -> list[Version]:
    return _distinct(_torn(file, long=long))


def _torn(file: Contents, *, long: bool) -> Iterator[Version]:
    states = {sector: file.states_of(sector) for sector in sorted(file.unsynced_sectors())}
    states = {sector: held for sector, held in states.items() if len(held) > 1}
    base = bytes(file.durable.ljust(len(file.seen), b"\0"))
    known = _whole(base).digest
    if prod(map(len, states.values())) <= WAYS_MAX:
        for chosen in product(*states.values()):
            patches = dict(zip(states, chosen, strict=True))
            changed = sum(_change(states, patches))
            yield Version(known + changed, base, partial(dict, patches))
        return
    if not long:
        return
    last = {sector: held[-1] for sector, held in states.items()}
    changes = _change(states, last)
    sectors, before, after = list(states), 0, sum(changes)
    every = after
    for number, (sector, change) in enumerate(zip(sectors, changes, strict=True)):
        yield Version(known + before, base, partial(_some, last, sectors[:number]))
        yield Version(known + after, base, partial(_some, last, sectors[number:]))
        yield Version(known + change, base, partial(_some, last, [sector]))
        others = [one for one in sectors if one != sector]
        yield Version(known + every - change, base, partial(_some, last, others))
        before, after = before + change, after - change


def _some(held: Mapping[int, bytes], sectors: Iterable[int]) -> Mapping[int, bytes]:
    return {sector: held[sector] for sector in sectors}


def _change(states: Mapping[int, Sequence[bytes]], patches: Mapping[int, bytes]) -> list[int]:
    """Return by how much each of ``patches`` changes the digest of a file."""
    return [
        _sector_digest(sector, held) - _sector_digest(sector, states[sector][0])
        for sector, held in patches.items()
    ]


@lru_cache(maxsize=1 << 9)
def _whole(data: bytes) -> Version:
    sectors = range(-(-len(data) // SECTOR))
    parts = (
        _sector_digest(sector, data[sector * SECTOR : (sector + 1) * SECTOR]) for sector in sectors
    )
    return Version(sum(parts), data, dict)


@lru_cache(maxsize=1 << 16)
def _sector_digest(sector: int, held: bytes) -> int:
    return int.from_bytes(blake2b(held, digest_size=16, salt=sector.to_bytes(16, "big")).digest())


def _distinct(versions: Iterable[Version]) -> list[Version]:
    found = {version.digest: version for version in versions}
    return [found[digest] for digest in sorted(found)]


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(range(count), size) for size in range(count + 1))

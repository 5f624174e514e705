"""What the directories of nodes take of a disk."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Use:
    """What some directories take, in bytes.

    :ivar journals: all files of journals, the next segment included.
    :ivar state: all files of engines but for the logs.
    :ivar logs: what RocksDB tells of itself.
    :ivar reserves: the room that nodes hold for worse times.
    """

    journals: int = 0
    state: int = 0
    logs: int = 0
    reserves: int = 0

    @property
    def all(self) -> int:
        """What should grow with what is kept, and with nothing else."""
        return self.journals + self.state


def use_of(directories: Iterable[Path]) -> Use:
    """Return what all files in the directories of nodes come to."""
    sizes = dict.fromkeys(("journals", "state", "logs", "reserves"), 0)
    for directory in directories:
        for path in directory.rglob("*"):
            with suppress(FileNotFoundError):  # Nodes that run delete files.
                if path.is_file():
                    sizes[_part(path)] += path.stat().st_size
    return Use(**sizes)


def _part(path: Path) -> str:
    if path.name == "reserve":
        return "reserves"
    if path.parent.name == "journal":
        return "journals"
    return "logs" if path.name.startswith("LOG") else "state"

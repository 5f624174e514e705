"""How far a file has been loaded, in a file beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

SUFFIX: Final = ".kvpaxos-load"
"""What the name of a checkpoint ends with; it begins with that of the file."""

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two lines.

    :ivar lines: how many lines come before it.
    :ivar size: how many bytes these take.
    :ivar digest: what stands for these bytes.
    """

    lines: int = 0
    size: int = 0
    digest: str = ""

    def after(self, line: bytes) -> Position:
        """Return the position behind ``line``, which stands here, with its end."""
        chained = blake2b(line, key=bytes.fromhex(self.digest), digest_size=16)
        return Position(self.lines + 1, self.size + len(line), chained.hexdigest())


START: Final = Position()


class Checkpoint:
    """Remembers through which line a file was loaded into a cluster.

    :ivar path: where.
    """

    def __init__(self, file: Path, cluster: str) -> None:
        self.path = file.with_name(file.name + SUFFIX)
        self._cluster = cluster

    def load(self) -> Position | None:
        """Return what was saved last, or None if that is nothing, or of another cluster."""
        try:
            saved = json.loads(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            # It is never half written, but a power cut may leave it empty.
            return None
        match saved:
            case {
                "version": 1,
                "cluster": self._cluster,
                "lines": int(lines),
                "size": int(size),
                "digest": str(digest),
            }:
                return Position(lines, size, digest)
            case _:
                return None

    def save(self, position: Position) -> None:
        """Remember ``position``: nothing less, should it be cut short."""
        draft = self.path.with_name(self.path.name + ".new")
        saved = {"version": _VERSION, "cluster": self._cluster, **asdict(position)}
        draft.write_text(json.dumps(saved) + "\n", encoding="ascii")
        draft.replace(self.path)

    def remove(self) -> None:
        """Forget everything: the whole file is loaded."""
        self.path.unlink(missing_ok=True)

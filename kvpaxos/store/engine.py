"""What the state machine needs of the place where its state lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol


class Snapshot(Protocol):
    """The engine as it was at one moment, whatever is written afterwards.

    It belongs to one thread, and costs memory until it is closed.
    """

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` held, or None.

        :raises StateClosed: the snapshot or its engine is closed.
        :raises StateDamaged: the bytes on disk are not those that were written.
        """
        ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what the keys from ``start`` up to but without ``end`` held, in order of keys.

        Several scans of one snapshot may go on at once.

        :raises StateClosed: as in `get`.
        :raises StateDamaged: as in `get`; a scan never ends early without saying so.
        """
        ...

    def close(self) -> None:
        """Give up what the snapshot holds. To do it twice is harmless."""
        ...


class Engine(Protocol):
    """An ordered map of bytes to bytes that changes by whole batches."""

    def get(self, key: bytes) -> bytes | None:
        """Return what ``key`` holds, or None.

        :raises StateClosed: the engine is closed.
        :raises StateDamaged: the bytes on disk are not those that were written.
        """
        ...

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Put each value under its key, and remove the keys whose value is None.

        All of it happens or nothing, also in a crash. It is durable only after a `flush`;
        a crash before leaves the state as some earlier `write` left it. One thread writes.

        :raises DiskError: the node must stop.
        :raises StateDamaged: the bytes on disk, which it had to read, are not those that were
            written.
        """
        ...

    def snapshot(self, *, once: bool = False) -> Snapshot:
        """Return the engine as it is now. Cheap, whatever the engine holds.

        :param once: all of it will be read, and nobody will want it again so soon.
        """
        ...

    def flush(self) -> None:
        """Make durable all writes that returned before this call. It blocks: call it on a thread.

        :raises DiskError: the node must stop.
        :raises StateDamaged: the bytes on disk, which it had to read, are not those that were
            written.
        """
        ...

    def sizes(self) -> Mapping[str, int]:
        """Return ``unflushed_bytes``, ``memory_bytes`` and ``file_bytes``, about.

        The first is what a crash may take from the state now, for the journal to bring back.
        Or a part of it: an engine flushes by itself, too, and so ahead of a journal's sync.
        A closed engine holds nothing: while a state is replaced, a node says so.
        """
        ...

    def close(self) -> None:
        """Close open snapshots, make all writes durable, and let go of everything.

        :raises DiskError: the writes did not become durable; everything is let go all the same.
        """
        ...

"""The state as it was at one moment, for whoever reads more of it than one key."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeAlias

from kvpaxos.errors import StateDamaged
from kvpaxos.store.digest import add_digests, record_digest
from kvpaxos.store.engine import Snapshot
from kvpaxos.store.entry import Entry, decode_entry
from kvpaxos.store.layout import Layout
from kvpaxos.store.meta import Meta

Record: TypeAlias = tuple[bytes, bytes]
"""A place in the engine, and what it holds."""


class View:
    """One group's state at one moment. It costs memory until it is closed.

    :ivar count: how many keys there were.
    :ivar revision: the state's revision.
    :ivar digest: the digest of the state, as it was kept from change to change.
    """

    def __init__(self, snapshot: Snapshot, layout: Layout, meta: Meta) -> None:
        self.count = meta.count
        self.revision = meta.revision
        self.digest = meta.digest(layout)
        self._snapshot = snapshot
        self._layout = layout

    def page(self, after: bytes | None, limit: int, bytes_max: int) -> list[tuple[bytes, Entry]]:
        """Return the keys above ``after``, or from the first, with what they held, in order.

        There are at most ``limit`` of them, and at most ``bytes_max`` bytes of keys and values
        unless the first alone has more. None are left if the page is empty.

        :raises StateClosed: the view or the engine is closed.
        :raises StateDamaged: the node must stop.
        """
        assert limit > 0, "an empty page would look like the end"
        start, end = self._layout.users
        if after is not None:
            start = self._layout.after_user(after)

        page: list[tuple[bytes, Entry]] = []
        room = bytes_max
        for place, record in self._snapshot.scan(start, end):
            key = self._layout.user_of(place)
            entry = decode_entry(place, record)
            room -= len(key) + len(entry.value)
            if page and room < 0:
                break
            page.append((key, entry))
            if len(page) == limit:
                break
        return page

    def records(self) -> Iterator[Record]:
        """Yield everything that is equal on all replicas, as the engine holds it."""
        return self._snapshot.scan(*self._layout.replicated)

    def piece(
        self, after: bytes | None, bytes_max: int, records_max: int | None = None
    ) -> list[Record]:
        """Return what the engine holds above the place ``after``, or from the first, in order.

        All pieces together are the whole state, for `kvpaxos.store.intake` to make the same one
        of. There are at most ``bytes_max`` bytes in one unless its only record has more, and at
        most ``records_max`` records; after the last one comes an empty one.

        :raises StateClosed: the view or the engine is closed.
        :raises StateDamaged: the node must stop.
        """
        start, end = self._layout.replicated
        piece: list[Record] = []
        if after is None:
            meta = self._snapshot.get(self._layout.meta)
            piece = [] if meta is None else [(self._layout.meta, meta)]
        elif after >= start:
            start = after + b"\x00"
        room = bytes_max - sum(map(_size, piece))
        for record in self._snapshot.scan(start, end):
            room -= _size(record)
            if piece and (room < 0 or len(piece) == records_max):
                break
            piece.append(record)
        return piece

    def close(self) -> None:
        """Let go of the moment. To do it twice is harmless."""
        self._snapshot.close()

    def recompute_digest(self) -> int:
        """Return the digest that the records themselves give. It reads all of them, and blocks.

        It differs from ``digest`` if a record rotted, or if count or digest were kept wrong.
        """
        sizes = self._digesting()
        while True:
            try:
                next(sizes)
            except StopIteration as end:
                digest: int = end.value
                return digest

    def audit(self) -> Generator[int, None, None]:
        """Read all records, one after the other; yield how many bytes each has.

        :raises StateClosed: the view or the engine is closed.
        :raises StateDamaged: they do not give the digest that was kept; or one cannot be read.
        """
        if (yield from self._digesting()) != self.digest:
            raise StateDamaged("the state", "its records do not give the digest that was kept")

    def _digesting(self) -> Generator[int, None, int]:
        """Yield how many bytes each record has; return the digest that all of them give."""
        start, end = self._layout.users
        count = total = 0
        for place, record in self.records():
            count += start <= place < end
            total = add_digests(total, record_digest(place, record))
            yield len(place) + len(record)
        return Meta(count, self.revision, total).digest(self._layout)


def _size(record: Record) -> int:
    place, held = record
    return len(place) + len(held)

"""Makes the state that another replica, or a backup, holds: in an empty engine, piece by piece.

What comes is proved by the digest that comes with it: no record can be missing, changed or put
in another's place without the sum being another one. See `kvpaxos.store.digest`.
"""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from kvpaxos.errors import StateDamaged
from kvpaxos.store.digest import add_digests, record_digest
from kvpaxos.store.engine import Engine
from kvpaxos.store.layout import Layout
from kvpaxos.store.meta import Meta, decode_meta
from kvpaxos.store.view import Record


class Tally:
    """Holds the pieces of one group's state, in their order, against what is said of it.

    :ivar after: the last place that was taken; None before the first. A sender that was cut off
        goes on from there.
    :ivar records: how many were taken.
    :ivar keys: how many of them are clients' keys.
    :ivar bytes: how many bytes they have.
    """

    def __init__(self, group: int) -> None:
        self.after: bytes | None = None
        self.records = 0
        self.keys = 0
        self.bytes = 0
        self._layout = Layout(group)
        self._meta = Meta()
        self._total = 0

    def add(self, piece: Sequence[Record]) -> None:
        """Take the next piece. See `kvpaxos.store.view.View.piece`.

        :raises StateDamaged: it is not the next piece of a state of this group.
        :raises StartError: it is one in another format.
        """
        for place, held in piece:
            self._take(place, held)

    def finish(self, digest: int) -> None:
        """Make sure that all pieces have come whole.

        :param digest: the digest of the state that was sent.
        :raises StateDamaged: what came makes another state.
        """
        made = Meta(self.keys, self._meta.revision, self._total)
        if made != self._meta or made.digest(self._layout) != digest:
            raise StateDamaged("what was sent", "its digest is not that of the state it is from")

    def _take(self, place: bytes, held: bytes) -> None:
        start, end = self._layout.replicated
        if self.after is not None and place <= self.after:
            raise StateDamaged("what was sent", "its records are out of order")
        if place == self._layout.meta:
            self._meta = decode_meta(held)
        elif start <= place < end:
            first, beyond = self._layout.users
            self.keys += first <= place < beyond
            self._total = add_digests(self._total, record_digest(place, held))
        else:
            raise StateDamaged("what was sent", f"there is no place {place[:16].hex()} in a state")
        self.after = place
        self.records += 1
        self.bytes += len(place) + len(held)


class Intake(Tally):
    """Takes the pieces of one group's state into ``engine``, where nothing of it is yet.

    The engine holds no applied slot when all is taken: whoever knows it writes it, and flushes.
    """

    def __init__(self, engine: Engine, group: int) -> None:
        super().__init__(group)
        self._engine = engine

    @override
    def add(self, piece: Sequence[Record]) -> None:
        """Write the next piece.

        :raises DiskError: the node must stop.
        """
        super().add(piece)
        self._engine.write(dict(piece))

"""Makes the state with which a new cluster begins, of a backup of another one.

All that clients see is kept: keys, revisions, and what is remembered of their requests. The
sessions of nodes are left out: the nodes of a new cluster count their lives from 1 again, and
would be refused as older than those of the same names that the backup knows.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvpaxos.store.digest import add_digests, record_digest
from kvpaxos.store.engine import Engine
from kvpaxos.store.layout import Layout
from kvpaxos.store.meta import Meta
from kvpaxos.store.view import Record


class Restoration:
    """Takes the records of one group into ``engine``, which holds nothing of it yet.

    Whoever reads them has them proved; see `kvpaxos.store.backup`.
    """

    def __init__(self, engine: Engine, group: int) -> None:
        self._engine = engine
        self._layout = Layout(group)
        self._total = 0

    def add(self, piece: Sequence[Record]) -> None:
        """Write the next records, but for those that are not kept.

        :raises DiskError: the disk refuses.
        """
        kept = {place: held for place, held in piece if self._is_kept(place)}
        for place, held in kept.items():
            self._total = add_digests(self._total, record_digest(place, held))
        self._engine.write(kept)

    def finish(self, count: int, revision: int) -> None:
        """Write what makes a state of the records.

        The engine holds no applied slot yet: whoever knows it writes it, and flushes.

        :param count: how many keys there are; ``revision`` likewise is that of the backup.
        :raises DiskError: the disk refuses.
        """
        self._engine.write({self._layout.meta: Meta(count, revision, self._total).encode()})

    def _is_kept(self, place: bytes) -> bool:
        (first, _), (_, end) = self._layout.sessions, self._layout.answers
        return place != self._layout.meta and not first <= place < end

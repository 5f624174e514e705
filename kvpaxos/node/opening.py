"""The journal and the state of a node, as they lie on its disk; a damaged journal is set aside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.engine.shelf import MemoryShelf, RocksShelf, Shelf
from kvpaxos.errors import StartError
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.log import Journal
from kvpaxos.journal.memory import MemoryFiles
from kvpaxos.journal.reserve import release
from kvpaxos.node.recovery import check_owner
from kvpaxos.node.repairs import JOURNAL, Repairs
from kvpaxos.paxos.records import Forming

VOLATILE_SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""The most that a segment of a journal in memory takes: it is forgotten in small pieces."""


def open_journal(
    cluster: ClusterConfig,
    config: NodeConfig,
    repairs: Repairs,
    *,
    open_at: Callable[[Path], Journal] | None = None,
    shelf: Callable[[], Shelf] | None = None,
) -> Journal:
    """Return the journal of a node, if it is that of this node in this cluster.

    One that is damaged is set aside, with its state, and an empty one is returned: this node has a
    new disk then, and the other members know what it needs. Without others it stays where it is.

    :param open_at: opens the journal in a directory that is no directory of this machine.
    :param shelf: returns the place of the state, if it is not on this machine either.
    :raises StartError: it is another node's, in use, or of another version.
    :raises JournalDamaged: it is damaged, and there is no other member.
    :raises DiskError: the disk refuses.
    """
    path = Path(config.data) / JOURNAL
    size = cluster.storage.segment_bytes
    if cluster.options.volatile:
        size = min(size, VOLATILE_SEGMENT_BYTES)
        return Journal.open(path, segment_bytes=size, files=MemoryFiles())

    room = partial(release, path.parent)
    open_at = open_at or partial(Journal.open, segment_bytes=size, make_room=room)
    try:
        journal = open_at(path)
    except DamagedRecords as damage:
        if len(cluster.members) == 1:
            raise
        # What is left of it may still say whose it is.
        _check_owner(path, damage.forming, cluster, config)
        repairs.put_journal_aside(shelf() if shelf else shelf_of(cluster, config))
        journal = open_at(path)
    try:
        _check_owner(path, journal.recovered.forming, cluster, config)
    except StartError:
        journal.close()
        raise
    return journal


def shelf_of(cluster: ClusterConfig, config: NodeConfig) -> Shelf:
    """Return the place of a node's state."""
    if cluster.options.volatile:
        return MemoryShelf()
    return RocksShelf(Path(config.data), memory_bytes=cluster.storage.memory_bytes)


def _check_owner(
    path: Path, forming: Forming | None, cluster: ClusterConfig, config: NodeConfig
) -> None:
    try:
        check_owner(forming, config.node, cluster.members)
    except StartError as error:
        raise StartError(f"{path}: {error}") from None

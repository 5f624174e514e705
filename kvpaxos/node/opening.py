"""The journal and the state of a node, as they lie on its disk.

A damaged journal is mended if that needs nobody else. If it needs others, it stays where it is, and
the node runs with one in memory until they have told what was lost: it takes part in nothing, and
its state is not opened. If nobody can mend it, it is set aside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.engine.shelf import MemoryShelf, RocksShelf, Shelf
from kvpaxos.errors import StartError
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.files import OS_FILES, Directory, Files
from kvpaxos.journal.format import DIGEST_BYTES
from kvpaxos.journal.log import Journal
from kvpaxos.journal.memory import MemoryFiles, StandInFiles
from kvpaxos.journal.mending import Mending
from kvpaxos.journal.recovery import recover
from kvpaxos.journal.reserve import release
from kvpaxos.node.recovery import check_owner, check_restored
from kvpaxos.node.repairs import JOURNAL, Repairs
from kvpaxos.paxos.records import Forming

VOLATILE_SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""The most that a segment of a journal in memory takes: it is forgotten in small pieces."""

_log = Logger()


def open_journal(
    cluster: ClusterConfig,
    config: NodeConfig,
    repairs: Repairs,
    *,
    open_at: Callable[[Path], Journal] | None = None,
    files: Files = OS_FILES,
    shelf: Callable[[], Shelf] | None = None,
) -> Journal:
    """Return the journal of a node, if it is that of this node in this cluster.

    Of one that is damaged, an empty one is returned, unless it could be mended at once. Either it
    stands in for the damaged one, which is to be mended with the help of others: that is what
    `Repairs.mending` says. Or that was set aside, with its state: this node has a new disk then,
    and the other members know what it needs. Without others it stays where it is.

    :param open_at: opens the journal in a directory that is no directory of this machine.
    :param files: what that is on.
    :param shelf: returns the place of the state, if it is not on this machine either.
    :raises StartError: it is another node's, in use, or of another version; or a restore has not
        come to its end there.
    :raises JournalDamaged: it is damaged, and there is no other member.
    :raises DiskError: the disk refuses.
    """
    repairs.mending = None
    path = Path(config.data) / JOURNAL
    size = cluster.storage.segment_bytes
    if cluster.options.volatile:
        size = min(size, VOLATILE_SEGMENT_BYTES)
        return Journal.open(path, segment_bytes=size, files=MemoryFiles())

    check_restored(path.parent)
    room = partial(release, path.parent)
    open_at = open_at or partial(Journal.open, segment_bytes=size, make_room=room)
    try:
        journal = open_at(path)
    except DamagedRecords as damage:
        # What is left of it may still say whose it is.
        _check_owner(path, damage.forming, cluster, config)
        alone = len(cluster.members) == 1
        stand_in = _tended(path, damage, repairs, files, alone=alone)
        if stand_in is not None:
            return stand_in
        if not alone:
            repairs.put_journal_aside(shelf() if shelf else shelf_of(cluster, config))
        journal = open_at(path)
    try:
        _check_owner(path, journal.recovered.forming, cluster, config)
    except StartError:
        journal.close()
        raise
    return journal


def _tended(
    path: Path, damage: DamagedRecords, repairs: Repairs, files: Files, *, alone: bool
) -> Journal | None:
    """Mend the journal; or return one in memory that holds its lock, while others are asked.

    :returns: None if the journal was mended, or cannot be.
    """
    if repairs.given_up or Mending.of(damage) is None:
        return None
    stand_in = Journal.open(
        path,
        segment_bytes=VOLATILE_SEGMENT_BYTES,
        files=StandInFiles(files),
        salt=bytes(DIGEST_BYTES),
    )
    try:
        # Once more, since nobody else can change it from here on.
        mending = _to_be_asked_for(Directory(files, path), repairs)
    except BaseException:
        stand_in.close()
        raise
    if alone or mending is None:
        stand_in.close()
        return None
    repairs.mending = mending
    return stand_in


def _to_be_asked_for(directory: Directory, repairs: Repairs) -> Mending | None:
    """Mend what needs nobody else, if that is all. Return what others must tell, or None."""
    try:
        recover(directory)
    except DamagedRecords as damage:
        mending = Mending.of(damage)
        if mending is None:
            return None
        repairs.note(str(damage))
        if mending.wanted:
            _log.warn(
                "the journal is damaged, and this node asks the others for what was in it: {error}",
                error=damage,
            )
            return mending
        try:
            repairs.mend_journal(mending)
        except DamagedRecords as rest:
            repairs.note(str(rest))
    return None


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

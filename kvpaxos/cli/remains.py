"""What the disk of a stopped node still holds of its cluster. Nothing on it is changed.

Known to be decided is what a start of the node would execute. Beyond that there are its votes: a
slot that it voted in may have been decided, and acknowledged, by nodes whose disks are gone. So
its votes are executed too, unless they are not wanted, slot after slot up to the first one that it
has no vote in. If one of them was overruled, its commands may be carried out here though nobody was
told so, or come out otherwise than in a slot that is lost. Votes behind a gap stay out, since what
they rest on is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kvpaxos.cli.decided import JOURNAL_NAME
from kvpaxos.engine.inspection import RocksInspection
from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.overlay import Overlay
from kvpaxos.engine.shelf import current
from kvpaxos.errors import ConfigError, StartError
from kvpaxos.journal.files import LOCK_NAME, OS_FILES, Directory
from kvpaxos.journal.inspection import Inspection, owner
from kvpaxos.node.recovery import GROUP
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.messages import Batch
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.store.engine import Engine


@dataclass(frozen=True, slots=True)
class Remains:
    """What was found.

    :ivar cluster: the id of the cluster, and ``members`` those of it.
    :ivar may_vote: whether the node counts in majorities: it has not lost its own disk.
    :ivar state: the state as it would be, with nothing of it written.
    :ivar stored_through: the state on the disk ends with this slot.
    :ivar decided_through: every slot through this one is known to be decided.
    :ivar voted_through: every slot up to here is decided, or voted in: ``state`` is that after it.
    :ivar left_out: votes that lie behind a gap, or are not wanted.
    :ivar written_at: when the journal was last written to, in words.
    :ivar troubles: what is wrong with the journal.
    """

    cluster: str
    members: tuple[str, ...]
    may_vote: bool
    state: State
    stored_through: Slot
    decided_through: Slot
    voted_through: Slot
    left_out: tuple[Slot, ...]
    written_at: str
    troubles: tuple[str, ...]


@contextmanager
def stopped(directory: Path) -> Iterator[None]:
    """Keep the node whose data is in ``directory`` from starting.

    :raises ConfigError: it runs, or there is no journal.
    :raises DiskError: the disk refuses.
    """
    path = directory / JOURNAL_NAME
    if not path.is_dir():
        raise ConfigError(f"{directory} holds no journal; name the data directory of a node.")
    pid = owner(path)
    if pid is not None:
        raise ConfigError(f"{directory} is in use by process {pid}; stop that node first.")
    try:
        lock = Directory(OS_FILES, path).lock()
    except StartError:
        raise ConfigError(f"{directory} is in use; stop that node first.") from None
    with closing(lock):
        yield


@contextmanager
def remains(directory: Path, node: str, *, value_bytes_max: int, votes: bool) -> Iterator[Remains]:
    """Provide what is in ``directory`` of ``node``, which is `stopped`.

    :param votes: execute the votes of which nobody knows whether they were decided.
    :raises ConfigError: the node is part of no cluster, or it is another one's directory.
    :raises StartError: state and journal do not belong together, or another version wrote them.
    :raises StateDamaged: there is nothing to begin with.
    :raises DiskError: the disk refuses.
    """
    with ExitStack() as opened:
        engine: Engine = opened.enter_context(closing(_engine(current(directory))))
        state = State(Overlay(engine), GROUP, value_bytes_max=value_bytes_max)
        stored_through = state.applied
        inspection = Inspection(directory / JOURNAL_NAME)
        for decision in inspection.decided(GROUP):
            if decision.slot > state.applied:
                _execute(state, decision.slot, decision.batch, directory)
        forming, formed = inspection.known.forming, inspection.known.formed
        if forming is None or formed is None:
            raise ConfigError(
                f"{directory}: this node is part of no cluster yet; there is nothing to recover."
            )
        if forming.node != node:
            raise ConfigError(f"{directory} is that of {forming.node}, and not of {node}.")
        known = inspection.known.group(GROUP)
        if state.applied < known.installed:
            raise StartError(
                f"{directory}: the state ends at slot {state.applied}, and the journal begins after"
                f" {known.installed}: the state was lost or is an old copy. Bring the newer one"
                " back, or recover another node."
            )
        decided_through = state.applied
        while votes and (vote := known.votes.get(Slot(state.applied + 1))) is not None:
            _execute(state, vote.slot, vote.batch, directory)
        yield Remains(
            formed.cluster,
            forming.members,
            forming.incarnation in {FIRST_INCARNATION, known.rejoined},
            state,
            stored_through,
            decided_through,
            state.applied,
            tuple(slot for slot in sorted(known.votes) if slot > state.applied),
            _written_at(directory / JOURNAL_NAME),
            tuple(f"{one.path}: {one.what} at byte {one.offset}" for one in inspection.damage),
        )


def _engine(place: Path) -> Engine:
    return RocksInspection(place) if place.is_dir() else MemoryEngine()


def _execute(state: State, slot: Slot, batch: Batch, directory: Path) -> None:
    if slot != state.applied + 1:
        raise StartError(
            f"{directory}: the state ends at slot {state.applied}, and the journal begins at"
            f" {slot}: the state was lost or is an old copy. Bring the newer one back, or recover"
            " another node."
        )
    for command in batch:
        state.apply(command)
    state.commit(slot)


def _written_at(journal: Path) -> str:
    """Return when the journal was last written to, in UTC."""
    files = [path for path in journal.iterdir() if path.name != LOCK_NAME]
    latest = max((path.stat().st_mtime for path in files), default=0.0)
    return datetime.fromtimestamp(latest, UTC).isoformat(" ", "seconds")

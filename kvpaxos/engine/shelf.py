"""The place of a node's state, and of one that is being built to take its place.

A state that comes from another node is built beside the old one, and replaces it whole. So
there are several directories, and their names alone say what they are worth:

====================  ==================================================================
``state``             the current state
``state.incoming``    one that is being built: worth nothing yet, however whole it is
``state.adopted``     one that is whole, and is the current one from now on
``state.trash-<n>``   given up, to be deleted
``state.damaged-<n>`` was the current one, and is kept for whoever wants to look at it;
                      beside a ``journal.damaged-<n>`` for good, since they belong together
====================  ==================================================================

A directory gets another worth by being renamed, which happens or does not. The name
``state.adopted`` is durable before the current one is touched, and from then on there is no
way back. Whoever opens the shelf finishes that first, and throws away what was being built.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from typing_extensions import override

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.engine.rocks import MEMORY_BYTES, RocksEngine
from kvpaxos.errors import DiskError, StateDamaged
from kvpaxos.store.engine import Engine

STATE: Final = "state"
"""The directory of the current state, in the data directory of a node."""

_INCOMING: Final = f"{STATE}.incoming"
_ADOPTED: Final = f"{STATE}.adopted"
_TRASH: Final = f"{STATE}.trash"

DAMAGED_STATE: Final = f"{STATE}.damaged"
"""How the names begin of states that were set aside; a number follows."""

DAMAGED_JOURNAL: Final = "journal.damaged"
"""The same of journals. The state that came of one was set aside with it, and has its number."""

_INCOMING_SHARE: Final = 4
"""A state that is being built takes only this part of the memory, besides the current one."""


def current(directory: Path) -> Path:
    """Return where the current state is in a data directory that nobody uses."""
    adopted = directory / _ADOPTED
    return adopted if adopted.exists() else directory / STATE


class Shelf(Protocol):
    """Where the state of a node is, and where another one can be built beside it.

    At most two engines are open at a time. All calls block; they may be made on any thread,
    one at a time, but for `clear`, which may run beside all others.

    Every call raises `DiskError` if the disk refuses; the node must stop then. Whenever that
    happens, and whenever the process dies, the next `open` finds the current state or the one
    that was being adopted, whole.
    """

    def open(self) -> Engine:
        """Return the current engine, after finishing or giving up what a crash interrupted.

        To be called once, before all but `set_aside`; after that one, again. An engine is made
        if there is none.

        :raises StartError: the place cannot be used, or another process uses it.
        :raises StateDamaged: the files are not those that were written.
        """

    def fresh(self) -> Engine:
        """Return an empty engine beside the current one. An earlier fresh one is discarded."""

    def adopt(self) -> Engine:
        """Put the fresh engine, for good, in the place of the current one.

        Both are closed, whatever is read from them meanwhile.

        :returns: the current engine from now on, open, with what the fresh one held.
        """

    def discard(self) -> None:
        """Close the fresh engine and give up what it holds. Without one, do nothing."""

    def set_aside(self) -> Path | None:
        """Move a damaged current state out of the way, so that `open` begins an empty one.

        It is closed first, if it is open. Only the one that was set aside last is kept, and those
        that belong to a journal which was.

        :returns: where it is now; None if there was nothing to keep.
        """

    def clear(self) -> None:
        """Delete the files of all that was given up.

        It may take long, and nobody needs to wait for it: call it on a thread of its own
        after `open`, `adopt`, `discard` and `set_aside`.
        """

    def close(self) -> None:
        """Discard the fresh engine, and close the current one with all writes durable.

        To do it twice is harmless.
        """


class MemoryShelf(Shelf):
    """For a node that keeps nothing."""

    def __init__(self) -> None:
        self._current: MemoryEngine | None = None
        self._fresh: MemoryEngine | None = None

    @override
    def open(self) -> Engine:
        assert self._current is None, "the shelf is open already"
        self._current = MemoryEngine()
        return self._current

    @override
    def fresh(self) -> Engine:
        self.discard()
        self._fresh = MemoryEngine()
        return self._fresh

    @override
    def adopt(self) -> Engine:
        assert self._current is not None, "open the shelf first"
        assert self._fresh is not None, "nothing was built"
        self._current.close()
        self._current, self._fresh = self._fresh, None
        return self._current

    @override
    def discard(self) -> None:
        if self._fresh is not None:
            self._fresh.close()
            self._fresh = None

    @override
    def set_aside(self) -> Path | None:
        self.close()
        return None

    @override
    def clear(self) -> None:
        pass

    @override
    def close(self) -> None:
        self.discard()
        if self._current is not None:
            self._current.close()
            self._current = None


class RocksShelf(Shelf):
    """States on RocksDB, in a data directory that no other process uses.

    :param memory_bytes: how much memory the current engine may take; see `RocksEngine`.
    """

    def __init__(self, directory: Path, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._directory = directory
        self._memory_bytes = memory_bytes
        self._current: RocksEngine | None = None
        self._fresh: RocksEngine | None = None
        self._clearing = threading.Lock()

    @override
    def open(self) -> Engine:
        assert self._current is None, "the shelf is open already"
        self._settle()
        self._current = self._engine(STATE, self._memory_bytes)
        return self._current

    @override
    def fresh(self) -> Engine:
        self.discard()
        self._fresh = self._engine(_INCOMING, self._memory_bytes // _INCOMING_SHARE)
        return self._fresh

    @override
    def adopt(self) -> Engine:
        current, fresh = self._current, self._fresh
        assert current is not None, "open the shelf first"
        assert fresh is not None, "nothing was built"
        self._fresh = None
        fresh.close()
        self._rename(_INCOMING, _ADOPTED)
        self._sync()
        # From here on the other one is the state, whatever happens.
        self._current = None
        _give_up(current)
        return self.open()

    @override
    def discard(self) -> None:
        if self._fresh is not None:
            fresh, self._fresh = self._fresh, None
            _give_up(fresh)
            self._throw_away(_INCOMING)

    @override
    def set_aside(self) -> Path | None:
        self.discard()
        if self._current is not None:
            current, self._current = self._current, None
            _give_up(current)
        self._settle()
        if not self._has(STATE):
            return None
        older, journals = self._numbered(DAMAGED_STATE), self._numbered(DAMAGED_JOURNAL)
        name = f"{DAMAGED_STATE}-{max([*older, *journals], default=0) + 1}"
        self._rename(STATE, name)
        self._sync()
        for number in set(older).difference(journals):
            self._throw_away(f"{DAMAGED_STATE}-{number}")
        return self._directory / name

    @override
    def clear(self) -> None:
        with self._clearing:
            for number in self._numbered(_TRASH):
                self._delete(self._directory / f"{_TRASH}-{number}")

    @override
    def close(self) -> None:
        self.discard()
        if self._current is not None:
            current, self._current = self._current, None
            current.close()

    def _engine(self, name: str, memory_bytes: int) -> RocksEngine:
        return RocksEngine(self._directory / name, memory_bytes=memory_bytes)

    def _settle(self) -> None:
        """Have nothing here but a current state, or none, and trash, and what was set aside."""
        self._throw_away(_INCOMING)
        if self._has(_ADOPTED):
            self._throw_away(STATE)
            self._rename(_ADOPTED, STATE)
            self._sync()

    def _throw_away(self, name: str) -> None:
        """Give up the directory ``name``, if there is one. It takes no time, whatever it holds."""
        if self._has(name):
            number = max(self._numbered(_TRASH), default=0) + 1
            self._rename(name, f"{_TRASH}-{number}")

    def _has(self, name: str) -> bool:
        return name in self._names()

    def _numbered(self, kind: str) -> list[int]:
        """Return the numbers of all directories of this kind, in order."""
        pattern = re.compile(rf"{re.escape(kind)}-([0-9]+)")
        return sorted(int(found[1]) for found in map(pattern.fullmatch, self._names()) if found)

    def _names(self) -> list[str]:
        with _refusing("list", self._directory):
            return os.listdir(self._directory) if self._directory.exists() else []  # noqa: PTH208

    def _rename(self, old: str, new: str) -> None:
        with _refusing("rename", self._directory / old):
            (self._directory / old).rename(self._directory / new)

    def _sync(self) -> None:
        with _refusing("sync", self._directory):
            handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _delete(self, place: Path) -> None:
        with _refusing("delete", place):
            if place.is_symlink():
                # What it leads to is not ours to delete.
                place.unlink()
            else:
                shutil.rmtree(place)


def _give_up(engine: RocksEngine) -> None:
    """Close an engine whose last writes nobody will miss."""
    with suppress(DiskError, StateDamaged):
        engine.close()


@contextmanager
def _refusing(deed: str, place: Path) -> Iterator[None]:
    """Say in one sentence what went wrong when the disk would not do ``deed`` to ``place``."""
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{place}: cannot {deed} it ({error.strerror or error}); see that this disk is sound,"
            " has free space and may be written, and start the node again"
        ) from error

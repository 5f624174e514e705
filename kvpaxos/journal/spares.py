"""Keeps the next segment's file ready, so that the writer need not fill one with zeros.

Files of segments that are forgotten are used again: to delete some and to make others makes a file
system, and the disk below, do more at once than to write to those that are there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from threading import Lock
from typing import Final

from kvpaxos.errors import DiskError
from kvpaxos.journal.files import Directory, File, lacks_space
from kvpaxos.journal.recovery import SPARE, opened

SPARES_MAX: Final = 2
"""One for the next segment, and one that was forgotten meanwhile, for the one after that."""

FILLED_WITHIN: Final = 0.5
"""Out of a file that was forgotten, the next segment is ready when so much more of this one is
used."""

MADE_FROM: Final = 0.5
"""If none was forgotten until so much of this one is used, a file is made. That takes more room."""

MADE_WITHIN: Final = 0.25
"""And such a file is ready when so much more of this one is used."""

READY_AT: Final = 0.9
"""When so much of this one is used, a spare is ready, however late there was one."""

PIECE_BYTES: Final = 256 * 1024
"""So many zeros are synced at once, so that no sync of the journal waits behind all of them."""


class _Spare:
    """A file that is being filled with zeros, from its front.

    :ivar since: so much of the current segment was used when it came to be, as a share of 1.
    :ivar forgotten: whether the file was there before, full of something else.
    :ivar zeros: so many bytes of it are zeros, durably.
    """

    def __init__(
        self, directory: Directory, name: str, size: int, *, since: float, forgotten: bool
    ) -> None:
        self.name = name
        self.size = size
        self.since = since
        self.zeros = 0
        self.forgotten = forgotten
        self._directory = directory
        self._file: File | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it holds nothing but zeros."""
        return self.zeros == self.size

    def is_due(self, used: float) -> bool:
        """Whether one more piece should be filled by the time that so much is used."""
        within = FILLED_WITHIN if self.forgotten else MADE_WITHIN
        within = min(within, READY_AT - self.since)
        due = (used - self.since) / within if within > 0 else 1.0
        return not self.is_ready and self.zeros <= due * self.size

    @property
    def file(self) -> File:
        """The file, open, once anything was filled."""
        assert self._file is not None, "nothing is filled yet"
        return self._file

    def fill(self, piece_bytes: int) -> None:
        """Fill one more piece."""
        if self._file is None:
            place, name = self._directory, self.name
            self._file = opened(place, name) if self.forgotten else place.create(name)
        piece_bytes = min(piece_bytes, self.size - self.zeros)
        self._file.write(bytes(piece_bytes), self.zeros)
        self._file.sync()
        self.zeros += piece_bytes

    def close(self) -> None:
        """Give the handle back."""
        if self._file is not None:
            self._file.close()

    def delete(self) -> None:
        """Delete the file, if there is one."""
        self.close()
        if self.forgotten or self._file is not None:
            self._directory.remove(self.name)


class Spares:
    """At most `SPARES_MAX` files, under temporary names; the first becomes the next segment.

    `prepare` may be called on another thread than the others.

    :param make_room: is called when the disk is full, and returns whether it freed any.
    :param lock: makes what keeps one thread waiting for the other.
    :param piece_bytes: so many zeros are written and synced at once.
    """

    def __init__(
        self,
        directory: Directory,
        segment_bytes: int,
        make_room: Callable[[], bool] = lambda: False,
        lock: Callable[[], AbstractContextManager[object]] = Lock,
        *,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._make_room = make_room
        self._lock = lock()
        self._piece_bytes = piece_bytes
        self._numbers = count(1)
        self._spares: tuple[_Spare, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether there is one that holds nothing but zeros."""
        return any(spare.is_ready for spare in self._spares[:1])

    def is_due(self, used: float) -> bool:
        """Whether `prepare` should be called once more.

        Zeros are written as the current segment is used: a little now and then, never many at once.

        :param used: how much of it is, as a share of 1.
        """
        spare = next(iter(self._spares), None)
        return used >= MADE_FROM if spare is None else spare.is_due(used)

    def prepare(self) -> bool:
        """Fill one more piece of the first one, unless that is ready.

        :returns: False if the disk has no room for it. Nothing is lost by that yet.
        :raises DiskError: if the disk refuses for any other reason.
        """
        with self._lock:
            try:
                self._prepare()
            except DiskError as error:
                if lacks_space(error):
                    return False
                raise
            return True

    def take(self, size: int) -> tuple[str, File]:
        """Return the name of a file of ``size`` zeros, and the file, open.

        It waits for a `prepare` that is under way on another thread.
        """
        with self._lock:
            if size != self._segment_bytes:
                spare = self._new(size)
                while not spare.is_ready:
                    spare = self._filled(spare)
                return spare.name, spare.file
            while not self.is_ready:
                self._prepare()
            spare, *others = self._spares
            for other in others:
                other.since = 0.0  # Another segment begins.
            self._spares = tuple(others)
            return spare.name, spare.file

    def recycle(self, name: str, size: int, used: float = 0.0) -> None:
        """Take the file of a segment that is needed no more, if of use; delete it otherwise.

        Whoever reads in it from now on may find anything there.

        :param size: how large it is, in bytes.
        :param used: as in `is_due`.
        """
        with self._lock:
            if size != self._segment_bytes or len(self._spares) >= SPARES_MAX:
                self._directory.remove(name)
                return
            spare = self._new(size, since=used, forgotten=True)
            try:
                self._directory.rename(name, spare.name)
            except DiskError as error:
                if not lacks_space(error):
                    raise
                self._directory.remove(name)
            else:
                self._spares = (*self._spares, spare)

    def close(self) -> None:
        """Give them up. Their files are deleted when the journal is next opened."""
        with self._lock:
            for spare in self._spares:
                spare.close()
            self._spares = ()

    def _prepare(self) -> None:
        """Fill one more piece of the first one. One that the disk refuses is given up."""
        first, *others = self._spares or (self._new(self._segment_bytes),)
        if not first.is_ready:
            self._spares = tuple(others)
            self._spares = (self._filled(first), *others)

    def _filled(self, spare: _Spare) -> _Spare:
        """Fill one more piece of ``spare``, or of another one each time that room is made."""
        while True:
            try:
                spare.fill(self._piece_bytes)
            except BaseException as error:
                spare.delete()
                full = isinstance(error, DiskError) and lacks_space(error)
                if not full or not self._make_room():
                    raise
            else:
                return spare
            # Nothing rests on the one that failed.
            spare = self._new(spare.size)

    def _new(self, size: int, *, since: float = MADE_FROM, forgotten: bool = False) -> _Spare:
        name = f"{SPARE}{next(self._numbers)}"
        return _Spare(self._directory, name, size, since=since, forgotten=forgotten)

"""Keeps the next segment's file ready, so that the writer need not fill one with zeros."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from typing import Final

from kvpaxos.errors import DiskError
from kvpaxos.journal.files import Directory, File, lacks_space
from kvpaxos.journal.recovery import SPARE

_PIECE: Final = bytes(512 * 1024)
"""Zeros are synced in pieces, so that no sync of the journal waits behind all of them."""


class Spares:
    """At most one file full of zeros, under a temporary name.

    `prepare` may be called on another thread than `take`.

    :param make_room: is called when the disk is full, and returns whether it freed any.
    :param lock: makes what keeps one thread waiting for the other.
    """

    def __init__(
        self,
        directory: Directory,
        segment_bytes: int,
        make_room: Callable[[], bool] = lambda: False,
        lock: Callable[[], AbstractContextManager[object]] = Lock,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._make_room = make_room
        self._lock = lock()
        self._made = 0
        self._ready: tuple[str, File] | None = None

    @property
    def ready(self) -> bool:
        """Whether there is one."""
        return self._ready is not None

    def prepare(self) -> bool:
        """Make one, unless there is one. Return whether there is one now.

        :returns: False if the disk has no room for it. Nothing is lost by that yet.
        :raises DiskError: if the disk refuses for any other reason.
        """
        with self._lock:
            if self._ready is None:
                try:
                    self._ready = self._make(self._segment_bytes)
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
            if self._ready is None or size != self._segment_bytes:
                return self._make(size)
            spare, self._ready = self._ready, None
            return spare

    def close(self) -> None:
        """Give up the one that is ready. Its file is deleted when the journal is next opened."""
        with self._lock:
            if self._ready is not None:
                self._ready[1].close()
                self._ready = None

    def _make(self, size: int) -> tuple[str, File]:
        try:
            return self._filled(size)
        except DiskError as error:
            if not lacks_space(error) or not self._make_room():
                raise
        # Nothing rests on the one that failed, and this is another file.
        return self._filled(size)

    def _filled(self, size: int) -> tuple[str, File]:
        self._made += 1
        name = f"{SPARE}{self._made}"
        file = self._directory.create(name)
        try:
            for offset in range(0, size, len(_PIECE)):
                file.write(_PIECE[: size - offset], offset)
                file.sync()
        except BaseException:
            file.close()
            self._directory.remove(name)
            raise
        return name, file

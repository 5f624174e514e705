"""The threads of a node, behind one seam.

A node asks for threads, and for what they wait at, in one place. So it can be given others whose
waiting costs no time but that of a clock which somebody made up (see `kvpaxos.simulator`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.threadpool import ThreadPool
from typing_extensions import override

_Item = TypeVar("_Item")


class Thread(Protocol):
    """A thread that has been started."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for so many seconds."""

    def is_alive(self) -> bool:
        """Whether it has not ended."""


class Queue(Protocol[_Item]):
    """What one thread hands to another."""

    def put(self, item: _Item, /) -> None:
        """Add ``item``. Any thread may."""

    def get(self) -> _Item:
        """Return the first item, and wait for it if there is none."""

    def get_nowait(self) -> _Item:
        """Return the first item, or raise `queue.Empty`."""


class Signal(Protocol):
    """Something that happens once."""

    def set(self) -> None:
        """Let it have happened."""

    def wait(self, timeout: float) -> bool:
        """Wait until it has, or for so many seconds. Return whether it has."""


class Condition(Protocol):
    """Something that threads wait for, and a lock that whoever looks at it is in."""

    def __enter__(self) -> object:
        """Take the lock. A thread that has it may."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> object:
        """Let the lock go."""

    def wait(self) -> object:
        """Let the lock go until somebody notifies, and take it again."""

    def notify(self) -> None:
        """Let a thread that waits look again."""


class Threads(Protocol):
    """Where the threads of a node come from."""

    def start(self, run: Callable[[], None], name: str) -> Thread:
        """Have ``run`` called on a thread of its own. It keeps no process from ending."""

    def queue(self) -> Queue[Any]:
        """Return a queue with nothing in it."""

    def signal(self) -> Signal:
        """Return a signal for one thread to wait for."""

    def lock(self) -> AbstractContextManager[object]:
        """Return a lock that one thread at a time can be in."""

    def condition(self) -> Condition:
        """Return a condition that nobody waits for."""

    def worker(self, name: str) -> ThreadPool:
        """Return a pool of one thread, which is there only while there is something to do."""

    def call(self, job: Callable[[], None]) -> Deferred[None]:
        """Call ``job``, which blocks, on some thread that is there. Fire when it returned."""


class SystemThreads(Threads):
    """The threads of this process."""

    @override
    def start(self, run: Callable[[], None], name: str) -> Thread:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    @override
    def queue(self) -> Queue[Any]:
        return SimpleQueue()

    @override
    def signal(self) -> Signal:
        return threading.Event()

    @override
    def lock(self) -> AbstractContextManager[object]:
        return threading.Lock()

    @override
    def condition(self) -> Condition:
        return threading.Condition()

    @override
    def worker(self, name: str) -> ThreadPool:
        return ThreadPool(0, 1, name=name)

    @override
    def call(self, job: Callable[[], None]) -> Deferred[None]:
        return deferToThread(job)


SYSTEM_THREADS: Final = SystemThreads()
"""They keep nothing, so one is enough."""

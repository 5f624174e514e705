"""The threads of a simulated process, and what they wait at. See `kvpaxos.node.threads`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Empty
from types import TracebackType
from typing import Any

from greenlet import getcurrent, greenlet
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from typing_extensions import override

from kvpaxos.node.threads import Condition, Queue, Signal, Thread, Threads
from kvpaxos.simulator.process import START_S, Process
from kvpaxos.simulator.reactor import Reactor


class SimulatedThreads(Threads):
    """Where the threads of one simulated process come from."""

    def __init__(self, process: Process, reactor: Reactor) -> None:
        self._process = process
        self._reactor = reactor
        self._others = Worker(process, "others")

    @override
    def start(self, run: Callable[[], None], name: str) -> Thread:
        return _Thread(self._process, run)

    @override
    def queue(self) -> Queue[Any]:
        return _Queue(self._process)

    @override
    def signal(self) -> Signal:
        return _Signal(self._process)

    @override
    def lock(self) -> AbstractContextManager[object]:
        return _Lock(self._process)

    @override
    def condition(self) -> Condition:
        return _Condition(self._process)

    @override
    def worker(self, name: str) -> ThreadPool:
        return Worker(self._process, name)

    @override
    def call(self, job: Callable[[], None]) -> Deferred[None]:
        return deferToThreadPool(self._reactor, self._others, job)


class _Thread(Thread):
    def __init__(self, process: Process, run: Callable[[], None]) -> None:
        self._thread = process.thread(run)

    @override
    def join(self, timeout: float | None = None) -> None:
        # Whoever joins has heard its last word, and after that it does nothing.
        assert self._thread.dead, "it still runs"

    @override
    def is_alive(self) -> bool:
        return not self._thread.dead


class _Queue(Queue[Any]):
    def __init__(self, process: Process) -> None:
        self._process = process
        self._items: deque[Any] = deque()
        self._waiting: greenlet | None = None

    @override
    def put(self, item: Any, /) -> None:
        self._items.append(item)
        if self._waiting is not None:
            self._process.wake(self._waiting, START_S)
            self._waiting = None

    @override
    def get(self) -> Any:
        while not self._items:
            assert self._waiting is None, "one thread takes from a queue"
            self._waiting = getcurrent()
            self._process.wait()
        return self._items.popleft()

    @override
    def get_nowait(self) -> Any:
        if not self._items:
            raise Empty
        return self._items.popleft()


class _Signal(Signal):
    def __init__(self, process: Process) -> None:
        self._process = process
        self._is_set = False

    @override
    def set(self) -> None:
        self._is_set = True

    @override
    def wait(self, timeout: float) -> bool:
        # Nobody who waits for a signal minds to hear of it when time is up.
        if not self._is_set:
            self._process.sleep(timeout)
        return self._is_set


class _Lock(AbstractContextManager[None]):
    def __init__(self, process: Process) -> None:
        self._process = process
        self._held = False
        self._waiting: deque[greenlet] = deque()

    @override
    def __enter__(self) -> None:
        while self._held:
            self._waiting.append(getcurrent())
            self._process.wait()
        self._held = True

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held = False
        if self._waiting:
            self._process.wake(self._waiting.popleft())


class _Condition(Condition):
    """Threads take turns here: who does not wait has the lock."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._waiting: deque[greenlet] = deque()

    @override
    def __enter__(self) -> None:
        pass

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        pass

    @override
    def wait(self) -> None:
        self._waiting.append(getcurrent())
        self._process.wait()

    @override
    def notify(self) -> None:
        if self._waiting:
            self._process.wake(self._waiting.popleft(), START_S)


class Worker(ThreadPool):
    """Does one job after the other, each on a thread of its own."""

    def __init__(self, process: Process, name: str) -> None:
        super().__init__(0, 1, name=name)
        self._process = process
        self._jobs: deque[Callable[[], None]] = deque()
        self._busy = False

    @override
    def start(self) -> None:
        """Do nothing: there is a thread whenever there is a job."""

    @override
    def stop(self) -> None:
        """Do nothing: whoever stops it has waited for all jobs."""
        assert not self._busy, f"{self.name} still works"

    @override
    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        func: Callable[..., Any],
        *args: object,
        **kw: object,
    ) -> None:
        """Have ``func`` called after all before it. ``onResult`` is called on that thread."""

        def job() -> None:
            try:
                succeeded, result = True, func(*args, **kw)
            except Exception:  # noqa: BLE001  (it goes to whoever asked)
                succeeded, result = False, Failure()
            if onResult is not None:
                onResult(succeeded, result)

        self._jobs.append(job)
        if not self._busy:
            self._busy = True
            self._process.thread(self._work)

    def _work(self) -> None:
        while self._jobs:
            self._jobs.popleft()()
        self._busy = False

"""A simulated process: threads that take turns, and that can be stopped at any instant.

Each of its threads runs on a stack of its own (a greenlet) until it waits: for a disk, for a lock,
for another thread. Then the world goes on, and comes back to it when what it waits for has
happened. So the code of a node runs as it is, blocking calls and all, in one thread of this
machine, and in one order for each seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from greenlet import GreenletExit, getcurrent, greenlet

from kvpaxos.simulator.agenda import Agenda, Call

START_S: Final = 20e-6
"""How long a thread takes until it runs, or runs on."""


class Process:
    """A main thread, which runs the reactor's calls, and others.

    :ivar alive: whether it has not been killed.
    :ivar paused: whether nothing of it runs, as after SIGSTOP.
    :ivar power_cut: whether its machine died with it.
    :ivar died: called once it is dead.
    """

    def __init__(self, agenda: Agenda, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.power_cut = False
        self.died: Callable[[], None] = _nothing
        self._agenda = agenda
        self._hub = getcurrent()
        self._main = greenlet(self._loop)
        self._busy = False
        self._todo: deque[Callable[[], object]] = deque()
        self._held: list[greenlet] = []
        self._threads: list[greenlet] = []

    def run(self, action: Callable[[], object]) -> None:
        """Call ``action`` on the main thread, once that has done all before, and runs."""
        if not self.alive:
            return
        self._todo.append(action)
        if getcurrent() is self._hub:
            self._work()
        elif not self._busy:
            # Another process may have asked for it, and only the hub comes back to that one.
            self._agenda.after(0.0, self._work)

    def thread(self, run: Callable[[], None]) -> greenlet:
        """Have ``run`` called on a thread of its own."""
        thread = greenlet(partial(self._run_thread, run), parent=self._hub)
        self._threads.append(thread)
        self.wake(thread, START_S)
        return thread

    def owns(self, thread: greenlet) -> bool:
        """Whether ``thread`` is one of its threads."""
        return thread is self._main or thread in self._threads

    def sleep(self, seconds: float) -> None:
        """Let so many seconds of the world pass for the thread that calls this."""
        self.wake(getcurrent(), seconds)
        self.wait()

    def wait(self) -> None:
        """Let the thread that calls this stand still until somebody wakes it."""
        assert getcurrent() is not self._hub, "nobody can wait who is no thread of a process"
        # Before as well: whoever catches everything has caught the end, too, and goes on.
        self.check()
        self._hub.switch()
        self.check()

    def wake(self, thread: greenlet, seconds: float = 0.0) -> Call:
        """Have ``thread`` go on after so many seconds."""
        return self._agenda.after(seconds, self._go_on, thread)

    def pause(self) -> None:
        """Let nothing of it run."""
        self.paused = True

    def resume(self) -> None:
        """Let all go on that would have."""
        if not self.paused or not self.alive:
            return
        self.paused = False
        held, self._held = self._held, []
        for thread in held:
            self.wake(thread)
        if self._todo and not self._busy:
            self._agenda.after(0.0, self._work)

    def kill(self) -> None:
        """Stop all of its threads where they are. None of them does anything any more."""
        if not self.alive:
            return
        self.alive = False
        self._todo.clear()
        for thread in (self._main, *self._threads):
            if not thread.dead:
                thread.throw(GreenletExit)
        self.died()

    def check(self) -> None:
        """End the thread that calls this if the process was killed meanwhile."""
        if not self.alive:
            raise GreenletExit

    def _work(self) -> None:
        if self._todo and self.alive and not self._busy and not self.paused:
            self._busy = True
            self._main.switch()

    def _run_thread(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception:
            # The dead close their files, which are closed already.
            if self.alive:
                raise

    def _go_on(self, thread: greenlet) -> None:
        if thread.dead or not self.alive:
            return
        if self.paused:
            self._held.append(thread)
            return
        thread.switch()
        self._threads = [thread for thread in self._threads if not thread.dead]

    def _loop(self) -> None:
        self._run_thread(self._run_main)

    def _run_main(self) -> None:
        while True:
            while self._todo and not self.paused:
                self._todo.popleft()()
            self._busy = False
            self.wait()


def _nothing() -> None:
    pass

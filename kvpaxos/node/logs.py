"""The log: lines or JSON objects, through a bounded queue to a thread of their own.

A terminal that was stopped, a full pipe or a slow disk may block whoever writes to it. The reactor
must not be that one, or heartbeats stop with it. So it only puts lines into a queue; when that is
full, lines are dropped and counted, and the log says how many as soon as it can again.
"""

from __future__ import annotations

import atexit
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Final, cast

from twisted.internet.interfaces import IReactorCore
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from twisted.python.reflect import safe_str
from zope.interface import implementer

from kvpaxos.node.lines import QUEUE_BYTES_MAX, DescriptorSink, FileSink, LineWriter, Sink
from kvpaxos.node.threads import SYSTEM_THREADS, Threads


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a node logs.

    :ivar node: stands in every line.
    :ivar form: ``text`` or ``json``.
    :ivar level: events below it are left out; those of libraries also if they are mere
        information, unless the level is ``debug``.
    :ivar path: the log file; None for standard output.
    """

    node: str
    form: str = "text"
    level: str = "info"
    path: str | None = None


@implementer(ILogObserver)
class NodeLog:
    """The observer that turns events into lines of one node's log."""

    def __init__(
        self,
        settings: LogSettings,
        sink: Sink,
        *,
        bytes_max: int = QUEUE_BYTES_MAX,
        threads: Threads = SYSTEM_THREADS,
    ) -> None:
        self._level = LogLevel.levelWithName(settings.level)
        self._library_level = LogLevel.debug
        if self._level > LogLevel.debug:
            self._library_level = max(self._level, LogLevel.warn)
        self._format = _FORMS[settings.form]
        self._node = settings.node
        self.writer = LineWriter(sink, self._losses, bytes_max=bytes_max, threads=threads)

    def __call__(self, event: LogEvent) -> None:
        """Queue the line of ``event``, unless its level is too low."""
        level = event.get("log_level") or LogLevel.info
        namespace = event.get("log_namespace") or ""
        foreign = namespace.startswith(_LIBRARIES)
        if level >= (self._library_level if foreign else self._level):
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
            if text:
                self.writer.write(self._format(self._node, event, text))

    def _losses(self, count: int) -> bytes:
        event = {
            "log_time": time.time(),
            "log_level": LogLevel.warn,
            "log_namespace": __name__,
            "lines": count,
        }
        text = f"{count} lines are missing here: the log could not be written as fast as it came"
        return self._format(self._node, event, text)


def text_line(node: str, event: LogEvent, text: str) -> bytes:
    """Return ``event`` as a line to be read: time, node, level, system, text."""
    # What peers and clients sent may stand in a message; it must not steer a terminal.
    shown = text.translate(_CONTROL_CHARACTERS).replace("\n", "\n    ")
    line = f"{_time(event)} {node} {_level(event):<5} {_system(event)}: {shown}\n"
    return line.encode(errors="backslashreplace")


def json_line(node: str, event: LogEvent, text: str) -> bytes:
    """Return ``event`` as one JSON object: time, node, level, system, message, then its fields."""
    fields = {
        key: _plain(value)
        for key, value in event.items()
        if not key.startswith("log_") and key not in _LEGACY_FIELDS
    }
    record = fields | {
        "time": _time(event),
        "node": node,
        "level": _level(event),
        "system": _system(event),
        "message": text,
    }
    return json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


_FORMS: Final[Mapping[str, Callable[[str, LogEvent, str], bytes]]] = {
    "text": text_line,
    "json": json_line,
}

FORMS: Final = tuple(_FORMS)
"""The forms that a log can have."""

_LIBRARIES: Final = ("twisted.", "log_legacy", "klein", "treq")
"""How the namespaces of events begin that libraries tell of themselves."""

_LEGACY_FIELDS: Final = frozenset(
    {"message", "time", "system", "isError", "format", "failure", "why", "logLevel"}
)
"""What Twisted adds to events for observers of the old kind."""

_CONTROL_CHARACTERS: Final = {
    code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"
}


def observer() -> NodeLog:
    """Return the observer of this process: what ``twistd --logger`` calls."""
    assert _process is not None, "the settings of the log come first"
    sink = DescriptorSink(1) if _process.path is None else FileSink(_process.path)
    return _running(NodeLog(_process, sink))


def choose(settings: LogSettings) -> str:
    """Set how this process logs, and return the name of the factory for ``twistd --logger``."""
    # twistd takes a factory by its name and calls it without arguments.
    global _process  # noqa: PLW0603 -- a process has one log
    _process = settings
    return f"{__name__}.{observer.__name__}"


_process: LogSettings | None = None


def observer_of(settings: LogSettings, file: IO[str]) -> NodeLog:
    """Return the observer that logs to the open ``file``: what ``twist`` calls."""
    return _running(NodeLog(settings, DescriptorSink(file.fileno())))


def _running(log: NodeLog) -> NodeLog:
    """Bind the writer of ``log`` to the life of the process."""
    # Not before now: the command line may choose another reactor.
    from twisted.internet import reactor

    core = cast("IReactorCore", reactor)
    # Not before the reactor runs: twistd forks after logging has begun.
    core.callWhenRunning(log.writer.start)
    core.addSystemEventTrigger("after", "shutdown", log.writer.close)
    atexit.register(log.writer.close)
    return log


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time") or time.time(), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    return cast("str", (event.get("log_level") or LogLevel.info).name)


def _system(event: LogEvent) -> str:
    named = event.get("log_system") or event.get("log_namespace") or "-"
    return safe_str(named).removeprefix("kvpaxos.")


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return safe_str(value)

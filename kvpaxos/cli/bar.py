"""How far a long command has come, as a bar on a terminal."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

REDRAWN_S: Final = 0.25
"""Between two drawings."""


class Bar:
    """Shows on standard error how many lines were done, if that is a terminal.

    :param total: how many bytes there are to be done, None if nobody knows.
    :param done: how many of them, and how many lines, were done before.
    :param things: what to call the lines, if they are something else.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        *,
        done: int = 0,
        lines: int = 0,
        things: str = "lines",
    ) -> None:
        console = Console(file=sys.stderr)
        known = [TaskProgressColumn(), TimeRemainingColumn()] if total else []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *known,
            TextColumn(f"{{task.fields[lines]}} {things}, {{task.fields[rate]:.0f}}/s"),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(name, total=total, completed=done, lines=lines, rate=0)
        self._began = self._drawn_at = monotonic()
        self._lines_before = lines

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, done: int, lines: int) -> None:
        """Show how many bytes and lines are done now, but not too often."""
        now = monotonic()
        if self._progress.disable or now - self._drawn_at < REDRAWN_S:
            return
        self._drawn_at = now
        rate = (lines - self._lines_before) / (now - self._began)
        self._progress.update(self._task, completed=done, lines=lines, rate=rate)
        self._progress.refresh()

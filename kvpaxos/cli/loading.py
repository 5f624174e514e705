"""``kvpaxos load``, carried out: from a file, where it can be taken up again, or from a pipe."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, Final

from kvpaxos.cli.arguments import Asked
from kvpaxos.cli.bar import Bar
from kvpaxos.cli.calls import client_for
from kvpaxos.cli.checkpoint import START, Checkpoint, Position
from kvpaxos.cli.lines import FileLines, Lines, PipeLines
from kvpaxos.cli.loader import LineFailed, Loader
from kvpaxos.cli.nodes import named_nodes
from kvpaxos.cli.output import counted, print_json
from kvpaxos.cli.pairs import BadLine
from kvpaxos.cli.running import run
from kvpaxos.cli.sender import Sender
from kvpaxos.cli.statuses import REFUSED, Interrupted, Told, say, status_of
from kvpaxos.client.client import Client
from kvpaxos.errors import ConfigError, KvPaxosError

CHECKPOINT_S: Final = 1.0
"""Between two checkpoints. What was loaded since the last one is loaded again after a crash."""

STDIN: Final = "-"
"""The name of standard input."""


def load(asked: Asked, name: str, concurrency: int, *, restart: bool) -> None:
    """Load the lines of the file ``name``, and tell how it went.

    :param concurrency: how many requests are under way at a time.
    :param restart: begin with the first line, whatever was loaded before.
    """
    loading = Loading(asked, name, concurrency, restart=restart)
    began = monotonic()
    try:
        run(loading.run)
    except LineFailed as failed:
        status = _status(failed.why)
        source = "standard input" if name == STDIN else name
        sentence = f"{source}: line {failed.number}: {str(failed.why).rstrip('.')}."
        loading.tell(success=False, line=failed.number, message=sentence)
        raise Told(f"{sentence} {loading.how_far()}", status) from None
    except Interrupted:
        loading.tell(success=False, message="interrupted")
        say(loading.how_far())
        raise
    except KvPaxosError as error:
        loading.tell(success=False, message=str(error))
        raise
    took_s = monotonic() - began
    loading.tell(success=True, seconds=round(took_s, 3))
    if sys.stdout.isatty() and not asked.as_json:
        lines = loading.position.lines - loading.start.lines
        print(f"{counted(lines, 'line')} loaded in {took_s:.1f} s, {lines / took_s:.0f} a second")  # noqa: T201


class Loading:
    """One run of the command.

    :ivar start: where it began.
    :ivar position: everything before it is loaded.
    """

    def __init__(self, asked: Asked, name: str, concurrency: int, *, restart: bool) -> None:
        self.start = self.position = START
        self._asked = asked
        self._name = name
        self._concurrency = concurrency
        self._restart = restart
        self._resumable = False

    async def run(self, reactor: Any) -> None:  # noqa: ANN401 -- several interfaces at once
        """Load everything.

        :raises LineFailed: it ended early.
        """
        with _opened(self._name) as file:
            sender = self._sender(reactor)
            client = client_for(self._asked, reactor, treq=sender, lanes_max=self._concurrency)
            try:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and self._name != STDIN:
                    await self._load_file(client, file)
                else:
                    lines = PipeLines(file.fileno(), reactor)
                    await self._load(client, lines, None, lambda _: None)
            finally:
                await client.close()
                if sender is not None:
                    sender.close()

    def how_far(self) -> str:
        """Return what is loaded, and how to go on, in a sentence."""
        match self.position.lines:
            case 0:
                return "No line is known to be loaded yet."
            case 1:
                loaded, them = "Line 1 is loaded", "it"
            case last:
                loaded, them = f"Lines 1 to {last} are loaded", "them"
        again = (
            f"the same command goes on behind {them}" if self._resumable else f"leave {them} out"
        )
        return f"{loaded}; {again} when you try again."

    def tell(self, *, success: bool, **others: object) -> None:
        """Print the outcome as JSON, if that is wanted."""
        if self._asked.as_json:
            loaded = {"loaded_through": self.position.lines, "skipped": self.start.lines}
            print_json({"success": success, **loaded, **others})

    def _sender(self, reactor: Any) -> Sender | None:  # noqa: ANN401 -- several interfaces at once
        """Return what sends requests, if that need not be able to do more than it can."""
        urls = [url for _, url in named_nodes(self._asked.nodes, self._asked.settings)]
        return Sender(reactor) if all(url.startswith("http:") for url in urls) else None

    async def _load_file(self, client: Client, file: BinaryIO) -> None:
        checkpoint = Checkpoint(Path(self._name), str((await client.status()).get("cluster")))
        self.start = self.position = START if self._restart else self._resumed(checkpoint, file)
        try:
            checkpoint.save(self.start)
        except OSError as error:
            raise ConfigError(
                f"{checkpoint.path}: {error.strerror}; let this user write there, or have the file"
                " read from a pipe: kvpaxos load - < FILE."
            ) from None
        self._resumable = True
        file.seek(self.start.size)
        try:
            await self._load(
                client, FileLines(file), os.fstat(file.fileno()).st_size, checkpoint.save
            )
        except BaseException:
            if self.position != START:
                checkpoint.save(self.position)
            else:
                checkpoint.remove()
            raise
        checkpoint.remove()

    async def _load(
        self, client: Client, lines: Lines, total: int | None, save: Callable[[Position], None]
    ) -> None:
        start, save_at = self.start, monotonic() + CHECKPOINT_S
        with Bar(self._name, total, done=start.size, lines=start.lines) as bar:

            def moved(position: Position) -> None:
                nonlocal save_at
                self.position = position
                bar.show(position.size, position.lines)
                if monotonic() >= save_at:
                    save(position)
                    save_at = monotonic() + CHECKPOINT_S

            loader = Loader(client.set, moved, concurrency=self._concurrency, start=start)
            await loader.load(lines)

    def _resumed(self, checkpoint: Checkpoint, file: BinaryIO) -> Position:
        """Return where an earlier run has come to, if the file is still the same up to there."""
        saved = checkpoint.load()
        if saved is None or saved == START:
            return START
        position = START
        while position.lines < saved.lines and (line := file.readline(saved.size + 1)):
            position = position.after(line)
        if position != saved:
            say(f"{self._name} has changed where it was loaded already; loading all of it again")
            return START
        say(f"going on behind line {saved.lines} of {self._name}, as {checkpoint.path} says")
        return saved


def _opened(name: str) -> BinaryIO:
    try:
        return os.fdopen(os.dup(0), "rb") if name == STDIN else Path(name).open("rb")
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}; name a file that can be read.") from None


def _status(why: Exception) -> int:
    """Return the exit status for a line that failed, or raise what nobody has foreseen."""
    match why:
        case BadLine():
            return REFUSED
        case KvPaxosError():
            return status_of(why)
        case _:
            raise why

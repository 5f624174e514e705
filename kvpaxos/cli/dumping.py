"""``kvpaxos dump``, carried out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from kvpaxos.cli.arguments import Asked
from kvpaxos.cli.calls import client_for
from kvpaxos.cli.output import counted
from kvpaxos.cli.pairs import pair_line
from kvpaxos.cli.running import run
from kvpaxos.errors import ConfigError


def dump(
    asked: Asked, file: str | None, *, after: bytes | None, limit: int | None, page: int | None
) -> None:
    """Write pairs to standard output, or into ``file`` once all have come."""

    async def write(reactor: Any) -> int:  # noqa: ANN401 -- several interfaces at once
        count = 0
        client = client_for(asked, reactor)
        try:
            async with client.dump(after=after, limit=limit, page=page) as pairs:
                while batch := await pairs.batch():
                    output.write(b"".join(pair_line(*pair) for pair in batch))
                    count += len(batch)
        finally:
            await client.close()
        return count

    with _replacing(file) as output:
        count = run(write)
    if file is not None and sys.stdout.isatty():
        print(f"{counted(count, 'pair')} written to {file}")  # noqa: T201 -- it is what was asked for


@contextmanager
def _replacing(file: str | None) -> Iterator[BinaryIO]:
    """Provide standard output, or what will be in the place of ``file`` if all goes well."""
    if file is None:
        yield sys.stdout.buffer
        return
    # Behind a link; and what is no file, such as a pipe, cannot be replaced.
    path = Path(file).resolve()
    try:
        if path.exists() and not path.is_file():
            draft, output = None, path.open("wb")
        else:
            draft = path.with_name(f".{path.name}.{os.getpid()}.new")
            output = draft.open("xb")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; name a file that can be written.") from None
    try:
        with output:
            yield output
            if draft is not None:
                output.flush()
                os.fsync(output.fileno())
                draft.replace(path)
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)

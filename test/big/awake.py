"""Processors that do not sleep while it is measured how long clients wait.

A processor that has nothing to do is put to sleep. A virtual one is awake again once its host has
time for it: 20 to 100 ms after it was called have been seen, with three nodes that had half of what
they can do to do. An interrupt for it waits as long, and a disk seems to be slow that has long done
its work. That would be measured, and not the nodes.

Linux keeps processors from it for as long as a program wishes that none takes more than so long to
wake, and has the file open that it says so by.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from test.big.load import Say

WISHES: Final = Path("/dev/cpu_dma_latency")
"""Takes a number of microseconds, as 32 bits. By default only root may write to it."""


@contextmanager
def awake(tell: Say, wishes: Path = WISHES) -> Iterator[None]:
    """Keep processors awake meanwhile, if that is allowed here, and say whether it is."""
    try:
        wish = os.open(wishes, os.O_WRONLY)
    except OSError as error:
        tell(f"processors may sleep, and wake late: {error}")
        yield
        return
    try:
        os.write(wish, bytes(4))
        tell("processors are kept awake")
        yield
    finally:
        os.close(wish)

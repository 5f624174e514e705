"""What clients asked for, when, and what came of it: the material that is judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

from kvpaxos.store.commands import Count, Get, Write
from kvpaxos.store.requests import Identity

Outcome: TypeAlias = Literal["done", "refused", "failed", "unknown"]
"""What came of a call, as far as its client knows.

``done``: it was carried out. ``refused``: it was looked at, and what the key held did not allow it.
``failed``: it was not carried out, and never will be. ``unknown``: it may have been carried out at
any time after it began, or may be yet, or never.
"""


class Untold(Enum):
    """Stands for what a client was not told. It is not None, which says that there is nothing."""

    UNTOLD = "the client was not told"


UNTOLD: Final = Untold.UNTOLD

Told: TypeAlias = bytes | Untold | None

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Dump:
    """Show all keys with their values, sorted by key."""


KeyOperation: TypeAlias = Write | Get
"""An operation on one key."""

WholeOperation: TypeAlias = Count | Dump
"""A read that spans keys. Only the log can tell whether its answer is right."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client, however often it was sent.

    :ivar client: who asked. One client may have several calls under way.
    :ivar began: when it was sent for the first time, in any unit, by the clock of all calls.
    :ivar ended: when its outcome was known, or was given up; None if that was not noted. What is
        ``unknown`` goes on beyond it.
    :ivar told: what the client was shown: after an update or a deletion the old value, after an
        append the new one, after a read what was found, after a comparison that failed what the
        key holds; after a count the number, in decimal digits.
    :ivar pairs: what a dump showed.
    :ivar slot: the slot that the answer names, or None.
    :ivar read: what the answer rests on: ``logged``, ``quorum``, ``stale``, or None.
    :ivar identity: by which repetitions of the request are known, or None.
    """

    client: str
    operation: KeyOperation | WholeOperation
    began: float
    ended: float | None
    outcome: Outcome
    told: Told = UNTOLD
    pairs: Pairs = ()
    slot: int | None = None
    read: str | None = None
    identity: Identity | None = None

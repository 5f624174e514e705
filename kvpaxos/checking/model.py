"""What operations on a key must do, told once more: it shares no code with what is checked."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, assert_never

from kvpaxos.checking.history import UNTOLD, KeyOperation, Outcome, Told
from kvpaxos.store.commands import Append, CompareAndSet, Delete, Get, Insert, Set, Update


class Effect(NamedTuple):
    """What comes of an operation.

    :ivar after: what the key holds then; None is nothing.
    :ivar shown: what the client is shown, if it is shown anything.
    """

    outcome: Literal["done", "refused"]
    after: bytes | None
    shown: Told = UNTOLD


def effect_of(operation: KeyOperation, held: bytes | None) -> Effect:  # noqa: PLR0911 -- a table
    """Return what comes of ``operation`` on a key that holds ``held``, None being nothing."""
    match operation:
        case Set(_, value):
            return Effect("done", value)
        case Insert(_, value):
            return Effect("done", value) if held is None else Effect("refused", held)
        case Update(_, value):
            return _ABSENT if held is None else Effect("done", value, held)
        case Delete():
            return _ABSENT if held is None else Effect("done", None, held)
        case Append(_, value):
            whole = value if held is None else held + value
            return Effect("done", whole, whole)
        case CompareAndSet(_, expect, value):
            return Effect("done", value) if held == expect else Effect("refused", held, held)
        case Get():
            return _ABSENT if held is None else Effect("done", held, held)
        case _:
            assert_never(operation)


def agrees(effect: Effect, outcome: Outcome, told: Told) -> bool:
    """Whether a client that saw ``outcome`` and was told ``told`` may have met ``effect``."""
    if outcome == "unknown":
        return True
    return effect.outcome == outcome and told in (UNTOLD, effect.shown)


_ABSENT: Final = Effect("refused", None)

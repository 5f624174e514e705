"""What was found, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from kvpaxos.checking.explanation import Break
from kvpaxos.checking.history import UNTOLD, Call
from kvpaxos.checking.lines import operation_name
from kvpaxos.store.commands import Append, CompareAndSet, Insert, Set, Update

SHOWN_MAX: Final = 60
"""Longer values are cut in the middle: of what was appended the end matters most."""

CORE_MAX: Final = 40
"""So many calls of a contradiction are listed."""


def quoted(raw: bytes | None) -> str:
    """Return ``raw`` between quotes, cut if it is long; None is nothing."""
    if raw is None:
        return "nothing"
    text = raw.decode(errors="backslashreplace")
    if len(text) > SHOWN_MAX:
        half = SHOWN_MAX // 2
        text = f"{text[:half]}…{text[-half:]}"
    return json.dumps(text, ensure_ascii=False)


def request_words(call: Call) -> str:
    """Return what was asked for, without the key."""
    match call.operation:
        case CompareAndSet(_, expect, value):
            return f"cas {quoted(expect)} to {quoted(value)}"
        case Insert(_, value) | Update(_, value) | Set(_, value) | Append(_, value):
            return f"{operation_name(call.operation)} {quoted(value)}"
        case _:
            return operation_name(call.operation)


def answer_words(call: Call) -> str:
    """Return what came of it."""
    if call.told is UNTOLD:
        return call.outcome
    found = quoted(call.told)
    return found if call.outcome == "done" else f"{call.outcome}, it holds {found}"


def call_words(call: Call) -> str:
    """Return all of ``call`` in one line."""
    end = "?" if call.ended is None else f"{call.ended:.6g}"
    span = f"{call.began:.6g} to {end}"
    return f"{call.client}: {request_words(call)} -> {answer_words(call)} ({span})"


def break_words(found: Break) -> Iterator[str]:
    """Yield lines that say where and why no order explains the calls of a key."""
    answered = sum(call.outcome in {"done", "refused"} for call in found.calls)
    yield f"key {quoted(found.key)}: no order of its calls explains the {answered} answers."
    yield f"  The {found.explained} answers before this one can be explained, and with it no more:"
    yield f"    {call_words(found.offending)}"
    if found.held:
        held = " or ".join(map(quoted, found.held))
        yield f"  Without it, once all of these are in order, the key holds {held}."
    if len(found.core) == 1:
        yield "  It cannot be explained whatever came of all the other calls."
        return
    yield f"  These {len(found.core)} contradict each other, whatever came of all the other calls:"
    for call in found.core[:CORE_MAX]:
        yield f"    {call_words(call)}"
    if len(found.core) > CORE_MAX:
        yield f"    … and {len(found.core) - CORE_MAX} more"

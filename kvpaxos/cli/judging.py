"""Judges a history in a file, and tells what was found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kvpaxos.checking.explanation import Break
from kvpaxos.checking.history import Call
from kvpaxos.checking.linearizability import Verdict, check
from kvpaxos.checking.lines import call_members, read_history, value_member
from kvpaxos.checking.picture import draw
from kvpaxos.checking.words import break_words, quoted
from kvpaxos.cli.output import counted, print_json, print_line, visible
from kvpaxos.cli.statuses import DONE, FAILED, UNKNOWN, say
from kvpaxos.errors import ConfigError

_STATUSES: Final = {"linearizable": DONE, "broken": FAILED, "undecided": UNKNOWN}


def judge(history: str, picture: str | None, steps: int, *, as_json: bool) -> int:
    """Judge the history in a file, or "-" for standard input, and return the exit status."""
    verdict = check(_read(history), steps_max=steps)
    if as_json:
        print_json(_described(verdict))
    else:
        for line in _told(verdict, steps):
            print_line(visible(line.encode()))
    if picture is not None and verdict.breaks:
        _draw(verdict.breaks[0], picture)
    return _STATUSES[verdict.outcome]


def _read(history: str) -> list[Call]:
    if history == "-":
        return list(read_history("standard input", sys.stdin.buffer))
    try:
        with Path(history).open("rb") as lines:
            return list(read_history(history, lines))
    except OSError as error:
        raise ConfigError(
            f"{history}: {error.strerror}; name a file with a history, or - for standard input."
        ) from None


def _told(verdict: Verdict, steps: int) -> Iterator[str]:
    judged = f"{counted(verdict.calls, 'call')} on {counted(verdict.keys, 'key')}"
    if verdict.left_out:
        judged += f" ({verdict.left_out} more are stale reads, counts or dumps, and not judged)"
    match verdict.outcome:
        case "linearizable":
            yield f"linearizable: {judged}"
        case "broken":
            yield f"not linearizable: {judged}"
        case "undecided":
            yield f"undecided: {judged}"
    for found in verdict.breaks:
        yield from break_words(found)
    for key in verdict.undecided:
        yield (
            f"key {quoted(key)}: {steps} steps are not enough to tell; give it more with --steps,"
            " or a part of the history."
        )


def _described(verdict: Verdict) -> dict[str, object]:
    return {
        "outcome": verdict.outcome,
        "keys": verdict.keys,
        "calls": verdict.calls,
        "left_out": verdict.left_out,
        "visited": verdict.visited,
        "steps": verdict.steps,
        "breaks": [_describe_break(found) for found in verdict.breaks],
        "undecided": [value_member("key", key) for key in verdict.undecided],
    }


def _describe_break(found: Break) -> dict[str, object]:
    return {
        **value_member("key", found.key),
        "explained": found.explained,
        "offending": call_members(found.offending),
        "core": [call_members(call) for call in found.core],
        "held": [value_member("value", held) for held in found.held],
        "message": "\n".join(break_words(found)),
    }


def _draw(found: Break, picture: str) -> None:
    try:
        Path(picture).write_text(draw(found), encoding="utf-8")
    except OSError as error:
        # The verdict is known all the same, and so is the exit status.
        say(f"{picture}: {error.strerror}; there is no picture, name another file for it.")
    else:
        say(f"{picture} shows where key {quoted(found.key)} breaks")

"""``kvpaxos check``: judges a recorded history."""

from __future__ import annotations

import sys

import click

from kvpaxos.checking.search import STEPS_MAX
from kvpaxos.cli.command import Command


@click.command(
    cls=Command,
    statuses={
        0: "the history is linearizable",
        1: "it is not; each key where it breaks is told, with the calls that contradict each other",
        2: "the history cannot be read, or a line of it is no call",
        4: "it is undecided: --steps were not enough",
    },
    examples=[
        "kvpaxos check history.jsonl",
        "kvpaxos check history.jsonl --picture break.svg",
        "kvpaxos check - --json < history.jsonl | jq .outcome",
    ],
)
@click.argument("history", type=click.Path())
@click.option(
    "--picture", type=click.Path(), metavar="FILE", help="Draw where it breaks, as an SVG file."
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=STEPS_MAX,
    show_default=True,
    metavar="NUMBER",
    help="Give up after trying so many calls.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(history: str, picture: str | None, steps: int, *, as_json: bool) -> None:
    """Say whether a history is linearizable.

    HISTORY has one call of a client a line, as JSON: what was asked for, when, and what came of it;
    docs/checking.md has the format. "-" is standard input. It is linearizable if one machine that
    does one thing after another could have given the same answers in the same times.
    """
    # Not at the top: help and completion must not wait for it.
    from kvpaxos.cli.judging import judge  # noqa: PLC0415

    sys.exit(judge(history, picture, steps, as_json=as_json))

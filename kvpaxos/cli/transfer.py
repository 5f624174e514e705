"""``kvpaxos dump`` and ``kvpaxos load``: all pairs, as JSON lines."""

from __future__ import annotations

import click

from kvpaxos.cli.arguments import Asked, Bytes, asks
from kvpaxos.cli.command import Command

CONCURRENCY = 128
"""How many requests of a load are under way at a time, unless said otherwise."""


@click.command(
    cls=Command,
    statuses={
        0: "every line is loaded",
        2: "a line is wrong, or the arguments or settings are",
        3: "a line could not be loaded, and will not be by itself: no node could carry it out",
        4: "it is not known whether a line was loaded",
    },
    examples=[
        "kvpaxos load pairs.jsonl",
        "kvpaxos load --nodes 10.0.0.1:8801 pairs.jsonl",
        "zcat pairs.jsonl.gz | kvpaxos load -",
    ],
)
@asks(timeout_s=30.0)
@click.argument("file", type=click.Path())
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    default=CONCURRENCY,
    show_default=True,
    metavar="N",
    help="How many requests are under way at a time.",
)
@click.option("--restart", is_flag=True, help="Begin with line 1, whatever was loaded before.")
def load(asked: Asked, file: str, concurrency: int, *, restart: bool) -> None:
    """Store the pairs of FILE, one line each.

    Each line is a JSON object, as "kvpaxos dump" writes them: {"key":"color","value":"blue"}; what
    is not UTF-8 stands in base64, as key_base64 or value_base64. A key that is there gets the new
    value; of several lines with one key the last one counts. "-" reads from standard input.

    Beside FILE a checkpoint remembers through which line everything is acknowledged. If a load is
    interrupted, or a line is wrong, the same command goes on there; when all is loaded the
    checkpoint is removed. Only what is read from a pipe cannot be taken up again.
    """
    # Not at the top, here and below: help and completion must not wait for it.
    from kvpaxos.cli import loading  # noqa: PLC0415

    loading.load(asked, file, concurrency, restart=restart)


@click.command(
    cls=Command,
    statuses={
        0: "all pairs were written",
        2: "the arguments or settings are wrong",
        3: "no node could give a dump, or it broke off: what was printed is not the whole",
    },
    examples=[
        "kvpaxos dump pairs.jsonl",
        "kvpaxos dump | gzip > pairs.jsonl.gz",
        "kvpaxos dump --after color --limit 10",
    ],
)
@asks(as_json=False)
@click.argument("file", type=click.Path(), required=False)
@click.option("--after", type=Bytes(), metavar="KEY", help="Begin behind this key.")
@click.option("--limit", type=click.IntRange(1), metavar="PAIRS", help="End after so many.")
@click.option(
    "--page",
    type=click.IntRange(1),
    metavar="PAIRS",
    help="Ask for so many at a time, each page being of its own moment.",
)
def dump(
    asked: Asked, file: str | None, after: bytes | None, limit: int | None, page: int | None
) -> None:
    """Write all pairs as JSON lines, in the order of their keys.

    They go to standard output, or into FILE, which is replaced once all pairs have come, and not
    touched before. They are those of one moment, whatever is written meanwhile. A dump that nobody
    reads for half a minute is broken off, and so is one whose node fails; with --page it goes on,
    at another node if need be, but with what is there by then.
    """
    from kvpaxos.cli import dumping  # noqa: PLC0415

    dumping.dump(asked, file, after=after, limit=limit, page=page)

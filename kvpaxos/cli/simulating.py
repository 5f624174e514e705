"""``kvpaxos simulate``, carried out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import click

from kvpaxos.checking.history import Call
from kvpaxos.checking.lines import call_line
from kvpaxos.cli.bar import Bar
from kvpaxos.cli.statuses import DONE, FAILED, say
from kvpaxos.errors import ConfigError
from kvpaxos.simulator.faults import FAULTS, STEADY
from kvpaxos.simulator.run import ALL_FAULTS, Report, simulate
from kvpaxos.simulator.sweep import Totals, be_quiet, sweep


def chosen(faults: str | None) -> frozenset[str] | None:
    """Return the faults that ``faults`` names, with commas between; None if it is None.

    With ``help`` they are listed, and the command ends.

    :raises click.BadParameter: there is no such fault.
    """
    if faults is None:
        return None
    names = frozenset(filter(None, (name.strip() for name in faults.split(","))))
    if names == {"help"}:
        for name in sorted(ALL_FAULTS):
            click.echo(f"{name:20} {STEADY.get(name) or FAULTS[name].__doc__}")
        click.get_current_context().exit(DONE)
    unknown = sorted(names - ALL_FAULTS)
    if unknown:
        raise click.BadParameter(f"there is no fault {unknown[0]!r}; --faults help lists them.")
    return names


def one(
    seed: int,
    *,
    nodes: int | None,
    faults: Collection[str] | None,
    trace: bool,
    history: str | None,
) -> int:
    """Run one world, say what happened, and return the exit status.

    :param history: where to write what clients saw.
    """
    be_quiet()
    with ExitStack() as opened:
        record = None if history is None else _recorder(opened.enter_context(_file(history)))
        write = click.echo if trace else None
        report = simulate(seed, nodes=nodes, faults=faults, write=write, record=record)
    totals = Totals()
    totals.add(report)
    if trace:
        click.echo()
    click.echo(f"seed {seed}: {report.nodes} nodes, {report.seconds:.1f} simulated seconds")
    return _conclude(totals, f"history {report.digest}")


def many(
    seeds: range | None,
    minutes: float | None,
    *,
    nodes: int | None,
    faults: Collection[str] | None,
) -> int:
    """Run many worlds, say what happened, and return the exit status."""
    began = monotonic()
    end = None if minutes is None else began + 60 * minutes
    source: Iterator[int] = count() if seeds is None else iter(seeds)
    done = 0
    with Bar("simulate", None if seeds is None else len(seeds), things="runs") as bar:

        def ended(_: Report) -> bool:
            nonlocal done
            done += 1
            bar.show(done, done)
            return end is None or monotonic() < end

        totals = sweep(source, nodes=nodes, faults=faults, ended=ended)
    per_minute = totals.runs / (monotonic() - began) * 60
    return _conclude(totals, f"{per_minute:.0f} runs a minute")


def _file(path: str) -> BinaryIO:
    try:
        return Path(path).open("wb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file that can be written.") from None


def _recorder(file: BinaryIO) -> Callable[[Call], object]:
    return lambda call: file.write(call_line(call))


def _conclude(totals: Totals, last: str) -> int:
    for line in totals.describe():
        click.echo(line)
    click.echo(last)
    if totals.broken is None:
        return DONE
    seed = totals.broken.seed
    say(f"seed {seed}: {totals.broken.wrong}")
    if totals.broken.details:
        for line in totals.broken.details:
            say(line)
        say(
            f"To draw it, run this world with --seed {seed} --history seen.jsonl, and then"
            " kvpaxos check seen.jsonl --picture break.svg"
        )
    return FAILED

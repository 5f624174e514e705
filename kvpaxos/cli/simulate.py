"""``kvpaxos simulate``: clusters in a world where everything that can go wrong does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click
from typing_extensions import override

from kvpaxos.cli.command import Command

_RANGE: Final = re.compile(r"([0-9]+)\.\.([0-9]+)")


class _Seeds(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases
    """A range such as ``0..2000``, without its end."""

    name = "A..B"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> range:
        """Return the range."""
        if isinstance(value, range):
            return value
        found = _RANGE.fullmatch(str(value))
        if found is None or int(found[1]) >= int(found[2]):
            self.fail(f"{value!r} is no range of seeds such as 0..2000.", param, ctx)
        return range(int(found[1]), int(found[2]))


@click.command(
    cls=Command,
    statuses={
        0: "no rule was broken",
        1: "a rule was broken: the seed and the rule are printed",
        2: "the arguments are wrong, or the report holds runs that do not add up with these",
        3: "no rule was broken, but the runs were too gentle, or too harsh, to say much",
    },
    examples=[
        "kvpaxos simulate --seed 7 --trace",
        "kvpaxos simulate --seed 7 --history seen.jsonl",
        "kvpaxos simulate --seeds 0..2000",
        "kvpaxos simulate --seeds 0..50000 --report sweep.json",
        "kvpaxos simulate --minutes 5 --nodes 5 --faults 'power cut,lost disk,one way'",
    ],
)
@click.option("--seed", type=click.IntRange(min=0), help="Run one world, and say what happened.")
@click.option("--seeds", type=_Seeds(), help="Run the worlds A, A+1, and so on, up to but not B.")
@click.option("--minutes", type=click.FloatRange(min=0.01), help="Run worlds for so long.")
@click.option("--nodes", type=click.Choice(["3", "5"]), help="How many nodes there are.")
@click.option("--faults", metavar="LIST", help="Only these faults, all of them; 'help' lists them.")
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add what all runs come to to FILE, as JSON; seeds that it holds are not run again.",
)
@click.option("--trace", is_flag=True, help="Print all that happens, with --seed.")
@click.option(
    "--history",
    type=click.Path(),
    metavar="FILE",
    help="Write what clients saw, with --seed, for 'kvpaxos check'.",
)
def simulate(
    seed: int | None,
    seeds: range | None,
    minutes: float | None,
    nodes: str | None,
    faults: str | None,
    *,
    history: str | None,
    report: Path | None,
    trace: bool,
) -> None:
    """Break what can be broken in a made-up world, and check.

    The nodes are real: their consensus, their journals, what they send each other. Time, threads,
    disks and the network are made up, in one process, from a number: the seed. The same seed gives
    the same history. Faults are drawn from it too, unless --faults names them.

    Nothing is listened on, and nothing is written to this machine's disk but the file of --history.
    See docs/simulator.md.
    """
    # Not at the top: help and completion must not wait for it.
    from kvpaxos.cli import simulating  # noqa: PLC0415

    if (seed is not None) + (seeds is not None) + (minutes is not None) != 1:
        raise click.UsageError("Say one of --seed, --seeds and --minutes.")
    if trace and seed is None:
        raise click.UsageError("--trace goes with --seed.")
    if history is not None and seed is None:
        raise click.UsageError("--history goes with --seed.")
    if report is not None and seed is not None:
        raise click.UsageError("--report goes with --seeds and --minutes.")
    chosen = simulating.chosen(faults)
    size = None if nodes is None else int(nodes)
    context = click.get_current_context()
    if seed is not None:
        status = simulating.one(seed, nodes=size, faults=chosen, trace=trace, history=history)
        context.exit(status)
    context.exit(simulating.many(seeds, minutes, nodes=size, faults=chosen, file=report))

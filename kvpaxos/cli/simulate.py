"""``kvpaxos simulate``: clusters in a world where everything that can go wrong does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click
from typing_extensions import override

from kvpaxos.cli.command import Command

_TIMES: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\.\.([0-9]+(?:\.[0-9]+)?)")
_RANGE: Final = re.compile(r"([0-9]+)\.\.([0-9]+)")


class _Span(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases
    """A part of the time, such as ``1.5..2``, in seconds."""

    name = "A..B"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Return its beginning and its end."""
        found = _TIMES.fullmatch(str(value))
        if found is None or float(found[1]) >= float(found[2]):
            self.fail(f"{value!r} is no part of the time such as 1.5..2.", param, ctx)
        return float(found[1]), float(found[2])


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
        "kvpaxos simulate --seed 7 --picture run.html",
        "kvpaxos simulate --seed 7 --shrink > script",
        "kvpaxos simulate --replay script --trace",
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
@click.option("--keep-going", is_flag=True, help="Do not stop at the first broken rule.")
@click.option("--replay", metavar="FILE", help="Run the world of a script that --shrink printed.")
@click.option("--trace", is_flag=True, help="Print all that happens, with --seed or --replay.")
@click.option("--picture", metavar="FILE", help="Draw it, likewise, as .svg or .html.")
@click.option("--between", type=_Span(), help="Draw only these seconds of the run.")
@click.option("--shrink", is_flag=True, help="Print a short script that breaks the same rule.")
@click.option("--history", metavar="FILE", help="Write what clients saw, for 'kvpaxos check'.")
def simulate(
    seed: int | None,
    seeds: range | None,
    minutes: float | None,
    nodes: str | None,
    faults: str | None,
    *,
    report: Path | None,
    keep_going: bool,
    replay: str | None,
    **wanted: Any,  # noqa: ANN401  (what `kvpaxos.cli.simulating.Wanted` names)
) -> None:
    """Break what can be broken in a made-up world, and check.

    The nodes are real: their consensus, their journals, what they send each other. Time, threads,
    disks and the network are made up, in one process, from a number: the seed. The same seed gives
    the same history. Faults are drawn from it too, unless --faults names them.

    Nothing is listened on, and nothing is written to this machine's disk but the files of --history
    and --picture. See docs/simulator.md.
    """
    # Not at the top: help and completion must not wait for it.
    from kvpaxos.cli import simulating  # noqa: PLC0415

    if sum(one is not None for one in (seed, seeds, minutes, replay)) != 1:
        raise click.UsageError("Say one of --seed, --seeds, --minutes and --replay.")
    if replay is not None and (nodes, faults) != (None, None):
        raise click.UsageError("What --replay runs has its nodes and its faults in it.")
    for name, value in wanted.items():
        if value and seed is None and replay is None:
            raise click.UsageError(f"--{name} goes with --seed, or with --replay.")
    for name, given in (("report", report is not None), ("keep-going", keep_going)):
        if given and seeds is None and minutes is None:
            raise click.UsageError(f"--{name} goes with --seeds and --minutes.")
    chosen = simulating.chosen(faults)
    size = None if nodes is None else int(nodes)
    context = click.get_current_context()
    if seed is not None:
        script = simulating.drawn(seed, size, chosen)
    elif replay is not None:
        script = simulating.read(replay)
    else:
        done = simulating.many(
            seeds, minutes, nodes=size, faults=chosen, file=report, keep_going=keep_going
        )
        context.exit(done)
    context.exit(simulating.one(script, simulating.Wanted(**wanted)))

"""``kvpaxos simulate``, carried out."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Final

import click

from kvpaxos.checking.history import Call
from kvpaxos.checking.lines import call_line
from kvpaxos.cli.bar import Bar
from kvpaxos.cli.statuses import DONE, FAILED, REFUSED, SIGNALED, Told, say
from kvpaxos.errors import ConfigError
from kvpaxos.simulator.drawing import draw, page
from kvpaxos.simulator.faults import ALL_FAULTS, FAULTS, STEADY
from kvpaxos.simulator.ledger import Kind, LedgerError, open_totals, write
from kvpaxos.simulator.recorder import Recorder
from kvpaxos.simulator.run import Report, perform
from kvpaxos.simulator.script import Script, read_script, write_script
from kvpaxos.simulator.shrink import shrink
from kvpaxos.simulator.sweep import be_quiet, sweep
from kvpaxos.simulator.temper import misses
from kvpaxos.simulator.totals import Totals

UNTRIED: Final = 3
"""No rule was broken, and what was tried is too little to say much."""

KEPT_S: Final = 60.0
"""A report is written so often, lest much be lost with the machine."""


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of one run besides the verdict.

    :ivar trace: print all that happens.
    :ivar history: where to write what clients saw; None for nowhere.
    :ivar picture: where to draw the run.
    :ivar between: only this part of it, in seconds.
    :ivar shrink: print the shortest script that breaks the same rule.
    """

    trace: bool = False
    history: str | None = None
    picture: str | None = None
    between: tuple[float, float] | None = None
    shrink: bool = False


def drawn(seed: int, nodes: int | None, faults: frozenset[str] | None) -> Script:
    """Return the script of a run that is drawn from ``seed``."""
    return Script(seed, nodes, faults)


def read(path: str) -> Script:
    """Return the script in the file ``path``; ``-`` is standard input.

    :raises ConfigError: it cannot be read, or is no script.
    """
    try:
        with click.open_file(path, encoding="utf-8") as file:
            return read_script(file.read())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file that can be read.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is not text, and so it is no script.") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def one(script: Script, wanted: Wanted) -> int:
    """Run one world, say what happened, and return the exit status."""
    be_quiet()
    with ExitStack() as opened:
        record = recorder = drawn = None
        if wanted.history is not None:
            record = _recording(opened.enter_context(_file(wanted.history)))
        if wanted.picture is not None:
            # A file that cannot be written is better known before than after.
            drawn, recorder = opened.enter_context(_file(wanted.picture)), Recorder()
        write = click.echo if wanted.trace else None
        report = perform(script, write=write, record=record, recorder=recorder)
        title = f"seed {script.seed}: {report.nodes} nodes, {report.seconds:.1f} simulated seconds"
        if drawn is not None and recorder is not None:
            recorder = recorder.between(*(wanted.between or (0.0, report.seconds)))
            drawn.write(_picture(recorder, title, report, wanted.picture).encode())
    if wanted.shrink:
        return _shrink(script, report)
    totals = Totals()
    totals.add(report)
    if wanted.trace:
        click.echo()
    click.echo(title)
    _tell([*totals.describe(), f"history {report.digest}"])
    return _judge(totals, [], report.details)


def _picture(recorder: Recorder, title: str, report: Report, path: str | None) -> str:
    svg = draw(recorder, title, report.wrong)
    return page(svg, title) if str(path).endswith((".html", ".htm")) else svg


def _shrink(script: Script, report: Report) -> int:
    """Print the shortest script, which breaks the rule that ``report`` says was broken."""
    if report.wrong is None:
        say("This run breaks no rule, so there is nothing to shrink.")
        return DONE
    done = 0
    with Bar("shrink", None, things="runs") as bar:

        def run(shorter: Script) -> Report:
            nonlocal done
            done += 1
            bar.show(done, done)
            return perform(shorter)

        shortest, last = shrink(script, report, run)
    click.echo(write_script(shortest), nl=False)
    say(f"{last.wrong}")
    say(
        f"{len(last.strikes)} of {len(report.strikes)} strikes are left, after {done} runs. Keep"
        " what was printed in a file; kvpaxos simulate --replay FILE runs it, with --trace or"
        " --picture if you like."
    )
    return FAILED


def many(
    seeds: range | None,
    minutes: float | None,
    *,
    nodes: int | None,
    faults: Collection[str] | None,
    file: Path | None,
    keep_going: bool,
) -> int:
    """Run many worlds, say what happened, and return the exit status.

    :param keep_going: let more begin after one that broke a rule.
    :param file: holds what runs have come to, in other sittings too; their seeds are not run again.
    """
    kind = Kind.of(nodes, faults)
    totals = _opened(file, kind)
    left = count() if seeds is None else iter(seeds)
    held = frozenset(totals.seeds)
    if held:
        again = len(held) if seeds is None else len(held.intersection(seeds))
        click.echo(f"{file} holds {len(held)} runs; {again} of these seeds are not run again")
    source = (seed for seed in left if seed not in held)
    sitting = _Sitting(totals, kind, file, minutes, keep_going=keep_going)
    with Bar("simulate", None if seeds is None else len(seeds), things="runs") as bar:
        ended = partial(sitting.ended, bar)
        finished = sweep(source, nodes=nodes, faults=faults, ended=ended)
    _tell([*totals.describe(), sitting.pace])
    sitting.keep()
    if not finished:
        say(f"it was interrupted after {sitting.done} runs, which are counted above")
        return SIGNALED + signal.SIGINT
    return _judge(totals, misses(totals, nodes=nodes, faults=faults))


def _file(path: str) -> BinaryIO:
    try:
        return Path(path).open("wb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file that can be written.") from None


def _recording(file: BinaryIO) -> Callable[[Call], object]:
    return lambda call: file.write(call_line(call))


class _Sitting:
    """The runs of this command, on top of those of others before."""

    def __init__(
        self,
        totals: Totals,
        kind: Kind,
        file: Path | None,
        minutes: float | None,
        *,
        keep_going: bool,
    ) -> None:
        self.done = 0
        self._keep_going = keep_going
        self._totals = totals
        self._kind = kind
        self._file = file
        self._began = self._kept_at = self._counted_at = monotonic()
        self._end = None if minutes is None else self._began + 60 * minutes

    @property
    def pace(self) -> str:
        """How fast it goes."""
        per_minute = self.done / max(monotonic() - self._began, 1e-9) * 60
        return f"{per_minute:.0f} runs a minute"

    def ended(self, bar: Bar, report: Report) -> bool:
        """Take a run into account, and say whether to go on."""
        self._totals.add(report)
        self.done += 1
        bar.show(self.done, self.done)
        now = monotonic()
        if now > self._kept_at + KEPT_S:
            self.keep()
        if report.wrong is not None and not self._keep_going:
            return False
        return self._end is None or now < self._end

    def keep(self) -> None:
        """Write the file, if there is to be one."""
        self._kept_at = now = monotonic()
        self._totals.elapsed_s += now - self._counted_at
        self._counted_at = now
        if self._file is None or not self.done:
            return
        try:
            write(self._file, self._kind, self._totals)
        except LedgerError as error:
            raise Told(f"{error}; the last runs are not in it", FAILED) from error


def _opened(file: Path | None, kind: Kind) -> Totals:
    if file is None:
        return Totals()
    try:
        return open_totals(file, kind)
    except LedgerError as error:
        raise Told(str(error), REFUSED) from error


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _judge(totals: Totals, missed: Iterable[str], details: Collection[str] = ()) -> int:
    """Say which rules were broken, or how little was tried, and return the exit status.

    :param details: explain what is not linearizable, if that is what is wrong.
    """
    for seed, sentence in sorted(totals.wrong.items()):
        say(f"seed {seed}: {sentence}")
    for line in details:
        say(line)
    if details:
        say(
            "To draw it, run this world with --history seen.jsonl, and then"
            " kvpaxos check seen.jsonl --picture break.svg"
        )
    if totals.wrong:
        say("--seed N --shrink finds the shortest script that breaks the rule; --picture draws it.")
    unfit = [f"seed {seed} was {sentence}" for seed, sentence in sorted(totals.unfit.items())]
    unfit += [f"these {totals.runs} runs were {sentence}" for sentence in missed]
    for sentence in unfit:
        say(sentence)
    if totals.wrong:
        return FAILED
    return UNTRIED if unfit else DONE

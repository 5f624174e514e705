"""What a run is made of, as a text that can be kept, shortened and played again.

A seed is the shortest script: all else is drawn from it. A longer one names each strike of a
fault, so that some can be left out. What a strike does depends on its number alone, whatever
else was left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from kvpaxos.errors import ConfigError
from kvpaxos.simulator.climate import Climate, draw, without
from kvpaxos.simulator.faults import ALL_FAULTS, FAULTS, STEADY
from kvpaxos.version import VERSION

HEAD: Final = f"kvpaxos {VERSION} simulation"
"""The first line: with another version the same seed is another world."""

_LINE: Final = re.compile(r"(seed|nodes|clients|faults|without|strike) (.+)")
_STRIKE: Final = re.compile(r"([0-9]+) at ([0-9]+(?:\.[0-9]+)?): (.+)")


@dataclass(frozen=True, slots=True)
class Strike:
    """One time that a fault strikes.

    :ivar number: what it draws its choices from.
    :ivar at_s: how long after the storm has begun.
    """

    number: int
    at_s: float
    fault: str


@dataclass(frozen=True, slots=True)
class Script:
    """A run before it is run.

    :ivar nodes: how many there are; the seed decides if it is None, and so with ``clients``.
    :ivar faults: the kinds that somebody has asked for; if it is None, the seed decides.
    :ivar without: what there is not, of what goes on all the time.
    :ivar strikes: those that there are; if it is None, the seed decides.
    """

    seed: int
    nodes: int | None = None
    faults: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    clients: int | None = None
    strikes: tuple[Strike, ...] | None = None

    def climate(self) -> Climate:
        """Return what the world is like."""
        kinds = ALL_FAULTS if self.faults is None else self.faults
        chosen = self.faults is not None
        climate = draw(Random(self.seed), kinds, nodes=self.nodes, chosen=chosen)
        for kind in sorted(self.without):
            climate = without(climate, kind)
        return replace(climate, clients=self.clients or climate.clients)

    def plan(self, climate: Climate) -> tuple[Strike, ...]:
        """Return all strikes, in order of time."""
        if self.strikes is not None:
            return self.strikes
        random = Random(f"{self.seed} of the storm")
        struck: list[tuple[float, str]] = []
        for fault, mean_s in climate.faults_s.items():
            at_s = random.expovariate(1 / mean_s)
            while fault in FAULTS and at_s < climate.storm_s:
                struck.append((at_s, fault))
                at_s += random.expovariate(1 / mean_s)
        return tuple(Strike(number, *one) for number, one in enumerate(sorted(struck), 1))


def write_script(script: Script) -> str:
    """Return ``script`` as lines of text."""
    lines = [HEAD, f"seed {script.seed}"]
    if script.nodes is not None:
        lines.append(f"nodes {script.nodes}")
    if script.clients is not None:
        lines.append(f"clients {script.clients}")
    if script.faults is not None:
        lines.append(f"faults {_listed(script.faults)}")
    if script.without:
        lines.append(f"without {_listed(script.without)}")
    if script.strikes is not None:
        lines += [
            f"strike {strike.number} at {strike.at_s!r}: {strike.fault}"
            for strike in script.strikes
        ] or ["strike none"]
    return "\n".join(lines) + "\n"


def read_script(text: str) -> Script:
    """Return the script that ``text`` is.

    :raises ConfigError: it is none, or one of another version.
    """
    head, *lines = text.splitlines() or [""]
    if head != HEAD:
        raise ConfigError(f"The first line is {head!r}, and of a script it is {HEAD!r}.")
    fields: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 2):
        found = _LINE.fullmatch(line)
        if found is None:
            raise ConfigError(f"Line {number} is {line!r}, which means nothing in a script.")
        fields.setdefault(found[1], []).append(found[2])
    if "seed" not in fields:
        raise ConfigError("The script names no seed.")
    return Script(
        _number(fields, "seed") or 0,
        _number(fields, "nodes"),
        _kinds(fields["faults"], ALL_FAULTS) if "faults" in fields else None,
        _kinds(fields.get("without", []), STEADY),
        _number(fields, "clients"),
        _strikes(fields["strike"]) if "strike" in fields else None,
    )


def _listed(kinds: Collection[str]) -> str:
    return ", ".join(sorted(kinds))


def _number(fields: dict[str, list[str]], name: str) -> int | None:
    if name not in fields:
        return None
    value = fields[name][-1]
    if not value.isdecimal() or (name != "seed" and int(value) == 0):
        raise ConfigError(f"{name} is {value!r}, and should be a number.")
    return int(value)


def _kinds(values: list[str], known: Collection[str]) -> frozenset[str]:
    kinds = [kind for value in values for kind in value.split(", ")]
    for kind in kinds:
        if kind not in known:
            raise ConfigError(f"{kind!r} is not among the faults that can stand here.")
    return frozenset(kinds)


def _strikes(values: list[str]) -> tuple[Strike, ...]:
    strikes = []
    for value in values:
        found = _STRIKE.fullmatch(value)
        if found is not None and found[3] in FAULTS:
            strikes.append(Strike(int(found[1]), float(found[2]), found[3]))
        elif value != "none":
            raise ConfigError(f"{value!r} is no strike; one is '7 at 1.25: power cut'.")
    return tuple(sorted(strikes, key=lambda strike: strike.at_s))

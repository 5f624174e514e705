"""The totals of many sittings in one file, which holds runs of one kvpaxos and of one kind only."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvpaxos.simulator.totals import Totals, source


class LedgerError(Exception):
    """A file cannot be added to. It was not changed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What runs must share to be added up.

    :ivar source: their kvpaxos, code and all.
    :ivar nodes: how many nodes each had; None if chance decided.
    :ivar faults: which faults there were; None if chance decided.
    """

    source: str
    nodes: int | None
    faults: tuple[str, ...] | None

    @classmethod
    def of(cls, nodes: int | None, faults: Collection[str] | None) -> Kind:
        """Return the kind of the runs that this kvpaxos makes."""
        return cls(source(), nodes, None if faults is None else tuple(sorted(faults)))

    def as_json(self) -> dict[str, Any]:
        """Return what a file begins with."""
        faults = None if self.faults is None else list(self.faults)
        return {"source": self.source, "nodes": self.nodes, "faults": faults}


def read(path: Path) -> tuple[dict[str, Any], Totals]:
    """Return of which kind the runs in ``path`` are, and what they came to.

    :raises LedgerError: there is no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_text())
        return found["kind"], Totals.from_json(found["totals"])
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LedgerError(f"{path} holds no totals of simulated runs") from error


def open_totals(path: Path, kind: Kind) -> Totals:
    """Return what ``path`` holds by now: nothing, if it is not there.

    :raises LedgerError: it cannot be read, or holds something else, or runs of another kind.
    """
    if not path.exists():
        return Totals()
    held, totals = read(path)
    differing = [name for name, value in kind.as_json().items() if held.get(name) != value]
    if "source" in differing:
        raise LedgerError(
            f"{path} holds {totals.runs} runs of another kvpaxos ({held.get('source')}; this is"
            f" {kind.source}), and they do not add up: name another file, or delete this one"
        )
    if differing:
        raise LedgerError(
            f"{path} holds {totals.runs} runs with other {' and '.join(differing)}, and they do not"
            " add up: name another file, or delete this one"
        )
    return totals


def write(path: Path, kind: Kind, totals: Totals) -> None:
    """Put ``totals`` in the place of what ``path`` holds, whole or not at all.

    :raises LedgerError: that cannot be done.
    """
    text = json.dumps({"kind": kind.as_json(), "totals": totals.as_json()}, indent=1)
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_text(text + "\n")
        beside.replace(path)
    except OSError as error:
        raise LedgerError(f"{path} cannot be written: {error.strerror}") from error

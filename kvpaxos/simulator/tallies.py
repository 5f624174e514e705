"""Counts of what was tried, as tables, and where the documentation shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def table(counts: Counter[tuple[str, str]], corner: str, rows: Sequence[str]) -> list[str]:
    """Return a table in Markdown, with a line for each of ``rows`` and one for their sums.

    :param counts: how often something was so, by row and column. A column is shown if it has any.
    """
    columns = list(dict.fromkeys(column for _, column in sorted(counts)))
    lines = [[corner, *columns], ["---", *("---:" for _ in columns)]]
    lines += [[row, *(f"{counts[row, column]:,}" for column in columns)] for row in rows]
    sums = [sum(counts[row, column] for row in rows) for column in columns]
    lines.append(["all", *(f"{one:,}" for one in sums)])
    return [f"| {' | '.join(line)} |" for line in lines]


def write_between_markers(path: Path, name: str, lines: Sequence[str]) -> None:
    """Put ``lines`` where ``path`` says that what ``name`` has counted is to stand.

    :raises ValueError: it does not say so, or says it twice.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    text = path.read_text(encoding="utf-8")
    if (text.count(begin), text.count(end)) != (1, 1):
        raise ValueError(f"{path}: {begin.strip()} and {end.strip()} must be there once")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}{chr(10).join(lines)}\n{end}{after}", encoding="utf-8")

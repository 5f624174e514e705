"""How the lines of several nodes look on one terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_COLORS: Final = (36, 33, 35, 32, 34, 91, 96, 93, 95, 92)
"""ANSI colors of the nodes, in turn."""

_HEAD_WORDS: Final = 3
"""Time, node and level: the words of a log line that are colored."""


class Painter:
    """Marks each line with the node it comes from, in the node's color if there are colors."""

    def __init__(self, nodes: Sequence[str], *, colors: bool) -> None:
        self._colors = {
            node: _COLORS[index % len(_COLORS)] if colors else 0 for index, node in enumerate(nodes)
        }
        self._bold = 1 if colors else 0

    def line(self, node: str, text: str) -> bytes:
        """Return one line of output of ``node``."""
        words = text.split(" ", _HEAD_WORDS)
        if len(words) > _HEAD_WORDS and words[1] == node:
            head, rest = " ".join(words[:_HEAD_WORDS]), words[_HEAD_WORDS]
        else:
            # Not from its log, and so without a name of its own: a traceback perhaps.
            head, rest = f"{node} |", text
        return f"{_painted(head, self._colors[node])} {rest}\n".encode(errors="backslashreplace")

    def announcement(self, text: str) -> bytes:
        """Return a line of the manager's own."""
        return f"{_painted('kvpaxos:', self._bold)} {text}\n".encode(errors="backslashreplace")


def _painted(text: str, code: int) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code else text

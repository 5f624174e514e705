"""A dump: all pairs of one view as a JSON array."""

from __future__ import annotations

from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.replies import text, to_json
from kvpaxos.node.http.store import View
from kvpaxos.store.entry import Entry


class Dump:
    """The pages of a dump. What is broken off is no valid JSON.

    :param after: the key after which it begins, or None to begin with the first.
    :param limit: how many pairs it has, or None for all.
    """

    name = "dump"

    def __init__(
        self, view: View, *, after: bytes | None, limit: int | None, limits: HttpLimits
    ) -> None:
        self._view = view
        self._after = after
        self._left = limit
        self._limits = limits
        self._opening = b"["

    def read(self) -> tuple[bytes, bool]:
        """Return the next pairs, and whether they are the last."""
        page = self._page()
        if not page:
            return (b"[]" if self._opening == b"[" else b"]"), True
        self._after = page[-1][0]
        if self._left is not None:
            self._left -= len(page)
        pairs = to_json([_pair(key, entry.value) for key, entry in page])
        opening, self._opening = self._opening, b","
        return opening + pairs[1:-1], False

    def close(self) -> None:
        """Let go of the view."""
        self._view.close()

    def _page(self) -> list[tuple[bytes, Entry]]:
        if self._left == 0:
            return []
        entries_max = self._limits.page_entries_max
        if self._left is not None:
            entries_max = min(entries_max, self._left)
        return self._view.page(self._after, entries_max, self._limits.page_bytes_max)


def _pair(key: bytes, value: bytes) -> object:
    """Return how a pair is written: as a list of two, or with its names if it is not all text."""
    try:
        return key.decode(), value.decode()
    except UnicodeDecodeError:
        return {**text("key", key), **text("value", value)}

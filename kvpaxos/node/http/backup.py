"""A backup: all records of one view, in frames.

They are not packed here: that would take time of the node's only thread, and whoever asks for a
backup is on the same machine, where bytes cost little and another processor is often idle.
"""

from __future__ import annotations

from kvpaxos.node.http.limits import HttpLimits
from kvpaxos.node.http.store import View
from kvpaxos.store.backup import BackupWriter, Header


class Backup:
    """The pages of a backup, each a frame or two. What is broken off lacks its end."""

    name = "backup"

    def __init__(self, header: Header, view: View, limits: HttpLimits) -> None:
        self._writer = BackupWriter(header)
        self._view = view
        self._limits = limits
        self._opening = self._writer.begin()
        self._after: bytes | None = None

    def read(self) -> tuple[bytes, bool]:
        """Return the next records, and whether they are the last."""
        piece = self._view.piece(self._after, self._limits.page_bytes_max)
        opening, self._opening = self._opening, b""
        if not piece:
            return opening + self._writer.end(), True
        self._after = piece[-1][0]
        return opening + self._writer.add(piece), False

    def close(self) -> None:
        """Let go of the view."""
        self._view.close()

"""What all connections of one site hold together, counted against the limits."""

from __future__ import annotations

from typing import Protocol

from kvpaxos.node.http.limits import HttpLimits


class Guest(Protocol):
    """An open connection, as its site sees it."""

    def retire(self) -> None:
        """Close once no request is being answered."""
        ...


class Ledger:
    """The open connections, the idle ones among them, and the bytes of bodies under way."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._held_bytes = 0
        self._open: set[Guest] = set()
        self._retiring: set[Guest] = set()
        # A dict for its order: who has been idle for longest comes first.
        self._idle: dict[Guest, None] = {}

    def is_crowded(self) -> bool:
        """Return whether there are too many connections even to refuse one politely."""
        return len(self._open) >= 2 * self._limits.connections_max

    def admit(self, guest: Guest) -> bool:
        """Count a new connection, idle as it is, and return whether there is room for it.

        It counts until it `leaves`, whatever the answer.
        """
        if self._is_full() and self._idle:
            self._retire(next(iter(self._idle)))
        room = not self._is_full()
        self._open.add(guest)
        self._idle[guest] = None
        return room

    def leaves(self, guest: Guest) -> None:
        """Forget a connection that is gone."""
        self._open.discard(guest)
        self._retiring.discard(guest)
        self._idle.pop(guest, None)

    def wakes(self, guest: Guest) -> bool:
        """Note that a connection brings something, and return whether it was idle."""
        if guest not in self._idle:
            return False
        del self._idle[guest]
        return True

    def rests(self, guest: Guest) -> None:
        """Note that a connection has its reply, and that nothing else is known of its client."""
        self._idle[guest] = None

    def hold(self, length: int) -> bool:
        """Count bytes of a body that has arrived, and return whether there is room for them."""
        if self._held_bytes + length > self._limits.bodies_bytes_max:
            return False
        self._held_bytes += length
        return True

    def release(self, length: int) -> None:
        """Give back what `hold` had room for."""
        self._held_bytes -= length
        assert self._held_bytes >= 0, "bytes were released twice"

    def close(self) -> None:
        """Retire every connection."""
        for guest in list(self._open):
            self._retire(guest)

    def _is_full(self) -> bool:
        return len(self._open) - len(self._retiring) >= self._limits.connections_max

    def _retire(self, guest: Guest) -> None:
        self._idle.pop(guest, None)
        self._retiring.add(guest)
        guest.retire()

"""Lanes: how several writes of one client can be under way and yet each be carried out once.

Nodes remember, for each client id, the answer to its newest request only. So a client that writes
several things at a time appears as several: each lane has a client id of its own, and one write
under way, whose number is greater than all before. Whatever is sent again is then the newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush

from twisted.internet.defer import Deferred, succeed


class Lane:
    """One client id, and the numbers of its writes."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self._client = f"{name}/{number}".encode()
        self._opid = 0

    def identity(self) -> Mapping[str, bytes | int]:
        """Return the identity of the next write. Every lower one will never be carried out."""
        self._opid += 1
        return {"client": self._client, "opid": self._opid}


class Lanes:
    """Gives each write a lane, or lets it wait until one is free, in order.

    The free lane with the lowest number comes first, so that a caller who awaits each write before
    the next has one lane, and leaves one record in the cluster.
    """

    def __init__(self, name: str, lanes_max: int) -> None:
        assert lanes_max > 0, "without a lane nothing can be written"
        self._name = name
        self._lanes_max = lanes_max
        self._made = 0
        self._free: list[tuple[int, Lane]] = []
        self._waiting: deque[Deferred[Lane]] = deque()

    def take(self) -> Deferred[Lane]:
        """Fire with a lane, which then must be given back. To cancel it leaves the queue."""
        if self._free:
            return succeed(heappop(self._free)[1])
        if self._made < self._lanes_max:
            self._made += 1
            return succeed(Lane(self._made, self._name))
        waiting: Deferred[Lane] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def give_back(self, lane: Lane) -> None:
        """Hand ``lane`` to the write that has waited longest, or keep it."""
        if self._waiting:
            self._waiting.popleft().callback(lane)
        else:
            heappush(self._free, (lane.number, lane))

"""Clients: they write values that nobody else writes, and read them, and remember all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.effects import Answer, Expired, Proposed, ReadReady, ReadWanted, Wish
from test.simulator.agenda import Agenda
from test.simulator.checker import Checker
from test.simulator.machine import Machine
from test.simulator.network import Post

Ending = Literal["done", "not sent", "unknown"]


@dataclass
class Request:
    """One request of a client, and what came of it.

    :ivar floor: the slot that was certainly executed before the request began.
    :ivar ending: None while it is under way.
    """

    number: int
    node: NodeId
    key: str
    body: bytes
    floor: Slot
    ending: Ending | None = None


class Clients:
    """Sends requests through nodes, and checks what comes back.

    :ivar seen: the slot that is known to have been executed, from everything that was answered:
        whatever begins now must come after it.
    """

    def __init__(self, agenda: Agenda, checker: Checker, post: Post) -> None:
        self.requests: list[Request] = []
        self.seen = Slot(0)
        self.progress: Callable[[Request], None] = lambda _: None
        self._agenda = agenda
        self._checker = checker
        self._post = post

    def write(self, node: NodeId, key: str, patience_s: float) -> Request:
        """Write a new value through ``node``."""
        number = len(self.requests)
        request = Request(number, node, key, f"{key}={number}".encode(), self.seen)
        self.requests.append(request)
        wish = Wish(number, request.body, self._agenda.now + patience_s)
        self._post(node, Proposed((wish,)))
        return request

    def read(self, node: NodeId, key: str, patience_s: float) -> Request:
        """Read through ``node``."""
        request = Request(len(self.requests), node, key, b"", self.seen)
        self.requests.append(request)
        self._post(node, ReadWanted(((request.number, self._agenda.now + patience_s),)))
        return request

    def answered(self, answer: Answer) -> None:
        """Take the answer to a write."""
        request = self._end(answer.request, "done")
        slot = self._checker.executed.get(request.body)
        assert slot is not None, f"{request} is acknowledged and was never executed"
        assert slot > request.floor, f"{request} was executed before it began"
        self.seen = max(self.seen, slot)

    def ready(self, ready: ReadReady, machine: Machine) -> None:
        """Do a read, in the state that ``machine`` is in."""
        request = self._end(ready.request, "done")
        assert machine.applied >= request.floor, (
            f"{request} reads slot {machine.applied}: an acknowledged write is missing"
        )
        value = machine.registers.get(request.key)
        if value is not None:
            written = self._checker.executed[f"{request.key}={value}".encode()]
            self.seen = max(self.seen, written)

    def expired(self, expired: Expired) -> None:
        """Take word that a deadline has passed."""
        request = self._end(expired.request, "unknown" if expired.sent else "not sent")
        if request.ending == "not sent" and request.body:
            assert request.body not in self._checker.executed, f"{request} was executed"

    def died(self, node: NodeId) -> None:
        """Forget about the answers of ``node``: they will never come."""
        for request in self.requests:
            if request.node == node and request.ending is None:
                request.ending = "unknown"

    def check(self) -> None:
        """At the end: what was acknowledged is there, what was not sent is not."""
        for request in self.requests:
            executed = request.body in self._checker.executed
            if request.body and request.ending == "done":
                assert executed, f"{request} was lost"
            if request.ending == "not sent":
                assert not executed, f"{request} was executed, and its client told otherwise"

    def _end(self, number: int, ending: Ending) -> Request:
        request = self.requests[number]
        assert request.ending is None, f"{request} ends a second time"
        request.ending = ending
        return request

"""Clients: they ask nodes for writes and reads, and remember all that came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.effects import Answer, Expired, Proposed, ReadReady, ReadWanted, Wish
from kvpaxos.store.commands import Set
from kvpaxos.store.requests import encode_request
from kvpaxos.store.results import Result
from test.simulator.agenda import Agenda
from test.simulator.checker import Checker
from test.simulator.machine import Machine
from test.simulator.network import Post

Ending = Literal["done", "not sent", "unknown"]


@dataclass
class Request:
    """One request of a client, and what came of it.

    :ivar body: the command; empty for a read.
    :ivar floor: the slot that was executed before anything like it was asked for.
    :ivar repeats: its body has an identity, and may be asked for more than once.
    :ivar ending: None while it is under way.
    :ivar result: what the state machine said, if that is known.
    """

    number: int
    node: NodeId
    key: str
    body: bytes
    floor: Slot
    repeats: bool = False
    ending: Ending | None = None
    result: Result | None = None


class Clients:
    """Sends requests through nodes, and checks what comes back."""

    def __init__(self, agenda: Agenda, checker: Checker, post: Post) -> None:
        self.requests: list[Request] = []
        self._agenda = agenda
        self._checker = checker
        self._post = post

    @property
    def floor(self) -> Slot:
        """The slot that somebody has executed by now: whatever begins now must come after it.

        That is more than clients could notice, who only know of what was answered.
        """
        return self._checker.machine.applied

    def write(self, node: NodeId, key: str, patience_s: float) -> Request:
        """Write through ``node`` a value that nobody else writes: the number of the request."""
        number = len(self.requests)
        body = encode_request(Set(key.encode(), b"%d" % number))
        return self._ask(Request(number, node, key, body, self.floor), patience_s)

    def send(self, node: NodeId, key: str, body: bytes, floor: Slot, patience_s: float) -> Request:
        """Send ``body``, which has an identity, through ``node``, perhaps not for the first time.

        :param floor: the floor when it was sent for the first time.
        """
        request = Request(len(self.requests), node, key, body, floor, repeats=True)
        return self._ask(request, patience_s)

    def read(self, node: NodeId, key: str, patience_s: float) -> Request:
        """Read through ``node``."""
        request = Request(len(self.requests), node, key, b"", self.floor)
        self.requests.append(request)
        self._post(node, ReadWanted(((request.number, self._agenda.now + patience_s),)))
        return request

    def answered(self, answer: Answer) -> None:
        """Take the answer to a write."""
        request = self._end(answer.request, "done")
        assert isinstance(answer.result, Result)
        request.result = answer.result
        if request.result.outcome == "stale":
            assert request.repeats, f"{request} was asked for only once"
            return
        slot = self._checker.executed.get(request.body)
        assert slot is not None, f"{request} is acknowledged and was never executed"
        assert slot > request.floor, f"{request} was executed before it began"
        assert request.result == self._checker.answers[request.body], f"{request} is answered wrong"

    def ready(self, ready: ReadReady, machine: Machine) -> None:
        """Do a read, in the state that ``machine`` is in."""
        request = self._end(ready.request, "done")
        assert machine.applied >= request.floor, (
            f"{request} reads slot {machine.applied}: it misses what was there before"
        )

    def expired(self, expired: Expired) -> None:
        """Take word that a deadline has passed."""
        request = self._end(expired.request, "unknown" if expired.sent else "not sent")
        if request.ending == "not sent":
            self._check_not_executed(request)

    def died(self, node: NodeId) -> None:
        """Forget about the answers of ``node``: they will never come."""
        for request in self.requests:
            if request.node == node and request.ending is None:
                request.ending = "unknown"

    def check(self) -> None:
        """At the end: what was acknowledged is there, what was not sent is not."""
        for request in self.requests:
            if request.body and request.ending == "done" and not request.repeats:
                assert request.body in self._checker.executed, f"{request} was lost"
            if request.ending == "not sent":
                self._check_not_executed(request)

    def _ask(self, request: Request, patience_s: float) -> Request:
        self.requests.append(request)
        wish = Wish(request.number, request.body, self._agenda.now + patience_s)
        self._post(request.node, Proposed((wish,)))
        return request

    def _check_not_executed(self, request: Request) -> None:
        if not request.repeats:
            assert request.body not in self._checker.executed, (
                f"{request} was executed, and its client told otherwise"
            )

    def _end(self, number: int, ending: Ending) -> Request:
        request = self.requests[number]
        assert request.ending is None, f"{request} ends a second time"
        request.ending = ending
        return request

"""Clients that number their requests, and send them again until they know what came of them.

They ask what stands right under HTTP in a node (`kvpaxos.node.face.Face`). What they say and hear
takes time, and is lost when the process that they speak to dies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final, Literal, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvpaxos.errors import KvPaxosError, OutcomeUnknown, Unavailable
from kvpaxos.node.face import Face
from kvpaxos.node.http.store import Receipt, Written
from kvpaxos.simulator.agenda import Agenda, Call
from kvpaxos.simulator.process import Process
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    Update,
)
from kvpaxos.store.requests import Numbered
from kvpaxos.store.results import Result

TIMEOUT_S: Final = 2.0
"""For how long a node may try to carry a request out."""

PATIENCE_S: Final = 2.5
"""For how long a client waits for one node."""

RETRY_S: Final = 0.1
"""How long it waits, about, before it asks another one."""

TRAVEL_S: Final = 0.0005
"""How long a request takes to a node, and an answer back."""

OFTEN: Final = (6, 6, 3, 2, 1, 1, 1)
"""How often clients get, append, set, compare and set, update, insert and delete."""

Ending: TypeAlias = Literal["done", "unknown", "open"]


class Asked(Protocol):
    """A node, as its clients know it."""

    node: str
    face: Face | None
    process: Process | None


@dataclass(slots=True)
class Request:
    """One request of a client, however often it was sent.

    :ivar slot: the one that executed it, or that a read rests on.
    :ivar sent: how often it was.
    :ivar maybe: whether some attempt may have been carried out, for all that the client knows.
    """

    client: str
    opid: int
    operation: Operation
    began: float
    ended: float | None = None
    ending: Ending = "open"
    result: Result | None = None
    slot: int = 0
    sent: int = 0
    maybe: bool = False


class Client:
    """Makes one request after the other.

    :ivar requests: all of them so far.
    """

    def __init__(
        self,
        name: str,
        servers: Sequence[Asked],
        *,
        agenda: Agenda,
        random: Random,
        keys: int,
        pause_s: float,
        gives_up: float,
        counts: Counter[str],
        done: Callable[[Request], None],
    ) -> None:
        """Make a client that does nothing before `begin`.

        :param keys: how many keys there are.
        :param pause_s: the mean time between an answer and the next request.
        :param gives_up: how probable it is that it asks nobody else once a node is silent.
        """
        self.name = name
        self.requests: list[Request] = []
        self._servers = servers
        self._agenda = agenda
        self._random = random
        self._keys = keys
        self._pause_s = pause_s
        self._gives_up = gives_up
        self._counts = counts
        self._done = done
        self._server = random.choice(servers)
        self._running = False
        self._attempt = 0
        self._patience: Call | None = None

    def begin(self) -> None:
        """Make requests from now on."""
        self._running = True
        self._agenda.after(self._random.expovariate(1 / self._pause_s), self._ask)

    def end(self) -> None:
        """Make no further request. The last one may still be under way."""
        self._running = False

    def ask(self, operation: Operation, server: Asked | None = None) -> Request:
        """Make a request, and send it to ``server`` first."""
        if server is not None:
            self._server = server
        request = Request(self.name, len(self.requests) + 1, operation, self._agenda.now)
        self.requests.append(request)
        self._send(request)
        return request

    def ask_anything(self) -> Request:
        """Make a request, whatever comes to mind."""
        return self.ask(self._draw())

    def _ask(self) -> None:
        if self._running:
            self.ask(self._draw())

    def _draw(self) -> Operation:
        random = self._random
        key = b"k%d" % random.randrange(self._keys)
        value = f"{self.name}.{len(self.requests) + 1}".encode()
        operations: tuple[Operation, ...] = (
            Get(key),
            Append(b"log%d" % random.randrange(2), value + b" "),
            Set(key, value),
            CompareAndSet(key, self._last_seen(key), value),
            Update(key, value),
            Insert(key, value),
            Delete(key),
        )
        return random.choices(operations, OFTEN)[0]

    def _last_seen(self, key: bytes) -> bytes | None:
        for request in reversed(self.requests[-10:]):
            if request.operation == Get(key) and request.result is not None:
                return request.result.value
        return None

    def _send(self, request: Request) -> None:
        self._attempt += 1
        request.sent += 1
        self._counts["sent"] += 1
        self._patience = self._agenda.after(PATIENCE_S, self._silent, request, self._attempt)
        self._agenda.after(TRAVEL_S, self._arrive, self._server, request, self._attempt)

    def _arrive(self, server: Asked, request: Request, attempt: int) -> None:
        process, face = server.process, server.face
        if process is None or face is None or not process.alive:
            self._again(request, attempt)
            return
        process.run(partial(self._put, face, request, attempt))

    def _put(self, face: Face, request: Request, attempt: int) -> None:
        """Ask the node. This runs in its process."""
        answered = partial(self._answer, face, request, attempt)
        refused = partial(self._refuse, request, attempt)
        try:
            asking: Deferred[Receipt] | Deferred[Written]
            if isinstance(request.operation, Get):
                asking = face.read(stale=False, timeout_s=TIMEOUT_S)
            else:
                identity = Numbered(self.name.encode(), request.opid)
                asking = face.write(request.operation, identity, timeout_s=TIMEOUT_S)
                request.maybe = True
        except KvPaxosError as error:
            refused(Failure(error))
        else:
            asking.addCallbacks(answered, refused)

    def _answer(
        self, face: Face, request: Request, attempt: int, answer: Receipt | Written
    ) -> None:
        if isinstance(answer, Written):
            result, slot = answer.result, answer.receipt.slot
        else:
            assert isinstance(request.operation, Get)
            entry = face.get(request.operation.key)
            result = Result("ok" if entry else "missing", entry.value if entry else None, 0)
            slot = answer.slot
        self._agenda.after(TRAVEL_S, self._end, request, attempt, result, slot)

    def _refuse(self, request: Request, attempt: int, failure: Failure) -> None:
        failure.trap(Unavailable, OutcomeUnknown)
        self._counts["refused"] += 1
        self._agenda.after(TRAVEL_S, self._again, request, attempt)

    def _silent(self, request: Request, attempt: int) -> None:
        if attempt != self._attempt or request.ending != "open":
            return
        self._counts["silences"] += 1
        if self._random.random() < self._gives_up:
            self._counts["given up"] += 1
            self._end(request, attempt, None, 0)
        else:
            self._again(request, attempt)

    def _again(self, request: Request, attempt: int) -> None:
        """Ask another node: the request is known there by its number."""
        if attempt != self._attempt or request.ending != "open":
            return
        if self._patience is not None:
            self._agenda.cancel(self._patience)
        self._attempt += 1
        self._server = self._random.choice(self._servers)
        self._agenda.after(self._random.uniform(0.5, 1.5) * RETRY_S, self._resend, request)

    def _resend(self, request: Request) -> None:
        if request.ending == "open":
            self._counts["sent again"] += 1
            self._send(request)

    def _end(self, request: Request, attempt: int, result: Result | None, slot: int) -> None:
        if attempt != self._attempt or request.ending != "open":
            return
        if self._patience is not None:
            self._agenda.cancel(self._patience)
        self._attempt += 1
        request.ended, request.result, request.slot = self._agenda.now, result, slot
        request.ending = "unknown" if result is None else "done"
        self._counts[request.ending] += 1
        self._done(request)
        if self._running:
            self._agenda.after(self._random.expovariate(1 / self._pause_s), self._ask)

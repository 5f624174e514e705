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
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kvpaxos.checking.history import Dump, Pairs
from kvpaxos.errors import KvPaxosError, OutcomeUnknown, Unavailable
from kvpaxos.node.face import Face
from kvpaxos.node.http.store import Receipt, Written
from kvpaxos.node.member import DAMAGE
from kvpaxos.simulator.agenda import Agenda, Call
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.requests import Answer, Request, Taste, Wish, look

TIMEOUT_S: Final = 2.0
"""For how long a node may try to carry a request out."""

PATIENCE_S: Final = 2.5
"""For how long a client waits for one node."""

HASTE_S: Final = 0.02
"""For how long one waits, at most, that gives up before it could have an answer."""

RETRY_S: Final = 0.1
"""How long it waits, about, before it asks another one; twice as long each time."""

RETRY_DOUBLINGS_MAX: Final = 3
"""But no longer than after so many times: else a run would be full of questions to the dead."""

TRAVEL_S: Final = 0.0005
"""How long a request takes to a node, and an answer back."""

TWICE_S: Final = 1.0
"""How much later, at most, a request reaches the other node that is asked too."""


class Asked(Protocol):
    """A node, as its clients know it."""

    node: str
    face: Face | None
    process: Process | None


@dataclass(frozen=True, slots=True)
class Manners:
    """How clients behave.

    :ivar keys: how many keys they know.
    :ivar pause_s: the mean time between an answer and the next request.
    :ivar gives_up: how probable it is that one asks nobody else once a node is silent.
    :ivar asks_twice: how probable it is that one asks another node too, under the same identity.
    """

    keys: int
    pause_s: float
    gives_up: float = 0.0
    asks_twice: float = 0.0


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
        manners: Manners,
        counts: Counter[str],
        done: Callable[[Request], None],
    ) -> None:
        """Make a client that does nothing before `begin`."""
        self.name = name
        self.requests: list[Request] = []
        self._servers = servers
        self._agenda = agenda
        self._random = random
        self._manners = manners
        self._taste = Taste(name, random, manners.keys)
        self._counts = counts
        self._done = done
        self._server = random.choice(servers)
        self._running = False
        self._attempt = 0
        self._patience: Call | None = None

    @property
    def waits(self) -> bool:
        """Whether its last request is still under way; all before are not."""
        return bool(self.requests) and self.requests[-1].ending == "open"

    def begin(self) -> None:
        """Make requests from now on."""
        self._running = True
        self._agenda.after(self._thought_s(), self._ask)

    def end(self) -> None:
        """Make no further request. The last one may still be under way."""
        self._running = False

    def ask(self, wish: Wish, server: Asked) -> Request:
        """Make a request that must be executed once, and send it to ``server`` first."""
        self._server = server
        now = self._agenda.now
        return self._make(self._taste.request(wish, self.requests, now, stale=False, known=True))

    def ask_anything(self) -> Request:
        """Make a request, whatever comes to mind."""
        return self._make(self._taste.draw(self.requests, self._agenda.now))

    def _ask(self) -> None:
        if self._running:
            self.ask_anything()

    def _thought_s(self) -> float:
        return self._random.expovariate(1 / self._manners.pause_s)

    def _patience_s(self) -> float:
        gives_up = self._manners.gives_up
        if gives_up and self._random.random() < gives_up:
            return self._random.uniform(0, HASTE_S)
        return PATIENCE_S

    def _make(self, request: Request) -> Request:
        self.requests.append(request)
        self._send(request)
        return request

    def _send(self, request: Request) -> None:
        self._attempt += 1
        request.sent += 1
        self._counts["sent"] += 1
        self._patience = self._agenda.after(
            self._patience_s(), self._silent, request, self._attempt
        )
        self._depart(TRAVEL_S, self._server, request)
        twice = self._manners.asks_twice
        if twice and request.identity is not None and self._random.random() < twice:
            self._counts["asked twice"] += 1
            seconds = self._random.uniform(TRAVEL_S, TWICE_S)
            self._depart(seconds, self._random.choice(self._servers), request)

    def _depart(self, seconds: float, server: Asked, request: Request) -> None:
        request.doubts += 1
        self._agenda.after(seconds, self._arrive, server, request, self._attempt)

    def _arrive(self, server: Asked, request: Request, attempt: int) -> None:
        process, face = server.process, server.face
        if process is None or face is None or not process.alive:
            request.doubts -= 1
            self._again(request, attempt)
            return
        process.run(partial(self._put, server.node, face, request, attempt))

    def _put(self, node: str, face: Face, request: Request, attempt: int) -> None:
        """Ask the node. This runs in its process."""
        answered = partial(self._answer, node, face, request, attempt)
        refused = partial(self._refuse, node, request, attempt)
        try:
            asking: Deferred[Receipt] | Deferred[Written]
            if not request.logged:
                asking = face.read(stale=request.stale, timeout_s=TIMEOUT_S)
            else:
                assert not isinstance(request.operation, Dump), "a dump is not logged"
                request.taken[node] += 1
                asking = face.write(request.operation, request.identity, timeout_s=TIMEOUT_S)
        except KvPaxosError as error:
            refused(Failure(error))
        else:
            asking.addCallback(answered).addErrback(refused)

    def _answer(
        self,
        node: str,
        face: Face,
        request: Request,
        attempt: int,
        given: Receipt | Written,
    ) -> None:
        pairs: Pairs = ()
        if isinstance(given, Written):
            result, receipt = given
        else:
            receipt = given
            result, pairs = look(request.operation, face)
        self._counts["answers"] += 1
        if receipt.read == "stale":
            self._counts["stale reads"] += 1
        number = self._counts["answers"]
        answer = Answer(number, node, face, result, receipt.slot, receipt.read, pairs)
        request.answers.append(answer)
        self._agenda.after(TRAVEL_S, self._end, request, attempt, answer)

    def _refuse(self, node: str, request: Request, attempt: int, failure: Failure) -> None:
        if failure.check(*DAMAGE) is None:
            failure.trap(Unavailable, OutcomeUnknown)
        self._counts["refused"] += 1
        if failure.check(OutcomeUnknown) is None:
            # It says that it was not carried out: that is held against it.
            request.doubts -= 1
            request.taken[node] -= request.logged
        elif not request.is_known:
            self._agenda.after(TRAVEL_S, self._end, request, attempt, None)
            return
        self._agenda.after(TRAVEL_S, self._again, request, attempt)

    def _silent(self, request: Request, attempt: int) -> None:
        if attempt != self._attempt or request.ending != "open":
            return
        self._counts["silences"] += 1
        if not request.is_known or self._random.random() < self._manners.gives_up:
            self._counts["given up"] += 1
            self._end(request, attempt, None)
        else:
            self._again(request, attempt)

    def _again(self, request: Request, attempt: int) -> None:
        """Ask another node: one that knows the request again, or that is the first to take it."""
        if attempt != self._attempt or request.ending != "open":
            return
        if self._patience is not None:
            self._agenda.cancel(self._patience)
        self._attempt += 1
        self._server = self._random.choice(self._servers)
        wait_s = RETRY_S * 2 ** min(request.sent - 1, RETRY_DOUBLINGS_MAX)
        self._agenda.after(self._random.uniform(0.5, 1.5) * wait_s, self._resend, request)

    def _resend(self, request: Request) -> None:
        if request.ending == "open":
            self._counts["sent again"] += 1
            self._send(request)

    def _end(self, request: Request, attempt: int, answer: Answer | None) -> None:
        if attempt != self._attempt or request.ending != "open":
            return
        if self._patience is not None:
            self._agenda.cancel(self._patience)
        self._attempt += 1
        request.ended, request.answer = self._agenda.now, answer
        request.ending = "unknown" if answer is None else "done"
        self._counts[request.ending] += 1
        self._done(request)
        if self._running:
            self._agenda.after(self._thought_s(), self._ask)

"""What simulated clients ask for, and every answer that nodes give to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, NamedTuple, TypeAlias

from kvpaxos.checking.history import UNTOLD, Call, Dump, Outcome, Pairs, Told
from kvpaxos.node.face import Face
from kvpaxos.store.commands import (
    Append,
    CompareAndSet,
    Count,
    Delete,
    Get,
    Insert,
    Operation,
    Set,
    Update,
)
from kvpaxos.store.requests import Identity, Named, Numbered
from kvpaxos.store.results import Result

Wish: TypeAlias = Operation | Dump
"""What a client asks for."""

OFTEN: Final = (60, 60, 30, 20, 10, 10, 10, 3, 3)
"""How often clients get, append, set, compare and set, update, insert, delete, count and dump."""

STALE: Final = 0.2
"""The share of reads that are content with whatever the node has."""

LOGGED: Final = 0.05
"""The share of reads that have an identity, and so are in the log."""

PLAIN: Final = 0.1
"""The share of what changes something that has no identity: nobody knows it again."""

NAMED: Final = 0.2
"""The share of requests with an identity that have a name and no number."""

LENGTHS: Final = (0, 0, 0, 0, 300, 3000, 20_000)
"""How much longer values are than they need be: with long ones journals fill up."""

PAGE: Final = 100
"""How many keys of a dump are read at a time."""

Ending: TypeAlias = Literal["done", "unknown", "open"]


class Answer(NamedTuple):
    """One answer that a node gave, whether or not its client waited for it any more.

    :ivar number: later answers have greater ones, whoever gave them.
    :ivar run: the face of the node that gave it: another one for each of its runs.
    :ivar slot: the one that executed the request, or that the read rests on.
    :ivar read: what the answer rests on. See `kvpaxos.node.http.store.Receipt`.
    :ivar pairs: what a dump shows.
    """

    number: int
    node: str
    run: Face
    result: Result
    slot: int
    read: str
    pairs: Pairs = ()


@dataclass(slots=True)
class Request:
    """One request of a client, however often it was sent.

    :ivar opid: its number among those of its client, from 1.
    :ivar stale: whether it is content with whatever the node has.
    :ivar logged: whether it goes through the log, as all that changes something does.
    :ivar sent: how often it was.
    :ivar doubts: how often it was sent without word that this was in vain.
    :ivar taken: how often each node was asked without saying that it would not carry it out.
    :ivar answer: the first one that came in time; None if none did.
    :ivar answers: all that were given.
    """

    client: str
    opid: int
    operation: Wish
    identity: Identity | None
    stale: bool
    began: float
    logged: bool = True
    ended: float | None = None
    ending: Ending = "open"
    sent: int = 0
    doubts: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    answer: Answer | None = None
    answers: list[Answer] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        """Whether it may be sent again though it may have been carried out."""
        return self.identity is not None or not self.logged

    @property
    def outcome(self) -> Outcome:
        """What came of it, as far as its client knows once nothing is under way any more."""
        match self.answer:
            case Answer(result=Result(outcome="ok")):
                return "done"
            case Answer(result=Result(outcome="exists" | "missing" | "differs")):
                return "refused"
            case Answer(result=Result(outcome="too_large" | "invalid" | "reused")):
                return "failed"
            case None if not self.doubts:
                return "failed"
            case _:
                return "unknown"

    @property
    def call(self) -> Call:
        """What its client has seen of it."""
        answer = self.answer
        return Call(
            self.client,
            self.operation,
            self.began,
            self.ended,
            self.outcome,
            UNTOLD if answer is None else told_by(self.operation, answer.result),
            () if answer is None else answer.pairs,
            None if answer is None else answer.slot,
            None if answer is None else answer.read,
            self.identity,
        )


def told_by(operation: Wish, result: Result) -> Told:
    """Return what a reply shows to the client of an ``operation`` that had this ``result``."""
    if result.outcome == "ok" and isinstance(operation, Update | Delete | Append | Get | Count):
        return result.value
    if result.outcome == "differs" and isinstance(operation, CompareAndSet):
        return result.value
    return UNTOLD


def look(operation: Wish, face: Face) -> tuple[Result, Pairs]:
    """Read what ``operation`` asks for, as far as the node has it."""
    match operation:
        case Get(key):
            entry = face.get(key)
            return Result("ok" if entry else "missing", entry.value if entry else None, 0), ()
        case Count():
            return Result("ok", b"%d" % face.count(), 0), ()
        case _:
            return Result("ok", None, 0), _pairs(face)


def _pairs(face: Face) -> Pairs:
    view = face.view()
    try:
        pairs: list[tuple[bytes, bytes]] = []
        last: bytes | None = None
        while page := view.page(last, PAGE, 1 << 20):
            pairs += [(key, entry.value) for key, entry in page]
            last = page[-1][0]
        return tuple(pairs)
    finally:
        view.close()


class Taste:
    """What one client is going to ask for.

    :param keys: how many keys there are.
    """

    def __init__(self, client: str, random: Random, keys: int) -> None:
        self._client = client
        self._random = random
        self._keys = keys

    def draw(self, before: Sequence[Request], now: float) -> Request:
        """Return the next request, after all those ``before``."""
        random = self._random
        key = b"k%d" % random.randrange(self._keys)
        value = f"{self._client}.{len(before) + 1}".encode()
        # Some are long, so that journals go on in new segments, and forget.
        long = value + b"." * random.choice(LENGTHS)
        wishes: tuple[Wish, ...] = (
            Get(key),
            Append(b"log%d" % random.randrange(2), value + b" "),
            Set(key, long),
            CompareAndSet(key, _last_seen(before, key), long),
            Update(key, long),
            Insert(key, long),
            Delete(key),
            Count(),
            Dump(),
        )
        wish = random.choices(wishes, OFTEN)[0]
        reads = isinstance(wish, Get | Count | Dump)
        stale = reads and random.random() < STALE
        logged = not stale and not isinstance(wish, Dump) and random.random() < LOGGED
        known = logged if reads else random.random() >= PLAIN
        return self.request(wish, before, now, stale=stale, known=known)

    def request(
        self, wish: Wish, before: Sequence[Request], now: float, *, stale: bool, known: bool
    ) -> Request:
        """Return a request.

        :param known: whether it has an identity, so that it may be sent again.
        """
        opid = len(before) + 1
        identity: Identity | None = None
        if known:
            identity = Numbered(self._client.encode(), opid)
            if self._random.random() < NAMED:
                identity = Named(f"{self._client}/{opid}".encode())
        logged = known or not isinstance(wish, Get | Count | Dump)
        return Request(self._client, opid, wish, identity, stale, now, logged)


def _last_seen(before: Sequence[Request], key: bytes) -> bytes | None:
    for request in reversed(before[-10:]):
        if request.operation == Get(key) and request.answer is not None:
            return request.answer.result.value
    return None

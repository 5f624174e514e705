"""A node, as its faces see it: writes, reads, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Final, NoReturn, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from kvpaxos.errors import (
    CommandError,
    DiskError,
    JournalDamaged,
    NoSpace,
    OutcomeUnknown,
    StateDamaged,
    Unavailable,
)
from kvpaxos.node.http.replies import text
from kvpaxos.node.http.store import (
    Described,
    JournalPage,
    LinkChange,
    ReadKind,
    Receipt,
    Whole,
    Written,
)
from kvpaxos.node.recovery import GROUP
from kvpaxos.node.requests import REQUEST_BYTES_MAX, REQUESTS_MAX, Executed, Readable, Requests
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import NO_SLOT, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.paxos.messages import Command
from kvpaxos.store.backup import Header
from kvpaxos.store.commands import Count, Delete, Get, Operation
from kvpaxos.store.entry import Entry
from kvpaxos.store.limits import IDENTIFIER_BYTES_MAX, OPID_MAX, IdentityLimits
from kvpaxos.store.requests import Identity, decode_request, encode_request
from kvpaxos.store.view import Record, View

READ_FRESH_S: Final = 3.0
"""A node is ready if it has finished a linearizable read within so many seconds."""

JOURNAL_PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""How much of the journal one request may ask to see, though one slot always fits."""


class Insides(Protocol):
    """What a face asks of the node beyond its requests and its state."""

    def leader(self) -> str:
        """Return the node that leads, as far as this one knows, or the empty string."""
        ...

    def trouble(self) -> str | None:
        """Return why this node cannot serve at all now, or None."""
        ...

    def alarm(self) -> str | None:
        """Return why this node takes no writes but deletions, or None if it takes all."""
        ...

    def doubt(self) -> str | None:
        """Return why this node cannot do its part yet, or None if it can."""
        ...

    def halted(self) -> bool:
        """Whether the node has stopped itself."""
        ...

    def describe(self) -> dict[str, object]:
        """Describe the node's parts."""
        ...

    def limits(self) -> dict[str, object]:
        """Return the named limits of the node's parts."""
        ...

    def links(self) -> Sequence[Described]:
        """Describe the links and their switches."""
        ...

    def set_link(self, change: LinkChange) -> Sequence[Described]:
        """Switch links."""
        ...

    def decided(self, from_slot: Slot, limit: int) -> Deferred[list[Decision]]:
        """Read decided slots back from the journal: at most ``limit``, fewer if they are long."""
        ...

    def shutdown(self) -> None:
        """Stop the node in good order."""
        ...

    def halt(self, error: Exception) -> None:
        """Stop the node at once, because of ``error``."""
        ...


class Trust(Protocol):
    """Whether the state is to be trusted."""

    @property
    def agreed(self) -> Slot:
        """The last slot at which it was seen to be that of a majority, or 0."""
        ...

    @property
    def dispute(self) -> str | None:
        """Why nothing may be answered from it, in one sentence, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Unquestioned:
    """Nobody compares the state with another one."""

    agreed: Slot = NO_SLOT
    dispute: str | None = None


_UNQUESTIONED: Final = Unquestioned()


class HaltingView:
    """A `View` that stops the node if a page of it is damaged."""

    def __init__(self, view: View, halting: Callable[[], AbstractContextManager[None]]) -> None:
        self._view = view
        self._halting = halting

    def page(self, after: bytes | None, limit: int, bytes_max: int) -> list[tuple[bytes, Entry]]:
        """Return the keys above ``after``. See `kvpaxos.store.view.View.page`."""
        with self._halting():
            return self._view.page(after, limit, bytes_max)

    def piece(self, after: bytes | None, bytes_max: int) -> list[Record]:
        """Return what the engine holds above ``after``. See `kvpaxos.store.view.View.piece`."""
        with self._halting():
            return self._view.piece(after, bytes_max)

    def close(self) -> None:
        """Let go of the moment. To do it twice is harmless."""
        self._view.close()


class Face:
    """Implements what `kvpaxos.node.http` needs of a node."""

    def __init__(
        self,
        state: State,
        requests: Requests,
        insides: Insides,
        trust: Trust = _UNQUESTIONED,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._requests = requests
        self._insides = insides
        self._monotonic = monotonic
        self._trust = trust
        self._read_at = float("-inf")

    def write(
        self, operation: Operation, identity: Identity | None, *, timeout_s: float
    ) -> Deferred[Written]:
        """Carry out ``operation``, exactly once, through whoever leads.

        :raises NoSpace: the node's disk is nearly full, and this would fill it further.
        """
        self._check()
        alarm = self._insides.alarm()
        if alarm is not None and not isinstance(operation, Delete | Get | Count):
            raise NoSpace(alarm)

        def executed(outcome: Executed) -> Written:
            if self._trust.dispute is not None:
                raise OutcomeUnknown(self._trust.dispute)
            return Written(outcome.result, self._receipt("logged", outcome.slot))

        writing = self._requests.write(encode_request(operation, identity), timeout_s)
        return writing.addCallback(executed)

    def read(self, *, stale: bool, timeout_s: float) -> Deferred[Receipt]:
        """Fire when the state may be read, with what proves that it is fresh enough.

        :raises Unavailable: the node cannot serve; once it has halted, or its state is disputed,
            not even stale reads.
        """
        if stale and not self._insides.halted() and self._trust.dispute is None:
            return succeed(self.receipt())
        self._check()

        def readable(outcome: Readable) -> Receipt:
            if self._trust.dispute is not None:
                raise Unavailable(self._trust.dispute)
            self._read_at = self._monotonic()
            return self._receipt(outcome.how, outcome.slot)

        return self._requests.read(timeout_s).addCallback(readable)

    def receipt(self) -> Receipt:
        """Return what an answer rests on for which nobody was asked: it is ``stale``."""
        return self._receipt("stale", self._state.applied)

    def get(self, key: bytes) -> Entry | None:
        """Return what ``key`` holds, or None.

        :raises StateDamaged: the node stops, since it cannot tell what else is damaged.
        """
        with self._halting():
            return self._state.machine.get(key)

    def count(self) -> int:
        """Return how many keys there are."""
        return self._state.machine.count

    def view(self) -> HaltingView:
        """Return the state as it is now. The caller closes it."""
        with self._halting():
            return HaltingView(self._state.machine.view(), self._halting)

    def whole(self) -> Whole:
        """Return all of the state as it is now. The caller closes the view.

        :raises Unavailable: the node belongs to no cluster yet.
        """
        cluster = self._insides.describe()["cluster"]
        if not cluster:
            raise Unavailable(self._insides.trouble() or "the cluster has not formed yet")
        with self._halting():
            view = self._state.machine.view()
            slot, group = self._state.applied, GROUP
            header = Header(str(cluster), group, slot, view.revision, view.count, view.digest)
            return Whole(header, HaltingView(view, self._halting))

    def status(self) -> Described:
        """Describe the node, its peers, its journal and its state."""
        machine = self._state.machine
        state: Mapping[str, object] = {
            "keys": machine.count,
            "revision": machine.revision,
            "digest": f"{machine.digest:032x}",
            "agreed_slot": self._trust.agreed,
            **machine.remembered,
            **self._state.engine.sizes(),
        }
        trouble = self.ready()
        return {
            **self._insides.describe(),
            "applied": self._state.applied,
            "ready": trouble is None,
            "trouble": trouble,
            "alarm": self._insides.alarm(),
            "requests": len(self._requests),
            "state": state,
        }

    def limits(self) -> Described:
        """Return every named limit of the node but those of the HTTP face."""
        return {
            **self._insides.limits(),
            "requests_max": REQUESTS_MAX,
            "request_bytes_max": REQUEST_BYTES_MAX,
            "journal_page_bytes_max": JOURNAL_PAGE_BYTES_MAX,
            "identifier_bytes_max": IDENTIFIER_BYTES_MAX,
            "opid_max": OPID_MAX,
            **asdict(IdentityLimits()),
        }

    def ready(self) -> str | None:
        """Return None if the node has lately finished a linearizable read, or else why not."""
        trouble = self._insides.trouble() or self._trust.dispute or self._insides.doubt()
        if trouble is not None:
            return trouble
        if self._monotonic() - self._read_at > READ_FRESH_S:
            leader = self._insides.leader()
            known = f"{leader} leads" if leader else "no leader is known"
            return f"no linearizable read has finished here for {READ_FRESH_S:g} s ({known})"
        return None

    def links(self) -> Sequence[Described]:
        """Describe the links and their switches."""
        return self._insides.links()

    def set_link(self, change: LinkChange) -> Sequence[Described]:
        """Switch this node's ends of some links, and describe all links."""
        return self._insides.set_link(change)

    def journal(self, from_slot: int, limit: int) -> Deferred[JournalPage]:
        """Fire with the decided slots from ``from_slot`` on, at most ``limit`` of them.

        :raises JournalDamaged: the node stops, since it cannot tell what else is damaged.
        :raises DiskError: likewise.
        """

        def described(decisions: list[Decision]) -> JournalPage:
            following = decisions[-1].slot + 1 if decisions else NO_SLOT
            more = NO_SLOT < following <= self._state.applied
            return JournalPage(list(map(describe_decision, decisions)), following if more else None)

        def failed(failure: Failure) -> NoReturn:
            with self._halting():
                failure.raiseException()

        return self._insides.decided(Slot(from_slot), limit).addCallbacks(described, failed)

    def shutdown(self) -> None:
        """Hand leadership over and stop the node. A second call changes nothing."""
        self._insides.shutdown()

    @contextmanager
    def _halting(self) -> Iterator[None]:
        """Stop the node if its disk turns out to be damaged: who knows what else is."""
        try:
            yield
        except (DiskError, JournalDamaged, StateDamaged) as error:
            self._insides.halt(error)
            raise

    def _receipt(self, read: ReadKind, slot: Slot) -> Receipt:
        # A node that has stopped hears nothing: what it knew is of the past.
        leader = "" if self._insides.halted() else self._insides.leader()
        return Receipt(slot, leader, read)

    def _check(self) -> None:
        trouble = self._insides.trouble() or self._trust.dispute
        if trouble is not None:
            raise Unavailable(trouble)


def describe_decision(decision: Decision) -> Described:
    """Return a decided slot as JSON can tell it, equal on all nodes but for the ballot."""
    digest = blake2b(digest_size=16)
    for command in decision.batch:
        digest.update(command.body)
    ballot = decision.ballot
    return {
        "slot": decision.slot,
        "ballot": f"{ballot.round}.{ballot.node}" if ballot.round else None,
        "commands": [_describe_command(command) for command in decision.batch],
        "digest": digest.hexdigest(),
    }


def _describe_command(command: Command) -> Described:
    described: dict[str, object] = {
        "node": command.node,
        "life": command.life,
        "sequence": command.sequence,
        "settled_through": command.settled_through,
    }
    try:
        operation, identity = decode_request(command.body)
    except CommandError as error:
        return {**described, "operation": None, "error": str(error)}
    described["operation"] = type(operation).__name__.lower()
    parts = asdict(operation) if identity is None else {**asdict(identity), **asdict(operation)}
    for name, value in parts.items():
        described.update({name: value} if isinstance(value, int) else text(name, value))
    return described

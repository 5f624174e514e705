"""Replays the decided log on a plain dict, and holds every answer against it, in linear time.

Where the log is known, no order has to be looked for: it *is* the order. So histories of any length
can be judged, and reads that span keys too. It is checked that

* an answer that names a slot is what that slot made of the request, or what a read finds there;
* answers keep to time: a write has a later slot than all that was answered before it began, and a
  read that promises to be fresh no earlier one;
* what was asked for once is executed once at most, what failed is not, and what nobody asked for
  is not either;
* a request with an identity gets one answer, however often it is in the log.

How many requests with an identity are remembered is not told once more here: whoever asks again
after thousands of others have asked is not judged rightly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from kvpaxos.checking.history import UNTOLD, Call, Dump, Pairs, Told, WholeOperation
from kvpaxos.checking.log import Logged, LoggedSlot
from kvpaxos.checking.model import effect_of
from kvpaxos.checking.words import call_words, quoted
from kvpaxos.store.commands import Append, Count, Delete, Get, Operation
from kvpaxos.store.limits import KEY_BYTES_MAX, VALUE_BYTES_MAX
from kvpaxos.store.requests import Identity, Named, Numbered

COMPLAINTS_MAX: Final = 20
"""Nobody wants to read more of them."""

Request: TypeAlias = tuple[Operation, Identity | None]


class Reply(NamedTuple):
    """What a command comes to. ``failed``: nothing was done, whatever the key holds."""

    outcome: Literal["done", "refused", "failed"]
    told: Told = UNTOLD


@dataclass(slots=True)
class _Session:
    """How far a node's commands are passed, in its newest life."""

    life: int = 0
    passed_through: int = 0


@dataclass(slots=True)
class Machine:
    """The state after some slots.

    :ivar held: what each key holds.
    :ivar executed: how often each request was carried out.
    """

    value_bytes_max: int = VALUE_BYTES_MAX
    held: dict[bytes, bytes] = field(default_factory=dict)
    executed: Counter[Request] = field(default_factory=Counter)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _opids: dict[bytes, tuple[int, Operation, Reply]] = field(default_factory=dict)
    _named: dict[bytes, tuple[Operation, Reply]] = field(default_factory=dict)

    def apply(self, command: Logged) -> Reply | None:
        """Execute ``command``, and return what its client is told; None if it is not its turn."""
        if not self._admits(command):
            return None
        operation, identity = command.operation, command.identity
        match identity:
            case _ if operation is None:
                return Reply("failed")
            case Numbered(client, opid):
                newest, known, reply = self._opids.get(client, (-1, operation, Reply("failed")))
                if opid > newest:
                    reply = self._carry_out(operation, identity)
                    self._opids[client] = (opid, operation, reply)
                elif opid < newest or known != operation:
                    return Reply("failed")
                return reply
            case Named(requestid):
                if requestid not in self._named:
                    self._named[requestid] = (operation, self._carry_out(operation, identity))
                known, reply = self._named[requestid]
                return reply if known == operation else Reply("failed")
            case None:
                return self._carry_out(operation, None)

    def look(self, operation: Get | WholeOperation) -> tuple[Reply, Pairs]:
        """Return what a read finds."""
        match operation:
            case Get(key):
                effect = effect_of(operation, self.held.get(key))
                return Reply(effect.outcome, effect.shown), ()
            case Count():
                return Reply("done", b"%d" % len(self.held)), ()
            case Dump():
                return Reply("done"), tuple(sorted(self.held.items()))

    def _admits(self, command: Logged) -> bool:
        session = self._sessions.setdefault(command.node, _Session())
        if command.life < session.life:
            return False
        if command.life > session.life:
            session.life, session.passed_through = command.life, 0
        session.passed_through = max(session.passed_through, command.settled_through)
        if command.sequence != session.passed_through + 1:
            return False
        session.passed_through = command.sequence
        return True

    def _carry_out(self, operation: Operation, identity: Identity | None) -> Reply:
        self.executed[operation, identity] += 1
        if isinstance(operation, Get | Count):
            return self.look(operation)[0]
        effect = effect_of(operation, self.held.get(operation.key))
        if len(operation.key) > KEY_BYTES_MAX or self._too_large(operation, effect.after):
            return Reply("failed")
        if effect.after is None:
            self.held.pop(operation.key, None)
        else:
            self.held[operation.key] = effect.after
        return Reply(effect.outcome, effect.shown)

    def _too_large(self, operation: Operation, after: bytes | None) -> bool:
        if isinstance(operation, Append):
            return after is not None and len(after) > self.value_bytes_max
        if isinstance(operation, Delete | Get | Count):
            return False
        return len(operation.value) > self.value_bytes_max


def replay(
    log: Iterable[LoggedSlot],
    history: Sequence[Call],
    *,
    states: Collection[int] | None = None,
    value_bytes_max: int = VALUE_BYTES_MAX,
) -> tuple[str, ...]:
    """Return what is wrong with the answers in ``history``, in sentences: at most some of it.

    :param log: all slots from 1 on, in order, through the last one that an answer names.
    :param history: all that was asked of the cluster: also what failed.
    :param states: after which slots a node took over the whole state of another. What came of an
        earlier request it knows from that, and names its slot; None if nobody knows of which.
    """
    judge = _Judge(Machine(value_bytes_max), history, states)
    complaints = [*_out_of_time(history), *judge.judge(log)]
    return tuple(complaints[:COMPLAINTS_MAX])


class _Judge:
    def __init__(
        self, machine: Machine, history: Sequence[Call], states: Collection[int] | None
    ) -> None:
        self._machine = machine
        self._states = states
        self._replied: dict[Request, list[Reply]] = {}
        self._asked = Counter(_request(call) for call in history if call.outcome != "failed")
        self._by_slot: dict[int, list[Call]] = {}
        for call in history:
            if call.slot is not None and call.outcome in {"done", "refused"}:
                self._by_slot.setdefault(call.slot, []).append(call)

    def judge(self, log: Iterable[LoggedSlot]) -> Iterator[str]:
        yield from self._check(0, {})
        last = 0
        for slot, commands in log:
            if slot != last + 1:
                yield f"the log lacks the slots from {last + 1} to {slot - 1}: it says nothing"
                return
            last = slot
            replies: dict[Request, list[Reply]] = {}
            for command in commands:
                reply = self._machine.apply(command)
                if reply is not None and command.operation is not None:
                    request = command.operation, command.identity
                    replies.setdefault(request, []).append(reply)
                    self._replied.setdefault(request, []).append(reply)
            yield from self._check(slot, replies)
        for slot in sorted(slot for slot in self._by_slot if slot > last):
            for call in self._by_slot[slot]:
                yield f"{call_words(call)}: it names slot {slot}, and the log ends with {last}"
        for request, times in self._machine.executed.items():
            if times > self._asked[request]:
                operation, identity = request
                yield (
                    f"{operation} of {identity} was executed {times} times, and asked for"
                    f" {self._asked[request]} times"
                )

    def _check(self, slot: int, replies: dict[Request, list[Reply]]) -> Iterator[str]:
        for call in self._by_slot.get(slot, ()):
            pairs: Pairs = ()
            if call.read != "logged":
                assert isinstance(call.operation, Get | WholeOperation), "only reads are not logged"
                found, pairs = self._machine.look(call.operation)
                right = [found]
            else:
                assert not isinstance(call.operation, Dump), "a dump is not logged"
                request = call.operation, call.identity
                right = replies.get(request, [])
                if not right and (self._states is None or slot in self._states):
                    right = self._replied.get(request, [])
            if not right:
                yield f"{call_words(call)}: slot {slot} executes no such request"
            elif not any(_same(call, reply) for reply in right):
                told = " or ".join(f"{one.outcome}, {_shown(one.told)}" for one in right)
                yield f"{call_words(call)}: in slot {slot} it should be {told}"
            elif call.pairs != pairs:
                differing = sorted(key for key, _ in {*call.pairs} ^ {*pairs})
                keys = ", ".join(map(quoted, dict.fromkeys(differing[:5])))
                yield f"{call_words(call)}: in slot {slot} other pairs are there, as of {keys}"


def _same(call: Call, reply: Reply) -> bool:
    return call.outcome == reply.outcome and (call.told is UNTOLD or call.told == reply.told)


def _shown(told: Told) -> str:
    return "nothing shown" if told is UNTOLD else quoted(told)


def _request(call: Call) -> tuple[object, Identity | None]:
    return call.operation, call.identity


def _out_of_time(history: Sequence[Call]) -> Iterator[str]:
    """Yield what names an earlier slot than what was over before it began."""
    named = [call for call in history if call.slot is not None and call.read != "stale"]
    ending = sorted(
        (call for call in named if call.ended is not None and call.outcome in {"done", "refused"}),
        key=lambda call: call.ended or 0.0,
    )
    place = floor = 0
    for call in sorted(named, key=lambda call: call.began):
        while place < len(ending) and (ending[place].ended or 0.0) < call.began:
            floor = max(floor, ending[place].slot or 0)
            place += 1
        assert call.slot is not None, "others were left out"
        least = floor + 1 if call.read == "logged" else floor
        if call.outcome in {"done", "refused"} and call.slot < least:
            yield f"{call_words(call)}: it names slot {call.slot}, and slot {floor} was over before"

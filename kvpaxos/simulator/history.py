"""What clients were told, held against the log, against time, and against each other.

These are the rules:

* *Order.* Some order of the requests on each key explains all answers, and keeps to time.
* *Log.* Every answer is what its slot comes to; so are counts and dumps.
* *Once.* What is appended is there once; what has one identity gets one answer, whoever gives it.
* *Staleness.* A stale answer shows all of the slot that it names, and no run of a node goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kvpaxos.checking.history import Call, Pairs, Told
from kvpaxos.checking.linearizability import check
from kvpaxos.checking.log import LoggedSlot, logged
from kvpaxos.checking.oracle import Machine, replay
from kvpaxos.checking.words import break_words, call_words, quoted
from kvpaxos.node.face import Face
from kvpaxos.paxos.ballot import ZERO_BALLOT, Slot
from kvpaxos.paxos.effects import Decision
from kvpaxos.simulator.checker import Checker
from kvpaxos.simulator.requests import Answer, Request, told_by
from kvpaxos.store.commands import Append, Count, Get
from kvpaxos.store.requests import Numbered, encode_request

STEPS_MAX: Final = 200_000
"""So many calls are tried to find an order: about a second, and much more than is ever needed."""

States = Sequence[dict[bytes, bytes]]
"""What each key holds before the first slot, after it, and so on."""


def judge(checker: Checker, requests: Sequence[Request]) -> tuple[str, ...]:
    """Hold ``checker`` to fail if an answer is wrong; return lines that explain it, if any do."""
    calls = [request.call for request in requests]
    log = [
        logged(Decision(slot, ZERO_BALLOT, checker.log[slot]))
        for slot in map(Slot, range(1, checker.decided_through + 1))
    ]
    _check_executed(checker, requests)
    _check_taken(checker, requests)
    _check_appended(checker, requests)
    _check_same(checker, requests)
    lines = _check_order(checker, calls)
    _check_stale(checker, requests, _states(log))
    for complaint in replay(log, calls, states=checker.installed)[:1]:
        checker.fail(complaint)
    return lines


def _check_order(checker: Checker, calls: Sequence[Call]) -> tuple[str, ...]:
    verdict = check(calls, steps_max=STEPS_MAX)
    for found in verdict.breaks:
        checker.fail(
            f"what clients saw is not linearizable: no order of the requests on the key"
            f" {quoted(found.key)} explains {call_words(found.offending)}"
        )
    return tuple(line for found in verdict.breaks[:1] for line in break_words(found))


def _check_executed(checker: Checker, requests: Sequence[Request]) -> None:
    """Check that all that nodes have acknowledged is in the log, where it was said to be."""
    for request, answer in _answers(requests):
        if not request.logged:
            continue
        body = encode_request(request.operation, request.identity)  # type: ignore[arg-type]
        places = (
            (command.node, command.life, command.sequence)
            for slot in _executed_in(checker, Slot(answer.slot))
            for command in checker.log.get(slot, ())
            if command.body == body
        )
        # One that a node has sent again, in a later life, too, may be in the log and do nothing.
        results = [checker.executed[place][1] for place in places if place in checker.executed]
        if not results:
            checker.fail(
                f"{answer.node} says that the request {request.opid} of {request.client} was"
                f" executed in slot {answer.slot}, and it is not there"
            )
        elif answer.result not in results:
            checker.fail(
                f"{answer.node} answers {answer.result} to the request {request.opid} of"
                f" {request.client}, and what came of it is {results[0]}"
            )


def _executed_in(checker: Checker, told: Slot) -> Iterable[Slot]:
    """Return the slots that may have executed what an answer says was executed in ``told``.

    Whoever has the outcome from the state of another node knows only that it is in that.
    """
    return map(Slot, range(1, told + 1)) if told in checker.installed else (told,)


def _check_taken(checker: Checker, requests: Sequence[Request]) -> None:
    """Check that no node has had decided what it said that it would not carry out."""
    passed: dict[tuple[str, bytes], set[tuple[int, int]]] = {}
    for batch in checker.log.values():
        for command in batch:
            numbers = passed.setdefault((command.node, command.body), set())
            numbers.add((command.life, command.sequence))
    for request in requests:
        if request.identity is None:
            continue
        body = encode_request(request.operation, request.identity)  # type: ignore[arg-type]
        for node, times in request.taken.items():
            found = len(passed.get((node, body), ()))
            if found > times:
                checker.fail(
                    f"{node} has not refused the request {request.opid} of {request.client}"
                    f" {times} times, and had it decided {found} times"
                )


def _check_appended(checker: Checker, requests: Sequence[Request]) -> None:
    """Check that all that was appended is there once, and what may have been at most once.

    Nothing but appends ever touches those keys.
    """
    for request in requests:
        if not isinstance(request.operation, Append):
            continue
        held = checker.get(request.operation.key).split(b" ")
        times = held.count(request.operation.value.strip())
        if times > 1 or (times == 0 and request.outcome == "done"):
            checker.fail(
                f"what {request.client} has appended with its request {request.opid}"
                f" ({request.outcome}) is there {times} times"
            )


def _check_same(checker: Checker, requests: Sequence[Request]) -> None:
    """Check that a request with an identity gets one answer, from whichever node, however often.

    But who numbers its requests is told no more of one once it has made the next.
    """
    newest = {request.client: request for request in requests}
    for request in requests:
        if request.identity is None:
            continue
        answers = list(request.answers)
        if isinstance(request.identity, Numbered) and newest[request.client] is not request:
            answers = [answer for answer in answers if answer.result.outcome != "stale"]
        for answer in answers[1:]:
            if answer.result != answers[0].result:
                checker.fail(
                    f"{answer.node} answers {answer.result} to the request {request.opid} of"
                    f" {request.client}, to which {answers[0].node} has answered"
                    f" {answers[0].result}"
                )


def _check_stale(checker: Checker, requests: Sequence[Request], states: States) -> None:
    """Check that no stale answer is older, or newer, than the slot that it names."""
    reached: dict[Face, int] = {}
    for request, answer in sorted(_answers(requests), key=lambda pair: pair[1].number):
        if answer.read != "stale":
            reached[answer.run] = max(answer.slot, reached.get(answer.run, 0))
            continue
        what = _named(request)
        if answer.slot < reached.get(answer.run, 0):
            checker.fail(
                f"a stale read of {what} at {answer.node} rests on slot {answer.slot}, and the same"
                f" run has answered from slot {reached[answer.run]} before"
            )
        elif answer.slot >= len(states):
            checker.fail(
                f"a stale read of {what} at {answer.node} claims to rest on slot {answer.slot},"
                " which nobody has decided"
            )
        else:
            reached[answer.run] = answer.slot
            _check_shown(checker, request, answer, states)


def _check_shown(checker: Checker, request: Request, answer: Answer, states: States) -> None:
    shown = _shown(request, answer)
    if _finds(request, states[answer.slot]) == shown:
        return
    slots = [slot for slot, held in enumerate(states) if _finds(request, held) == shown]
    was = f"what was there after slot {slots[-1]}" if slots else "what was never there"
    checker.fail(
        f"a stale read of {_named(request)} at {answer.node} claims to rest on slot {answer.slot},"
        f" and shows {was}"
    )


def _answers(requests: Sequence[Request]) -> Iterator[tuple[Request, Answer]]:
    for request in requests:
        for answer in request.answers:
            yield request, answer


def _named(request: Request) -> str:
    operation = request.operation
    if isinstance(operation, Get):
        return f"the key {quoted(operation.key)}"
    return "the number of keys" if isinstance(operation, Count) else "all keys"


def _shown(request: Request, answer: Answer) -> tuple[Told, Pairs]:
    return told_by(request.operation, answer.result), answer.pairs


def _finds(request: Request, held: dict[bytes, bytes]) -> tuple[Told, Pairs]:
    """Return what a read shows where keys hold this."""
    reply, pairs = Machine(held=held).look(request.operation)  # type: ignore[arg-type]
    return reply.told, pairs


def _states(log: Sequence[LoggedSlot]) -> States:
    machine = Machine()
    states: list[dict[bytes, bytes]] = [{}]
    for _, commands in log:
        for command in commands:
            machine.apply(command)
        states.append(dict(machine.held))
    return states

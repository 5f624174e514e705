"""Bugs of exactly-once: of what is executed, and of what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvpaxos.paxos.messages import Batch
from kvpaxos.paxos.outbox import Outbox
from kvpaxos.store.recent import RecentAnswers
from kvpaxos.store.repeats import Repeats
from kvpaxos.store.requests import Identity, Numbered
from kvpaxos.store.results import Refusal, Result
from kvpaxos.store.sessions import Sessions
from test.zoo.bug import Patch, bug


@bug("retries that are executed twice")
def a_command_that_is_sent_again_gets_a_new_number(patch: Patch) -> None:
    """What a node sends again is a new command."""

    def again(self: Outbox) -> Iterator[Batch]:
        wishes, self._sent = list(self._sent.values()), {}
        floor = self._next - 1
        for wish in wishes:
            self._sent[self._next] = wish
            self._next += 1
        yield tuple(self._command(number, wish, floor) for number, wish in self._sent.items())

    patch.setattr(Outbox, "again", again)


@bug("retries that are executed twice")
def a_command_that_comes_again_is_executed_again(patch: Patch) -> None:
    """The state machine does not look whether it has executed a node's number."""
    right, keep = Sessions.admit, Sessions.keep

    def admit(self: Sessions, *arguments: Any) -> Refusal | None:
        refusal = right(self, *arguments)
        return None if refusal is Refusal.DUPLICATE else refusal

    def keep_new(self: Sessions, node: str, sequence: int, result: Result) -> None:
        if sequence == self._sessions[node].passed_through + 1:
            keep(self, node, sequence, result)

    patch.setattr(Sessions, "admit", admit)
    patch.setattr(Sessions, "keep", keep_new)


@bug(
    "a request of an earlier master (Paxos Made Live); §2",
    rare="a third node must pass on a command after its sender was started again",
    test="test/paxos/test_forwarding.py::test_in_long_runs_too_in_which_many_are_executed",
)
def a_command_of_an_earlier_life_is_executed(patch: Patch) -> None:
    """What a node sent before it was restarted is executed after what it sent since."""
    right = Sessions.admit

    def admit(self: Sessions, node: str, life: int, *rest: int) -> Refusal | None:
        session = self._sessions.get(node)
        if session is not None and life < session.life:
            self._begin(node, session, life)
        return right(self, node, life, *rest)

    patch.setattr(Sessions, "admit", admit)


@bug(
    "requests of one client that change places",
    rare="no leader lets a gap into the log, either",
    test="test/test_scenarios.py::test_transcript",
)
def a_gap_in_the_commands_of_a_node_is_passed_over(patch: Patch) -> None:
    """A command is executed though one before it is still on its way."""
    right = Sessions.admit

    def admit(
        self: Sessions, node: str, life: int, sequence: int, settled_through: int
    ) -> Refusal | None:
        return right(self, node, life, sequence, max(settled_through, sequence - 1))

    patch.setattr(Sessions, "admit", admit)


@bug("retries that are executed twice, through two nodes")
def a_request_that_comes_again_is_executed_again(patch: Patch) -> None:
    """A client that asks another node has its request executed there once more."""
    patch.setattr(Repeats, "recall", lambda *_: None)


@bug("what was executed is not in the state; §4")
def what_was_answered_is_forgotten_in_a_restart(patch: Patch) -> None:
    """What clients were answered is kept in memory."""
    patch.setattr(RecentAnswers, "_load", lambda *_: None)


@bug("sessions that each node trims by itself; §4")
def each_node_forgets_answers_when_it_likes(patch: Patch) -> None:
    """How many answers are kept depends on how many there were at the last start."""
    right = RecentAnswers.__init__

    def begin(self: RecentAnswers, *arguments: Any, **options: Any) -> None:
        right(self, *arguments, **options)
        self._count_max = len(self) + 3

    patch.setattr(RecentAnswers, "__init__", begin)


@bug("numbers that are compared across clients")
def a_number_is_stale_that_another_client_has_passed(patch: Patch) -> None:
    """A request counts as seen if any client has had a greater number."""

    def find(self: Repeats, identity: Identity) -> tuple[RecentAnswers, bytes, int]:
        assert isinstance(identity, Numbered)
        return self._sessions, b"all", identity.opid

    patch.setattr(Repeats, "_find", find)


@bug("answers to others; §2")
def an_answer_goes_to_another_request(patch: Patch) -> None:
    """A node takes the answers to its commands in the order in which it sent them."""
    right = Outbox.settle

    def settle(self: Outbox, outcomes: Any) -> Any:
        waiting = [wish for wish in self._sent.values() if wish.body]
        answers = right(self, outcomes)
        return tuple(
            type(answer)(wish.request, answer.result)
            for answer, wish in zip(answers, reversed(waiting), strict=False)
        )

    patch.setattr(Outbox, "settle", settle)


@bug("what is given up and executed; §7")
def what_was_sent_is_said_not_to_be(patch: Patch) -> None:
    """A client is told that its request was not applied, though it is on its way."""
    right = Outbox.expire

    def expire(self: Outbox, now: float) -> Any:
        return tuple(type(one)(one.request, sent=False) for one in right(self, now))

    patch.setattr(Outbox, "expire", expire)

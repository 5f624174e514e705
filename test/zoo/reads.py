"""Bugs of linearizable reads."""

from __future__ import annotations

from collections.abc import Mapping

from kvpaxos.paxos.ballot import NO_SLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import Effects, ReadReady
from kvpaxos.paxos.leadership import Leadership
from kvpaxos.paxos.proposer import Leading, Preparing
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.reads import ReadRounds, Reads
from test.zoo.bug import Patch, bug


@bug("Consul's default, rqlite's weak reads")
def a_read_is_granted_without_a_quorum(patch: Patch) -> None:
    """Whoever takes itself for the leader answers."""

    def confirm(self: ReadRounds, *_: object) -> Mapping[NodeId, int]:
        asking, self.asking = self.asking, {}
        return asking

    patch.setattr(ReadRounds, "confirm", confirm)


@bug(
    "etcd #20418, #21375: ReadIndex used again",
    rare="a leader must be replaced in the midst of a round",
    test="test/paxos/test_reads.py::TestRounds::test_whoever_asks_while_it_is_on_its_way_waits_for_the_next",
)
def a_read_joins_the_round_that_is_under_way(patch: Patch) -> None:
    """A question shares a round that began before it."""

    def ask(self: ReadRounds, node: NodeId, question: int) -> None:
        (self.asking or self._waiting)[node] = question

    patch.setattr(ReadRounds, "ask", ask)


@bug("etcd #21399: ReadIndex used again")
def an_answer_to_another_question_counts(patch: Patch) -> None:
    """The next answer of any leader is taken for the one to the question that waits."""

    def grant(self: Reads, _number: int, _ballot: Ballot, slot: Slot) -> None:
        if self._asked:
            self._granted.append((slot, self._asked))
            self._asked = {}

    patch.setattr(Reads, "grant", grant)


@bug(
    "etcd #20418: after a process has paused",
    rare="a leader must be replaced in the midst of a round",
    test="test/paxos/test_reads.py::TestRounds::test_what_confirms_another_round_does_not_count",
)
def a_confirmation_of_an_earlier_round_counts(patch: Patch) -> None:
    """The leader does not look which round was confirmed."""
    right = ReadRounds.confirm

    def confirm(self: ReadRounds, sender: NodeId, _: int, quorum: Quorum) -> Mapping[NodeId, int]:
        return right(self, sender, self.number, quorum)

    patch.setattr(ReadRounds, "confirm", confirm)


@bug(
    "§5: bound to its ballot",
    rare="a leader must lead again while a confirmation is under way",
    test="test/paxos/test_replica.py::TestLeading::test_confirmations_of_another_ballot_do_not_count",
)
def a_confirmation_of_another_ballot_counts(patch: Patch) -> None:
    """The leader does not look which of its ballots, and which round, was confirmed."""
    right = Leadership.confirmed

    def confirmed(
        self: Leadership, role: Leading, sender: NodeId, _ballot: Ballot, _number: int
    ) -> Effects:
        return right(self, role, sender, role.ballot, role.reads.number)

    patch.setattr(Leadership, "confirmed", confirmed)


@bug("a leader that reads before its suffix is applied; §5")
def a_new_leader_reads_before_it_has_settled_what_it_was_obliged_to(patch: Patch) -> None:
    """A new leader's reads rest on what it knows as decided."""
    right = Leadership.begin

    def begin(self: Leadership, role: Preparing, now: float) -> tuple[Leading, Effects] | None:
        begun = right(self, role, now)
        if begun is not None:
            begun[0].suffix_through = NO_SLOT
        return begun

    patch.setattr(Leadership, "begin", begin)


@bug("follower reads that do not wait; §5")
def a_follower_reads_before_it_has_applied(patch: Patch) -> None:
    """A follower answers as soon as the leader has named a slot."""
    right = Reads.ready

    def ready(self: Reads, _: Slot) -> tuple[ReadReady, ...]:
        return right(self, max((slot for slot, _ in self._granted), default=NO_SLOT))

    patch.setattr(Reads, "ready", ready)

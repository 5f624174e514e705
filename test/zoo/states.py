"""Bugs of the state: of what it holds when, and of how it travels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import succeed

from kvpaxos.journal.state import GroupState
from kvpaxos.node.persister import Persister
from kvpaxos.node.state import _SLOT, State
from kvpaxos.node.states import States
from kvpaxos.node.transfer import Donor, Recipient
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.effects import Decision, Effects, Fetch
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.messages import StatePiece
from kvpaxos.paxos.records import Installed, Learned
from kvpaxos.paxos.replica import Replica
from kvpaxos.store.intake import Intake, Tally
from kvpaxos.store.keyspace import Keyspace
from kvpaxos.store.layout import Layout
from kvpaxos.store.view import Record
from test.zoo.bug import Patch, bug


@bug("etcd 3.5, #14685, #17780")
def the_applied_slot_is_written_after_the_state(patch: Patch) -> None:
    """State and applied slot are two writes, and a crash may come between them."""

    def commit(self: State, slot: Slot) -> None:
        self.engine.write(self.machine.take_changes())
        self.engine.write({self._key: _SLOT.pack(slot)})
        self.applied = slot

    patch.setattr(State, "commit", commit)


@bug("etcd 3.5, #14685, #17780")
def the_applied_slot_is_written_before_the_state(patch: Patch) -> None:
    """Applied slot and state are two writes, and a crash may come between them."""

    def commit(self: State, slot: Slot) -> None:
        self.engine.write({self._key: _SLOT.pack(slot)})
        self.engine.write(self.machine.take_changes())
        self.applied = slot

    patch.setattr(State, "commit", commit)


@bug("§4: the durable slot is read before the flush")
def the_durable_slot_is_read_after_the_flush(patch: Patch) -> None:
    """What was executed during a flush is taken for durable when it ends."""
    right = Persister._flush

    def flush(self: Persister) -> None:
        told = self._persisted

        def persisted(_: Slot) -> None:
            self.durable_through = self._state.applied
            told(self._state.applied)

        self._persisted = persisted
        right(self)

    patch.setattr(Persister, "_flush", flush)


@bug("§3: a segment goes when the state is durable")
def a_state_counts_as_durable_before_it_is_flushed(patch: Patch) -> None:
    """The journal may forget what is executed, flushed or not."""
    right = Persister._flush

    def flush(self: Persister) -> None:
        self._persisted(self._state.applied)
        right(self)

    patch.setattr(Persister, "_flush", flush)


@bug("logs that are cut below what others need")
def a_journal_is_forgotten_however_short_it_is(patch: Patch) -> None:
    """What is executed here, flushed or not, may be forgotten, whoever else lacks it."""
    patch.setattr(States, "surplus_through", lambda self, _: self.donor._state.applied)
    patch.setattr(Persister, "_due", lambda _: False)
    right = Persister._on_check

    def check(self: Persister) -> None:
        self._persisted(self._state.applied)
        right(self)

    patch.setattr(Persister, "_on_check", check)


@bug("a state that is newer than the log (TigerBeetle)")
def a_state_is_flushed_ahead_of_the_journal(patch: Patch) -> None:
    """A flush does not have the journal synced first."""
    right = Persister.__init__

    def begin(self: Persister, *arguments: Any, **options: Any) -> None:
        right(self, *arguments, **{**options, "sync": lambda: succeed(None)})

    patch.setattr(Persister, "__init__", begin)


@bug(
    "§3: what is learned is journaled",
    rare="others keep it, too",
    test="test/paxos/test_catchup.py::TestLearning::test_what_comes_is_written_down_and_decided",
)
def what_was_taught_is_not_written_down(patch: Patch) -> None:
    """What peers say is decided is executed, and not journaled."""
    right = Learner.learn

    def learn(self: Learner, *arguments: Any) -> tuple[Learned, ...]:
        right(self, *arguments)
        return ()

    patch.setattr(Learner, "learn", learn)


@bug(
    "§3; lost states",
    rare="a node must be behind and start again after it was given a state",
    test="test/paxos/test_catchup.py::TestFetching::test_none_is_needed_once_it_is_installed",
)
def a_state_is_installed_without_a_record(patch: Patch) -> None:
    """The journal does not say that slots were skipped."""
    right = Learner.install

    def install(self: Learner, through: Slot) -> tuple[Installed, ...]:
        right(self, through)
        return ()

    patch.setattr(Learner, "install", install)


@bug("§4; lost states")
def a_state_counts_as_durable_before_it_has_come(patch: Patch) -> None:
    """With its first piece a state counts as durable."""
    right = Recipient._add

    def add(self: Recipient, intake: Intake, piece: StatePiece) -> None:
        self._persister._persisted(piece.slot)
        right(self, intake, piece)

    patch.setattr(Recipient, "_add", add)


@bug("§4; lost states")
def a_state_counts_as_installed_before_it_is_durable(patch: Patch) -> None:
    """The slots of a state are skipped before that state is flushed."""
    right = Recipient._finish

    def finish(self: Recipient, slot: Slot) -> None:
        self._install(slot)
        right(self, slot)

    patch.setattr(Recipient, "_finish", finish)


@bug(
    "two snapshots in short order (etcd #18055)",
    rare="a state must be asked for again while one that has come is flushed",
    test="test/node/test_transfer.py::test_one_state_is_got_at_a_time",
)
def a_second_state_is_fetched_while_one_is_on_its_way(patch: Patch) -> None:
    """A state begins to come in the middle of another one."""
    right = Recipient.fetch

    def fetch(self: Recipient, wanted: Fetch) -> None:
        self._donor = None
        right(self, wanted)

    patch.setattr(Recipient, "fetch", fetch)


@bug(
    "two snapshots in short order (etcd #18055)",
    rare="a state must have changed between two pieces, and be asked for again",
    test="test/node/test_transfer.py::test_a_wrong_digest_is_given_up",
)
def pieces_of_two_states_are_mixed(patch: Patch) -> None:
    """A piece is taken from whatever moment it is, and the sum is not looked at."""
    right = Recipient.took

    def took(self: Recipient, peer: Any, message: Any) -> None:
        if isinstance(message, StatePiece):
            self._offer = message.offer, message.slot, message.digest
        right(self, peer, message)

    patch.setattr(Recipient, "took", took)
    patch.setattr(Tally, "finish", lambda *_: None)


@bug(
    "installs that race with votes above them",
    rare="a node must vote above a state while that comes",
    test="test/paxos/test_replica.py::TestInstalling::test_votes_in_slots_of_the_state_are_dropped",
)
def an_install_forgets_votes_above_it(patch: Patch) -> None:
    """With a new state all votes are dropped."""
    right = Replica._install

    def install(self: Replica, through: Slot) -> Effects:
        effects = right(self, through)
        self.acceptor.forget(list(self.acceptor.votes))
        return effects

    patch.setattr(Replica, "_install", install)


@bug(
    "installs that race with votes above them",
    rare="a node must vote above a state while that comes, and then start again",
    test="test/journal/test_state.py::TestInstalled::test_what_is_known_beyond_it_follows",
)
def recovery_forgets_votes_above_an_install(patch: Patch) -> None:
    """In the journal a new state counts for more than votes in slots above it."""
    right = GroupState._install

    def install(self: GroupState, slot: Slot) -> list[Decision]:
        decided = right(self, slot)
        self.votes.clear()
        return decided

    patch.setattr(GroupState, "_install", install)


@bug("sessions that are not in the snapshot")
def a_state_travels_without_what_was_answered(patch: Patch) -> None:
    """Clients' sessions stay behind when a state is given away."""
    right = Intake.add
    start, end = Layout(0).client_sessions.records

    def add(self: Intake, piece: Sequence[Record]) -> None:
        right(self, [one for one in piece if not start <= one[0] < end])

    patch.setattr(Intake, "add", add)
    patch.setattr(Tally, "finish", lambda *_: None)


@bug("operations that are not deterministic")
def an_operation_asks_what_differs_between_nodes(patch: Patch) -> None:
    """What a node stores depends on how much it has done in its life."""
    right = Keyspace.execute
    begin_right = Keyspace.__init__
    ages: dict[Keyspace, int] = {}

    def begin(self: Keyspace, *arguments: Any, **options: Any) -> None:
        begin_right(self, *arguments, **options)
        ages[self] = 0

    def execute(self: Keyspace, operation: Any) -> Any:
        ages[self] = age = ages[self] + 1
        if age % 10 == 0:
            self.revision += 1
        return right(self, operation)

    patch.setattr(Keyspace, "__init__", begin)
    patch.setattr(Keyspace, "execute", execute)


@bug("a donor that sends what it has not written")
def a_donor_names_a_later_slot(patch: Patch) -> None:
    """A state is said to be that of the slot that was executed when its last piece left."""
    right = Donor.asked

    def asked(self: Donor, *arguments: Any) -> None:
        for offer in self._offers.values():
            offer.slot = self._state.applied
        right(self, *arguments)

    patch.setattr(Donor, "asked", asked)

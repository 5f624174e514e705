"""Whatever is written, in whatever order of calls, is read back."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from kvpaxos.journal.format import Digest
from kvpaxos.journal.state import JournalState
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Batch, Command, Vote
from kvpaxos.paxos.records import (
    DecidedThrough,
    Formed,
    Forming,
    Learned,
    Promised,
    Record,
    Started,
)
from test.journal.disks import MemoryDisk
from test.journal.values import open_journal

GROUPS = st.integers(0, 2)
NODES = st.sampled_from([NodeId("n01"), NodeId("n02"), NodeId("Ж" * 20)])
BALLOTS = st.builds(Ballot, st.integers(1, 3), NODES)
AHEAD = st.integers(-2, 6)
SIZES = st.sampled_from([0, 1, 100, 3000, 9000, 50_000])


def value(group: int, slot: int, size: int) -> Batch:
    """Return what is decided in ``slot``: always the same, as Paxos sees to it."""
    if size == 0:
        return ()
    return (Command(NodeId("n01"), 1, slot, 0, b"%d/%d" % (group, slot) + b"x" * size),)


class Journals(RuleBasedStateMachine):
    """A journal beside a plain list of the records."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.records: list[tuple[int, Record]] = []
        self.model = JournalState()
        self.synced = 0
        self.shown = 0
        self.heads: list[Digest] = []
        self.sizes: dict[tuple[int, int], int] = {}
        self.forgotten: dict[int, int] = {}

    @initialize()
    def open(self) -> None:
        self.journal = open_journal(self.disk)
        self.reader = self.journal.reader()
        self.heads = [self.journal.head_hash]

    def add(self, group: int, record: Record) -> None:
        self.journal.append(group, [record])
        self.records.append((group, record))
        self.heads.append(self.journal.head_hash)
        self.model.apply(group, record)

    def slot(self, group: int, ahead: int) -> Slot:
        return Slot(max(1, self.model.group(group).decided_through + ahead))

    def batch(self, group: int, slot: int, size: int) -> Batch:
        return value(group, slot, self.sizes.setdefault((group, slot), size))

    @rule(group=GROUPS, ballot=BALLOTS)
    def promise(self, group: int, ballot: Ballot) -> None:
        self.add(group, Promised(ballot))

    @rule(group=GROUPS, ballot=BALLOTS, ahead=AHEAD, size=SIZES, count=st.integers(1, 4))
    def vote(self, group: int, ballot: Ballot, ahead: int, size: int, count: int) -> None:
        first = self.slot(group, ahead)
        for slot in range(first, first + count):
            self.add(group, Vote(Slot(slot), ballot, self.batch(group, slot, size)))

    @rule(group=GROUPS, ahead=AHEAD, size=SIZES)
    def learn(self, group: int, ahead: int, size: int) -> None:
        slot = self.slot(group, ahead)
        self.add(group, Learned(slot, self.batch(group, slot, size)))

    @rule(group=GROUPS, ahead=AHEAD, data=st.data())
    def decide(self, group: int, ahead: int, data: st.DataObject) -> None:
        votes = self.model.group(group).votes
        ballots = st.sampled_from([vote.ballot for vote in votes.values()]) if votes else BALLOTS
        self.add(group, DecidedThrough(self.slot(group, ahead), data.draw(ballots)))

    @rule(boot=st.integers(1, 100), node=NODES)
    def say_who(self, boot: int, node: NodeId) -> None:
        self.add(0, Started(boot))
        self.add(0, Forming("c" * 32, node, (node,), boot))
        self.add(0, Formed("c" * 32))

    @rule()
    def sync(self) -> None:
        self.journal.sync()
        self.synced = len(self.records)

    @rule()
    def spare(self) -> None:
        assert self.journal.prepare_spare()

    @rule(group=GROUPS, less=st.integers(0, 5))
    def forget(self, group: int, less: int) -> None:
        through = max(0, self.model.group(group).decided_through - less)
        self.forgotten[group] = max(through, self.forgotten.get(group, 0))
        self.journal.forget(group, Slot(through))

    @rule()
    def close_and_open(self) -> None:
        self.journal.close()
        self.synced = len(self.records)
        self.reopen(self.disk)

    @rule()
    @precondition(lambda self: self.records)
    def kill_and_open(self) -> None:
        self.journal.write()
        self.reopen(self.disk.after_kill())

    @rule()
    def cut_power_and_open(self) -> None:
        self.reopen(self.disk.after_power_cut())

    def reopen(self, disk: MemoryDisk) -> None:
        before = {group: self.journal.kept_from(group) for group in range(3)}
        self.disk = disk
        self.journal = open_journal(disk)
        self.reader = self.journal.reader()
        recovered = self.journal.recovered
        assert self.synced <= recovered.record_count <= len(self.records)
        # What was shown to others may not be taken back, or they would refuse this journal.
        assert self.shown <= recovered.record_count
        del self.records[recovered.record_count :]
        del self.heads[recovered.record_count + 1 :]
        self.synced = len(self.records)
        known = state_of(self.records)
        assert (recovered.forming, recovered.formed) == (known.forming, known.formed)
        assert recovered.boot == known.boot
        for number, group in recovered.groups.items():
            expected = known.groups[number]
            assert group.promised == expected.promised
            assert group.decided_through >= expected.decided_through
            assert group.votes == {
                slot: vote for slot, vote in expected.votes.items() if slot > group.decided_through
            }
            assert group.kept_from == before[number]
            # A header may remember a decision whose watermark was lost in the power cut.
            expected.decided_through = group.decided_through
            expected.votes = dict(group.votes)
        self.model = known

    @invariant()
    def what_is_shown_is_of_one_moment(self) -> None:
        records, head = self.journal.durable_head
        assert self.shown <= records <= len(self.records)
        assert head == self.heads[records]
        self.shown = records

    @invariant()
    def what_is_decided_can_be_read(self) -> None:
        self.journal.write()
        for group, state in self.model.groups.items():
            first = self.journal.kept_from(group)
            assert first <= self.forgotten.get(group, 0) + 1
            found = self.reader.decided(group, first, state.decided_through, 10**9)
            assert [decision.slot for decision in found] == list(
                range(first, state.decided_through + 1)
            )
            for decision in found:
                size = self.sizes[group, decision.slot]
                assert decision.batch == value(group, decision.slot, size)


def state_of(records: list[tuple[int, Record]]) -> JournalState:
    state = JournalState()
    for group, record in records:
        state.apply(group, record)
    return state


TestJournals = Journals.TestCase
TestJournals.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)

"""A node answers those that have lost something, and mends its own journal with what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kvpaxos.errors import DiskError
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.format import RECORD_HEADER
from kvpaxos.journal.log import Journal
from kvpaxos.journal.mending import Mending
from kvpaxos.node.mender import ASK_S, Mender
from kvpaxos.node.repairs import Repairs
from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.formation import EMPTY, Standing
from kvpaxos.paxos.recall import RECALL_RETRY_S, Recall, Recalled, RecallMessage, Told
from kvpaxos.simulator.files import VirtualFiles
from test.journal.values import SALT, SEGMENT_BYTES, batch, vote, write_batches

A, B, C = (NodeId(name) for name in ("n01", "n02", "n03"))
FORMED: Final = Standing("c", formed=True)
DATA: Final = Path("/n01")
JOURNAL: Final = DATA / "journal"
SLOT: Final = Slot(2)


class World:
    """A disk with a journal of three votes, and the mender of the node that it belongs to.

    :ivar jobs: what is done on threads; at once, unless `slow`.
    """

    def __init__(self, *, damaged: bool) -> None:
        self.files = VirtualFiles()
        self.files.make_directory(JOURNAL)
        write(self.files, JOURNAL, 1, 2, 3)
        if damaged:
            self.damage(SLOT)
        self.repairs = Repairs(DATA, self.files)
        self.repairs.mending = self.judged()
        self.clock = Clock()
        self.standings: dict[NodeId, Standing | None] = {B: FORMED, C: FORMED}
        self.sent: list[tuple[NodeId, RecallMessage]] = []
        self.over: list[str] = []
        self.failures: list[Failure] = []
        self.slow = False
        self.jobs: list[tuple[Callable[[], None], Deferred[None]]] = []
        self.mender = Mender(
            A,
            self.repairs,
            directory=DATA,
            files=self.files,
            tell=self.tell,
            standings=lambda: self.standings,
            over=lambda error: self.over.append(str(error)),
            failed=self.failures.append,
            in_thread=self.in_thread,
            clock=self.clock,
        )
        self.mender.startService()

    def judged(self) -> Mending | None:
        try:
            Journal.open(JOURNAL, segment_bytes=SEGMENT_BYTES, files=self.files).close()
        except DamagedRecords as found:
            return Mending.of(found)
        return None

    def damage(self, slot: int) -> None:
        file = self.files.files()[JOURNAL / "journal-0000000001.log"]
        offset = bytes(file.seen).index(b"%d:xx" % slot)
        assert offset > RECORD_HEADER.size
        for image in (file.seen, file.durable):
            image[offset] ^= 0x40

    def tell(self, to: NodeId, messages: Sequence[RecallMessage]) -> None:
        self.sent += [(to, message) for message in messages]

    def in_thread(self, job: Callable[[], None]) -> Deferred[None]:
        if not self.slow:
            return maybeDeferred(job)
        done: Deferred[None] = Deferred()
        self.jobs.append((job, done))
        return done

    def work(self) -> None:
        job, done = self.jobs.pop(0)
        maybeDeferred(job).chainDeferred(done)

    def taken(self) -> list[tuple[NodeId, RecallMessage]]:
        sent, self.sent = self.sent, []
        return sent


def write(files: VirtualFiles, place: Path, *slots: int) -> None:
    files.make_directory(place)
    journal = Journal.open(place, segment_bytes=SEGMENT_BYTES, files=files, salt=SALT)
    write_batches(journal, [[vote(slot)] for slot in slots])
    journal.close()


def question(*slots: int) -> Recall:
    return Recall(0, tuple(map(Slot, slots)))


def told(slot: int) -> Told:
    return Told(0, Slot(slot), batch(slot))


def all_of(*slots: int, batches: int) -> Recalled:
    return Recalled(0, tuple(map(Slot, slots)), batches)


def test_a_node_tells_all_that_it_has_and_that_this_was_all() -> None:
    world = World(damaged=False)
    assert world.sent == []
    world.mender.take(B, question(1, 3, 9))
    assert world.taken() == [(B, told(1)), (B, told(3)), (B, all_of(1, 3, 9, batches=2))]


def test_a_node_whose_journal_is_damaged_tells_what_is_sound_in_it() -> None:
    world = World(damaged=True)
    world.taken()
    world.mender.take(B, question(1, 2))
    assert world.taken() == [(B, told(1)), (B, all_of(1, 2, batches=1))]


def test_a_journal_that_was_set_aside_is_asked_too_and_nothing_is_told_twice() -> None:
    world = World(damaged=False)
    write(world.files, DATA / "journal.damaged-1", 3, 4)
    world.repairs.look()
    world.mender.take(C, question(3, 4))
    assert world.taken() == [(C, told(3)), (C, told(4)), (C, all_of(3, 4, batches=2))]


def test_those_who_ask_are_answered_one_after_the_other_the_last_question_of_each() -> None:
    world = World(damaged=False)
    world.slow = True
    for sender, slot in ((B, 1), (C, 1), (C, 2), (B, 3)):
        world.mender.take(sender, question(slot))
    assert len(world.jobs) == 1
    while world.jobs:
        world.work()
    answers = [(to, one.slots) for to, one in world.taken() if isinstance(one, Recalled)]
    assert answers == [(B, (1,)), (C, (2,)), (B, (3,))]


def test_a_node_asks_all_others_and_mends_its_journal_with_what_it_is_told() -> None:
    world = World(damaged=True)
    assert world.taken() == [(B, question(2)), (C, question(2))]
    world.mender.take(B, Told(0, SLOT, batch(9)))
    world.mender.take(B, all_of(2, batches=1))
    assert world.over == []
    world.mender.take(C, told(2))
    world.mender.take(C, all_of(2, batches=1))
    assert world.over == ["its journal is mended."]
    assert (world.repairs.mended, world.repairs.mending, world.judged()) == (1, None, None)
    assert not world.failures


def test_what_only_nobody_has_is_given_up_and_an_answer_that_lost_something_is_no_answer() -> None:
    world = World(damaged=True)
    world.mender.take(B, all_of(2, batches=0))
    world.mender.take(C, all_of(2, batches=1))
    assert world.over == []
    world.taken()
    world.clock.advance(RECALL_RETRY_S)
    assert world.taken() == [(C, question(2))]
    world.mender.take(C, all_of(2, batches=0))
    assert world.over == ["its journal cannot be mended: nobody can tell what was in slot 2."]
    assert world.repairs.given_up
    assert world.repairs.mending is None
    world.clock.advance(10 * RECALL_RETRY_S)
    assert (world.sent, len(world.over)) == ([], 1)


def test_those_who_are_not_here_are_asked_once_they_are() -> None:
    world = World(damaged=True)
    world.taken()
    world.standings = {B: None, C: None}
    world.clock.advance(ASK_S)
    world.standings = {B: None, C: EMPTY}
    world.clock.advance(ASK_S)
    assert world.taken() == [(C, question(2))]


def test_damage_that_has_come_meanwhile_is_asked_for_as_well() -> None:
    world = World(damaged=True)
    world.taken()
    world.damage(3)
    world.mender.take(B, told(2))
    world.mender.take(B, all_of(2, batches=1))
    assert world.taken() == [(B, question(3)), (C, question(3))]
    world.mender.take(B, told(3))
    world.mender.take(B, all_of(3, batches=1))
    assert world.over == ["its journal is mended."]
    assert world.judged() is None


def test_a_disk_that_does_not_keep_what_was_mended_is_given_up() -> None:
    world = World(damaged=True)
    real = world.repairs.mend_journal

    def forgets(mending: Mending) -> None:
        real(mending)
        world.damage(SLOT)
        world.repairs.mended = 0
        real(Mending([]))

    world.repairs.mend_journal = forgets  # type: ignore[method-assign]
    world.mender.take(B, told(2))
    world.mender.take(B, all_of(2, batches=1))
    (why,) = world.over
    assert "journal-0000000001.log is still damaged at byte " in why
    assert world.repairs.given_up


def test_a_disk_that_refuses_ends_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(damaged=True)
    error = DiskError("it cannot be written")

    def refuse(_: Mending) -> None:
        raise error

    monkeypatch.setattr(world.repairs, "mend_journal", refuse)
    world.mender.take(B, told(2))
    world.mender.take(B, all_of(2, batches=1))
    assert [failure.value for failure in world.failures] == [error]
    assert world.over == []


def test_a_stop_waits_for_what_is_being_read_and_nothing_is_asked_after_it() -> None:
    world = World(damaged=True)
    world.slow = True
    world.mender.take(B, question(1))
    world.taken()
    stopped: list[None] = []
    world.mender.stopService().addCallback(stopped.append)
    assert stopped == []
    world.mender.take(C, question(1))
    world.work()
    assert stopped == [None]
    world.clock.advance(10 * RECALL_RETRY_S)
    assert [to for to, _ in world.taken()] == [B, B]
    assert not world.jobs

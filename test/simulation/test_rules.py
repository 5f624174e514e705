"""Rules that nodes are held to before a fault makes use of it that they were broken."""

from __future__ import annotations

from random import Random

import pytest

from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.effects import NOTHING, Decision, Effects, Event, Persisted, Received
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import (
    NOOP,
    Accepted,
    Confirmed,
    Envelope,
    Incarnations,
    Prepare,
    Promise,
    Vote,
)
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.records import (
    DecidedThrough,
    Installed,
    Learned,
    Promised,
    Rejoined,
    Renewed,
    ReplicaRecord,
)
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.acceptors import Acceptors
from kvpaxos.simulator.agenda import Agenda
from kvpaxos.simulator.ballots import Ballots
from kvpaxos.simulator.checker import Checker
from kvpaxos.simulator.keeping import Keeping
from kvpaxos.simulator.renewals import Renewals
from kvpaxos.simulator.written import Written
from kvpaxos.store.layout import Layout, applied_key

N01, N02, N03 = map(NodeId, ("n01", "n02", "n03"))

LOW, HIGH = Ballot(1, N01), Ballot(2, N02)

VOTE = Vote(Slot(1), HIGH, NOOP)

DECIDED = Effects(decided=(Decision(Slot(1), HIGH, NOOP),))


@pytest.fixture
def broken() -> list[str]:
    """Sentences about rules that were broken."""
    return []


@pytest.fixture
def agenda() -> Agenda:
    return Agenda()


@pytest.fixture
def acceptors(agenda: Agenda, broken: list[str]) -> Acceptors:
    return Acceptors(agenda, broken.append)


def replica(node: NodeId, memory: Memory | None = None) -> Replica:
    quorum = Quorum(frozenset({N01, N02, N03}))
    return Replica(node, quorum, memory or Memory(), random=Random(0), now=0.0)


def pass_time(agenda: Agenda) -> None:
    agenda.after(1.0, lambda: None)
    assert agenda.step(agenda.now + 1.0)


def event(sender: NodeId = N01) -> Event:
    return Received(sender, Prepare(HIGH, Slot(1)))


def test_nobody_votes_below_a_promise(acceptors: Acceptors, broken: list[str]) -> None:
    low = Effects(records=(Vote(Slot(1), LOW, NOOP),))
    acceptors.stepped(replica(N01), Persisted(Slot(0)), low, LOW)
    assert not broken
    acceptors.stepped(replica(N01), Persisted(Slot(0)), low, HIGH)
    assert "n01 votes under" in broken[0]


def test_nobody_confirms_whom_it_has_replaced(acceptors: Acceptors, broken: list[str]) -> None:
    promiser = replica(N01, Memory(promised=HIGH))
    for ballot in (HIGH, LOW):
        assert not broken
        confirmed = Effects(sends=(Envelope(N02, Confirmed(ballot, 1)),))
        acceptors.stepped(promiser, Persisted(Slot(0)), confirmed, HIGH)
    assert "n01 confirms" in broken[0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Promised(HIGH), Promise(HIGH, (), Slot(0), Slot(1))),
        (Promised(HIGH), Prepare(HIGH, Slot(1))),
        (VOTE, Accepted(HIGH, Slot(1))),
    ],
    ids=["promise", "candidacy", "vote"],
)
def test_nothing_is_shown_before_a_sync_that_began_later(
    record: Promised | Vote,
    message: Promise | Prepare | Accepted,
    acceptors: Acceptors,
    agenda: Agenda,
    broken: list[str],
) -> None:
    pass_time(agenda)
    before = agenda.now
    pass_time(agenda)
    acceptors.stepped(replica(N02), event(), Effects(records=(record,)), ZERO_BALLOT)
    written = agenda.now
    pass_time(agenda)

    def shown() -> int:
        acceptors.stepped(replica(N03), Received(N02, message), NOTHING, ZERO_BALLOT)
        return len(broken)

    assert shown()
    broken.clear()
    acceptors.synced("n02", before)
    assert shown()
    assert "before it is durable" in broken[0]
    broken.clear()
    acceptors.synced("n02", written)
    assert not shown()


def test_what_was_never_written_down_is_not_shown(acceptors: Acceptors, broken: list[str]) -> None:
    acceptors.stepped(replica(N03), event(N02), NOTHING, ZERO_BALLOT)
    assert "has not written it down" in broken[0]


@pytest.mark.parametrize("first", ["decided", "back"])
@pytest.mark.parametrize("slot", [3, 4])
def test_whoever_votes_on_a_new_disk_knows_what_the_old_one_has_decided(
    first: str, slot: int, broken: list[str]
) -> None:
    renewals = Renewals(noted, broken.append)
    note(renewals, N01, by=(N02, N03))
    memory = Memory(decided_through=Slot(3), incarnation=2, may_vote=False)
    back = replica(N01, memory), Effects(records=(Promised(HIGH), Rejoined(2)))
    if first == "back":
        renewals.stepped(*back)
    renewals.counted(N01, 1, Slot(slot))
    if first == "decided":
        assert not broken
        renewals.stepped(*back)
    assert bool(broken) == (slot == 4)


@pytest.mark.parametrize("ballot", [LOW, HIGH])
def test_whoever_votes_on_a_new_disk_has_promised_as_much(
    ballot: Ballot, broken: list[str]
) -> None:
    renewals = Renewals(noted, broken.append)
    note(renewals, N03, by=(N01, N02))
    renewals.led_by(N03, 1, ballot)
    memory = Memory(promised=LOW, incarnation=2, may_vote=False)
    renewals.stepped(replica(N03, memory), Effects(records=(Rejoined(2),)))
    assert bool(broken) == (ballot == HIGH)


def noted(*_: object) -> bool:
    """Say that everybody has noted everything."""
    return True


def note(
    renewals: Renewals, node: NodeId, *, by: tuple[NodeId, ...], memory: Memory | None = None
) -> None:
    """Have others write down that the first disk of ``node`` is void."""
    for other in by:
        renewals.stepped(replica(other, memory), Effects(records=(Renewed(node, 2),)))


@pytest.mark.parametrize("others", [(), (N02,), (N02, N03)])
def test_whoever_votes_on_a_new_disk_is_known_to_have_it_by_enough_others(
    others: tuple[NodeId, ...], broken: list[str]
) -> None:
    renewals = Renewals(noted, broken.append)
    note(renewals, N01, by=others)
    memory = Memory(incarnation=2, may_vote=False)
    renewals.stepped(replica(N01, memory), Effects(records=(Rejoined(2),)))
    assert bool(broken) == (len(others) < 2)


@pytest.mark.parametrize(
    ("memory", "knows"),
    [
        (Memory(promised=LOW, decided_through=Slot(3)), True),
        (Memory(promised=HIGH, decided_through=Slot(3)), False),
        (Memory(promised=LOW, decided_through=Slot(4)), False),
        (Memory(promised=LOW, decided_through=Slot(2), votes={Slot(4): VOTE}), False),
    ],
)
def test_whoever_votes_on_a_new_disk_has_come_as_far_as_those_who_know_of_it(
    memory: Memory, broken: list[str], *, knows: bool
) -> None:
    renewals = Renewals(noted, broken.append)
    note(renewals, N01, by=(N02, N03), memory=memory)
    mine = Memory(promised=LOW, decided_through=Slot(3), incarnation=2, may_vote=False)
    renewals.stepped(replica(N01, mine), Effects(records=(Rejoined(2),)))
    assert bool(broken) != knows


def test_whoever_votes_on_a_new_disk_is_durably_known_to_have_it(broken: list[str]) -> None:
    renewals = Renewals(lambda other, *_: other == N02, broken.append)
    note(renewals, N01, by=(N02, N03))
    memory = Memory(incarnation=2, may_vote=False)
    renewals.stepped(replica(N01, memory), Effects(records=(Rejoined(2),)))
    assert broken


def test_who_has_forgotten_of_a_lost_disk_has_not_noted_it(
    acceptors: Acceptors, agenda: Agenda
) -> None:
    acceptors.stepped(replica(N02), event(), Effects(records=(Renewed(N01, 2),)), ZERO_BALLOT)
    assert not acceptors.has_noted(N02, N01, 2)
    acceptors.synced(N02, agenda.now)
    assert acceptors.has_noted(N02, N01, 2)
    acceptors.began(N02, Memory(incarnations={N01: 2}))
    assert acceptors.has_noted(N02, N01, 2)
    acceptors.began(N02, Memory())
    assert not acceptors.has_noted(N02, N01, 2)


def test_no_two_disks_vote_under_one_number(broken: list[str]) -> None:
    renewals = Renewals(noted, broken.append)
    note(renewals, N01, by=(N02, N03))
    back = replica(N01, Memory(incarnation=2, may_vote=False)), Effects(records=(Rejoined(2),))
    renewals.stepped(*back)
    assert not broken
    renewals.stepped(*back)
    assert broken == ["a second disk of n01 votes under the number 2"]


@pytest.mark.parametrize(
    ("life", "others_lose", "right"),
    [
        (2 << 32 | 1, False, False),
        (2 << 32 | 2, False, True),
        (3 << 32 | 1, False, True),
        (2 << 32 | 1, True, True),
    ],
)
def test_no_new_disk_takes_a_number_that_is_noted_durably(
    life: int, broken: list[str], *, others_lose: bool, right: bool
) -> None:
    renewals = Renewals(noted, broken.append)
    note(renewals, N01, by=(N02,))
    if others_lose:
        renewals.began(replica(N02), Memory(life=2 << 32 | 2, incarnation=2))
    renewals.began(replica(N01), Memory(life=life, incarnation=life >> 32, may_vote=False))
    assert bool(broken) != right


@pytest.mark.parametrize(
    ("n01_knows", "n03_knows", "agree"),
    [
        ((), (), True),
        (((N03, 2),), (), False),
        ((), ((N01, 2),), False),
        (((N03, 2),), ((N03, 2),), True),
        (((N02, 2),), (), True),
    ],
)
def test_nobody_decides_with_a_vote_that_another_voter_knows_to_be_void(
    n01_knows: Incarnations, n03_knows: Incarnations, broken: list[str], *, agree: bool
) -> None:
    ballots = Ballots(broken.append, Renewals(noted, broken.append))
    leader = replica(N02)
    for node, known in ((N01, n01_knows), (N03, n03_knows)):
        ballots.stepped(leader, Received(node, Accepted(HIGH, Slot(1), known)), NOTHING)
    ballots.stepped(leader, event(), DECIDED)
    assert bool(broken) != agree


@pytest.mark.parametrize(
    ("records", "shows"),
    [
        ((), False),
        ((VOTE,), False),
        ((VOTE, DecidedThrough(Slot(1), LOW)), False),
        ((VOTE, DecidedThrough(Slot(1), HIGH)), True),
        ((DecidedThrough(Slot(1), HIGH), VOTE), False),
        ((Learned(Slot(1), NOOP),), True),
        ((Learned(Slot(2), NOOP),), False),
        ((Learned(Slot(2), NOOP), Learned(Slot(1), NOOP)), True),
        ((Installed(Slot(1)),), True),
    ],
)
def test_what_a_node_takes_for_decided_its_journal_shows(
    records: tuple[ReplicaRecord, ...], broken: list[str], *, shows: bool
) -> None:
    written, one = Written(broken.append), replica(N01)
    written.began(N01, Memory())
    written.stepped(one, NOTHING)
    assert not broken
    one.learner.decided_through = Slot(1)
    written.stepped(one, Effects(records=records))
    assert bool(broken) != shows


def test_a_state_from_elsewhere_leaves_votes_above_it_as_they_are(agenda: Agenda) -> None:
    checker = Checker(agenda)
    voter, other = replica(N01), replica(N02)
    checker.began(voter, Memory())
    checker.began(other, Memory())
    voter.acceptor.promised, voter.acceptor.votes[Slot(1)] = HIGH, VOTE
    checker.stepped(voter, Received(N02, Confirmed(HIGH, 1)), Effects(records=(VOTE,)))
    checker.synced(N01, agenda.now)
    checker.stepped(other, Received(N01, Accepted(HIGH, Slot(1), ())), NOTHING)
    checker.stepped(voter, Installed(Slot(0)), NOTHING)
    assert checker.wrong is None
    voter.acceptor.votes.clear()
    checker.stepped(voter, Installed(Slot(0)), NOTHING)
    assert "n01 has shown its vote in slot 1" in str(checker.wrong)


@pytest.fixture
def keeping(acceptors: Acceptors, broken: list[str]) -> Keeping:
    return Keeping(acceptors, Layout(0), 0, broken.append)


def test_a_state_is_kept_as_far_as_its_node_says(
    keeping: Keeping, acceptors: Acceptors, agenda: Agenda, broken: list[str]
) -> None:
    node = replica(N02)
    keeping.began(node, Memory(), None, frail=False)
    pass_time(agenda)
    acceptors.stepped(node, event(), DECIDED, ZERO_BALLOT)
    broken.clear()
    keeping.stepped(node, Persisted(Slot(1)), {})
    assert "says that its state is kept through 1, and it is to 0" in broken[0]
    broken.clear()
    kept = {applied_key(0): (1).to_bytes(8, "big")}
    keeping.stepped(node, Persisted(Slot(1)), kept)
    assert "its journal may lose" in broken[0]
    broken.clear()
    acceptors.synced("n02", agenda.now)
    keeping.stepped(node, Persisted(Slot(1)), kept)
    assert not broken


def test_after_an_orderly_stop_nothing_is_forgotten(keeping: Keeping, broken: list[str]) -> None:
    full = Memory(promised=HIGH, votes={Slot(3): VOTE}, decided_through=Slot(2))
    for memory in (
        Memory(promised=LOW, votes=full.votes, decided_through=Slot(2)),
        Memory(promised=HIGH, decided_through=Slot(2)),
        Memory(promised=HIGH, votes=full.votes, decided_through=Slot(1)),
    ):
        keeping.began(replica(N01, memory), memory, replica(N01, full), frail=False)
        assert len(broken) == 1
        broken.clear()
        keeping.began(replica(N01, memory), memory, None, frail=False)
        keeping.began(replica(N01, memory), memory, replica(N01, full), frail=True)
        keeping.began(replica(N01, full), full, replica(N01, full), frail=False)
        assert not broken


def test_no_disk_is_given_up_to_which_nothing_has_happened(
    keeping: Keeping, broken: list[str]
) -> None:
    memory = Memory(incarnation=2, may_vote=False)
    keeping.began(replica(N01, memory), memory, None, frail=True)
    assert not broken
    keeping.began(replica(N01, memory), memory, None, frail=False)
    assert "has given its disk up" in broken[0]

"""A node finds its state again from engine and journal, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvpaxos.engine.memory import MemoryEngine
from kvpaxos.errors import StartError
from kvpaxos.journal.log import Journal
from kvpaxos.node.recovery import GROUP, durable_through, is_behind, remember, replay
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Command, Vote
from kvpaxos.paxos.records import (
    DecidedThrough,
    Forming,
    Learned,
    Promised,
    Record,
    Rejoined,
    Renewed,
)
from kvpaxos.store.commands import Append, encode_operation

A, B = NodeId("n01"), NodeId("n02")
LOW, HIGH = Ballot(1, A), Ballot(2, B)
FORMING = Forming("0" * 32, A, (A, B), 1)


def batch(slot: int) -> tuple[Command, ...]:
    """Return what ``slot`` decides: to append its number."""
    body = encode_operation(Append(b"log", b"%d," % slot))
    return (Command(B, 1, slot, slot - 1, body),)


def vote(slot: int, ballot: Ballot = LOW) -> Vote:
    return Vote(Slot(slot), ballot, batch(slot))


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def journal_of(directory: Path, *records: Record) -> Journal:
    """Write ``records``, close the journal, and open it again."""
    journal = Journal.open(directory, segment_bytes=65536)
    journal.append(GROUP, records)
    journal.close()
    return Journal.open(directory, segment_bytes=65536)


def log(state: State) -> bytes:
    entry = state.machine.get(b"log")
    return b"" if entry is None else entry.value


def open_state(engine: MemoryEngine) -> State:
    return State(engine, GROUP, value_bytes_max=1000)


def test_what_the_state_lacks_is_executed_again_and_no_more(
    engine: MemoryEngine, directory: Path
) -> None:
    state = open_state(engine)
    state.apply(batch(1)[0])
    state.commit(Slot(1))

    votes = [vote(slot) for slot in (1, 2, 3, 4)]
    journal = journal_of(directory, FORMING, *votes, DecidedThrough(Slot(3), LOW))
    state = open_state(engine)
    assert durable_through(journal, state) == 1
    assert replay(journal, state, alone=False) == 2
    assert (state.applied, log(state)) == (3, b"1,2,3,")

    # And it was written: the next start finds nothing to do.
    state = open_state(engine)
    assert replay(journal, state, alone=False) == 0
    assert (state.applied, log(state)) == (3, b"1,2,3,")
    memory = remember(journal, state, 5, 1)
    assert memory.life == 1 << 32 | 5
    assert (memory.decided_through, dict(memory.votes)) == (3, {4: vote(4)})
    journal.close()


def test_a_vote_of_another_ballot_than_the_watermark_is_not_executed(
    engine: MemoryEngine, directory: Path
) -> None:
    journal = journal_of(
        directory, FORMING, vote(1), vote(2), Promised(HIGH), DecidedThrough(Slot(2), HIGH)
    )
    state = open_state(engine)
    assert replay(journal, state, alone=False) == 0
    assert remember(journal, state, 1, 1).promised == HIGH
    journal.close()


def test_what_was_learned_is_executed_in_place_of_a_vote(
    engine: MemoryEngine, directory: Path
) -> None:
    chosen = (Command(B, 1, 1, 0, encode_operation(Append(b"log", b"chosen"))),)
    journal = journal_of(
        directory, FORMING, vote(1), Learned(Slot(1), chosen), DecidedThrough(Slot(1), LOW)
    )
    state = open_state(engine)
    assert replay(journal, state, alone=False) == 1
    assert log(state) == b"chosen"
    journal.close()


def test_a_state_that_is_ahead_of_the_journal_is_believed(
    engine: MemoryEngine, directory: Path
) -> None:
    state = open_state(engine)
    for slot in (1, 2):
        state.apply(batch(slot)[0])
    state.commit(Slot(2))
    # The watermark is never synced by itself: a power cut may have taken it.
    journal = journal_of(directory, FORMING, vote(1), vote(2), vote(3))
    assert replay(journal, state, alone=False) == 0
    assert state.applied == 2
    # The replica begins where the journal ends, and must not say that it needs no more.
    memory = remember(journal, state, 1, 1)
    assert (memory.decided_through, list(memory.votes)) == (0, [1, 2, 3])
    assert durable_through(journal, state) == 0
    journal.close()


def test_a_state_beside_an_empty_journal_is_refused(engine: MemoryEngine, directory: Path) -> None:
    state = open_state(engine)
    state.commit(Slot(9))
    journal = Journal.open(directory, segment_bytes=65536)
    with pytest.raises(StartError, match="the journal beside it is empty"):
        replay(journal, state, alone=False)
    journal.close()


def forgotten(directory: Path) -> tuple[Journal, Slot]:
    """Return a journal that has forgotten its first slots, and the last one that it decided."""
    journal = Journal.open(directory, segment_bytes=65536)
    journal.append(GROUP, [FORMING])
    slot = 0
    while journal.segments < 3:
        slot += 1
        journal.append(GROUP, [vote(slot), DecidedThrough(Slot(slot), LOW)])
    journal.forget(GROUP, Slot(slot))
    journal.close()

    return Journal.open(directory, segment_bytes=65536), Slot(slot)


def test_a_node_alone_whose_state_is_older_than_what_the_journal_keeps_is_refused(
    engine: MemoryEngine, directory: Path
) -> None:
    journal, _ = forgotten(directory)
    with pytest.raises(StartError, match="the state was lost or is an old copy"):
        replay(journal, open_state(engine), alone=True)
    journal.close()


def test_with_others_it_executes_nothing_and_shows_nothing_that_it_cannot(
    engine: MemoryEngine, directory: Path
) -> None:
    journal, last = forgotten(directory)
    state = open_state(engine)
    assert is_behind(journal, state)
    assert replay(journal, state, alone=False) == 0
    memory = remember(journal, state, 1, 1)
    assert (memory.decided_through, memory.kept_from) == (0, last + 1)
    assert durable_through(journal, state) == 0
    journal.close()


@pytest.mark.parametrize(
    ("incarnation", "records", "may_vote"),
    [
        pytest.param(1, (), True, id="the first disk"),
        pytest.param(2, (), False, id="a new disk"),
        pytest.param(2, (Rejoined(2),), True, id="a new disk that has learnt enough"),
        pytest.param(3, (Rejoined(2),), False, id="one after that"),
    ],
)
def test_a_node_on_a_new_disk_may_not_vote_before_its_journal_says_so(
    engine: MemoryEngine,
    directory: Path,
    incarnation: int,
    records: tuple[Record, ...],
    may_vote: bool,  # noqa: FBT001
) -> None:
    journal = journal_of(directory, FORMING, Renewed(B, 4), *records)
    memory = remember(journal, open_state(engine), 7, incarnation)
    assert (memory.may_vote, memory.incarnation) == (may_vote, incarnation)
    assert (memory.incarnations, memory.life) == ({B: 4}, incarnation << 32 | 7)
    journal.close()


def test_lives_on_a_new_disk_are_greater_than_all_on_the_old_one(
    engine: MemoryEngine, directory: Path
) -> None:
    journal = journal_of(directory, FORMING)
    state = open_state(engine)
    old = remember(journal, state, 2**32 - 1, 1)
    assert remember(journal, state, 1, 2).life > old.life
    journal.close()

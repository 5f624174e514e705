"""What is taken from the disk of a node that is left, and what is moved out of the way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from kvpaxos.cli.aside import set_aside
from kvpaxos.cli.remains import Remains, remains, stopped
from kvpaxos.engine.rocks import RocksEngine
from kvpaxos.errors import ConfigError, DiskError, StartError
from kvpaxos.journal.log import Journal
from kvpaxos.node.recovery import GROUP
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Command, Vote
from kvpaxos.paxos.records import (
    DecidedThrough,
    Formed,
    Forming,
    Installed,
    Record,
    Rejoined,
    ReplicaRecord,
)
from kvpaxos.store.commands import Set, encode_operation
from kvpaxos.store.limits import VALUE_BYTES_MAX

N01, N02 = NodeId("n01"), NodeId("n02")
BALLOT = Ballot(3, N02)
FORMED: list[Record] = [Forming("c" * 32, N01, (N01, N02), 1), Formed("c" * 32)]


def vote(slot: int) -> Vote:
    body = encode_operation(Set(b"k%d" % slot, b"v"))
    return Vote(Slot(slot), BALLOT, (Command(N02, 1, slot, 0, body),))


def make(directory: Path, *records: ReplicaRecord, node: list[Record] = FORMED) -> None:
    with closing(Journal.open(directory / "journal")) as journal:
        journal.append(GROUP, [*node, *records])
        journal.sync()


def look(directory: Path, *, votes: bool = True) -> tuple[Remains, list[bytes]]:
    with (
        stopped(directory),
        remains(directory, "n01", value_bytes_max=VALUE_BYTES_MAX, votes=votes) as found,
    ):
        return found, [key for key, _ in found.state.machine.view().page(None, 100, 10**6)]


def test_votes_are_taken_up_to_the_first_gap(tmp_path: Path) -> None:
    decided = DecidedThrough(Slot(2), BALLOT)
    make(tmp_path, *map(vote, (1, 2, 3, 4, 6, 7)), decided)
    found, keys = look(tmp_path)
    assert keys == [b"k1", b"k2", b"k3", b"k4"]
    assert (found.decided_through, found.voted_through, found.left_out) == (2, 4, (6, 7))
    assert (found.cluster, found.members, found.may_vote) == ("c" * 32, ("n01", "n02"), True)
    found, keys = look(tmp_path, votes=False)
    assert keys == [b"k1", b"k2"]
    assert (found.voted_through, found.left_out) == (2, (3, 4, 6, 7))


def test_what_the_state_lacks_is_executed_and_its_directory_left_as_it_is(tmp_path: Path) -> None:
    make(tmp_path, *map(vote, (1, 2, 3)), DecidedThrough(Slot(3), BALLOT))
    with closing(RocksEngine(tmp_path / "state")) as engine:
        state = State(engine, GROUP, value_bytes_max=VALUE_BYTES_MAX)
        state.apply(vote(1).batch[0])
        state.commit(Slot(1))
    found, keys = look(tmp_path)
    assert (keys, found.stored_through, found.voted_through) == ([b"k1", b"k2", b"k3"], 1, 3)
    with closing(RocksEngine(tmp_path / "state")) as engine:
        assert State(engine, GROUP, value_bytes_max=VALUE_BYTES_MAX).applied == 1


def test_a_state_that_is_older_than_the_journal_is_refused(tmp_path: Path) -> None:
    make(tmp_path, Installed(Slot(5)))
    with pytest.raises(StartError, match="was lost or is an old copy"):
        look(tmp_path)
    make(tmp_path, vote(6), DecidedThrough(Slot(6), BALLOT), node=[])
    with pytest.raises(StartError, match="was lost or is an old copy"):
        look(tmp_path)


def test_a_node_that_is_part_of_no_cluster_has_nothing_to_recover(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no journal"):
        look(tmp_path)
    make(tmp_path, node=FORMED[:1])
    with pytest.raises(ConfigError, match="part of no cluster yet"):
        look(tmp_path)


def test_the_directory_of_another_node_is_refused(tmp_path: Path) -> None:
    make(tmp_path, node=[Forming("c" * 32, N02, (N01, N02), 1), Formed("c" * 32)])
    with pytest.raises(ConfigError, match="is that of n02, and not of n01"):
        look(tmp_path)


def test_a_node_that_has_not_learnt_enough_counts_in_no_majority(tmp_path: Path) -> None:
    make(tmp_path, node=[Forming("c" * 32, N01, (N01, N02), 2), Formed("c" * 32)])
    assert not look(tmp_path)[0].may_vote
    make(tmp_path, Rejoined(2), node=[])
    assert look(tmp_path)[0].may_vote


def test_a_node_that_runs_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with (
        closing(Journal.open(tmp_path / "journal")),
        pytest.raises(ConfigError, match="is in use"),
        stopped(tmp_path),
    ):
        pass
    with stopped(tmp_path), pytest.raises(ConfigError, match="is in use"):
        set_aside(tmp_path)


# What is moved away.


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_all_is_moved_and_the_next_time_elsewhere(tmp_path: Path) -> None:
    for number in (1, 2):
        make(tmp_path)
        (tmp_path / "state").mkdir()
        assert set_aside(tmp_path) == tmp_path / f"aside-{number}"
        assert names(tmp_path / f"aside-{number}") == ["journal", "state"]
    assert names(tmp_path) == ["aside-1", "aside-2"]
    assert set_aside(tmp_path) is None
    assert set_aside(tmp_path / "nothing") is None


def test_a_move_that_broke_off_begins_with_the_journal_and_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    for name in ("reserve", "state"):
        (tmp_path / name).mkdir()
    rename, moved = Path.rename, list[str]()

    def refuse_the_second(self: Path, target: Path) -> Path:
        if moved:
            raise OSError(5, "Input/output error")
        moved.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_second)
    with pytest.raises(DiskError, match="cannot be moved aside"):
        set_aside(tmp_path)
    monkeypatch.undo()
    assert moved == ["journal"]
    assert names(tmp_path) == ["aside-1", "reserve", "state"]
    assert set_aside(tmp_path) == tmp_path / "aside-1"
    assert names(tmp_path) == ["aside-1"]
    assert names(tmp_path / "aside-1") == ["journal", "reserve", "state"]

"""The ten scenarios of the persistence lab that are about disks: crashes, and disks that get lost.

Each node is a process of its own, is killed with SIGKILL whatever it is doing, and has a directory
of its own; to lose a disk is to have that deleted. Nodes are started with ``--rejoin`` but for the
first time, as in the labs, where ``restart`` says no more than that either.

Adapted in all: where the labs let a second or two pass, there is something that the test waits for:
that a node is ready, which means that it reads and votes, that its peers answer, or that all have
executed the same. Only to see that something does *not* happen, time passes. Clerks give up after a
minute, and not never. What unreliable nodes lose is said in `test.labs.diskv`.

The five scenarios whose names begin with ``Test4`` are those of a sharded store, run on processes.
They will come with sharding.

These are for pytest, and not for trial as the other labs are: nothing here needs a reactor. Each
says the seed of its chance; ``KVPAXOS_SEED`` sets it. ``KVPAXOS_DISKV`` says how often
`Test5Simultaneous` kills, 50 times in the labs and in ``make test_diskv``, and so how often
`Test5DiskUse` goes on to write: ten times as often then as in the labs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from test.labs.diskv import (
    SEGMENT_BYTES,
    SNAPSHOT_SLOTS,
    Appends,
    Clerk,
    Group,
    group,
)

pytestmark = pytest.mark.timeout(180)

KILLS = int(os.environ.get("KVPAXOS_DISKV", "4"))
OVERWRITERS = 10
OVERWRITES = 110 * KILLS // 50
"""By each of the overwriters: together ten times what the labs write, or less."""

SILENCE_S = 3.0
"""What must not happen must not happen for so long."""

UNFLUSHED_BYTES = SNAPSHOT_SLOTS * 2000
LOGS_BYTES_MAX = 2 * 1100 * 1000
RESERVE_BYTES = 8 * 1024 * 1024


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Group]:
    with group(tmp_path, 3) as made:
        yield made


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Group]:
    with group(tmp_path, 5) as made:
        yield made


@pytest.fixture
def unreliable(tmp_path: Path) -> Iterator[Group]:
    with group(tmp_path, 3, unreliable=True) as made:
        yield made


class Test5BasicPersistence:
    """What was acknowledged is there after all nodes were killed at once."""

    def test_all_are_killed(self, three: Group) -> None:
        clerk = three.clerk()
        clerk.append("k", "x")
        clerk.append("k", "y")
        three.crash()
        getting = three.meanwhile(three.clerk().get, "k")
        _expect_silence(getting)

        three.restart()
        # Not in the labs: what waited is answered, too.
        assert getting.result() == "xy"
        clerk.append("k", "z")
        clerk.check("k", "xyz")


@dataclass
class Pair:
    """What k1, to which is appended, and k2, which is put, should hold."""

    k1: str = ""
    k2: str = ""

    def write(self, clerk: Clerk, value: str) -> None:
        clerk.append("k1", value)
        clerk.put("k2", value)
        self.k1, self.k2 = self.k1 + value, value

    def check(self, clerk: Clerk) -> None:
        clerk.check("k1", self.k1)
        clerk.check("k2", self.k2)


class Test5OneRestart:
    """Each node in turn is killed, misses something, and comes back with its disk."""

    def test_each_in_turn(self, three: Group) -> None:
        clerk, written = three.clerk(), Pair()
        written.write(clerk, _value(three, 10))
        for place in range(3):
            written.check(clerk)
            three.crash(place)
            written.write(clerk, _value(three, 10))
            three.restart(place)
        written.check(clerk)
        three.wait_until_equal()


@dataclass
class Written:
    """What the scenarios of disk use have written, and should find.

    :ivar rounds: how often k2 and k3 were written.
    """

    k2: str = ""
    k3: str = ""
    rounds: int = 0

    def write(self, clerk: Clerk, k2: str, k3: str) -> None:
        """One round of the labs: put k2, append to k3, get k4."""
        clerk.put("k2", k2)
        clerk.append("k3", k3)
        clerk.check("k4", "4")
        self.k2, self.k3, self.rounds = k2, self.k3 + k3, self.rounds + 1

    def check(self, clerk: Clerk) -> None:
        clerk.check("k1", "1")
        clerk.check("k2", self.k2)
        clerk.check("k3", self.k3)


class DiskUse:
    """Disks hold little more than the keys and values, however often these are written.

    Adapted: in the labs the bound is 20,000 bytes in all, of which 3,600 are keys and values. Here
    it is three times the sum of what each node has to hold:

    * the keys and values;
    * the last `SNAPSHOT_SLOTS` slots, which its state may lack: two kilobytes each, since writes
      that were synced one by one lie some KiB apart in a journal;
    * one segment of the journal;
    * the files of an engine that is empty.

    Beside it are the reserve, a file of a fixed size, and what RocksDB tells of itself, which ends
    at two files of a MiB. To settle is to have executed the same, and to have forgotten what all
    states have.
    """

    def begin(self, nodes: Group) -> Clerk:
        self.empty = nodes.use().state // len(nodes.nodes)
        clerk = nodes.clerk()
        clerk.put("k1", "1")
        clerk.put("k4", "4")
        return clerk

    def bound(self, nodes: Group, live: int) -> int:
        """Return the most that all nodes may take, each of which has ``live`` bytes to hold."""
        return 3 * len(nodes.nodes) * (live + UNFLUSHED_BYTES + SEGMENT_BYTES + self.empty)

    def check_use(self, nodes: Group, bound: int) -> None:
        """Fail unless disk use comes down to what it may be."""
        # Files are deleted on threads of the nodes, soon after there is no need for them.
        nodes.wait_for(lambda: nodes.use().all <= bound)
        use = nodes.use()
        print(f"{use.all} of {bound} bytes; {use}")  # noqa: T201 -- what was measured
        assert use.logs <= len(nodes.nodes) * LOGS_BYTES_MAX
        assert use.reserves == len(nodes.nodes) * RESERVE_BYTES

    def check_use_for_long(self, nodes: Group, clerk: Clerk, bound: int, written: Written) -> None:
        """Look at the disks now, when all are killed, and when all have come back."""
        nodes.wait_until_equal()
        nodes.wait_until_forgotten()
        self.check_use(nodes, bound)
        nodes.crash()
        self.check_use(nodes, bound)
        nodes.restart()
        written.check(clerk)
        self.check_use(nodes, bound)


class Test5DiskUse(DiskUse):
    """Four keys are written again and again.

    Stronger: the bound is still kept once ten times as much was written (see above).
    """

    def test_puts_take_no_room(self, three: Group) -> None:
        clerk, written = self.begin(three), Written()
        for _ in range(three.random.randrange(100, 120)):
            written.write(clerk, _value(three, 1000), "x")
        bound = self.bound(three, live=1000 + written.rounds)
        self.check_use_for_long(three, clerk, bound, written)

        clerks = [three.clerk() for _ in range(OVERWRITERS)]
        rounds = [three.meanwhile(self.overwrite, each, _value(three, 1000)) for each in clerks]
        for each in rounds:
            each.result()
        written.write(clerk, _value(three, 1000), "x")
        self.check_use_for_long(three, clerk, bound, written)

    def overwrite(self, clerk: Clerk, value: str) -> None:
        for _ in range(OVERWRITES):
            clerk.put("k2", value)


class Test5AppendUse(DiskUse):
    """A key grows by a kilobyte a round.

    Adapted: in the labs the bound is 3 · n · 1000 + 20,000 bytes. Here a node holds the value three
    times, since the sessions of the clerk and of the node that it asked keep its answer; and four
    times these, since RocksDB merges tables when there are four.
    """

    def test_appends_take_as_much_as_is_appended(self, three: Group) -> None:
        clerk, written = self.begin(three), Written()
        for _ in range(three.random.randrange(100, 120)):
            written.write(clerk, "x", _value(three, 1000))
        live = 3 * 1000 * written.rounds
        bound = self.bound(three, live) + 3 * live
        self.check_use_for_long(three, clerk, bound, written)


class Test5OneLostDisk:
    """Each node in turn loses its disk, and gets back what it had from the others."""

    def test_each_in_turn(self, three: Group) -> None:
        clerk = three.clerk()
        written = Pair()
        for _ in range(three.random.randrange(7, 14)):
            written.write(clerk, _value(three, 10))
        for place in range(3):
            _lose_and_come_back(three, place, clerk, written)
        three.wait_until_equal()
        written.check(clerk)


class Test5OneLostOneDown:
    """The same with a fifth of the nodes down all the while."""

    def test_each_in_turn_while_one_is_down(self, five: Group) -> None:
        clerk = five.clerk()
        written = Pair()
        for _ in range(five.random.randrange(7, 14)):
            written.write(clerk, _value(five, 10))
        five.crash(0)
        for place in range(1, 5):
            _lose_and_come_back(five, place, clerk, written)
        five.restart(0)
        written.write(clerk, _value(five, 10))
        written.check(clerk)
        five.wait_until_equal()


def _lose_and_come_back(nodes: Group, place: int, clerk: Clerk, written: Pair) -> None:
    """Lose the disk of a node; write while it is down, and before it has all it needs."""
    written.check(clerk)
    nodes.lose(place)
    written.write(clerk, _value(nodes, 10))
    nodes.launch(place)
    written.write(clerk, _value(nodes, 10))
    written.write(clerk, _value(nodes, 10))
    nodes.wait_until_ready(place)


class Test5ConcurrentCrashReliable:
    """Clerks append while each node in turn crashes, and then loses its disk.

    Adapted: in the labs each is down for a second and up for three. Here it is down until the other
    two have served every clerk, and the next one goes once this one votes, and every clerk was
    served again.
    """

    def test_appends_are_there_once_and_in_order(self, three: Group) -> None:
        reader, appends = three.clerk(), Appends([0] * 5)
        clients = [three.meanwhile(appends.append, three.clerk(), number) for number in range(5)]
        for take_down in (three.crash, three.lose):
            for place in range(3):
                appends.wait_for_more(1)
                take_down(place)
                appends.wait_for_more(1)
                least = list(appends.counts)
                appends.check(reader.get("k"), least)
                three.restart(place)
        appends.ended.set()
        for client in clients:
            client.result()

        value = reader.get("k")
        appends.check(value, appends.counts)
        assert value.count("x") == sum(appends.counts)
        for place in range(3):
            three.crash(place)
            reader.check("k", value)
            three.restart(place)
            reader.check("k", value)
        three.wait_until_equal()


class Test5Simultaneous:
    """A node is killed, and perhaps loses its disk, while something is appended.

    Adapted: what is under way may end before the node has come back, since two others run.
    """

    @pytest.mark.timeout(60 + 20 * KILLS)
    def test_appends_end_whoever_is_killed_meanwhile(self, unreliable: Group) -> None:
        clerk, reader, appends = unreliable.clerk(), unreliable.clerk(), Appends([0])
        for number in range(KILLS):
            appending = unreliable.meanwhile(clerk.append, "k", f"x 0 {number} y")
            time.sleep(unreliable.random.uniform(0, 0.2))
            place = number % 3
            if unreliable.random.random() < 0.5:
                unreliable.lose(place)
            else:
                unreliable.crash(place)
            appends.check(reader.get("k"), [number])
            unreliable.restart(place)
            appending.result()
            appends.check(reader.get("k"), [number + 1])
        unreliable.wait_until_equal()


class Test5RejoinMix1:
    """Three of five run; two of these have lost their disks, and one has missed something."""

    def test_nodes_without_a_past_make_no_majority(self, five: Group) -> None:
        clerk = five.clerk()
        expected = _append_some(five, clerk, five.random.randrange(7, 14))
        five.crash(0)
        expected += _append_some(five, clerk, 2)
        five.lose(1, 2)
        five.crash(3, 4)
        five.launch(0, 1, 2)
        five.wait_until_linked()
        getting = five.meanwhile(five.clerk().get, "k")
        _expect_silence(getting)

        five.restart(3, 4)
        # Not in the labs: what waited is answered, too.
        assert getting.result() == expected
        expected += _append_some(five, clerk, 1)
        clerk.check("k", expected)
        five.wait_until_ready(0, 1, 2)
        five.wait_until_equal()
        clerk.check("k", expected)


class Test5RejoinMix3:
    """A node helped to decide what two others have missed, and comes back without its disk."""

    def test_what_is_decided_stays(self, five: Group) -> None:
        clerk, other = five.clerk(), five.clerk()
        expected = _append_some(five, clerk, five.random.randrange(7, 14))
        five.crash(1, 2)
        expected += _append_some(five, clerk, five.random.randrange(100, 107))
        five.lose(0)
        five.launch(1, 2)
        five.launch(0)
        appending = five.meanwhile(other.append, "k", "one ")
        clerk.append("k", "two ")
        appending.result()
        assert clerk.get("k") in {f"{expected}one two ", f"{expected}two one "}

        five.wait_until_ready(0, 1, 2)
        five.wait_until_equal()
        assert clerk.get("k") in {f"{expected}one two ", f"{expected}two one "}


def _append_some(nodes: Group, clerk: Clerk, count: int) -> str:
    """Append so many values to k, and return all of them."""
    values = [_value(nodes, 10) for _ in range(count)]
    for value in values:
        clerk.append("k", value)
    return "".join(values)


def _value(nodes: Group, length: int) -> str:
    """Return letters that nothing compresses to much less than half."""
    return nodes.random.randbytes((length + 1) // 2).hex()[:length]


def _expect_silence(future: Future[str]) -> None:
    time.sleep(SILENCE_S)
    assert not future.done(), future

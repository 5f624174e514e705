"""What a node makes its journal write, from its first start on; and what must be left of it.

Everything is in it that a journal does: forming, promises, votes, watermarks, learned slots, other
nodes' new disks, its own, a state from elsewhere; segments that are made on the spot and ahead,
one for a long value, forgotten ones, others in the files of those; and runs that end in good order,
by a kill, by a power cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from kvpaxos.journal.format import SEGMENT_BYTES_MIN, Digest, chained
from kvpaxos.journal.log import Journal, Recovered
from kvpaxos.journal.state import JournalState
from kvpaxos.paxos.ballot import NO_SLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import NOOP, Batch, Command, Vote
from kvpaxos.paxos.records import (
    DecidedThrough,
    Formed,
    Forming,
    Installed,
    Learned,
    Promised,
    Record,
    Rejoined,
    Renewed,
    Seen,
    Started,
)
from kvpaxos.simulator.contents import Contents
from kvpaxos.simulator.files import VirtualFiles
from kvpaxos.wire.codec import encode_record

DIRECTORY: Final = Path("/disk/journal")
"""Where the journal is."""

SALT: Final[Digest] = bytes(range(16))
"""What its chain starts from: always the same, so that two runs write the same."""

ME: Final = NodeId("n01")
_MEMBERS: Final = (ME, NodeId("n02"), NodeId("n03"))
_LOW: Final = Ballot(1, ME)
_HIGH: Final = Ballot(2, _MEMBERS[1])
_HIGHEST: Final = Ballot(3, _MEMBERS[2])
_CLUSTER: Final = "c" * 32
_SIZES: Final = (20, 700, 3000, 0, 1500)
_LONG: Final = SEGMENT_BYTES_MIN - 2 * 4096
"""With its headers and marks it does not fit into the least segment."""


_PIECE_BYTES: Final = SEGMENT_BYTES_MIN // 4
"""Most files of segments are filled in part only when the next segment begins."""


def batch(slot: int, size: int) -> Batch:
    """Return what is decided in ``slot``: always the same, if its size is."""
    if not size:
        return NOOP
    return (Command(ME, 1, slot, 0, Random(slot).randbytes(size)),)


def _seen(member: int, records: int) -> Seen:
    return Seen(_MEMBERS[member], 1, 1, "7b1e", records, "f0")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a journal owes after a power cut: what may be left of it, and what must be.

    :ivar acknowledged: so many records somebody has been told of: all of these must be left.
    :ivar heads: the chain's digest after each record that was written by then.
    :ivar states: what the records come to, likewise.
    :ivar forgotten: through which slot each group may have been forgotten.
    """

    acknowledged: int
    heads: Sequence[Digest]
    states: Sequence[JournalState]
    forgotten: dict[int, Slot]

    @property
    def written(self) -> int:
        """How many records there were."""
        return len(self.heads) - 1

    def check(self, found: Recovered) -> None:
        """Compare what a start has found with what was written.

        :raises AssertionError: something acknowledged is missing, or something is not as written.
        """
        count = found.record_count
        assert self.acknowledged <= count <= self.written, (
            f"{self.acknowledged} records were acknowledged, {self.written} written, {count} found"
        )
        assert found.head_hash == self.heads[count], f"not the first {count} records"
        expected, everything = self.states[count], self.states[-1]
        assert found.forming == expected.forming
        assert found.formed == expected.formed
        assert found.boot == expected.boot
        assert found.seen == tuple(expected.seen.values())
        assert found.groups.keys() == expected.groups.keys()
        for number, group in found.groups.items():
            known, through = expected.groups[number], group.decided_through
            assert group.promised == known.promised, f"{group.promised} for {known.promised}"
            assert dict(group.incarnations) == known.incarnations
            assert group.rejoined == known.rejoined
            # A header may know more of what is decided than the records that are left.
            assert known.decided_through <= through <= everything.groups[number].decided_through
            open_votes = {slot: vote for slot, vote in known.votes.items() if slot > through}
            assert dict(group.votes) == open_votes, "a vote was forgotten, or changed"
            gone = max(self.forgotten.get(number, NO_SLOT), everything.groups[number].installed)
            assert group.kept_from <= gone + 1, f"slots from {gone + 1} on were still needed"


class Life:
    """A node's journal, and what the node has written into it.

    :ivar decided: what was decided in each slot of each group.
    """

    def __init__(self, disk: VirtualFiles, segment_bytes: int = SEGMENT_BYTES_MIN) -> None:
        self.decided: dict[tuple[int, Slot], Batch] = {}
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._journal: Journal | None = None
        self._acknowledged = 0
        self._heads = [SALT]
        self._states = [JournalState()]
        self._forgotten: dict[int, Slot] = {}

    @property
    def claims(self) -> Claims:
        """What the journal owes at this moment."""
        shown = self._acknowledged
        if self._journal is not None:
            # Others may be shown this at any time.
            shown = max(shown, self._journal.durable_records)
        return Claims(shown, self._heads, self._states, dict(self._forgotten))

    def as_member(self) -> None:
        """Be a member that forms a cluster, leads it, follows, and comes back again and again."""
        self._first_run()
        self._run_after_a_stop()
        self._run_after_a_kill()
        self._run_after_a_power_cut()

    def as_member_with_new_disk(self) -> None:
        """Be a member whose disk was lost: it learns, and may vote again."""
        ballot = Ballot(5, _MEMBERS[1])
        self.start()
        self.add(Forming(_CLUSTER, ME, _MEMBERS, 2))
        self.add(Formed(_CLUSTER), Started(1))
        self.add(Renewed(_MEMBERS[2], 2))
        self.learn(3, 1, 2)
        self.add(Installed(Slot(9)))
        self.add(Promised(ballot), Rejoined(2))
        self.vote(ballot, range(10, 13))
        self.stop()

    def as_member_that_forgets(self) -> None:
        """Be a member whose files are used again and again, and that is killed and loses power."""
        self.start()
        self.add(Forming(_CLUSTER, ME, _MEMBERS, 1))
        self.add(Formed(_CLUSTER), Started(1))
        self.add(Promised(_LOW), _seen(1, 7))
        self._vote_and_forget(range(1, 13))
        self.kill()
        self.start()
        self.add(Started(2))
        self._vote_and_forget(range(13, 23))
        self.cut_power()
        self.start()
        self.stop()

    def _vote_and_forget(self, slots: range) -> None:
        """Vote with long values, forget at each second slot, and begin with the next file then."""
        for slot in slots:
            self.vote(_LOW, range(slot, slot + 1), size=_LONG // 3)
            self.add(DecidedThrough(Slot(slot), _LOW), sync=False)
            if slot % 2 == 0:
                self.forget(slot - 1)
                self.prepare_spare()

    def _first_run(self) -> None:
        self.start()
        self.add(Forming(_CLUSTER, ME, _MEMBERS, 1))
        self.add(Formed(_CLUSTER), Started(1))
        self.add(Promised(_LOW))
        self.vote(_LOW, range(1, 7))
        self.prepare_spare()
        self.vote(_LOW, range(7, 12))
        self.add(Promised(_HIGH))
        self.vote(_HIGH, range(11, 16), together=3)
        self.forget(8)
        self.stop()

    def _run_after_a_stop(self) -> None:
        self.start()
        self.add(Started(2), _seen(1, 9))
        self.learn(17, 16, 18)
        self.vote(_HIGH, range(19, 22))
        self.vote(_HIGH, range(1, 3), group=1)
        self.kill()

    def _run_after_a_kill(self) -> None:
        self.start()
        self.add(Started(3), Renewed(_MEMBERS[2], 2), _seen(2, 9), _seen(1, 12))
        self.add(Promised(_HIGHEST))
        self.vote(_HIGHEST, range(19, 24))
        self.prepare_spare()
        self.vote(_HIGHEST, range(24, 25), size=_LONG)
        self.vote(_HIGHEST, range(25, 29))
        self.forget(23)
        self.add(Installed(Slot(40)), sync=False)
        self.vote(_HIGHEST, range(41, 43), together=2, sync=False)
        self.cut_power()

    def _run_after_a_power_cut(self) -> None:
        self.start()
        self.add(Started(4))
        self.add(Installed(Slot(40)))
        self.vote(_HIGHEST, range(41, 44))
        self.stop()

    def start(self) -> None:
        """Open the journal. What a power cut has taken was never written."""
        self._journal = started(self._disk, self._segment_bytes)
        count = self._journal.recovered.record_count
        assert self._acknowledged <= count < len(self._heads)
        self._acknowledged = count
        # Not in place: earlier claims go on being what they were.
        self._heads, self._states = self._heads[: count + 1], self._states[: count + 1]

    def stop(self) -> None:
        """End the run in good order."""
        self._open.close()
        self._acknowledged, self._journal = len(self._heads) - 1, None

    def kill(self) -> None:
        """End the run at once. What was handed to the system stays there."""
        self._open.write()
        self._end()
        self._disk.kill()

    def cut_power(self) -> None:
        """End the run, and lose some of what was not synced."""
        self._open.write()
        self._end()
        self._disk.crash(Random(7))

    def _end(self) -> None:
        self._acknowledged, self._journal = self.claims.acknowledged, None

    def add(self, *records: Record, group: int = 0, sync: bool = True) -> None:
        """Append ``records``, and perhaps have them synced."""
        for record in records:
            payload = encode_record(group, record)
            state = deepcopy(self._states[-1])
            state.apply(group, record)
            self._heads = [*self._heads, chained(self._heads[-1], payload)]
            self._states = [*self._states, state]
            if isinstance(record, Vote | Learned):
                self.decided[group, record.slot] = record.batch
            self._open.append(group, [record])
        if sync:
            self._open.sync()
            self._acknowledged = len(self._heads) - 1
        else:
            self._open.write()

    def vote(
        self,
        ballot: Ballot,
        slots: range,
        *,
        group: int = 0,
        together: int = 1,
        size: int | None = None,
        sync: bool = True,
    ) -> None:
        """Vote in ``slots``, so many at a time, and hear of it that those before are decided."""
        for first in range(slots.start, slots.stop, together):
            votes = [
                Vote(Slot(slot), ballot, batch(slot, _SIZES[slot % 5] if size is None else size))
                for slot in range(first, min(first + together, slots.stop))
            ]
            self.add(*votes, group=group, sync=sync)
            if first > slots.start:
                self.add(DecidedThrough(Slot(first - 1), ballot), group=group, sync=False)

    def learn(self, *slots: int) -> None:
        """Learn what is decided in ``slots``. It is not waited for."""
        for slot in slots:
            self.add(Learned(Slot(slot), batch(slot, _SIZES[slot % 5])), sync=False)

    def forget(self, through: int) -> None:
        """Let go of all segments that hold nothing above, in any group."""
        for group in (0, 1):
            self._forgotten[group] = Slot(through)
            self._open.forget(group, Slot(through))

    def prepare_spare(self) -> None:
        """Make the next segment ahead, while something is not synced."""
        self.add(Promised(self._states[-1].group(0).promised), sync=False)
        assert self._open.prepare_spare()

    @property
    def _open(self) -> Journal:
        assert self._journal is not None, "the journal is not open"
        return self._journal


def started(disk: VirtualFiles, segment_bytes: int = SEGMENT_BYTES_MIN) -> Journal:
    """Return the journal on ``disk``, open."""
    return Journal.open(
        DIRECTORY, segment_bytes=segment_bytes, files=disk, salt=SALT, piece_bytes=_PIECE_BYTES
    )


def check_use(
    journal: Journal,
    disk: VirtualFiles,
    decided: Mapping[tuple[int, Slot], Batch],
    found_on: Callable[[VirtualFiles], Recovered] | None = None,
) -> None:
    """See that all a journal found at its start can be read, is durable, and can be added to.

    :param decided: what was decided in each slot of each group.
    :param found_on: returns what a start finds on a disk, perhaps from memory.
    :raises AssertionError: it is not so.
    """
    found, found_on = journal.recovered, found_on or _found_on
    reader = journal.reader()
    for number, group in found.groups.items():
        slots = range(group.kept_from, group.decided_through + 1)
        read = reader.decided(number, group.kept_from, group.decided_through, 1 << 40)
        assert [decision.slot for decision in read] == list(slots), "decided slots are missing"
        assert [decision.batch for decision in read] == [
            decided[number, s] for s in map(Slot, slots)
        ]
    again = found_on(_certain(disk))
    assert again.head_hash == found.head_hash, "what a start has found can still be lost"
    journal.append(0, [Started(found.boot + 1)])
    journal.sync()
    again = found_on(_certain(disk))
    assert (again.record_count, again.boot) == (found.record_count + 1, found.boot + 1)


def _found_on(disk: VirtualFiles) -> Recovered:
    return started(disk).recovered


def _certain(disk: VirtualFiles) -> VirtualFiles:
    """Return what every power cut would leave."""
    files = {}
    for name, file in disk.directories()[DIRECTORY].durable.items():
        assert isinstance(file, Contents)
        files[DIRECTORY / name] = bytes(file.durable)
    return VirtualFiles.of(files)

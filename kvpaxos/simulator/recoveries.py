"""Starts a journal from all that power cuts can leave, also from power cuts during a start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kvpaxos.journal.log import Recovered
from kvpaxos.paxos.ballot import Slot
from kvpaxos.paxos.messages import Batch
from kvpaxos.simulator.crashes import Left, leavings, whole
from kvpaxos.simulator.files import CHANGES, Operation, VirtualFiles
from kvpaxos.simulator.lives import DIRECTORY, Claims, check_use, started

LONG_TEARS: Final = 1
"""In so many starts in a row, cuts tear long writes as well. After that they do not: there would be
no end to it, since each start could lack another sector."""


class Unrecovered(AssertionError):
    """A crash state from which a journal does not start as it must. The message says which."""


@dataclass(slots=True)
class Outcome:
    """What a start from one crash state has found.

    :ivar acknowledged: the most that was ever owed in this state.
    :ivar depth: so many starts had been cut short before that one, at least.
    :ivar follow: the digests of what a power cut during that start can leave.
    """

    found: Recovered
    acknowledged: int
    depth: int
    follow: set[bytes] = field(default_factory=set)


class Recoveries:
    """All crash states that were met, and what came of them.

    :param decided: what was decided in each slot of each group; it may grow.
    :ivar met: how many states were met, equal ones each time.
    :ivar torn: the digests of those that have a file torn in the middle of a write.
    :ivar during: of those that came of a power cut during a start.
    """

    def __init__(self, decided: Mapping[tuple[int, Slot], Batch]) -> None:
        self.met = 0
        self.torn: set[bytes] = set()
        self.during: set[bytes] = set()
        self.outcomes: dict[bytes, Outcome] = {}
        self._decided = decided
        self._found: dict[bytes, Recovered] = {}

    def meet(self, left: Left, claims: Claims) -> None:
        """Start from ``left``, and from all that a power cut during that start can leave.

        :raises Unrecovered: it does not hold what was claimed.
        """
        todo, depth = [left], 0
        while todo:
            found = {new.digest: new for one in todo for new in self.start(one, claims, depth)}
            self.during |= found.keys()
            todo, depth = list(found.values()), depth + 1

    def start(self, left: Left, claims: Claims, depth: int) -> list[Left]:
        """Start from ``left``; return what else can come of it, if that is not known.

        :param depth: so many starts were cut short before this one.
        :raises Unrecovered: it does not hold what was claimed.
        """
        self.met += 1
        if self._knows(left.digest, depth):
            self._owe(left.digest, claims)
            return []
        following: set[bytes] = set()
        new: dict[bytes, Left] = {}
        disk = left.disk(DIRECTORY)

        def before(_: Operation) -> None:
            for next_left in leavings(disk.directories()[DIRECTORY], long=depth < LONG_TEARS):
                digest = next_left.digest
                following.add(digest)
                if not self._knows(digest, depth + 1):
                    new[digest] = next_left

        disk.before = on_changes(before)
        try:
            journal = started(disk)
            disk.before = None
            claims.check(journal.recovered)
            check_use(journal, disk, self._decided, self._found_on)
        except Exception as error:
            raise Unrecovered(f"{left}: {type(error).__name__}: {error}") from error
        if left.torn:
            self.torn.add(left.digest)
        known = self.outcomes.get(left.digest)
        acknowledged = max(claims.acknowledged, known.acknowledged if known else 0)
        self.outcomes[left.digest] = Outcome(journal.recovered, acknowledged, depth, following)
        for digest in following & self.outcomes.keys():
            self._owe(digest, claims)
        return [one for digest, one in new.items() if not self._knows(digest, depth + 1)]

    def _knows(self, digest: bytes, depth: int) -> bool:
        """Whether all that is to be tried after so many starts was tried from that state."""
        known = self.outcomes.get(digest)
        return known is not None and (known.depth < LONG_TEARS or depth >= LONG_TEARS)

    def _found_on(self, disk: VirtualFiles) -> Recovered:
        """Return what a start finds on ``disk``. Many states are set right to the same one."""
        digest = whole(disk.directories()[DIRECTORY]).digest
        if digest not in self._found:
            self._found[digest] = started(disk).recovered
        return self._found[digest]

    def _owe(self, digest: bytes, claims: Claims) -> None:
        """Hold a state that is known to what is claimed now, and all that can come of it."""
        outcome = self.outcomes[digest]
        if claims.acknowledged <= outcome.acknowledged:
            return
        outcome.acknowledged = claims.acknowledged
        claims.check(outcome.found)
        for following in outcome.follow & self.outcomes.keys():
            self._owe(following, claims)


def on_changes(call: Callable[[Operation], None]) -> Callable[[Operation], None]:
    """Return what calls ``call`` before each operation that changes the disk."""

    def before(operation: Operation) -> None:
        if operation.deed in CHANGES:
            call(operation)

    return before

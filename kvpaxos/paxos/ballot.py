"""The names that Paxos gives to things: nodes, slots, ballots."""

from __future__ import annotations

from typing import Final, NamedTuple, NewType

from typing_extensions import override

NodeId = NewType("NodeId", str)
"""One process with one disk, such as ``n01``."""

Slot = NewType("Slot", int)
"""A position in the replicated log. The first one is 1."""

FIRST_SLOT: Final = Slot(1)

NO_SLOT: Final = Slot(0)
"""Before the first slot: what a watermark shows when nothing has happened yet."""

ROUND_MAX: Final = 2**48
"""A ballot above this cannot have come about honestly; the wire refuses it."""


class Ballot(NamedTuple):
    """A proposal number: ordered by round, ties broken by node.

    No two nodes make the same ballot, so a ballot also names its proposer.
    """

    round: int
    node: NodeId

    def above(self, node: NodeId) -> Ballot:
        """Return a ballot of ``node`` that is greater than this one."""
        return Ballot(self.round + 1, node)

    @override
    def __str__(self) -> str:
        return f"{self.round}.{self.node}"


ZERO_BALLOT: Final = Ballot(0, NodeId(""))
"""Less than every ballot a node can make; what an acceptor starts with."""

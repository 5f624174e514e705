"""What a node does with its journal and its state before it meets the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kvpaxos.errors import StartError
from kvpaxos.journal.log import GroupRecovered, Journal
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import FIRST_SLOT, NO_SLOT, ZERO_BALLOT, NodeId, Slot
from kvpaxos.paxos.formation import Formation
from kvpaxos.paxos.replica import Memory

GROUP: Final = 0
"""The only group of replicas so far: the one that holds all keys."""

REPLAY_BYTES_MAX: Final = 4 * 1024 * 1024
"""How much of the journal is read, and written to the state, at once."""

_NOTHING: Final = GroupRecovered(ZERO_BALLOT, {}, NO_SLOT, FIRST_SLOT)


def replay(journal: Journal, state: State) -> int:
    """Execute what the journal knows to be decided and ``state`` does not hold yet.

    It blocks. The state is durable up to some earlier slot only; the journal has the rest.

    :returns: how many slots were executed.
    :raises StartError: state and journal do not belong together.
    """
    recovered = journal.recovered.groups.get(GROUP, _NOTHING)
    if journal.recovered.forming is None and state.applied != NO_SLOT:
        raise StartError(
            f"the state holds {state.applied} slots, but the journal beside it is empty: it was"
            " lost or swapped. Bring the journal back, or remove both to begin as an empty node."
        )
    first = Slot(state.applied + 1)
    if first < recovered.kept_from and recovered.decided_through >= first:
        raise StartError(
            f"the state ends at slot {state.applied}, and the journal begins at"
            f" {recovered.kept_from}: the state was lost or is an old copy. Bring the newer one"
            " back."
        )
    reader = journal.reader()
    try:
        while state.applied < recovered.decided_through:
            decisions = reader.decided(
                GROUP, Slot(state.applied + 1), recovered.decided_through, REPLAY_BYTES_MAX
            )
            assert decisions, "the journal does not hold what it says it does"
            for decision in decisions:
                assert decision.slot == state.applied + 1, "a slot was skipped"
                for command in decision.batch:
                    state.apply(command)
                state.applied = decision.slot
            state.commit(state.applied)
    finally:
        reader.close()
    return state.applied - first + 1


def remember(journal: Journal, life: int) -> Memory:
    """Return what the replica must know of its earlier lives, for the one that begins.

    It is what the journal says, though the state may be ahead of it: a power cut can take
    watermarks that were never synced. What they covered is decided once more, and the same.
    """
    known = journal.recovered.groups.get(GROUP, _NOTHING)
    return Memory(life, known.promised, known.votes, known.decided_through, known.kept_from)


def formation_of(
    journal: Journal, node: str, members: Sequence[str], fresh_cluster: str
) -> Formation:
    """Return how far the journal says that ``node`` has come into a cluster of ``members``.

    :raises StartError: it is the journal of another node, or of other members.
    """
    return Formation(
        NodeId(node),
        tuple(map(NodeId, members)),
        forming=journal.recovered.forming,
        formed=journal.recovered.formed,
        fresh_cluster=fresh_cluster,
    )


def durable_through(journal: Journal, state: State) -> Slot:
    """Return the slot through which neither journal nor state needs anybody else's help.

    To be called before anything is added to what was recovered.
    """
    recovered = journal.recovered.groups.get(GROUP, _NOTHING)
    return min(recovered.decided_through, state.applied)

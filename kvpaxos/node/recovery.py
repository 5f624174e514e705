"""What a node does with its journal and its state before it meets the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kvpaxos.errors import StartError
from kvpaxos.journal.log import GroupRecovered, Journal
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import FIRST_SLOT, NO_SLOT, ZERO_BALLOT, NodeId, Slot
from kvpaxos.paxos.formation import Formation
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.records import Forming
from kvpaxos.paxos.rejoin import FIRST_INCARNATION

GROUP: Final = 0
"""The only group of replicas so far: the one that holds all keys."""

REPLAY_BYTES_MAX: Final = 4 * 1024 * 1024
"""How much of the journal is read, and written to the state, at once."""

UNFINISHED: Final = "restore-unfinished"
"""Lies in a data directory as long as a restore is not through with it."""

_NOTHING: Final = GroupRecovered(ZERO_BALLOT, {}, NO_SLOT, FIRST_SLOT)


def replay(journal: Journal, state: State, *, alone: bool) -> int:
    """Execute what the journal knows to be decided and ``state`` does not hold yet.

    It blocks. The state is durable up to some earlier slot only; the journal has the rest. If
    it has not, the state was lost, and nothing is executed: another member's is needed.

    :param alone: there is no other member.

    :returns: how many slots were executed.
    :raises StartError: state and journal do not belong together.
    """
    recovered = journal.recovered.groups.get(GROUP, _NOTHING)
    unknown = journal.recovered.forming is None and not recovered.decided_through
    if unknown and state.applied != NO_SLOT:
        raise StartError(
            f"the state holds {state.applied} slots, but the journal beside it is empty: it was"
            " lost or swapped. Bring the journal back, or remove both to begin as an empty node."
        )
    state.decided = recovered.decided_through
    first = Slot(state.applied + 1)
    if is_behind(journal, state):
        if not alone:
            return 0
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


def is_behind(journal: Journal, state: State) -> bool:
    """Whether the state lacks slots that the journal keeps no more: it was lost, or is old."""
    recovered = journal.recovered.groups.get(GROUP, _NOTHING)
    first = Slot(state.applied + 1)
    return first < recovered.kept_from and recovered.decided_through >= first


def remember(journal: Journal, state: State, boot: int, incarnation: int) -> Memory:
    """Return what the replica must know of its earlier lives, for the one that begins.

    It is what the journal says, though the state may be ahead of it: a power cut can take
    watermarks that were never synced. What they covered is decided once more, and the same.
    """
    known = journal.recovered.groups.get(GROUP, _NOTHING)
    decided_through, kept_from = known.decided_through, known.kept_from
    if is_behind(journal, state):
        # It must fetch what it lacks; and of the slots between it can show neither votes nor
        # decisions, and no candidate may take them for empty.
        decided_through, kept_from = state.applied, Slot(decided_through + 1)
    return Memory(
        incarnation << 32 | boot,
        known.promised,
        known.votes,
        decided_through,
        kept_from,
        known.incarnations,
        incarnation,
        may_vote=incarnation in {FIRST_INCARNATION, known.rejoined},
    )


def formation_of(
    journal: Journal,
    node: str,
    members: Sequence[str],
    fresh_cluster: str,
    *,
    may_form: bool = True,
    may_rejoin: bool = False,
    is_mending: bool = False,
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
        may_form=may_form,
        may_rejoin=may_rejoin,
        is_mending=is_mending,
    )


def check_restored(directory: Path) -> None:
    """See whether a restore into ``directory``, if there was one, came to its end.

    :raises StartError: if not: nothing in it can be relied upon, or mended with the help of others.
    """
    if (directory / UNFINISHED).exists():
        raise StartError(
            f"{directory} holds what a restore has left that did not end; remove that directory,"
            " or add --set-aside, and restore again."
        )


def check_owner(forming: Forming | None, node: str, members: Sequence[str]) -> None:
    """Make sure that ``forming``, if there is one, is of the journal of ``node`` among ``members``.

    :raises StartError: it is the journal of another node, or of other members.
    """
    names = tuple(map(NodeId, members))
    Formation(NodeId(node), names, forming=forming, formed=None, fresh_cluster="")


def durable_through(journal: Journal, state: State) -> Slot:
    """Return the slot through which neither journal nor state needs anybody else's help.

    To be called before anything is added to what was recovered.
    """
    recovered = journal.recovered.groups.get(GROUP, _NOTHING)
    return min(recovered.decided_through, state.applied)


def origin_of(journal: Journal, state: State) -> str:
    """Return with which state the node begins, in words for its peers; nothing if it is empty.

    Members of a formed cluster have compared it.
    """
    if journal.recovered.formed is not None or state.applied == NO_SLOT:
        return ""
    return f"the state after slot {state.applied} with the digest {state.machine.digest:032x}"

"""Bugs of disks that were lost: of who comes back when, and as what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kvpaxos.node import node
from kvpaxos.node.recovery import remember
from kvpaxos.paxos.acceptor import Acceptor
from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.effects import Effects
from kvpaxos.paxos.election import Election
from kvpaxos.paxos.formation import Formation, FormationEffects
from kvpaxos.paxos.learner import Learner
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.messages import Incarnations
from kvpaxos.paxos.rejoin import Disks, Probation
from kvpaxos.paxos.replica import Replica
from test.zoo.bug import Patch, bug


@bug("amnesia; §6")
def a_node_on_a_new_disk_votes_at_once(patch: Patch) -> None:
    """A node that lost its disk takes part as if it had never been there."""

    def forget(*arguments: Any) -> Memory:
        return replace(remember(*arguments), may_vote=True)

    patch.setattr(node, "remember", forget)


@bug("amnesia with the same identity; §6")
def a_new_disk_keeps_the_number_of_the_old_one(patch: Patch) -> None:
    """A node that lost its disk comes back as the same incarnation."""

    def rejoin(self: Formation, cluster: str) -> FormationEffects:
        if self.awaited:
            return FormationEffects()
        return self._write(self._forming(cluster, max(self._told.values())))

    patch.setattr(Formation, "_rejoin", rejoin)


@bug(
    "§6, J2",
    rare="a slot must be open while a voter loses its disk and is back",
    test="test/paxos/test_rejoin.py::TestDisks::test_only_the_newest_counts",
)
def old_disks_are_counted(patch: Patch) -> None:
    """What a disk said counts after it was lost."""
    patch.setattr(Disks, "counts", lambda *_: True)
    patch.setattr(Election, "renew", lambda *_: None)


@bug(
    "§6, J3",
    rare="who has reported must lag, and who has not must not",
)
def a_node_votes_again_with_a_report_too_few(patch: Patch) -> None:
    """Of those who must report, one is not waited for."""

    def awaited(self: Probation) -> frozenset[NodeId]:
        silent = self._quorum.members.difference(self.reports) - {self._node}
        more = [*self.reports, *sorted(silent)[:1]]
        return frozenset() if self._quorum.meets(self._node, more) else frozenset(silent)

    patch.setattr(Probation, "awaited", property(awaited))


@bug("§6, J3")
def a_node_votes_again_before_it_knows_what_was_voted_on(patch: Patch) -> None:
    """What others report of slots is not learned first."""
    patch.setattr(Probation, "must_learn_through", NO_SLOT)


@bug("§6, J3")
def a_node_that_votes_again_takes_over_no_promise(patch: Patch) -> None:
    """What others have promised is not promised."""
    patch.setattr(Acceptor, "readmit", lambda *_: Effects())


@bug(
    "§6, J2",
    rare="two of five disks must be lost at once",
    test="test/paxos/test_rejoin.py::TestOnProbation"
    "::test_it_takes_over_which_disks_are_void_for_those_who_report",
)
def what_is_void_is_not_taken_over_by_whoever_comes_back(patch: Patch) -> None:
    """A node on probation does not hear which other disks were lost."""
    right = Replica._renew

    def renew(self: Replica, incarnations: Incarnations) -> Effects:
        return Effects() if self.probation is not None else right(self, incarnations)

    patch.setattr(Replica, "_renew", renew)


@bug(
    "§6, J1",
    rare="a disk must be lost twice, and somebody have missed the first time",
    test="test/test_formation.py::test_with_leave_it_waits_for_all_who_may_know_of_an_earlier_disk",
)
def a_new_disk_gets_its_number_from_the_first_who_is_heard(patch: Patch) -> None:
    """The number of a new disk is one more than what anybody knows of."""
    patch.setattr(Formation, "awaited", ())


@bug("§6, J2")
def a_report_is_sent_before_it_is_durable(patch: Patch) -> None:
    """Whoever reports may forget that the old disk is void."""
    right = Replica._readmit

    def readmit(self: Replica, sender: NodeId, incarnation: int) -> Effects:
        effects = right(self, sender, incarnation)
        return replace(effects, sends=effects.sends + effects.replies, replies=())

    patch.setattr(Replica, "_readmit", readmit)


@bug(
    "§6, J3",
    rare="of five nodes one must lack its state while another is back on a new disk",
    test="test/test_planted_bugs.py::test_it_is_caught_on_a_stage_that[a_report_leaves_out_what_was_known_before_the_state_was_lost]",
)
def a_report_leaves_out_what_was_known_before_the_state_was_lost(patch: Patch) -> None:
    """A node whose state is lost reports what it knows now."""

    def once_known_through(self: Learner) -> Slot:
        return self.decided_through

    patch.setattr(Learner, "once_known_through", property(once_known_through))


@bug("§6, J3")
def a_report_leaves_out_what_was_voted_on(patch: Patch) -> None:
    """A report names the last decided slot, and not the last that was voted in."""
    right = Replica._readmit

    def readmit(self: Replica, sender: NodeId, incarnation: int) -> Effects:
        votes, self.acceptor.votes = self.acceptor.votes, {}
        effects = right(self, sender, incarnation)
        self.acceptor.votes = votes
        return effects

    patch.setattr(Replica, "_readmit", readmit)

"""Bugs by which nothing is done that is wrong, and nothing that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvpaxos.paxos.ballot import Ballot
from kvpaxos.paxos.catchup import CatchUps
from kvpaxos.paxos.effects import NOTHING, Effects, Ticked
from kvpaxos.paxos.election import Election
from kvpaxos.paxos.forwarding import Forwarding
from kvpaxos.paxos.leadership import Leadership
from kvpaxos.paxos.messages import Batch
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.proposer import Leading, Preparing
from test.zoo.bug import Patch, bug


@bug("duelling proposers; §2")
def candidates_do_not_back_off(patch: Patch) -> None:
    """Whoever fails to win stands again at once, for no longer than before."""
    patch.setattr(Election, "_jitter", lambda _: 0.0)
    patch.setattr(Election, "_phase_s", lambda _: 0.05)


@bug("§2: what is lost is sent again")
def what_was_offered_is_not_offered_again(patch: Patch) -> None:
    """A leader sends each Accept once."""
    patch.setattr(Leadership, "offer_again", lambda *_: NOTHING)


@bug("re-sending to the next leader; §2")
def a_node_sends_its_commands_once(patch: Patch) -> None:
    """What is forwarded is not sent again, neither to this leader nor to the next."""

    def due_again(self: Forwarding, leader: Ballot, _: float) -> Iterator[Batch]:
        self._leader = leader
        return iter(())

    patch.setattr(Forwarding, "due_again", due_again)


@bug("§2: connectivity rides on heartbeats")
def heartbeats_are_not_answered(patch: Patch) -> None:
    """Nobody learns that it can be dialed."""
    right = Election.pinged

    def pinged(self: Election, *arguments: Any) -> Effects:
        right(self, *arguments)
        return NOTHING

    patch.setattr(Election, "pinged", pinged)


@bug("etcd: elections under partial partitions; §2")
def a_node_stands_though_others_hear_a_leader(patch: Patch) -> None:
    """Nobody is asked whether the leader is gone."""
    patch.setattr(Peers, "leaderless", lambda *_: True)


@bug(
    "Omni-Paxos, quorum loss; §2",
    rare="others do not promise it while they hear a leader",
    test="test/paxos/test_election.py::test_who_stands",
)
def a_node_stands_that_reaches_no_quorum(patch: Patch) -> None:
    """A node stands for leader whomever it reaches, unless one of these hears a leader."""

    def leaderless(self: Peers, now: float) -> bool:
        return not any(
            self.reaches(node, now) and peer.health is not None and peer.health.following.round
            for node, peer in self.known.items()
        )

    patch.setattr(Peers, "connected", lambda *_: True)
    patch.setattr(Peers, "leaderless", leaderless)


@bug("Cloudflare 2020; CheckQuorum; §2")
def a_leader_that_reaches_no_quorum_stays(patch: Patch) -> None:
    """A leader does not step down, whoever is silent."""
    patch.setattr(Peers, "cut_off", lambda *_: False)


@bug(
    "a leader that cannot be dialed; §2",
    rare="others who reach it pass on what is sent to it",
    test="test/paxos/test_election.py::test_who_stands",
)
def a_leader_counts_as_reached_if_it_is_heard(patch: Patch) -> None:
    """That a peer can dial us is taken for the whole connection."""

    def reaches(self: Peers, node: Any, now: float) -> bool:
        peer = self.known.get(node)
        return peer is not None and peer.heard_at > now - self.patience_s

    patch.setattr(Peers, "reaches", reaches)


@bug("etcd #15247: a leader whose disk is stuck; §2")
def a_leader_stays_though_its_disk_is_stuck(patch: Patch) -> None:
    """Nobody hands over, and nobody steps back, because of a disk."""
    right = Election.tick

    def tick(self: Election, tick: Ticked, now: float) -> Effects:
        return right(self, Ticked(tick.lag_s, 0.0, tick.low), now)

    patch.setattr(Election, "tick", tick)


@bug(
    "§2: a phase ends",
    rare="others stand by then, and are heard",
    test="test/paxos/test_election.py::TestStanding::test_it_ends_without_a_quorum_and_begins_again_with_a_higher_ballot",
)
def a_candidate_waits_for_promises_for_ever(patch: Patch) -> None:
    """A candidate that is not answered neither gives up nor asks again."""
    right = Election._tick_role

    def tick(self: Election, now: float) -> Effects:
        if isinstance(self.role, Preparing):
            self.role.deadline = now + 1.0
        return right(self, now)

    patch.setattr(Election, "_tick_role", tick)


@bug("§2: holes are filled by others")
def nobody_asks_for_what_it_missed(patch: Patch) -> None:
    """A node that was away does not catch up."""
    patch.setattr(CatchUps, "ask", lambda *_, **__: NOTHING)


@bug(
    "a window that is never opened again",
    rare="a leader must be taught what it has offered itself",
    test="test/paxos/test_proposer.py::TestSettle::test_it_says_whether_it_is_this_leaders_doing",
)
def a_window_counts_what_is_decided_elsewhere(patch: Patch) -> None:
    """A slot that a leader learns of instead of deciding it stays open."""
    right = Leading.settle

    def settle(self: Leading, decision: Any) -> bool:
        proposal = self.open.get(decision.slot)
        settled = right(self, decision)
        if proposal is not None:
            self.open[decision.slot] = proposal
            proposal.size = self.limits.open_bytes_max
        return settled

    patch.setattr(Leading, "settle", settle)


@bug("a leader that others do not hear; §2")
def what_cannot_reach_the_leader_is_not_passed_on(patch: Patch) -> None:
    """Whoever does not hear the leader sends to nobody, and nobody passes on."""
    patch.setattr(Peers, "relay", lambda *_: None)


@bug(
    "a faux leader: heartbeats, and nothing else",
    rare="a leader that gets nothing done mostly knows it, and hands over",
    test="test/paxos/test_election.py::TestHopelessLeaders::test_are_given_up_whatever_they_say",
)
def a_leader_that_gets_nothing_done_is_followed(patch: Patch) -> None:
    """As long as a leader is heard, nobody minds what it does."""
    patch.setattr(Forwarding, "gives_up", lambda *_: False)

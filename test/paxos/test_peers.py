"""What one node may conclude from what it hears of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.limits import Timing
from kvpaxos.paxos.messages import Health
from kvpaxos.paxos.peers import Peers
from kvpaxos.paxos.quorum import Quorum
from test.paxos.values import ALONE, FIVE, HIGH, LOW, THREE, A, B, C, D, E, health

TIMING: Final = Timing(heartbeat_s=0.125, patience_s=0.5, retry_s=0.25, stuck_s=1.0)
PATIENCE_S: Final = TIMING.patience_s
NOW: Final = 100.0


def make(quorum: Quorum = THREE, *, touched: tuple[NodeId, ...] = ()) -> Peers:
    """Return what node a knows, if it has just exchanged heartbeats with ``touched``."""
    peers = Peers(A, quorum, TIMING)
    for node in touched:
        touch(peers, node)
    return peers


def touch(
    peers: Peers, node: NodeId, says: Health | None = None, *, now: float = NOW, took_s: float = 0.0
) -> None:
    """Let a heartbeat come from ``node``, and the answer to one of ours."""
    says = says or health()
    peers.heard(node, says, now)
    peers.reached(node, says, now - took_s, now)


class TestConnected:
    @pytest.mark.parametrize(
        ("heard", "reached", "connected"),
        [
            pytest.param([], [], False, id="nobody"),
            pytest.param([B], [], False, id="one dials us, but does not answer"),
            pytest.param([], [B], False, id="one answers, but does not dial us"),
            pytest.param([B], [C], False, id="each way with another one"),
            pytest.param([B, C], [], False, id="all dial us, but nobody answers"),
            pytest.param([B], [B], True, id="one both ways"),
            pytest.param([B, C], [C], True, id="one both ways, another one way"),
            pytest.param([B, C], [B, C], True, id="all both ways"),
        ],
    )
    def test_both_directions_to_a_quorum_are_needed(
        self, heard: list[NodeId], reached: list[NodeId], *, connected: bool
    ) -> None:
        peers = make()
        for node in heard:
            peers.heard(node, health(), NOW)
        for node in reached:
            peers.reached(node, health(), NOW, NOW)
        assert peers.connected(NOW) == connected
        assert peers.cut_off(NOW) != connected

    @pytest.mark.parametrize(
        ("quorum", "touched", "connected"),
        [
            pytest.param(ALONE, (), True, id="one node is a quorum of one"),
            pytest.param(FIVE, (B,), False, id="two of five are none"),
            pytest.param(FIVE, (B, E), True, id="three of five are one"),
        ],
    )
    def test_this_node_counts_itself(
        self, quorum: Quorum, touched: tuple[NodeId, ...], *, connected: bool
    ) -> None:
        assert make(quorum, touched=touched).connected(NOW) == connected

    @pytest.mark.parametrize("way", ["heard", "reached"])
    def test_a_peer_is_reached_as_long_as_neither_way_is_silent(self, way: str) -> None:
        peers = make(touched=(B,))
        later = NOW + 0.5 * PATIENCE_S
        if way == "heard":
            peers.heard(B, health(), later)
        else:
            peers.reached(B, health(), later, later)
        assert peers.reaches(B, NOW + 0.99 * PATIENCE_S)
        assert not peers.reaches(B, NOW + PATIENCE_S)
        assert not peers.connected(NOW + PATIENCE_S)
        assert peers.cut_off(NOW + PATIENCE_S)

    def test_a_peer_whose_connection_broke_is_not_reached_until_it_answers(self) -> None:
        peers = make(touched=(B,))
        peers.lose(B)
        assert not peers.reaches(B, NOW)
        peers.heard(B, health(), NOW)
        assert not peers.reaches(B, NOW), "that it dials us says nothing of the other way"
        peers.reached(B, health(), NOW, NOW)
        assert peers.reaches(B, NOW)

    def test_but_that_alone_cuts_nobody_off_at_once(self) -> None:
        peers = make(touched=(B,))
        peers.lose(B)
        assert not peers.connected(NOW)
        assert not peers.cut_off(NOW)
        assert peers.cut_off(NOW + PATIENCE_S)

    def test_strangers_and_this_node_are_no_peers(self) -> None:
        peers = make()
        peers.lose(NodeId("z"))
        assert not peers.reaches(NodeId("z"), NOW)
        assert not peers.reaches(A, NOW)


class TestLeaderless:
    @pytest.mark.parametrize(
        ("says", "leaderless"),
        [
            pytest.param({}, False, id="nobody says anything"),
            pytest.param({B: ZERO_BALLOT}, True, id="another hears no leader either"),
            pytest.param({B: LOW}, False, id="another hears one"),
            pytest.param({B: LOW, C: LOW}, False, id="all others hear one"),
            pytest.param({B: LOW, C: ZERO_BALLOT}, True, id="a quorum hears none, one does"),
        ],
    )
    def test_a_quorum_must_have_lost_the_leader(
        self, says: dict[NodeId, Ballot], *, leaderless: bool
    ) -> None:
        peers = make()
        for node, following in says.items():
            touch(peers, node, health(following))
        assert peers.leaderless(NOW) == leaderless

    def test_only_the_last_word_counts(self) -> None:
        peers = make()
        touch(peers, B, health(LOW))
        touch(peers, B, health(ZERO_BALLOT))
        assert peers.leaderless(NOW)
        touch(peers, B, health(HIGH))
        assert not peers.leaderless(NOW)

    def test_and_only_of_those_that_are_reached(self) -> None:
        peers = make()
        peers.heard(B, health(ZERO_BALLOT), NOW)
        assert not peers.leaderless(NOW)

    def test_a_single_node_needs_nobodys_word(self) -> None:
        assert make(ALONE).leaderless(NOW)


class TestOrder:
    @pytest.mark.parametrize(
        ("says", "heirs"),
        [
            pytest.param({}, [], id="nobody is known"),
            pytest.param({B: health(through=3), C: health(through=5)}, [C, B], id="who knows most"),
            pytest.param({C: health(through=5), B: health(through=5)}, [B, C], id="then by name"),
            pytest.param(
                {B: health(through=9, able=False), C: health()}, [C], id="nobody who is not able"
            ),
            pytest.param({B: health(LOW)}, [B], id="whomever it follows"),
        ],
    )
    def test_heirs(self, says: dict[NodeId, Health], heirs: list[NodeId]) -> None:
        peers = make()
        for node, one in says.items():
            touch(peers, node, one)
        assert peers.heirs(NOW) == heirs

    @pytest.mark.parametrize(
        ("says", "teachers"),
        [
            pytest.param({}, [], id="nobody is known"),
            pytest.param({B: health(through=5), C: health(through=7)}, [C, B], id="who knows most"),
            pytest.param({C: health(through=5), B: health(through=5)}, [B, C], id="then by name"),
            pytest.param({B: health(through=4)}, [], id="nobody who does not know it"),
            pytest.param({B: health(through=9, kept=6)}, [], id="nobody who keeps it no more"),
            pytest.param({B: health(through=9, kept=5)}, [B], id="who has just kept it"),
            pytest.param({B: health(through=9, able=False)}, [B], id="also who could not lead"),
        ],
    )
    def test_teachers_of_slot_5(self, says: dict[NodeId, Health], teachers: list[NodeId]) -> None:
        peers = make()
        for node, one in says.items():
            touch(peers, node, one)
        assert peers.teachers(Slot(5), NOW) == teachers

    @pytest.mark.parametrize(
        "who", [lambda p: p.heirs(NOW), lambda p: p.teachers(Slot(5), NOW)], ids=["heir", "teacher"]
    )
    def test_nobody_who_is_not_reached_is(self, who: Callable[[Peers], list[NodeId]]) -> None:
        peers = make()
        peers.heard(B, health(through=9), NOW)
        assert who(peers) == []
        touch(peers, B, health(through=9))
        assert who(peers) == [B]

    @pytest.mark.parametrize(
        ("says", "ahead"),
        [
            pytest.param({}, False, id="nobody is known"),
            pytest.param({B: health(through=5)}, False, id="nobody knows more"),
            pytest.param({B: health(through=5), C: health(through=6)}, True, id="one knows more"),
            pytest.param({B: health(through=6, able=False)}, False, id="but could not lead"),
        ],
    )
    def test_whether_another_knows_more_than_slot_5(
        self, says: dict[NodeId, Health], *, ahead: bool
    ) -> None:
        peers = make()
        for node, one in says.items():
            touch(peers, node, one)
        assert peers.ahead(Slot(5), NOW) == ahead


class TestRelay:
    @pytest.mark.parametrize(
        ("says", "relay"),
        [
            pytest.param({}, None, id="nobody is known"),
            pytest.param({B: ZERO_BALLOT}, None, id="nobody hears a leader"),
            pytest.param({B: ZERO_BALLOT, C: HIGH}, (HIGH, C), id="one hears it"),
            pytest.param({C: LOW, B: LOW}, (LOW, B), id="the first who does"),
            pytest.param({B: LOW}, (LOW, B), id="the leader itself"),
        ],
    )
    def test_it_is_a_peer_that_hears_a_leader(
        self, says: dict[NodeId, Ballot], relay: tuple[Ballot, NodeId] | None
    ) -> None:
        peers = make()
        for node, following in says.items():
            touch(peers, node, health(following))
        assert peers.relay(NOW) == relay

    def test_and_is_reached(self) -> None:
        peers = make()
        peers.heard(B, health(LOW), NOW)
        assert peers.relay(NOW) is None


class TestPatience:
    def test_it_starts_at_the_least(self) -> None:
        peers = make(touched=(B, C))
        assert (peers.patience_s, peers.retry_s, peers.slack_s) == (PATIENCE_S, 0.25, 0.0)

    def test_it_grows_with_the_round_trip_of_the_slowest_peer(self) -> None:
        peers = make(touched=(C,))
        before = peers.patience_s, peers.retry_s
        for beat in range(20):
            touch(peers, B, now=NOW + beat, took_s=0.25)
            touch(peers, C, now=NOW + beat, took_s=0.001)
        assert peers.retry_s > before[1] + 2 * 0.25
        assert peers.patience_s > before[0] + 0.25

    def test_and_shrinks_again_with_it(self) -> None:
        peers = make()
        for beat in range(20):
            touch(peers, B, now=NOW + beat, took_s=0.5)
        slow = peers.patience_s, peers.retry_s
        for beat in range(20, 120):
            touch(peers, B, now=NOW + beat, took_s=0.0)
        assert peers.patience_s < slow[0]
        assert peers.retry_s < slow[1] / 2
        assert peers.patience_s == pytest.approx(PATIENCE_S, abs=0.01)

    def test_an_uneven_round_trip_counts_more_than_an_even_one(self) -> None:
        even, uneven = make(), make()
        for beat in range(40):
            touch(even, B, now=NOW + beat, took_s=0.1)
            touch(uneven, B, now=NOW + beat, took_s=0.2 * (beat % 2))
        assert uneven.retry_s > even.retry_s

    def test_one_answer_that_took_absurdly_long_does_not_make_it_absurd(self) -> None:
        peers = make()
        touch(peers, B, took_s=500.0)
        assert peers.patience_s <= 4 * TIMING.heartbeat_s + 2 * TIMING.stuck_s

    def test_answers_that_a_cut_held_up_say_how_long_it_was_and_not_how_long_the_way_is(
        self,
    ) -> None:
        peers = make()
        for number in range(10):
            touch(peers, B, now=NOW + number * TIMING.heartbeat_s, took_s=0.01)
        before = peers.patience_s
        healed = NOW + 3.0
        for number in range(10):
            touch(peers, B, now=healed + number * 0.001, took_s=1.1 - 0.1 * number)
        held_up = make()
        for number in range(10):
            touch(held_up, B, now=NOW + number * TIMING.heartbeat_s, took_s=0.01)
        touch(held_up, B, now=healed + 0.009, took_s=0.2)
        assert peers.patience_s == held_up.patience_s < before + 0.5

    def test_it_grows_with_late_ticks_of_this_process(self) -> None:
        peers = make()
        peers.observe(lag_s=0.5, sync_s=0.0)
        assert (peers.patience_s, peers.retry_s) == (PATIENCE_S + 0.5, 0.25 + 0.5)

    def test_but_not_with_a_pause_of_it(self) -> None:
        peers = make()
        peers.observe(lag_s=TIMING.stuck_s, sync_s=0.0)
        assert peers.patience_s == PATIENCE_S

    def test_retries_wait_for_syncs_and_silences_do_not(self) -> None:
        peers = make()
        peers.observe(lag_s=0.0, sync_s=0.25)
        assert (peers.patience_s, peers.retry_s) == (PATIENCE_S, 0.25 + 2 * 0.25)

    def test_a_stuck_disk_does_not_make_it_absurd(self) -> None:
        peers = make()
        peers.observe(lag_s=0.0, sync_s=500.0)
        assert peers.retry_s == 0.25 + 2 * TIMING.stuck_s

    def test_old_peaks_fade(self) -> None:
        peers = make()
        peers.observe(lag_s=0.9, sync_s=0.9)
        seen = [(peers.patience_s, peers.retry_s)]
        for _ in range(300):
            peers.observe(lag_s=0.0, sync_s=0.0)
            seen.append((peers.patience_s, peers.retry_s))
        assert seen == sorted(seen, reverse=True)
        assert peers.patience_s == pytest.approx(PATIENCE_S, abs=0.01)
        assert peers.retry_s == pytest.approx(0.25, abs=0.01)

    def test_a_peak_stands_until_the_next(self) -> None:
        peers = make()
        peers.observe(lag_s=0.5, sync_s=0.0)
        peers.observe(lag_s=0.75, sync_s=0.0)
        assert peers.patience_s == PATIENCE_S + 0.75


class TestExcuse:
    def test_after_a_pause_nobody_was_silent(self) -> None:
        peers = make(touched=(B,))
        later = NOW + 60.0
        assert not peers.connected(later)
        peers.excuse(60.0, later)
        assert peers.connected(later)
        assert not peers.connected(later + PATIENCE_S)

    def test_silence_before_the_pause_still_counts(self) -> None:
        peers = make(touched=(B,))
        later = NOW + 60.0
        peers.excuse(60.0 - PATIENCE_S, later)
        assert not peers.connected(later)

    def test_nobody_is_heard_in_the_future(self) -> None:
        peers = make(touched=(B,))
        peers.excuse(60.0, NOW + 1.0)
        assert peers.known[B].touched_at == NOW + 1.0

    def test_nobody_is_heard_who_was_not(self) -> None:
        peers = make()
        peers.excuse(60.0, NOW)
        assert not peers.reaches(B, NOW)


class TestDurableThrough:
    @pytest.mark.parametrize(
        ("own", "says", "through"),
        [
            pytest.param(9, {}, 0, id="nothing is known of the others"),
            pytest.param(9, {B: 5}, 0, id="one has not spoken"),
            pytest.param(9, {B: 5, C: 7}, 5, id="the least of the others"),
            pytest.param(3, {B: 5, C: 7}, 3, id="our own is the least"),
        ],
    )
    def test_every_member_counts(self, own: int, says: dict[NodeId, int], through: int) -> None:
        peers = make()
        for node, durable in says.items():
            peers.heard(node, health(durable=durable), NOW)
        assert peers.durable_through(Slot(own)) == through

    def test_a_single_node_counts_itself(self) -> None:
        assert make(ALONE).durable_through(Slot(9)) == 9

    def test_all_of_five_count_though_three_are_a_quorum(self) -> None:
        peers = make(FIVE)
        for node in (B, C, D):
            touch(peers, node, health(durable=9))
        assert peers.durable_through(Slot(9)) == NO_SLOT
        touch(peers, E, health(durable=2))
        assert peers.durable_through(Slot(9)) == 2

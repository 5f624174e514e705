"""The harness of the Paxos scenarios does to its members what it says."""

from __future__ import annotations

import pytest

from kvpaxos.errors import TooLarge
from kvpaxos.paxos.ballot import ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.decisions import Agreed, Forgotten, Pending
from kvpaxos.paxos.messages import (
    CatchUp,
    Chosen,
    Command,
    Decided,
    Health,
    Message,
    Nack,
    Pong,
    Vote,
)
from kvpaxos.testing.peer import VALUE_BYTES_MAX
from kvpaxos.testing.peers import Disagreement, PeerGroup
from kvpaxos.testing.waiting import NotInTime
from test.labs.scenario import REACTOR, Scenario


class PeerGroupTests(Scenario):
    """Members of a group are cut off, deafened, made unreliable, and restarted."""

    async def group(self, count: int = 3) -> PeerGroup:
        group = PeerGroup(count, self.directory, reactor=REACTOR, random=self.random)
        self.addCleanup(group.end)
        await group.begin()
        return group

    async def test_a_member_alone_agrees_with_nobody_until_all_is_healed(self) -> None:
        group = await self.group()
        group.divide((1, 2))
        group[0].start(0, b"alone")
        group[1].start(1, b"together")
        await group.wait(1, 2)
        assert (group.count(0), group.count(1)) == (0, 2)
        assert isinstance(group[0].status(1), Pending)
        group.heal()
        await group.wait(0)

    async def test_a_cut_of_one_direction_leaves_the_other_open(self) -> None:
        group = await self.group()
        # Member 0 hears nobody; so it is told nothing, and gets no replies, but it is heard.
        group.cut((1, 0), (2, 0))
        group[0].start(0, b"x")
        await group.until(lambda: group.requests()["Prepare"] >= 2, "it to be heard")
        group[1].start(1, b"y")
        await group.wait(1, 2)
        assert (group.count(0), group.count(1)) == (0, 2)

    async def test_a_deaf_member_gets_replies_and_no_requests(self) -> None:
        group = await self.group()
        await group.deafen(0)
        group[0].start(0, b"x")
        await group.wait(0)
        group[1].start(1, b"y")
        await group.wait(1, 2)
        assert not group[0].requests
        await group.listen(0)
        group[1].start(2, b"z")
        await group.wait(2)
        assert group[0].requests

    async def test_a_new_run_knows_what_its_journal_says_and_obeys_the_same_cuts(self) -> None:
        group = await self.group()
        group[0].start(0, b"x")
        await group.wait(0)
        spent = group.requests()
        group.divide((1, 2))
        await group.restart(0)
        assert group[0].status(0) == Agreed(b"x")
        assert group.requests() == spent
        group[0].start(1, b"y")
        group[1].start(2, b"z")
        await group.wait(2, 2)
        assert group.count(1) == 0
        group.heal()
        await group.wait(1)

    async def test_a_new_run_has_not_the_values_of_what_was_forgotten(self) -> None:
        group = await self.group()
        for number in range(3):
            group[0].start(number, b"x")
            await group.wait(number)
        for place, peer in group.peers.items():
            peer.done(1)
            peer.start(3 + place, b"y")
        await group.until(lambda: group[0].min() == 2, "min() to follow")
        votes = [record for record in group[0]._journal.records if isinstance(record, Vote)]
        assert min(vote.slot for vote in votes) == 3, "which is number 2"
        await group.restart(0)
        assert group[0].status(1) == Forgotten()
        assert group[0].status(2) == Agreed(b"x")

    async def test_all_can_be_ended_and_go_on_from_their_journals(self) -> None:
        group = await self.group()
        group[0].start(0, b"x")
        await group.wait(0)
        await group.end()
        assert group.peers == {}
        await group.begin()
        await group.wait(0)
        group[2].start(1, b"y")
        await group.wait(1)

    async def test_an_unreliable_member_loses_a_tenth_and_does_not_answer_a_fifth(self) -> None:
        group = await self.group()
        group.be_unreliable(0)
        sent: list[type[Message]] = []
        self.patch(group[0]._links, "send", lambda _group, _to, message: sent.append(type(message)))
        health = Health(
            ZERO_BALLOT,
            able=False,
            decided_through=Slot(0),
            kept_from=Slot(1),
            durable_through=Slot(0),
        )
        for number in range(1, 5001):
            chosen = Chosen(Ballot(1, NodeId("n02")), Slot(number), health, 0.0)
            group[0]._deliver(NodeId("n02"), 0, chosen)
        taken = group[0].requests["Chosen"]
        assert 4400 < taken < 4600
        assert 0.77 * taken < sent.count(Pong) < 0.83 * taken
        # What it asks itself leaves.
        assert sent.count(CatchUp) == taken

    async def test_a_reply_to_an_unreliable_member_is_not_lost(self) -> None:
        group = await self.group()
        group.be_unreliable()
        for _ in range(100):
            group[0]._deliver(NodeId("n02"), 0, Nack(Ballot(0, NodeId("")), Ballot(7, NodeId(""))))
        assert group[0]._agreements._highest_seen == Ballot(7, NodeId(""))
        assert not group[0].requests

    async def test_whoever_waits_fails_at_once_if_two_members_disagree(self) -> None:
        group = await self.group()
        waiting = group.until(lambda: False, "what never happens")
        group[0].start(0, b"x")
        await group.wait(0)
        group._decided(NodeId("n02"), 0, b"y")
        failure = self.failureResultOf(waiting)
        failure.trap(Disagreement)
        assert "number 0 is b'x', but n02 knows b'y'" in str(failure.value)
        with pytest.raises(Disagreement):
            group.count(0)

    async def test_whoever_waits_fails_if_a_member_had_to_stop(self) -> None:
        group = await self.group()
        group[0].start(0, b"x")
        await group.wait(0)
        other = Decided(Slot(1), ((Command(NodeId("n02"), 0, 0, 0, b"y"),),))
        group[1]._deliver(NodeId("n01"), 0, other)
        failure = self.failureResultOf(group.until(lambda: True, "anything"))
        assert "decided twice" in str(failure.value)

    async def test_who_waits_in_vain_is_told_for_what(self) -> None:
        group = await self.group()
        waiting = group.until(lambda: False, "the moon", 0.01)
        with pytest.raises(NotInTime, match=r"0\.01 s were not enough for the moon"):
            await waiting

    async def test_a_value_that_fits_into_no_message_is_refused(self) -> None:
        group = await self.group()
        group[0].start(0, b"x" * VALUE_BYTES_MAX)
        await group.wait(0)
        with pytest.raises(TooLarge):
            group[0].start(1, b"x" * (VALUE_BYTES_MAX + 1))

"""Links over UNIX sockets that are cut, delayed, thinned out, healed, and made deaf."""

from __future__ import annotations

import shutil
import socket
import tempfile
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from typing_extensions import override

from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.messages import Message
from test.node.members import Cluster, Member, reply, request, soon

A, B, C = NodeId("n01"), NodeId("n02"), NodeId("n03")


class ThreeMembers(TestCase):
    """Three members of a cluster, each dialed by the others."""

    timeout = 30
    formed = True

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        # Short, since the path of a UNIX socket can have little more than 100 bytes.
        self.directory = tempfile.mkdtemp(prefix="kvp")
        self.cluster = Cluster(3, directory=self.directory)
        if self.formed:
            await self.cluster.start_and_meet()
            self.a, self.b, self.c = (self.cluster.members[name] for name in self.cluster.names)

    @override
    async def tearDown(self) -> None:  # type: ignore[override]
        await self.cluster.stop()
        shutil.rmtree(self.directory)

    def switch(self, at: Member, from_node: NodeId, to_node: NodeId, **settings: Any) -> None:
        at.links.switches.set(from_node, to_node, **settings)

    async def arrives(self, message: Message, sender: Member, receiver: Member) -> None:
        """Send ``message``, and fail unless it is the next that arrives."""
        before = len(receiver.messages(sender.node))
        sender.links.send(0, receiver.node, message)
        await receiver.until(lambda: len(receiver.messages(sender.node)) > before)
        assert receiver.messages(sender.node)[before] == message


class CutTests(ThreeMembers):
    """A cut loses all that goes one way, and nothing that goes the other."""

    async def test_a_cut_at_the_sender_loses_what_it_sends(self) -> None:
        self.switch(self.a, A, B, state="cut")
        self.a.links.send(0, B, request(1))
        self.a.links.send(0, B, reply(1))
        await self.arrives(request(2), self.b, self.a)
        await self.arrives(reply(2), self.b, self.a)
        await self.arrives(request(3), self.a, self.c)
        assert self.a.status(B)["dropped"] == {"switched off": 2}
        self.a.links.switches.heal()
        # What was lost stays lost: the next message is the first that arrives.
        await self.arrives(request(4), self.a, self.b)
        assert self.b.messages(A) == [request(4)]

    async def test_a_cut_at_the_receiver_loses_what_it_is_sent(self) -> None:
        self.switch(self.b, A, B, state="cut")
        self.a.links.send(0, B, request(1))
        await self.arrives(request(2), self.b, self.a)
        # The connection is one queue: what is behind the lost message shows it was read.
        self.a.links.send(0, B, request(3))
        await self.dropped(self.b, A, 2)
        self.b.links.switches.heal()
        await self.arrives(request(4), self.a, self.b)
        assert self.b.messages(A) == [request(4)]
        assert self.a.status(B)["dropped"] == {}

    async def test_connections_survive_a_cut(self) -> None:
        for member in (self.a, self.b, self.c):
            member.links.switches.set(None, None, state="cut")
        for sender in (self.a, self.b, self.c):
            for to in {A, B, C} - {sender.node}:
                sender.links.send(0, to, request(1))
        for member in (self.a, self.b, self.c):
            member.links.switches.heal()
        await self.arrives(request(2), self.a, self.b)
        await self.arrives(request(2), self.b, self.c)
        await self.arrives(request(2), self.c, self.a)
        for member in (self.a, self.b, self.c):
            assert member.said("lost") == []

    async def test_one_member_is_cut_off_and_the_others_talk(self) -> None:
        self.a.links.switches.set(None, None, state="cut")
        self.a.links.send(0, B, request(1))
        self.b.links.send(0, A, request(1))
        await self.arrives(request(2), self.b, self.c)
        await self.arrives(request(2), self.c, self.b)
        await self.dropped(self.a, B, 2)
        assert self.a.messages() == []
        assert self.b.messages(A) == []

    async def dropped(self, member: Member, peer: NodeId, count: int) -> None:
        """Wait until ``member`` has lost ``count`` messages from or to ``peer``."""
        await soon(lambda: member.status(peer)["dropped"].get("switched off") == count)


class LossAndDelayTests(ThreeMembers):
    """Losses are counted, delays keep the order."""

    async def test_to_lose_all_is_to_cut(self) -> None:
        self.switch(self.a, A, B, loss=1)
        for number in range(100):
            self.a.links.send(0, B, request(number))
        assert self.a.status(B)["dropped"] == {"switched off": 100}
        self.switch(self.a, A, B, loss=0)
        await self.arrives(request(100), self.a, self.b)
        assert self.b.messages(A) == [request(100)]

    async def test_to_lose_some_is_to_pass_the_others_in_order(self) -> None:
        self.switch(self.a, A, B, loss=0.5)
        for number in range(200):
            self.a.links.send(0, B, request(number))
        lost = self.a.status(B)["dropped"]["switched off"]
        assert 50 < lost < 150
        self.switch(self.a, A, B, loss=0)
        self.a.links.send(0, B, request(200))
        await self.b.until(lambda: request(200) in self.b.messages(A))
        arrived = [message.from_slot for message in self.b.messages(A)]  # type: ignore[union-attr]
        assert len(arrived) == 200 - lost + 1
        assert arrived == sorted(arrived)

    async def test_a_delay_keeps_the_order_even_when_it_is_taken_away(self) -> None:
        self.switch(self.a, A, B, delay_s=0.05)
        for number in range(10):
            self.a.links.send(0, B, request(number))
        self.switch(self.a, A, B, delay_s=0)
        for number in range(10, 20):
            self.a.links.send(0, B, request(number))
        # Another way is not delayed, nor is the way back.
        await self.arrives(request(1), self.a, self.c)
        await self.arrives(request(2), self.b, self.a)
        assert self.b.messages(A) == []
        await self.b.until(lambda: len(self.b.messages(A)) == 20)
        assert self.b.messages(A) == [request(number) for number in range(20)]

    async def test_a_delay_acts_once_and_at_the_sender(self) -> None:
        self.switch(self.b, A, B, delay_s=60)
        await self.arrives(request(1), self.a, self.b)


class DeafTests(ThreeMembers):
    """A deaf member can dial, and cannot be dialed."""

    async def test_a_deaf_member_is_heard(self) -> None:
        await self.b.links.deafen()
        await self.a.until(lambda: B not in self.a.up())
        await self.c.until(lambda: B not in self.c.up())
        await self.arrives(request(1), self.b, self.a)
        await self.arrives(reply(1), self.a, self.b)
        await self.arrives(request(2), self.b, self.c)
        self.a.links.send(0, B, request(3))
        assert self.a.status(B)["dropped"] == {"no connection": 1}
        assert self.b.said("lost") == []

    async def test_a_deaf_member_hears_again_once_it_listens(self) -> None:
        for _ in range(3):
            await self.b.links.deafen()
            await self.a.until(lambda: B not in self.a.up())
            await self.b.links.listen()
            await self.cluster.met()
        await self.arrives(request(1), self.a, self.b)

    async def test_to_be_deaf_twice_is_to_be_deaf(self) -> None:
        await self.b.links.deafen()
        await self.b.links.deafen()
        await self.b.links.listen()
        await self.b.links.listen()
        await self.cluster.met()


class RestartTests(ThreeMembers):
    """Members come back, whatever they have left behind."""

    async def test_a_member_that_restarts_is_dialed_again(self) -> None:
        await self.cluster.stop(B)
        await self.a.until(lambda: B not in self.a.up())
        (b,) = self.cluster.start(B)
        await self.cluster.met()
        await self.arrives(request(1), self.a, b)
        await self.arrives(request(1), b, self.c)

    async def test_a_socket_left_behind_by_a_kill_is_in_nobodys_way(self) -> None:
        await self.cluster.stop(B)
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(f"{self.directory}/{B}")
        (b,) = self.cluster.start(B)
        await self.cluster.met()
        await self.arrives(request(1), self.a, b)

    async def test_a_socket_in_use_stops_the_second_process(self) -> None:
        second = Member(
            B, self.cluster.names, self.cluster.dialers, self.cluster.listeners[B], boot=9
        )
        failed: Deferred[Any] = second.links.listen()
        failure = self.failureResultOf(failed)
        assert "another process listens on" in failure.getErrorMessage()
        await self.arrives(request(1), self.a, self.b)

    async def test_all_restart_and_find_each_other(self) -> None:
        await self.cluster.stop()
        self.a, self.b, self.c = self.cluster.start()
        await self.cluster.met()
        await self.arrives(request(1), self.c, self.a)
        assert self.a.said("formed") == ["cluster"]


class FormationTests(ThreeMembers):
    """No cluster forms across a cut."""

    formed = False

    async def test_a_cluster_forms_once_the_last_cut_is_healed(self) -> None:
        a, b, c = self.cluster.start()
        c.links.switches.set(A, C, state="cut")
        await soon(lambda: len(a.disk) == len(b.disk) == 1)
        # Where the coordinator stands, before and after it made the cluster; and its question.
        await soon(lambda: c.status(A)["dropped"].get("switched off", 0) >= 3)
        assert (a.said("formed"), b.said("formed"), c.disk) == ([], [], [])
        c.links.switches.heal()
        await self.cluster.met()
        assert [member.said("formed") for member in (a, b, c)] == [["cluster of n01"]] * 3

"""Links that come and go, or work one way: writes go on, each once, and no leaders take turns."""

from __future__ import annotations

from typing_extensions import override

from kvpaxos.node.http.store import LinkChange
from kvpaxos.node.node import Node
from test.labs.store import together, value
from test.partition.partitions import PATIENT_S, ROUNDS_MAX, Partitions


class FlappingTests(Partitions):
    """One link comes and goes, and unseats nobody."""

    async def test_a_link_of_the_leader_flaps(self) -> None:
        one, other = self.leader, self.random.choice(self.others(self.leader))
        flips = 0

        def flip() -> None:
            nonlocal flips
            flips += 1
            self.group.cut(*([(one, other), (other, one)] if flips % 2 else []))

        # For less, and for longer, than anybody is patient.
        stop = self.repeatedly(flip, lambda: self.random.choice((0.1, 0.8)))
        while flips < 8:
            await self.work(range(5), 3)
        stop()
        self.group.heal()
        await self.check_all(range(5))
        self.say(f"{flips} flips, {self.rounds()} rounds")
        # A machine that stands still may have cost the leader its office, once.
        assert self.rounds() <= 1


class OneWayTests(Partitions):
    """Some can say what they cannot hear, or hear what they cannot answer."""

    async def test_a_leader_that_cannot_be_dialed_is_replaced_and_comes_back(self) -> None:
        await self.group.deafen(self.leader)
        await self.settle(self.others(self.leader))
        await self.steps_down(self.leader)
        assert await self.whoever_leads() != self.leader
        await self.group.listen(self.leader)
        await self.settle(range(5))
        await self.check_all(range(5))

    async def test_leaders_that_are_not_heard_or_hear_nobody_are_replaced(self) -> None:
        rest = self.others(self.leader)
        self.group.cut(*((self.leader, place) for place in rest))
        await self.settle(rest)
        deaf = await self.whoever_leads(but=self.leader)
        rest = self.others(deaf)
        self.group.cut(*((place, deaf) for place in rest))
        await self.settle(rest, elections=2)
        await self.steps_down(deaf)
        assert await self.whoever_leads() != deaf
        self.group.heal()
        await self.check_all(range(5))


class LossTests(Partitions):
    """What is said one way is lost more often than what is said the other way."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.nodes: list[Node] = [self.group.nodes[place] for place in range(5)]

    def lose(self, sender: Node, receiver: Node, share: float) -> None:
        # At the sending end only: what is lost at both would be lost more often.
        sender.set_link(
            LinkChange(
                from_node=sender.node, to_node=receiver.node, state=None, delay_s=None, loss=share
            )
        )

    async def test_links_that_lose_more_one_way_than_the_other_carry_all_writes(self) -> None:
        ways = [(one, other) for one in self.nodes for other in self.nodes if one is not other]
        for sender, receiver in ways:
            self.lose(sender, receiver, self.random.uniform(0, 0.4))
        await self.work(range(5))
        self.say(f"{self.rounds()} rounds")
        for sender, receiver in ways:
            self.lose(sender, receiver, 0)
        await self.check_all(range(5))


class MinorityTests(Partitions):
    """Clients can go elsewhere when the nodes that they know cannot."""

    async def test_clients_of_a_minority_write_once_by_other_nodes(self) -> None:
        few = (self.leader, self.others(self.leader)[0])
        many = self.others(*few)
        appended = ["", ""]

        async def client(number: int) -> None:
            # What it asks of the few can still be carried out, once they are healed.
            clerk = self.group.client(*self.random.sample(few, 2), *self.random.sample(many, 3))
            for count in range(20):
                await clerk.append(f"client {number}", f"{count};", timeout_s=PATIENT_S / 4)
                appended[number] += f"{count};"

        self.group.divide(few, many)
        await together(client(number) for number in range(2))
        self.say(f"{self.rounds()} rounds")
        assert self.rounds() <= ROUNDS_MAX
        self.group.heal()
        for clerk in self.clerks:
            assert [await value(clerk, f"client {number}") for number in range(2)] == appended

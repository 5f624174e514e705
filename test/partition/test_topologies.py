"""Whoever reaches a majority is served, whichever links are left, and leaders do not take turns.

`test.test_liveness` shows the same of the core alone, on a virtual clock, and more exactly.
"""

from __future__ import annotations

from itertools import pairwise

from test.partition.partitions import Partitions


class TopologyTests(Partitions):
    """Five nodes of which not all hear each other."""

    async def test_a_bridge_between_two_sides_serves_both(self) -> None:
        bridge = self.others(self.leader)[0]
        one, two, three, four = self.random.sample(self.others(bridge), 4)
        self.group.divide((one, two, bridge), (bridge, three, four))
        await self.serves(range(5))

    async def test_a_ring_serves_all(self) -> None:
        ring = self.random.sample(range(5), 5)
        self.connect(*zip(ring, [*ring[1:], ring[0]], strict=True))
        await self.serves(range(5))

    async def test_a_chain_serves_all_but_its_ends(self) -> None:
        # With a single neighbor, an end does not reach a majority.
        chain = [self.leader, *self.random.sample(self.others(self.leader), 4)]
        self.connect(*pairwise(chain))
        await self.serves(chain[1:-1])

    async def test_when_all_but_one_lose_each_other_that_one_leads(self) -> None:
        hub = self.random.choice(self.others(self.leader))
        self.connect(*((hub, place) for place in self.others(hub)))
        await self.serves(range(5))
        assert await self.whoever_leads() == hub

    async def serves(self, places: range | list[int]) -> None:
        """Fail unless the nodes at ``places`` are served, and all agree once they are healed."""
        await self.settle(places)
        self.group.heal()
        await self.check_all(range(5))

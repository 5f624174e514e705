"""What tests of partitions among whole nodes share: five of them, and counts of elections."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from typing_extensions import override

from test.labs.store import StoreScenario, together

PATIENT_S = 20.0
"""So long may a call take on a machine that is busy: a cluster that cannot serve takes for ever."""

ROUNDS_MAX = 6
"""An election takes no more rounds: one is usual, but several may stand at once."""


class Partitions(StoreScenario):
    """Five nodes with one leader, and a clerk pinned to each.

    :ivar leader: the place of the node that led at first.
    """

    count = 5

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.written = dict.fromkeys(range(self.count), "")
        self.leader = await self.whoever_leads()
        self._before = self.round()

    async def whoever_leads(self, *, but: int | None = None) -> int:
        """Return the place of the leader, after an election if one is under way.

        :param but: does not count; it may not have heard yet that it leads no more.
        """
        while True:
            for place, node in self.group.nodes.items():
                if place != but and node.leader() == node.node:
                    return place
            await self.clerk.get("q")

    async def steps_down(self, place: int) -> None:
        """Wait until the node at ``place`` has heard that it leads no more."""
        node = self.group.nodes[place]
        while node.leader() == node.node:
            await self.clerks[self.others(place)[0]].get("q")

    def others(self, *places: int) -> list[int]:
        return [place for place in range(self.count) if place not in places]

    def round(self) -> int:
        """Return the round of the highest ballot that a node has promised."""
        ballots = (str(node.describe()["ballot"]) for node in self.group.nodes.values())
        return max(int(ballot.partition(".")[0] or 0) for ballot in ballots)

    def rounds(self) -> int:
        """Return how many rounds of ballots there were since the leader was found."""
        return self.round() - self._before

    def connect(self, *edges: tuple[int, int]) -> None:
        """Let only those hear each other that share an edge."""
        self.group.divide(*edges)

    async def work(self, places: Collection[int], times: int = 6) -> None:
        """Append by each of the nodes at ``places`` at once, and again once all are done."""
        for _ in range(times):
            await together(self._append(place) for place in places)

    async def settle(self, places: Collection[int], elections: int = 1) -> None:
        """Write by the nodes at ``places``, and fail if leaders go on taking turns.

        :param elections: how many there may have been so far.
        """
        await self.work(places, 3)
        settled = self.rounds()
        assert settled <= elections * ROUNDS_MAX
        await self.work(places)
        self.say(f"{settled} rounds, {self.rounds()} in the end; {self.leader} led at first")
        # On a machine that stands still for a moment anybody may lose a leader.
        assert self.rounds() <= settled + 1

    async def check_all(self, places: Iterable[int]) -> None:
        """Fail unless each of the nodes at ``places`` shows exactly what was appended by all."""
        for place in places:
            for key, expected in self.written.items():
                await self.check(self.clerks[place], str(key), expected)

    async def _append(self, place: int) -> None:
        more = f"{self.random.getrandbits(16):04x}"
        answer = await self.clerks[place].append(str(place), more, timeout_s=PATIENT_S)
        self.written[place] += more
        assert answer.value is not None
        assert answer.value.decode() == self.written[place], "an append was lost, or came twice"

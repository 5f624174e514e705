"""What the scenarios of the store need: nodes, and clerks that ask them."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from typing_extensions import override

from kvpaxos.client.client import Client
from kvpaxos.testing.nodes import NodeGroup
from test.labs.scenario import REACTOR, Scenario


async def value(clerk: Client, key: str) -> str:
    """Return what ``key`` holds; the empty string if it is not there, as in the labs."""
    answer = await clerk.get(key)
    return "" if answer is None or answer.value is None else answer.value.decode()


def together(doing: Iterable[Coroutine[Deferred[Any], Any, None]]) -> Awaitable[object]:
    """Do several things at once; fail as soon as one of them does."""
    return gatherResults([Deferred.fromCoroutine(one) for one in doing], consumeErrors=True)


class StoreScenario(Scenario):
    """A test with a group of nodes, a clerk for all of them, and one for each.

    :cvar count: how many nodes there are.
    """

    count = 3

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.group = NodeGroup(self.count, self.directory, reactor=REACTOR, random=self.random)
        # Trial cleans up before it tears down, and in reverse order.
        self.addCleanup(self.group.end)
        await self.group.begin()
        self.clerk = self.group.client()
        self.clerks = [self.group.client(place) for place in range(self.count)]

    def any_order(self) -> Client:
        """Return a clerk that asks the nodes in an order of its own."""
        return self.group.client(*self.random.sample(range(self.count), self.count))

    async def check(self, clerk: Client, key: str, expected: str) -> None:
        found = await value(clerk, key)
        assert found == expected, f"{key} is {found!r:.200}, and not {expected!r:.200}"

    async def equal_everywhere(self, key: str) -> None:
        """Fail unless all nodes have the same value."""
        found = [await value(clerk, key) for clerk in self.clerks]
        assert len(set(found)) == 1, f"{key} is {found!r:.200}"

    async def put_and_get_at_once(self, clients: int) -> None:
        """Let each of ``clients`` put or get one key, once, by some node."""

        async def client() -> None:
            clerk = self.random.choice(self.clerks)
            if self.random.random() < 0.5:
                await clerk.set("b", str(self.random.getrandbits(31)))
            else:
                await clerk.get("b")

        await together(client() for _ in range(clients))
        await self.equal_everywhere("b")

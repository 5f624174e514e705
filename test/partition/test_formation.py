"""Nodes that form their cluster while links are cut: never two clusters, and one in the end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from typing_extensions import override

from kvpaxos.node.node import Node
from kvpaxos.paxos.records import Formed, Record
from kvpaxos.testing.nodes import NodeGroup
from test.labs.scenario import REACTOR, Scenario
from test.node.members import soon


class FormationTests(Scenario):
    """Five nodes that have never met."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.group = NodeGroup(5, self.directory, reactor=REACTOR, random=self.random)
        self.addCleanup(self.group.end)
        self.changes = 0

    def is_past(self, changes: int) -> bool:
        return self.changes >= changes

    def begin(self, *places: int) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.group.begin(*places))

    def clusters(self) -> set[str]:
        """Return the clusters that nodes belong to; the empty string for those in none."""
        return {str(node.describe()["cluster"]) for node in self.group.nodes.values()}

    def swallowed(self) -> int:
        """Return how many messages the cuts have cost."""
        rows: list[Any] = [node.describe()["peers"] for node in self.group.nodes.values()]
        return sum(row["dropped"].get("switched off", 0) for peers in rows for row in peers)

    async def remains_one(self) -> None:
        """Fail unless there is one cluster, and the same after all have restarted."""
        (cluster,) = formed = self.clusters()
        assert cluster != ""
        await self.group.client().set("a", "x")
        await self.group.end()
        await self.group.begin()
        assert self.clusters() == formed
        answer = await self.group.client().get("a")
        assert answer is not None
        assert answer.value == b"x"

    async def test_a_node_that_is_stopped_while_it_forms_does_nothing_any_more(self) -> None:
        persist = Node._persist
        forming: Deferred[None] = Deferred()
        release: Deferred[None] = Deferred()

        def held(node: Node, records: Sequence[Record]) -> Deferred[None]:
            durable = persist(node, records)
            if isinstance(records[0], Formed):
                durable.addCallback(forming.callback)
                durable.addCallback(lambda _: release)
            return durable

        self.patch(Node, "_persist", held)
        alone = NodeGroup(1, self.directory, reactor=REACTOR, random=self.random)
        beginning = Deferred.fromCoroutine(alone.begin())
        await forming
        (node,) = alone.nodes.values()
        beginning.cancel()
        await self.assertFailure(beginning, FirstError)
        await alone.end()
        release.callback(None)
        # Nor does a timer of it remain: trial would find that.
        assert node.leader() == ""

    async def test_no_cluster_forms_across_a_cut_and_one_does_once_it_is_healed(self) -> None:
        self.group.divide((0, 1, 2), (3, 4))
        beginning = self.begin()
        await soon(lambda: self.swallowed() >= 30)
        assert self.clusters() == {""}
        self.group.heal()
        await beginning
        await self.remains_one()

    async def test_one_cluster_forms_in_changing_partitions_and_restarts(self) -> None:
        ways = [(one, other) for one in range(5) for other in range(5) if one != other]
        seen: set[str] = set()

        def change() -> None:
            self.changes += 1
            seen.update(self.clusters())
            self.group.cut(*self.random.sample(ways, self.random.randrange(len(ways))))

        beginning = [self.begin()]
        stop = self.repeatedly(change, lambda: self.random.uniform(0, 0.1))
        for _ in range(4):
            await soon(partial(self.is_past, self.changes + 5))
            place = self.random.randrange(5)
            await self.group.end(place)
            beginning.append(self.begin(place))
        stop()
        self.group.heal()
        await gatherResults(beginning)
        self.say(f"{self.changes} changes, {seen or 'no cluster'} before the group was whole")
        assert len((seen | self.clusters()) - {""}) == 1
        await self.remains_one()

"""The harness of the key-value scenarios does to its nodes what it says."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from kvpaxos.errors import KvPaxosError
from kvpaxos.testing.nodes import LOST_MESSAGES, Lossy, NodeGroup, NodeStopped
from test.labs.scenario import REACTOR, Scenario


class NodeGroupTests(Scenario):
    """Nodes of a group are cut off, made unreliable, and restarted."""

    async def group(self) -> NodeGroup:
        group = NodeGroup(3, self.directory, reactor=REACTOR, random=self.random)
        self.addCleanup(group.end)
        await group.begin()
        return group

    async def test_a_client_asks_the_nodes_that_it_was_made_for(self) -> None:
        group = await self.group()
        await group.client(0).set("a", "x")
        for place in range(3):
            status = await group.client(place).status()
            assert status["node"] == f"n0{place + 1}"
        answer = await group.client(2, 1).get("a")
        assert answer is not None
        assert answer.value == b"x"

    async def test_a_node_alone_writes_nothing_until_all_is_healed(self) -> None:
        group = await self.group()
        group.divide((0, 1))
        writing = group.client(2).set("a", "alone")
        await group.client(0).set("b", "together")
        assert not writing.called
        group.heal()
        await writing

    async def test_who_cannot_hear_the_others_reads_nothing_new(self) -> None:
        group = await self.group()
        group.cut((0, 2), (1, 2))
        reading = group.client(2).get("a")
        await group.client(0).set("a", "x")
        assert not reading.called
        group.cut()
        # It was asked before the write was, so it may show what was there before.
        await reading
        answer = await group.client(2).get("a")
        assert answer is not None
        assert answer.value == b"x"

    async def test_a_node_that_is_restarted_has_its_data_and_its_cuts(self) -> None:
        group = await self.group()
        await group.client().set("a", "x")
        await group.restart(1)
        assert (await group.client(1).get("a", stale=True)) is not None
        group.divide((0, 2))
        await group.end(1)
        await group.client(0).set("a", "y")
        group.heal()
        await group.begin(1)
        answer = await group.client(1).get("a")
        assert answer is not None
        assert answer.value == b"y"

    async def test_all_nodes_can_end_and_begin_again(self) -> None:
        group = await self.group()
        await group.client().set("a", "x")
        await group.end()
        assert group.leader() is None
        await group.begin()
        answer = await group.client().get("a")
        assert answer is not None
        assert answer.value == b"x"
        assert group.leader() in (0, 1, 2)

    async def test_unreliable_nodes_lose_messages_and_reliable_ones_do_not(self) -> None:
        group = await self.group()
        losses = {row["loss"] for node in group.nodes.values() for row in node.links()}
        assert losses == {0.0}
        group.be_unreliable()
        for node in group.nodes.values():
            rows = {(row["from"] == node.node, row["loss"]) for row in node.links()}
            # At the sending end only.
            assert rows == {(True, LOST_MESSAGES), (False, 0.0)}
        await group.client().set("a", "x")
        await group.restart(0)
        group.be_unreliable(unreliable=False)
        losses = {row["loss"] for node in group.nodes.values() for row in node.links()}
        assert losses == {0.0}

    async def test_a_node_that_had_to_stop_is_told_at_the_end(self) -> None:
        group = NodeGroup(3, self.directory, reactor=REACTOR, random=self.random)
        await group.begin()
        group.nodes[1].halt(KvPaxosError("its disk is full of bees"))
        await group.client(0, 2).set("a", "x")
        with pytest.raises(NodeStopped, match="n02: its disk is full of bees"):
            await group.end()
        assert group.nodes == {}


class Answered:
    """An answer whose body is at its end at once."""

    code = 200
    phrase = b"OK"

    def deliverBody(self, protocol: Any) -> None:  # noqa: N802 -- Twisted names it
        protocol.connectionLost(Failure(ResponseDone()))


class Answers:
    """A treq that answers everything."""

    def __init__(self) -> None:
        self.asked = 0

    def request(self, *_args: Any, **_options: Any) -> Deferred[Any]:
        self.asked += 1
        return succeed(Answered())


class DocsTests(Scenario):
    """What the docs show works."""

    async def test_the_example_does_what_it_says(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
        example = page.partition("```python\n")[2].partition("```")[0]
        made: dict[str, Any] = {}
        exec(example, made)  # noqa: S102 -- our own page
        await made["Partitions"].test_a_minority_waits(self)


class LossyTests(Scenario):
    """Requests and answers are lost as often as in the labs."""

    async def test_a_tenth_is_not_read_and_a_fifth_of_the_rest_not_answered(self) -> None:
        treq = Answers()
        lossy = Lossy(treq, lambda: True, Random(self.random.random()))
        answered = 0
        for _ in range(5000):
            try:
                await lossy.request("GET", "http://n01/")
            except ConnectionLost:
                continue
            answered += 1
        assert 4400 < treq.asked < 4600
        assert 0.77 * treq.asked < answered < 0.83 * treq.asked

    async def test_nothing_is_lost_while_it_is_not_to_be(self) -> None:
        treq = Answers()
        lossy = Lossy(treq, lambda: False, Random(0))
        for _ in range(200):
            await lossy.request("GET", "http://n01/")
        assert treq.asked == 200

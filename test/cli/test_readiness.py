"""Waiting until a cluster serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kvpaxos.cli.readiness import COMPLAIN_AFTER_S, POLL_S, until_ready

URLS = {"n01": "http://a", "n02": "http://b", "n03": "http://c"}
NODES = {url: node for node, url in URLS.items()}


@dataclass
class World:
    """Nodes that are ready when the test says so."""

    reasons: dict[str, str | None]
    running: set[str] = field(default_factory=lambda: {"n01", "n02", "n03"})
    asked: list[str] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def ask(self, url: str) -> Deferred[str | None]:
        self.asked.append(NODES[url])
        return succeed(self.reasons[NODES[url]])

    def wait(self) -> Deferred[list[str]]:
        return Deferred.fromCoroutine(
            until_ready(
                URLS,
                self.ask,
                clock=self.clock,
                running=lambda: self.running,
                announce=self.announced.append,
            )
        )


class ReadinessTests(SynchronousTestCase):
    """`until_ready`."""

    def test_a_ready_node_is_not_asked_again(self) -> None:
        world = World({"n01": None, "n02": "no leader", "n03": None})
        waiting = world.wait()
        self.assertNoResult(waiting)
        world.reasons["n02"] = None
        world.clock.advance(POLL_S)
        assert world.asked == ["n01", "n02", "n03", "n02"]
        world.clock.advance(POLL_S)
        assert self.successResultOf(waiting) == ["n01", "n02", "n03"]
        assert world.announced == []

    def test_a_node_that_ended_is_not_waited_for(self) -> None:
        world = World({"n01": None, "n02": "no leader", "n03": None})
        waiting = world.wait()
        world.running.remove("n02")
        world.clock.advance(POLL_S)
        assert self.successResultOf(waiting) == ["n01", "n03"]

    def test_a_node_that_ended_after_it_was_ready_does_not_serve(self) -> None:
        world = World({"n01": None, "n02": "no leader", "n03": None})
        waiting = world.wait()
        world.running = {"n03"}
        world.clock.advance(POLL_S)
        assert self.successResultOf(waiting) == ["n03"]

    def test_when_all_have_ended_nobody_is_waited_for(self) -> None:
        world = World(dict.fromkeys(URLS, "no leader"), running=set())
        assert self.successResultOf(world.wait()) == []
        assert world.asked == []

    def test_who_is_late_is_told_once_with_the_reason(self) -> None:
        world = World({"n01": None, "n02": "no leader is known", "n03": "it refuses connections"})
        world.wait()
        world.clock.pump([POLL_S] * round(3 * COMPLAIN_AFTER_S / POLL_S))
        assert world.announced == [
            "still waiting for n02 (no leader is known), n03 (it refuses connections)"
        ]

"""What goes wrong with real nodes: they are killed and paused, links are cut, a disk is filled."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

from kvpaxos.checking.history import Call
from kvpaxos.store.commands import Delete
from test.processes.cluster import START_S, Cluster, Node, Unreachable
from test.processes.test_full_disks import SmallDisk

OPTIONS: Final = ("--allow-partitions",)

_LOOK_S: Final = 0.05


class Faults:
    """Does harm to a cluster, and makes it good again. Only the main thread may use it.

    :param disk: what holds the data of the second node, if it is to become full.
    :ivar counts: how often there was each kind of harm.
    :ivar asked: what nodes were asked for to see whether they serve again.
    """

    def __init__(self, cluster: Cluster, random: Random, disk: SmallDisk | None) -> None:
        self.counts: Counter[str] = Counter()
        self.asked: list[Call] = []
        self._cluster = cluster
        self._random = random
        self._disk = disk
        self._full = False
        self._paused: set[str] = set()
        self._cut: set[str] = set()

    def strike(self) -> None:
        """Do one thing to one node."""
        running = [node for node in self._cluster.nodes if self._runs(node)]
        harms: list[tuple[str, Callable[[Node], None]]] = [
            ("kill", self._kill),
            ("pause", self._pause),
            ("cut", self._cut_off),
            ("cut one way", self._cut_one_way),
            ("loss and delay", self._lose),
        ]
        if self._disk is not None and not self._full:
            harms.append(("full disk", self._fill))
        name, harm = self._random.choice(harms)
        if running:
            harm(self._random.choice(running))
            self.counts[name] += 1

    def mend(self) -> None:
        """Make everything good again; wait for nothing."""
        for node in self._cluster.nodes:
            if node.name in self._paused:
                assert node.process is not None, "a paused node cannot end"
                node.process.send_signal(signal.SIGCONT)
        self._paused.clear()
        if self._full:
            assert self._disk is not None, "it was filled"
            self._disk.clear()
            self._full = False
        for node in self._cluster.nodes:
            if not self._runs(node):
                # Links that were cut are whole again: that is not remembered.
                self._cut.discard(node.name)
                self._cluster.launch(node, options=OPTIONS)
                self.counts["start"] += 1
            elif node.name in self._cut and self._switch(node, state="up", loss="0", delay="0"):
                self._cut.discard(node.name)

    def settle(self) -> None:
        """Make everything good, and return once each node has carried out a write."""
        deadline = time.monotonic() + START_S
        left = list(self._cluster.nodes)
        while left:
            self.mend()
            left = [node for node in left if not self._writes(node)]
            said = {node.name: node.lines[-5:] for node in left}
            assert time.monotonic() < deadline, f"these do not serve again: {said}"
            if left:
                time.sleep(_LOOK_S)  # It is asked of other processes, which do not tell.

    def _writes(self, node: Node) -> bool:
        if node.name in self._cut:
            return False
        # It belongs to the history: somebody asked for it, and it may be in the log.
        self.asked.append(Call("settle", Delete(b"settled"), time.monotonic(), None, "unknown"))
        try:
            return node.ask("DELETE", "/kv/delete", key="settled").status == 200
        except Unreachable:
            return False

    def _runs(self, node: Node) -> bool:
        """Whether ``node`` runs: one without room on its disk may end by itself."""
        if node.process is None:
            return False
        try:
            node.process.wait(timeout=0)
        except TimeoutError:
            return True
        node.process = None
        self._paused.discard(node.name)
        self.counts["ended by itself"] += 1
        return False

    def _kill(self, node: Node) -> None:
        self._paused.discard(node.name)
        self._cluster.kill(node)

    def _pause(self, node: Node) -> None:
        assert node.process is not None, "it runs"
        node.process.send_signal(signal.SIGSTOP)
        self._paused.add(node.name)

    def _cut_off(self, node: Node) -> None:
        self._switch(node, state="cut")

    def _cut_one_way(self, node: Node) -> None:
        other = self._random.choice([one.name for one in self._cluster.nodes if one is not node])
        ends = [node.name, other]
        self._random.shuffle(ends)
        self._switch(node, state="cut", **dict(zip(("from", "to"), ends, strict=True)))

    def _lose(self, node: Node) -> None:
        loss, delay = self._random.choice((("0.3", "0"), ("0.05", "0.05"), ("0", "0.2")))
        self._switch(node, loss=loss, delay=delay)

    def _switch(self, node: Node, **switches: str) -> bool:
        """Switch links of ``node``; return whether it took that."""
        self._cut.add(node.name)
        try:
            return node.ask("POST", "/kvman/links", timeout_s=1.0, **switches).status == 200
        except Unreachable:
            return False

    def _fill(self, _: Node) -> None:
        assert self._disk is not None, "there is one"
        self._disk.fill(leave=self._random.choice((0, 0, 1024 * 1024)))
        self._full = True

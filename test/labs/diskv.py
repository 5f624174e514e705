"""What the scenarios of the persistent store need: processes, disks that get lost, and clerks."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import ParamSpec, TypeVar

from test.processes.cluster import START_S, Cluster, Node, Reply, Unreachable
from test.processes.disks import Use, use_of

CLERK_S = 60.0
"""A clerk tries for so long; in the labs for ever."""

ATTEMPT_S = 1.0
"""So long it waits for one node. Those that are cut off take requests too."""

PAUSE_S = 0.02
"""Its pause once all nodes have failed."""

LOST_REQUESTS = 0.1
LOST_REPLIES = 0.2
"""Of what unreliable nodes are asked, and of the rest, as in the labs."""

LOST_MESSAGES = 1 - ((1 - LOST_REQUESTS) * (1 - LOST_REPLIES)) ** 0.5
"""Of what they say to each other, each way: a request and its reply both arrive as often."""

SEGMENT_BYTES = 32 * 1024
SNAPSHOT_SLOTS = 50
STORAGE = {
    "memory_bytes": 4 * 1024 * 1024,
    "journal_bytes_max": 4 * SEGMENT_BYTES,
    "segment_bytes": SEGMENT_BYTES,
    "snapshot_slots": SNAPSHOT_SLOTS,
}
"""The least that settings allow: nodes forget what is beyond some tens of slots."""

REJOIN = ("--rejoin",)
"""How all nodes are started but for the first time, whether they have lost their disks or not."""

PARTITIONS = ("--allow-partitions",)

P = ParamSpec("P")
T = TypeVar("T")


class Group:
    """Nodes that are processes with disks. They go by their places, from 0.

    :ivar random: all chance of the test comes from here.
    """

    def __init__(self, nodes: Cluster, random: Random) -> None:
        self.random = random
        self.over = threading.Event()
        self.unreliable = False
        self._cluster = nodes
        self._clerks = 0
        self._threads = ThreadPoolExecutor()

    @property
    def nodes(self) -> list[Node]:
        return self._cluster.nodes

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.process is not None]

    def crash(self, *places: int) -> None:
        """Kill nodes, or all, at once. They keep their disks."""
        self._cluster.kill(*self._at(places))

    def lose(self, *places: int) -> None:
        """Kill nodes, and delete their directories."""
        self.crash(*places)
        for place in places:
            shutil.rmtree(self._directory(place))

    def begin(self, *, unreliable: bool = False) -> None:
        """Start all for the first time, and wait until they serve."""
        self.unreliable = unreliable
        self._launch((), PARTITIONS)
        self.wait_until_ready()

    def launch(self, *places: int) -> None:
        """Start nodes again, or all, and wait for no more than their ports."""
        self._launch(places, (*PARTITIONS, *REJOIN))

    def restart(self, *places: int) -> None:
        """Start nodes again, or all, and wait until they serve, and vote."""
        self.launch(*places)
        self.wait_until_ready(*places)

    def wait_until_ready(self, *places: int) -> None:
        """Return once each has finished a linearizable read, and votes, whatever it had lost."""
        for node in self._at(places):
            node.wait_for_line("ready")
            self.wait_for(partial(_serves, node))

    def wait_until_linked(self) -> None:
        """Return once each of those that run has met all others that do."""
        running = self.running
        for node in running:
            others = {peer.name for peer in running} - {node.name}
            self.wait_for(partial(_has_met, node, others))

    def wait_until_equal(self) -> None:
        """Return once all that run have executed the same slots, to the same state."""

        def equal() -> bool:
            statuses = [node.ask("GET", "/kvman/status").body for node in self.running]
            states = {(status["applied"], status["state"]["digest"]) for status in statuses}
            applied = {slot for slot, _ in states}
            assert len(states) == len(applied), f"one slot made several states: {states}"
            return len(applied) == 1

        self.wait_for(equal)

    def wait_until_forgotten(self) -> None:
        """Return once no node keeps slots that all states have, as far as these are flushed."""

        def forgotten() -> bool:
            statuses = [node.ask("GET", "/kvman/status").body for node in self.running]
            return all(
                status["applied"] - status["kept_from"] < SNAPSHOT_SLOTS for status in statuses
            )

        self.wait_for(forgotten)

    def wait_for(self, holds: Callable[[], object]) -> None:
        """Return once something is so. It is asked of other processes, which do not tell."""
        deadline = time.monotonic() + START_S
        while not holds():
            assert time.monotonic() < deadline, self.describe()

    def describe(self) -> str:
        """Return what nodes say of themselves."""
        said = [line for node in self.nodes for line in node.lines[-20:]]
        statuses = [json.dumps(node.ask("GET", "/kvman/status").body) for node in self.running]
        return "\n".join(["no end:", *statuses, *sorted(said)])

    def clerk(self) -> Clerk:
        """Return a clerk that asks the nodes in an order of its own."""
        self._clerks += 1
        order = self.random.sample(self.nodes, len(self.nodes))
        return Clerk(f"c{self._clerks}", order, self, Random(self.random.getrandbits(64)))

    def meanwhile(self, act: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> Future[T]:
        """Do something while the test goes on."""
        return self._threads.submit(act, *arguments, **options)

    def use(self) -> Use:
        """Return what the disks hold."""
        return use_of(self._directory(place) for place in range(len(self.nodes)))

    def close(self) -> None:
        """Have clerks give up."""
        self.over.set()
        self._threads.shutdown()

    def _directory(self, place: int) -> Path:
        return self._cluster.directory / self.nodes[place].name

    def _at(self, places: Sequence[int]) -> list[Node]:
        return [self.nodes[place] for place in places] or self.nodes

    def _launch(self, places: Sequence[int], options: tuple[str, ...]) -> None:
        nodes = self._at(places)
        self._cluster.launch(*nodes, options=options)
        for node in nodes:
            node.wait_for_line("serving HTTP")
            if self.unreliable:
                reply = node.ask("POST", "/kvman/links", loss=str(LOST_MESSAGES))
                assert reply.status == 200, reply


class Clerk:
    """A client that tries until it is done. Each of its writes is carried out once.

    While the group is unreliable some of what it asks is not read, and some answers are lost.
    """

    def __init__(self, name: str, nodes: Sequence[Node], group: Group, random: Random) -> None:
        self.name = name
        self._nodes = nodes
        self._group = group
        self._random = random
        self._opid = 0

    def get(self, key: str) -> str:
        """Return what ``key`` holds; the empty string if it is not there, as in the labs."""
        reply = self._ask("GET", "/kv/get", {"key": key})
        value: str = reply.body["value"] if reply.done else ""
        return value

    def put(self, key: str, value: str) -> None:
        self._write("/kv/set", key, value)

    def append(self, key: str, value: str) -> None:
        self._write("/kv/append", key, value)

    def check(self, key: str, expected: str) -> None:
        found = self.get(key)
        assert found == expected, f"{key} is {found!r:.200}, and not {expected!r:.200}"

    def _write(self, path: str, key: str, value: str) -> None:
        self._opid += 1
        identity = {"client": self.name, "opid": str(self._opid)}
        reply = self._ask("POST", path, {"key": key, "value": value, **identity})
        assert reply.done, reply

    def _ask(self, method: str, path: str, parameters: dict[str, str]) -> Reply:
        deadline = time.monotonic() + CLERK_S
        while not self._group.over.is_set():
            for node in self._nodes:
                reply = self._try(node, method, path, parameters)
                if reply is not None and reply.status == 200:
                    return reply
            assert time.monotonic() < deadline, self._group.describe()
            # Nobody tells a client when there is somebody who can answer.
            self._group.over.wait(PAUSE_S)
        raise AssertionError(f"the test ended before {self.name} had an answer to {path}")

    def _try(self, node: Node, method: str, path: str, parameters: dict[str, str]) -> Reply | None:
        if self._happens(LOST_REQUESTS):
            return None
        lost = self._happens(LOST_REPLIES)
        try:
            reply = node.send(method, path, {**parameters, "timeout": str(ATTEMPT_S)})
        except Unreachable:
            return None
        assert reply.status in {200, 503, 504}, reply
        return None if lost else reply

    def _happens(self, share: float) -> bool:
        return self._group.unreliable and self._random.random() < share


@dataclass
class Appends:
    """What clerks append to one key, each its own numbers, and how far they are.

    :ivar counts: how many appends of each clerk were acknowledged.
    """

    counts: list[int]
    news: threading.Condition = field(default_factory=threading.Condition)
    ended: threading.Event = field(default_factory=threading.Event)

    def append(self, clerk: Clerk, number: int) -> None:
        """Append every 200 ms until `ended`, and at least five times."""
        while not self.ended.is_set() or self.counts[number] < 5:
            clerk.append("k", f"x {number} {self.counts[number]} y")
            with self.news:
                self.counts[number] += 1
                self.news.notify_all()
            self.ended.wait(0.2)

    def wait_for_more(self, more: int) -> None:
        """Return once each clerk has done so many more."""
        with self.news:
            wanted = [count + more for count in self.counts]
            done = self.news.wait_for(lambda: _reached(self.counts, wanted), timeout=START_S)
        assert done, f"{self.counts} are acknowledged, and not {wanted}"

    def check(self, value: str, least: list[int]) -> None:
        """Fail unless ``value`` has so many of each clerk, once and in order, and nothing else."""
        found = [int(number) for number in value.replace("x", "").replace("y", "").split()]
        counts = [0] * len(self.counts)
        for number, count in zip(found[::2], found[1::2], strict=True):
            assert count == counts[number], f"clerk {number} is out of order in {value}"
            counts[number] += 1
        assert _reached(counts, least), f"{least} were acknowledged, and {counts} are there"


def _reached(counts: list[int], wanted: list[int]) -> bool:
    return all(count >= least for count, least in zip(counts, wanted, strict=True))


@contextmanager
def group(directory: Path, count: int, *, unreliable: bool = False) -> Iterator[Group]:
    """Provide nodes that serve, and leave neither process nor thread behind."""
    seed = int(os.environ.get("KVPAXOS_SEED") or SystemRandom().getrandbits(32))
    print(f"seed {seed}")  # noqa: T201 -- pytest shows it with what fails
    nodes = Cluster(directory, count, storage=STORAGE)
    made = Group(nodes, Random(seed))
    try:
        made.begin(unreliable=unreliable)
        yield made
    finally:
        nodes.close()
        made.close()


def _serves(node: Node) -> bool:
    return node.ask("GET", "/readyz").status == 200


def _has_met(node: Node, others: set[str]) -> bool:
    peers = node.ask("GET", "/kvman/status").body["peers"]
    return others <= {peer["peer"] for peer in peers if peer["dialed"] or peer["accepted"]}

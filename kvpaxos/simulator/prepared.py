"""A cluster that has a past: votes, leaders that were lost, slots that were learned later."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from typing_extensions import override

from kvpaxos.config.cluster import ClusterStorage
from kvpaxos.node.transfer import PIECE_BYTES
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.clients import Manners
from kvpaxos.simulator.climate import Climate
from kvpaxos.simulator.contents import Contents
from kvpaxos.simulator.history import judge
from kvpaxos.simulator.network import Weather
from kvpaxos.simulator.run import ALIVE_S_MAX, WHOLE_S_MAX
from kvpaxos.simulator.world import World
from kvpaxos.store.commands import Get, Operation, Set

SIZES: Final = (20, 200, 700, 1500, 3000, 6000)
"""How long the values are, in turn."""

KEYS: Final = 40

SEGMENTS: Final = 3
"""How many segments each journal has at least."""

_SCAN_BYTES_PER_S: Final = 1 << 30
_FAR: Final = 1 << 40


class CountedWorld(World):
    """A world that counts runs: one process may have several, if it repairs its disk.

    :ivar begun: how often each node has begun to take part.
    """

    def __init__(self, seed: int, climate: Climate) -> None:
        self.begun: Counter[str] = Counter()
        super().__init__(seed, climate)

    @override
    def began(self, replica: Replica, memory: Memory) -> None:
        super().began(replica, memory)
        self.begun[replica.node] += 1


class PreparedCluster:
    """Nodes that have served, all of which run, and of which nobody has forgotten anything.

    :param scans: whether the nodes read their disks again and again, each second.
    :param nodes: how many there are.
    :ivar world: where they are.
    """

    def __init__(self, segment_bytes: int, *, scans: bool, nodes: int = 3) -> None:
        storage = ClusterStorage(
            segment_bytes=segment_bytes,
            journal_bytes_max=_FAR,
            snapshot_slots=1_000_000,
            scan_bytes_per_s=_SCAN_BYTES_PER_S if scans else 0,
            scan_every_s=1,
        )
        self.world = CountedWorld(1, _fair(storage, nodes))
        # Whoever is struck, and however many, is for those who use it to say.
        self.world.frail = frozenset(self.world.names)
        self._random = Random(1)
        self._written = 0
        for server in self.world.servers:
            server.start()
        self.become_whole()
        self._live(segment_bytes)

    def journal_files(self, node: str) -> dict[Path, Contents]:
        """Return the files in the directory of a node's journal."""
        files = self.world.server(node).drive.files.files()
        return {path: file for path, file in files.items() if path.parent.name == "journal"}

    def settle(self) -> None:
        """Let all that was written reach the disks, as systems do after a while."""
        for server in self.world.servers:
            for file in server.drive.files.files().values():
                file.sync()

    def become_whole(self, renewed: str = "", begun: int = 0) -> None:
        """Wait until all nodes run and vote.

        :param renewed: this one must have begun to take part more often than ``begun`` times.

        :raises AssertionError: they do not, or a rule was broken.
        """
        world = self.world
        whole = world.run(
            WHOLE_S_MAX, lambda: world.begun[renewed] >= begun + bool(renewed) and world.is_whole
        )
        assert world.checker.wrong is None, world.checker.wrong
        assert whole, f"after {WHOLE_S_MAX:g} s {world.missing} does not run, or does not vote"

    def ask(self, operation: Operation, node: str) -> None:
        """Have ``node``, or whom it sends to, carry something out.

        :raises AssertionError: that has not come about, or a rule was broken.
        """
        world = self.world
        request = world.ask(operation, node)
        done = world.run(ALIVE_S_MAX, lambda: request.ending == "done")
        assert world.checker.wrong is None, world.checker.wrong
        assert done, f"{type(operation).__name__} at {node} has no answer after {ALIVE_S_MAX:g} s"

    def check(self, damaged: str) -> None:
        """See that everything is there, also by the help of the node that was damaged.

        :raises AssertionError: it is not.
        """
        world = self.world
        ended = [one.node for one in world.servers if one.counts["ended by itself"]]
        assert not ended, f"{' '.join(ended)} ended, and somebody had to start it again"
        # From here on nothing is decided without the one that was damaged.
        others = [server for server in world.servers if server.node != damaged]
        others[0].kill()
        self.ask(Set(b"after", damaged.encode()), damaged)
        self.ask(Get(b"k0"), damaged)
        judge(world.checker, world.requests)
        assert world.checker.wrong is None, world.checker.wrong

    def start_all(self) -> None:
        """Start the nodes that do not run."""
        for server in self.world.servers:
            if not server.up:
                server.start()

    def write(self, count: int, nodes: list[str]) -> None:
        """Have so many values of all sizes stored, one after the other."""
        for _ in range(count):
            number, self._written = self._written, self._written + 1
            value = self._random.randbytes(SIZES[number % len(SIZES)])
            self.ask(Set(b"k%d" % (number % KEYS), value), nodes[number % len(nodes)])

    def _live(self, segment_bytes: int) -> None:
        """Fill some segments: with all nodes, without a leader, and with it again."""
        world = self.world
        filled = segment_bytes // (sum(SIZES) // len(SIZES) + 100)
        self.write(filled, world.names)
        leader = world.leader
        assert leader is not None, "nobody leads"
        world.server(leader).kill()
        self.write(filled // 2 + 1, [node for node in world.names if node != leader])
        self.start_all()
        self.become_whole()
        self.write(filled, world.names)
        self.settle()
        for node in world.names:
            names = [path.name for path in self.journal_files(node)]
            assert sum(name.startswith("journal-") for name in names) >= SEGMENTS, names


def _fair(storage: ClusterStorage, nodes: int) -> Climate:
    """Return a climate where nothing goes wrong by itself, and nobody asks."""
    return Climate(
        nodes=nodes,
        weather=Weather(),
        sync_s=(0.0001, 0.001),
        drift=0.0,
        storage=storage,
        faults_s={},
        fair_s=0.0,
        storm_s=0.0,
        clients=0,
        manners=Manners(keys=1, pause_s=1.0),
        piece_bytes=PIECE_BYTES,
    )

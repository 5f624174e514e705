"""What a simulated node finds around itself. See `kvpaxos.node.platform`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from typing_extensions import override

from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.journal.files import Files
from kvpaxos.node.face import Face
from kvpaxos.node.platform import Platform
from kvpaxos.node.space import Marks, Space
from kvpaxos.node.threads import Threads
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.process import Process
from kvpaxos.simulator.switchboard import Dialing, Listening, Switchboard


class SimulatedPlatform(Platform):
    """The machine of one node, as one of its processes sees it.

    :param replica: what is looked at in every step.
    :param served: is given the face of the node once clients can ask it.
    :param apart: is added to where it listens.
    """

    def __init__(
        self,
        process: Process,
        node: str,
        *,
        board: Switchboard,
        files: Files,
        threads: Threads,
        piece_bytes: int,
        replica: type[Replica],
        served: Callable[[Face], None],
        apart: str = "",
    ) -> None:
        self._process = process
        self._node = node
        self._board = board
        self._files = files
        self._threads = threads
        self._piece_bytes = piece_bytes
        self._replica = replica
        self._served = served
        self._apart = apart

    @property
    @override
    def files(self) -> Files:
        return self._files

    @property
    @override
    def threads(self) -> Threads:
        return self._threads

    @property
    @override
    def piece_bytes(self) -> int:
        return self._piece_bytes

    @property
    @override
    def replica(self) -> type[Replica]:
        return self._replica

    @override
    def listening(self, reactor: Any, description: str) -> IStreamServerEndpoint:
        return Listening(self._board, self._process, description + self._apart)

    @override
    def dialing(self, reactor: Any, description: str) -> IStreamClientEndpoint:
        return Dialing(self._board, self._process, self._node, description)

    @override
    async def serve(
        self, face: Face, cluster: ClusterConfig, config: NodeConfig, reactor: Any
    ) -> IListeningPort:
        # Clients ask what is right under HTTP: that face is not simulated.
        self._served(face)
        return self._board.listen(self._process, config.http + self._apart, None)

    @override
    def watched(
        self, cluster: ClusterConfig, config: NodeConfig, journal: Path, reactor: Any
    ) -> Space:
        # The disk does not tell how full it is.
        marks = Marks.of(cluster.storage)
        return Space(Path(config.data), marks, None, reactor, self._threads)

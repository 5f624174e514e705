"""What a node finds around itself: endpoints, threads, files, and the room that is left for them.

It is one seam with two sides. `System` is the machine that this process runs on. The other one is
the simulator's (see `kvpaxos.simulator`), where all of this is made up, and nothing above it
can tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from typing_extensions import override

from kvpaxos.config.cluster import ClusterConfig, NodeConfig
from kvpaxos.journal.files import OS_FILES, Files
from kvpaxos.node.addresses import dialing_endpoint, listening_endpoint
from kvpaxos.node.face import Face
from kvpaxos.node.serving import serve
from kvpaxos.node.space import Space, watched
from kvpaxos.node.threads import SYSTEM_THREADS, Threads
from kvpaxos.node.transfer import PIECE_BYTES
from kvpaxos.paxos.replica import Replica

# Reactors are Any below: no interface names all that one provides.


class Platform(Protocol):
    """What a node asks of the machine that it runs on."""

    @property
    def files(self) -> Files:
        """The file system."""

    @property
    def threads(self) -> Threads:
        """Where threads come from."""

    @property
    def piece_bytes(self) -> int:
        """As much of a state as is read, and sent, at once."""

    @property
    def replica(self) -> type[Replica]:
        """What the node is a shell of: a `Replica`, or one that is looked at in every step."""

    def listening(self, reactor: Any, description: str) -> IStreamServerEndpoint:  # noqa: ANN401
        """Return the endpoint to listen on. See `kvpaxos.node.addresses`."""

    def dialing(self, reactor: Any, description: str) -> IStreamClientEndpoint:  # noqa: ANN401
        """Return the endpoint to dial. See `kvpaxos.node.addresses`."""

    async def serve(
        self,
        face: Face,
        cluster: ClusterConfig,
        config: NodeConfig,
        reactor: Any,  # noqa: ANN401
    ) -> IListeningPort:
        """Let clients ask ``face``, and return the port. See `kvpaxos.node.serving`."""

    def watched(
        self,
        cluster: ClusterConfig,
        config: NodeConfig,
        journal: Path,
        reactor: Any,  # noqa: ANN401
    ) -> Space:
        """Return what watches the room on the disks. See `kvpaxos.node.space`."""


class System(Platform):
    """The machine that this process runs on."""

    @property
    @override
    def files(self) -> Files:
        return OS_FILES

    @property
    @override
    def threads(self) -> Threads:
        return SYSTEM_THREADS

    @property
    @override
    def piece_bytes(self) -> int:
        return PIECE_BYTES

    @property
    @override
    def replica(self) -> type[Replica]:
        return Replica

    @override
    def listening(self, reactor: Any, description: str) -> IStreamServerEndpoint:
        return listening_endpoint(reactor, description)

    @override
    def dialing(self, reactor: Any, description: str) -> IStreamClientEndpoint:
        return dialing_endpoint(reactor, description)

    @override
    async def serve(
        self, face: Face, cluster: ClusterConfig, config: NodeConfig, reactor: Any
    ) -> IListeningPort:
        return await serve(face, cluster, config, reactor)

    @override
    def watched(
        self, cluster: ClusterConfig, config: NodeConfig, journal: Path, reactor: Any
    ) -> Space:
        return watched(cluster, config, journal, reactor)


SYSTEM: Final = System()
"""It keeps nothing, so one is enough."""

"""As what a process comes into its cluster: with the real rules, and what carries them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

from kvpaxos.errors import DiskError
from kvpaxos.journal.log import Journal
from kvpaxos.node.recovery import formation_of
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import Form, FormationEffects, Standing, Stands
from kvpaxos.paxos.messages import Incarnations
from kvpaxos.paxos.records import Formed, Forming
from kvpaxos.paxos.rejoin import FIRST_INCARNATION, Disks
from test.simulator.disk import Disk, Readable

CLUSTER: Final = "the cluster"

Tell = Callable[[NodeId, Stands], None]
"""Sends a member news; they may be lost."""


def form(disk: Disk, node: NodeId, members: Sequence[NodeId]) -> None:
    """Let ``disk`` be one of a cluster that has formed."""
    disk.forming = Forming(CLUSTER, node, tuple(members), FIRST_INCARNATION)
    disk.formed = Formed(CLUSTER)


class Membership:
    """One process's part in its cluster. An empty disk may come back, and forms no new one.

    What nodes say of themselves when a connection comes up arrives at once: whoever may be wrong
    about the process that it speaks to would be the process before, and that one hears no more.
    """

    def __init__(
        self,
        node: NodeId,
        members: Sequence[NodeId],
        disk: Disk,
        journal: Readable,
        *,
        tell: Tell,
        formed: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self._formation = formation_of(
            # As much of the interface as is used.
            cast("Journal", journal),
            node,
            members,
            "no cluster",
            may_form=False,
            may_rejoin=True,
        )
        self._disk = disk
        self._tell = tell
        self._formed = formed
        self._failed = failed

    @property
    def standing(self) -> Standing:
        """Where the node stands, durably."""
        return self._formation.standing

    @property
    def incarnation(self) -> int:
        """Which disk of its node it is on."""
        return self._formation.incarnation

    @property
    def news(self) -> Stands:
        """What the node says of itself."""
        return Stands(self.standing, self._formation.incarnations)

    def know(self, disks: Disks) -> None:
        """Take part in Paxos, and tell from now on which disks that part knows of."""
        self._formation.disks = disks

    def heard(self, peer: NodeId, standing: Standing, incarnations: Incarnations) -> None:
        """Take what ``peer`` says of itself."""
        self._carry_out(self._formation.heard(peer, standing, incarnations))

    def remind(self) -> None:
        """Say again what may have been lost."""
        self._carry_out(self._formation.remind())

    def _carry_out(self, effects: FormationEffects) -> None:
        assert effects.fatal is None, effects.fatal
        for peer, message in effects.sends:
            assert not isinstance(message, Form), "the cluster has formed long since"
            self._tell(peer, message)
        if effects.record is None:
            return
        try:
            self._disk.disturb()
        except DiskError:
            self._failed()
        else:
            self._disk.introduce(effects.record, self._persisted)

    def _persisted(self) -> None:
        effects = self._formation.persisted()
        if self.standing.formed:
            self._formed()
        self._carry_out(effects)

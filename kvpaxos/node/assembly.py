"""Carries out what the rules of formation ask for: journals, tells, and stops the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kvpaxos.errors import DiskError, JournalDamaged
from kvpaxos.node.handshake import Runs
from kvpaxos.paxos.ballot import NodeId
from kvpaxos.paxos.formation import (
    Form,
    Formation,
    FormationEffects,
    FormationMessage,
    Standing,
    Stands,
)
from kvpaxos.paxos.messages import Incarnations
from kvpaxos.paxos.records import NodeRecord


class Assembly:
    """One node's part in the forming of its cluster, with a journal and with peers."""

    _log = Logger()

    def __init__(
        self,
        formation: Formation,
        *,
        persist: Callable[[Sequence[NodeRecord]], Deferred[None]],
        tell: Callable[[NodeId, FormationMessage], None],
        formed: Callable[[str], None],
        fatal: Callable[[str], None],
    ) -> None:
        """Make an assembly that does nothing before `begin`.

        :param persist: journals records, and fires once they would survive a power cut.
        :param tell: sends to a member; what it sends may be lost.
        :param formed: is told the id of the cluster once, when it is formed.
        :param fatal: is told once, in one sentence, why this node must stop.
        """
        self.formation = formation
        self._persist = persist
        self._tell = tell
        self._formed = formed
        self._fatal = fatal
        self._over = False

    @property
    def standing(self) -> Standing:
        """Where this node stands, durably."""
        return self.formation.standing

    def begin(self) -> None:
        """Start, or go on where the journal ends."""
        if self.standing.formed:
            self._formed(self.standing.cluster)
        self._carry_out(self.formation.begin())

    def news(self) -> Stands:
        """Return what this node says of itself."""
        return Stands(self.standing, self.formation.incarnations)

    def heard(self, peer: NodeId, standing: Standing, incarnations: Incarnations) -> None:
        """Take what ``peer`` says of itself."""
        self._carry_out(self.formation.heard(peer, standing, incarnations))

    def asked(self, peer: NodeId, form: Form) -> None:
        """Answer ``peer``, which wants this node to be part of a new cluster."""
        self._carry_out(self.formation.asked(peer, form))

    def note(self, runs: Runs, *, at_end: bool = False) -> None:
        """Journal what was seen of other members, so that it outlives this run.

        Nothing waits for it: it is in the journal before whatever this node promises or votes next.

        :param at_end: this run is nearly over.
        """
        if not self.standing.formed or self._over:
            return  # A copy of another's disk does no harm to whoever is no member.
        seen = runs.unwritten(0 if at_end else len(self.formation.members))
        if seen:
            self._persist(seen).addErrback(_said_by_the_disk)

    def remind(self) -> None:
        """Say again what may have been lost."""
        self._carry_out(self.formation.remind())

    def _carry_out(self, effects: FormationEffects) -> None:
        if self._over:
            return
        if effects.fatal is not None:
            self._stop(effects.fatal)
            return
        for peer, message in effects.sends:
            self._tell(peer, message)
        if effects.record is not None:
            self._persist((effects.record,)).addCallback(self._persisted).addErrback(self._broken)

    def _persisted(self, _: None) -> None:
        effects = self.formation.persisted()
        if self.standing.formed:
            self._log.info("the cluster {cluster} is formed", cluster=self.standing.cluster)
            self._formed(self.standing.cluster)
        self._carry_out(effects)

    def _broken(self, failure: Failure) -> None:
        self._log.failure("formation broke off", failure)
        self._stop(f"formation broke off: {failure.getErrorMessage()}")

    def _stop(self, sentence: str) -> None:
        if not self._over:
            self._over = True
            self._fatal(sentence)


def _said_by_the_disk(failure: Failure) -> None:
    """Leave it to the disk to say that it failed: the node stops then."""
    failure.trap(DiskError, JournalDamaged)

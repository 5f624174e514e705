"""Compares this node's state with those of the others, as long as it runs.

Every node tells the digest of its state after each slot whose number is a multiple of
`COMPARE_SLOTS`, after each slot that another has told of already, and when nothing has been
executed for a while. `kvpaxos.paxos.comparison` says what follows from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.errors import KvPaxosError, StateDamaged
from kvpaxos.node.state import State
from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.comparison import Agrees, Comparison, IsDisputed, IsWrong
from kvpaxos.paxos.messages import Message, StateDigest
from kvpaxos.paxos.quorum import Quorum

COMPARE_SLOTS: Final = 1024
"""How many slots apart states are compared while much is written."""

COMPARE_S: Final = 1.0
"""How often it is looked whether nothing is executed: then states are compared at once."""

LOOKS_UNTIL_TOLD_AGAIN: Final = 10
"""What was told may have been lost, and whoever was away has not heard it."""

_DIGEST_BYTES: Final = 16


class Comparer(Service):
    """Tells the other members how this node's state is, and hears how theirs are.

    :ivar agreed: the last slot at which this state was seen to be that of a majority, or 0.
    :ivar dispute: why nothing may be answered from this state, in one sentence, or None.
    """

    _log = Logger()

    def __init__(
        self,
        state: State,
        node: NodeId,
        members: Sequence[NodeId],
        *,
        send: Callable[[NodeId, Message], None],
        failed: Callable[[Failure], None],
        reactor: Any,  # noqa: ANN401  (no interface names timers and threads together)
    ) -> None:
        """Make one that tells nothing by itself before it is started.

        :param send: sends a message to a member; it may be lost.
        :param failed: is told that this node's state is damaged, or of another error: the node
            must stop.
        """
        self.agreed = NO_SLOT
        self.dispute: str | None = None
        self._state = state
        self._node = node
        self._others = [member for member in members if member != node]
        self._comparison = Comparison(Quorum(frozenset(members)))
        self._send = send
        self._failed = failed
        self._seen = NO_SLOT
        self._told = NO_SLOT
        self._looks = 0
        self._wrong: set[NodeId] = set()
        self._over = False
        self._look_again = LoopingCall(self._look)
        self._look_again.clock = reactor

    @override
    def startService(self) -> None:
        Service.startService(self)
        self._look_again.start(COMPARE_S, now=False).addErrback(self._failed)

    @override
    def stopService(self) -> None:
        Service.stopService(self)
        if self._look_again.running:
            self._look_again.stop()

    def executed(self, slot: Slot) -> None:
        """Take note that the state is that after ``slot`` now, written or not."""
        if slot % COMPARE_SLOTS == 0 or self._comparison.is_compared(slot):
            self._tell(slot)

    def heard(self, node: NodeId, told: StateDigest) -> None:
        """Take what another node tells of its state."""
        self._comparison.note(node, told.slot, told.digest)
        if told.slot == self._state.applied and told.slot != self._told:
            self._tell(told.slot)
        else:
            self._judge()

    def installed(self) -> None:
        """Take note that the state is one from elsewhere now."""
        self._comparison.forget(self._node)
        self._told = NO_SLOT
        self._judge()

    def _look(self) -> None:
        slot = self._state.applied
        idle, self._seen = slot == self._seen, slot
        self._looks += 1
        due = slot != self._told or self._looks >= LOOKS_UNTIL_TOLD_AGAIN
        if idle and due and slot != NO_SLOT:
            self._tell(slot)

    def _tell(self, slot: Slot) -> None:
        digest = self._state.machine.digest.to_bytes(_DIGEST_BYTES, "big")
        self._told, self._looks = slot, 0
        self._comparison.note(self._node, slot, digest)
        for other in self._others:
            self._send(other, StateDigest(slot, digest))
        self._judge()

    def _judge(self) -> None:
        if self._over:
            return
        for other in self._others:
            self._judge_other(other)
        before, self.dispute = self.dispute, None
        match self._comparison.find(self._node):
            case Agrees(slot):
                self.agreed = max(self.agreed, slot)
                if before is not None:
                    self._log.info(
                        "a majority has a state like this one, at slot {slot}", slot=slot
                    )
            case IsDisputed(slot, _, others):
                self.dispute = (
                    f"the state after slot {slot} is not that of {', '.join(others)}, and no"
                    " majority says which one is right"
                )
                if before is None:
                    self._log.error("{dispute}: nothing is answered", dispute=self.dispute)
            case IsWrong(slot, right):
                self._stop(slot, right)

    def _judge_other(self, other: NodeId) -> None:
        finding = self._comparison.find(other)
        if isinstance(finding, IsWrong) and other not in self._wrong:
            self._log.error(
                "the state of {node} after slot {slot} is wrong: it is not that of {right}",
                node=other,
                slot=finding.slot,
                right=", ".join(finding.right),
            )
            self._wrong.add(other)
        elif isinstance(finding, Agrees) and finding.slot:
            self._wrong.discard(other)

    def _stop(self, slot: Slot, right: Sequence[NodeId]) -> None:
        self._over = True
        error: KvPaxosError = StateDamaged(
            f"the state of {self._node}",
            f"after slot {slot} it is not that of {', '.join(right)}, who are a majority",
        )
        self._failed(Failure(error))

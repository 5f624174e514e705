"""What a node must still have after a crash, or a stop. It sees all nodes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kvpaxos.paxos.ballot import NodeId, Slot
from kvpaxos.paxos.effects import Event, Persisted
from kvpaxos.paxos.memory import Memory
from kvpaxos.paxos.records import Installed
from kvpaxos.paxos.rejoin import FIRST_INCARNATION
from kvpaxos.paxos.replica import Replica
from kvpaxos.simulator.acceptors import Acceptors
from kvpaxos.store.digest import add_digests, record_digest
from kvpaxos.store.layout import Layout, applied_key
from kvpaxos.store.meta import decode_meta


class Keeping:
    """Holds nodes to what they say of their own disk: others forget what they keep themselves.

    These are the rules:

    * *Kept.* A state is durable through the slot that its node says, and so is what its journal
      knows of that slot. Nor are slots skipped before the state that has executed them is durable.
    * *Whole.* A state that was taken over from another node is the sum of its records.
    * *Orderly.* After an orderly stop a node knows all that it has known.
    * *No false alarm.* No node gives up a disk to which nothing has happened.

    :param acceptors: knows what of a journal is synced.
    :param fail: is told which one was broken, in a sentence.
    """

    def __init__(
        self, acceptors: Acceptors, layout: Layout, group: int, fail: Callable[[str], None]
    ) -> None:
        self._acceptors = acceptors
        self._layout = layout
        self._applied = applied_key(group)
        self._fail = fail
        self._began_with: dict[NodeId, Slot] = {}

    def began(
        self, replica: Replica, memory: Memory, before: Replica | None, *, frail: bool
    ) -> None:
        """Take note of a life that begins.

        :param before: the life before it, if that one was ended in good order.
        :param frail: whether its disk may lose what was synced.
        """
        node = replica.node
        self._began_with[node] = memory.decided_through
        if frail:
            return
        if memory.incarnation > FIRST_INCARNATION:
            self._fail(f"{node} has given its disk up, and nothing had happened to that")
        elif before is not None:
            self._check_orderly(before, memory)

    def stepped(self, replica: Replica, event: Event, kept: Mapping[bytes, bytes]) -> None:
        """Take note of an event of a node whose disk would keep so much of its state."""
        node = replica.node
        if not isinstance(event, Persisted | Installed):
            return
        slot = event.through if isinstance(event, Persisted) else event.slot
        # What its journal had at the beginning it need not have in its state.
        if slot <= self._began_with[node] and isinstance(event, Persisted):
            return
        through = int.from_bytes(kept.get(self._applied, b""), "big")
        if through < slot:
            self._fail(f"{node} says that its state is kept through {slot}, and it is to {through}")
        if isinstance(event, Persisted):
            self._acceptors.check_decided(node, slot)

    def took_over(self, node: str, records: Mapping[bytes, bytes]) -> None:
        """Take note that the state of ``node`` consists of ``records`` from now on."""
        first, end = self._layout.replicated
        total = 0
        for place, record in records.items():
            if first <= place < end and place != self._layout.meta:
                total = add_digests(total, record_digest(place, record))
        meta = records.get(self._layout.meta)
        if total != (0 if meta is None else decode_meta(meta).total):
            self._fail(f"the state that {node} has taken over is not whole")

    def _check_orderly(self, before: Replica, memory: Memory) -> None:
        node, through = before.node, memory.decided_through
        if through < before.learner.decided_through:
            self._fail(
                f"{node} was stopped in good order, and forgot what is decided after slot {through}"
            )
        if memory.promised < before.acceptor.promised:
            self._fail(
                f"{node} was stopped in good order, and forgot that it has promised"
                f" {before.acceptor.promised}"
            )
        for slot, vote in before.acceptor.votes.items():
            if slot > through and memory.votes.get(slot) != vote:
                self._fail(f"{node} was stopped in good order, and forgot its vote in slot {slot}")

"""Helps nodes whose journals are damaged, and has this node's own mended by the others.

Every node answers, whatever it is part of: from its journal, be it damaged or not, and from those
that it has set aside. So nodes that are all damaged can mend each other, as long as no slot is lost
on all of their disks. The rules are in `kvpaxos.paxos.recall`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.config.cluster import NodeConfig
from kvpaxos.errors import RunOver
from kvpaxos.journal.damage import DamagedRecords
from kvpaxos.journal.files import Directory, Files
from kvpaxos.journal.mending import Mending
from kvpaxos.journal.recollection import recollect
from kvpaxos.node.links import Links
from kvpaxos.node.repairs import JOURNAL, Repairs
from kvpaxos.node.threads import Threads
from kvpaxos.paxos.ballot import NO_SLOT, NodeId, Slot
from kvpaxos.paxos.messages import Batch
from kvpaxos.paxos.quorum import Quorum
from kvpaxos.paxos.recall import (
    RECALL_SLOTS_MAX,
    Inquiry,
    Recall,
    Recalled,
    RecallMessage,
    Standings,
    Told,
    Wanted,
)

ASK_S: Final = 0.5
"""How often a node looks whom it can ask."""

Tell: TypeAlias = Callable[[NodeId, Sequence[RecallMessage]], None]
"""Sends to a member, formed or not. What it sends may be lost."""


class Machine(Protocol):
    """What is needed of a `kvpaxos.node.platform.Platform`."""

    @property
    def files(self) -> Files:
        """The file system."""

    @property
    def threads(self) -> Threads:
        """Where threads come from."""


class Mender(Service):
    """Answers others; and asks them, as long as this node's journal is being mended.

    :ivar inquiry: what is asked; None if nothing is.
    """

    _log = Logger()

    def __init__(
        self,
        node: NodeId,
        repairs: Repairs,
        *,
        directory: Path,
        files: Files,
        tell: Tell,
        standings: Callable[[], Standings],
        over: Callable[[RunOver], None],
        failed: Callable[[Failure], None],
        in_thread: Callable[[Callable[[], None]], Deferred[None]],
        clock: Any,  # noqa: ANN401  (no interface names all that a reactor provides)
    ) -> None:
        """Make one that does nothing before it is started.

        :param directory: that of the node's data, in ``files``.
        :param standings: returns where the other members stand; None for those that are not here.
        :param over: is told that the next run of this node is to begin, and why.
        :param failed: is told of an error after which the node must stop.
        :param in_thread: calls what blocks, and fires when that has returned.
        """
        self.inquiry: Inquiry | None = None
        self._node = node
        self._repairs = repairs
        self._directory = directory
        self._files = files
        self._tell = tell
        self._standings = standings
        self._over = over
        self._failed = failed
        self._in_thread = in_thread
        self._clock = clock
        self._told: Counter[NodeId] = Counter()
        self._questions: dict[NodeId, Recall] = {}
        self._last_asked: dict[NodeId, Recall] = {}
        self._answering: Deferred[None] = succeed(None)
        self._writing: Deferred[None] = succeed(None)
        self._is_answering = self._is_done = False
        self._asking = LoopingCall(self._go_on)
        self._asking.clock = clock
        self._inquire(repairs.mending)

    @override
    def startService(self) -> None:
        Service.startService(self)
        if self.inquiry is not None:
            self._asking.start(ASK_S).addErrback(self._failed)

    @override
    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._is_done = True
        self._questions.clear()
        if self._asking.running:
            self._asking.stop()
        return self._answering.addCallback(lambda _: self._writing)

    def take(self, sender: NodeId, message: RecallMessage) -> None:
        """Take what a member asks or tells."""
        match message:
            case Recall():
                self._asked(sender, message)
            case Told(group, slot, batch):
                self._told[sender] += 1
                if self._repairs.mending is not None and self.inquiry is not None:
                    self._repairs.mending.take(Wanted(group, slot), batch)
                    self.inquiry.settle(self._repairs.mending.wanted)
            case Recalled(batches=batches):
                told = self._told.pop(sender, 0)
                # If one was lost on the way, it is asked again.
                if self.inquiry is not None and told >= batches:
                    standing = self._standings().get(sender)
                    formed = standing is not None and standing.formed
                    self.inquiry.heard(sender, message, formed=formed)
                    self._go_on()

    def _inquire(self, mending: Mending | None) -> None:
        self._repairs.mending = mending
        if mending is not None:
            members = Quorum(frozenset({self._node, *self._standings()}))
            self.inquiry = Inquiry(self._node, members, mending.wanted)

    def _go_on(self) -> None:
        """Ask, or mend, or give up: whatever is to be done now."""
        mending, inquiry = self._repairs.mending, self.inquiry
        if self._is_done or mending is None or inquiry is None:
            return
        if not mending.wanted:
            self._is_done = True
            self._writing = self._write(mending)
        elif (lost := inquiry.hopeless) is not None:
            self._give_up(f"nobody can tell what was in slot {lost.slot}")
        else:
            for node, question in inquiry.ask(self._standings(), self._clock.seconds()):
                self._told.pop(node, None)
                self._tell(node, (question,))

    def _write(self, mending: Mending) -> Deferred[None]:
        def written(_: None) -> None:
            self._repairs.mending = None
            self._over(RunOver("its journal is mended."))

        def damaged(failure: Failure) -> None:
            failure.trap(DamagedRecords)
            found = failure.value
            assert isinstance(found, DamagedRecords)
            self._repairs.note(str(found))
            rest = Mending.of(found)
            if rest is None or rest.places & mending.places:
                self._give_up(f"{found.path} is still damaged at byte {found.offset}")
            elif self.running:
                self._inquire(rest)
                self._is_done = False
                self._go_on()

        writing = self._in_thread(lambda: self._repairs.mend_journal(mending))
        return writing.addCallbacks(written, damaged).addErrback(self._failed)

    def _give_up(self, why: str) -> None:
        self._is_done = True
        self._log.warn("the journal cannot be mended: {why}", why=why)
        self._repairs.mending = None
        self._repairs.given_up = True
        self._over(RunOver(f"its journal cannot be mended: {why}."))

    def _asked(self, sender: NodeId, question: Recall) -> None:
        if not self.running:
            return
        if question != self._last_asked.get(sender):
            self._last_asked[sender] = question
            self._log.info(
                "{peer} mends its damaged journal, and asks what was in slots from {slot} on",
                peer=sender,
                slot=min(question.slots, default=NO_SLOT),
            )
        self._questions[sender] = question
        if not self._is_answering:
            self._is_answering = True
            self._answering = Deferred.fromCoroutine(self._answer()).addErrback(self._failed)

    async def _answer(self) -> None:
        """Answer one question after the other: to read for it takes the disk, and time."""
        while self._questions:
            sender = next(iter(self._questions))
            question = self._questions.pop(sender)
            slots = question.slots[:RECALL_SLOTS_MAX]
            found: list[Told] = []
            await self._in_thread(lambda: found.extend(self._recollect(question.group, slots)))  # noqa: B023
            self._tell(sender, (*found, Recalled(question.group, slots, len(found))))
        self._is_answering = False

    def _recollect(self, group: int, slots: Sequence[Slot]) -> list[Told]:
        """Return what all journals here tell. It blocks."""
        told: dict[tuple[Slot, Batch], None] = {}
        for place in (self._directory / JOURNAL, *self._repairs.journals_aside):
            found = recollect(Directory(self._files, place), group, slots)
            told.update({(slot, one): None for slot, batches in found.items() for one in batches})
        return [Told(group, slot, batch) for slot, batch in told]


def mender_of(
    links: Links,
    config: NodeConfig,
    repairs: Repairs,
    machine: Machine,
    clock: Any,  # noqa: ANN401  (as above)
    *,
    over: Callable[[RunOver], None],
    failed: Callable[[Failure], None],
) -> Mender:
    """Return that of a node with these ``links``."""
    return Mender(
        NodeId(config.node),
        repairs,
        directory=Path(config.data),
        files=machine.files,
        tell=links.tell,
        standings=links.standings,
        over=over,
        failed=failed,
        in_thread=machine.threads.call,
        clock=clock,
    )

"""A member of a cluster: one node after the other, since a damaged disk needs a new start.

What is damaged shows itself at the start of a node, or whenever its bytes are read. A node that is
alone stops then. Any other one stops its parts and starts again in this process, and what is
damaged is set aside at that start: the other members have what it held.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from kvpaxos.engine.shelf import Shelf
from kvpaxos.errors import JournalDamaged, KvPaxosError, RunOver, StartError, StateDamaged
from kvpaxos.node.node import Node
from kvpaxos.node.repairs import REPAIRS_MAX, REPAIRS_S, Repairs

DAMAGE = (JournalDamaged, StateDamaged)
"""What the other members can help with. A disk that refuses is not among it."""


class Make(Protocol):
    """Makes the next run of a node, with its journal open."""

    def __call__(
        self, refuse: Callable[[KvPaxosError], NoReturn], fatal: Callable[[Exception], None]
    ) -> Node:
        """Return it. What it needs to raise, it raises as `kvpaxos.node.opening` does."""


class Member(Service):
    """Runs a node, and the next one once that has found its disk damaged.

    :param make: is called at once, and for each run.
    :param shelf: returns the place of the state, for while no node has it open.
    :param alone: there is no other member, so nothing can be repaired.
    :param refuse: is told why the node cannot start, and does not return.
    :param fatal: is told once, in a sentence, why the node had to stop by itself.
    :ivar node: the run that is under way, or was the last one.
    :ivar repairs: what became of damage, as it was given.
    """

    _log = Logger()

    def __init__(
        self,
        make: Make,
        repairs: Repairs,
        shelf: Callable[[], Shelf],
        *,
        alone: bool,
        refuse: Callable[[KvPaxosError], NoReturn],
        fatal: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self.repairs = repairs
        self._shelf = shelf
        self._alone = alone
        self._refuse = refuse
        self._fatal = fatal
        self._monotonic = monotonic
        self._repairing: Deferred[None] = succeed(None)
        self._stopped = False
        self.node = make(_raise, self._halted)

    @override
    def startService(self) -> None:
        """Start, unless state and journal do not belong together, or the disk refuses."""
        try:
            self._start()
        except KvPaxosError as error:
            self._refuse(error)
        Service.startService(self)

    @override
    def stopService(self) -> Deferred[None]:
        """Stop the node in good order. See `Node.stopService`."""
        Service.stopService(self)
        # A repair that is under way sees that nothing runs any more, and ends.
        return self._repairing.addCallback(lambda _: self._stop())

    def trouble(self) -> str | None:
        """Return why this node cannot serve at all now, or None."""
        return self.node.trouble()

    def _start(self) -> None:
        """Start the node that was made, and the next one as long as each finds damage."""
        while True:
            try:
                self.node.startService()
            except DAMAGE as error:
                # It has closed everything.
                self._stopped = True
                self._check_disk()
                if self._alone:
                    raise
                if not self._may_repair(error):
                    raise _too_often(error) from error
                self._renew(error)
            else:
                return

    def _stop(self) -> Deferred[None]:
        if self._stopped:
            return succeed(None)
        self._stopped = True
        return self.node.stopService()

    def _halted(self, error: Exception) -> None:
        """Take note that the node had to stop by itself, and repair what can be."""
        if isinstance(error, RunOver):
            if not self.running:
                return
            if self.repairs.may_go_on(self._monotonic()):
                self._begin_again(error)
            else:
                self._fatal(str(_too_often(error)))
        elif not isinstance(error, DAMAGE) or not self.running or self._alone:
            self._fatal(str(error))
        elif not self._may_repair(error):
            self._fatal(str(_too_often(error)))
        else:
            self._begin_again(error)

    def _begin_again(self, error: Exception) -> None:
        self._repairing = Deferred.fromCoroutine(self._repair(error)).addErrback(self._broken)

    def _may_repair(self, error: Exception) -> bool:
        """Say that ``error`` is going to be repaired, unless that was so too often lately."""
        if not self.repairs.may_start_again(self._monotonic()):
            return False
        self.repairs.note(str(error))
        self._log.warn(
            "damage was found, and this node starts again to repair it: {error}", error=error
        )
        return True

    async def _repair(self, error: Exception) -> None:
        try:
            await self._stop()
        except KvPaxosError as trouble:
            # It is the last thing that a node does, to close its state.
            self._log.warn("the damaged state could not be closed: {why}", why=trouble)
        if not self.running:
            return
        try:
            self._check_disk()
            self._renew(error)
            self._start()
        except KvPaxosError as trouble:
            self._fatal(str(trouble))

    def _check_disk(self) -> None:
        """See that the run that is over has got onto its disk what it gave it.

        A sync that failed is not tried again. The next run would find, and trust, what can be read
        and would be lost in a power cut.

        :raises DiskError: it has not.
        """
        refusal = self.node.journal.refusal
        if refusal is not None:
            raise refusal

    def _renew(self, error: Exception) -> None:
        """Make the next run. A damaged journal is found again when that opens it."""
        if isinstance(error, StateDamaged):
            self.repairs.put_state_aside(self._shelf(), error)
        self.node = self._make(_raise, self._halted)
        self._stopped = False

    def _broken(self, failure: Failure) -> None:
        self._log.failure("a repair failed in an unforeseen way", failure)
        self._fatal(
            f"a repair failed in an unforeseen way: {failure.getErrorMessage()}; see the log"
        )


def _too_often(error: Exception) -> StartError:
    return StartError(
        f"{error} This disk was found damaged more than {REPAIRS_MAX} times in"
        f" {REPAIRS_S / 60:.0f} minutes: replace it before you start the node again"
    )


def _raise(error: KvPaxosError) -> NoReturn:
    raise error

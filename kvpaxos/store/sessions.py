"""What lets a node send a command again without its being executed again.

Each node numbers the commands it takes 1, 2, 3, … within one of its lives, and sends them again,
to whoever leads by then, until it hears of their execution. The state keeps for each node:

* its newest life: a greater one begins a new session, commands of a lower one are refused;
* how far its commands are passed: the next one is executed, no other;
* how far they are settled: the node says, with each command, through which sequence it waits for
  no answer any more; those at or below are passed, executed or not;
* the answers to what was executed above that, each in a record of its own, so that a large one is
  written once and removed once.

All of it is a function of the log alone, and part of the digest.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from kvpaxos.errors import StateDamaged
from kvpaxos.store.changes import Changes
from kvpaxos.store.digest import NO_RECORD, record_digest
from kvpaxos.store.engine import Snapshot
from kvpaxos.store.layout import Layout
from kvpaxos.store.results import Refusal, Result, decode_result, encode_result

_FORMAT: Final = 1
_RECORD: Final = struct.Struct(">BQQQ")


@dataclass(slots=True)
class Session:
    """One node's session.

    :ivar life: the newest life of the node that was seen.
    :ivar passed_through: no command at or below this sequence will be executed any more.
    :ivar settled_through: the node waits for no answer at or below this sequence.
    :ivar kept: the digests of the answers above ``settled_through``, up to ``passed_through``:
        all of these were executed.
    :ivar stored: the digest of this session's own record as it was last written.
    """

    life: int = 0
    passed_through: int = 0
    settled_through: int = 0
    kept: deque[int] = field(default_factory=deque)
    stored: int = NO_RECORD


class Sessions:
    """The sessions of all nodes in one group.

    Lives, sequences and what is settled are below 2**64; negative ones are too old to matter.
    """

    def __init__(self, changes: Changes, layout: Layout, snapshot: Snapshot) -> None:
        self._changes = changes
        self._layout = layout
        self._sessions: dict[str, Session] = {}
        # A session's own record is written once a batch, however many commands it brought.
        self._changed: dict[str, Session] = {}
        self._load(snapshot)

    def __bool__(self) -> bool:
        """Whether `write` has anything to do."""
        return bool(self._changed)

    def admit(self, node: str, life: int, sequence: int, settled_through: int) -> Refusal | None:
        """Take note of a command, and say why it must not be executed; None if it must be.

        What the node has settled counts also if it says so with a command that is refused.
        """
        session = self._sessions.get(node)
        if session is None:
            session = self._sessions[node] = Session()
        if life < session.life:
            return Refusal.OLD_LIFE
        if life > session.life:
            self._begin(node, session, life)
        if settled_through > session.settled_through:
            self._settle(node, session, settled_through)
        if sequence <= session.passed_through:
            return Refusal.DUPLICATE
        return None if sequence == session.passed_through + 1 else Refusal.GAP

    def keep(self, node: str, sequence: int, result: Result) -> None:
        """Keep the answer to a command that was admitted and executed."""
        session = self._sessions[node]
        assert sequence == session.passed_through + 1, "executed out of order"
        session.passed_through = sequence
        place = self._layout.answer(node, sequence)
        session.kept.append(self._changes.replace(place, NO_RECORD, encode_result(result)))
        self._changed[node] = session

    def answer(self, node: str, life: int, sequence: int) -> Result | None:
        """Return the kept answer to a command, or None if there is none any more, or yet."""
        session = self._sessions.get(node)
        if session is None or life != session.life:
            return None
        if not session.settled_through < sequence <= session.passed_through:
            return None
        place = self._layout.answer(node, sequence)
        record = self._changes.get(place)
        if record is None:
            raise StateDamaged(f"key {place.hex()}", "a kept answer is missing")
        return decode_result(place, record)

    def write(self) -> None:
        """Put the records of the sessions that changed among the changes of the batch."""
        for node, session in self._changed.items():
            record = _RECORD.pack(
                _FORMAT, session.life, session.passed_through, session.settled_through
            )
            place = self._layout.session(node)
            session.stored = self._changes.replace(place, session.stored, record)
        self._changed.clear()

    def _begin(self, node: str, session: Session, life: int) -> None:
        self._settle(node, session, session.passed_through)
        session.life = life
        session.passed_through = 0
        session.settled_through = 0

    def _settle(self, node: str, session: Session, through: int) -> None:
        """Drop the answers through this sequence, and pass it if that has not happened yet."""
        for sequence in range(
            session.settled_through + 1, min(through, session.passed_through) + 1
        ):
            place = self._layout.answer(node, sequence)
            self._changes.replace(place, session.kept.popleft(), None)
        session.settled_through = through
        session.passed_through = max(session.passed_through, through)
        self._changed[node] = session

    def _load(self, snapshot: Snapshot) -> None:
        for place, record in snapshot.scan(*self._layout.sessions):
            if len(record) != _RECORD.size or record[0] != _FORMAT:
                raise StateDamaged(f"key {place.hex()}", "this is not the record of a session")
            _, life, passed, settled = _RECORD.unpack(record)
            self._sessions[self._layout.node_of(place)] = Session(
                life, passed, settled, stored=record_digest(place, record)
            )
        for place, record in snapshot.scan(*self._layout.answers):
            node, sequence = self._layout.command_of(place)
            session = self._sessions.get(node)
            if session is None or sequence != session.settled_through + len(session.kept) + 1:
                raise StateDamaged(f"key {place.hex()}", "no session has this answer")
            session.kept.append(record_digest(place, record))
        for node, session in self._sessions.items():
            if len(session.kept) != session.passed_through - session.settled_through:
                raise StateDamaged(f"the session of {node}", "kept answers are missing")

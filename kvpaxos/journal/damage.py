"""What is known of bytes that were once written whole and are whole no longer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kvpaxos.errors import JournalDamaged
from kvpaxos.journal.format import Digest
from kvpaxos.journal.marks import Entry
from kvpaxos.paxos.ballot import NO_SLOT, ZERO_BALLOT
from kvpaxos.paxos.records import Forming


@dataclass(frozen=True, slots=True)
class Damage:
    """One stretch of a segment that cannot be believed.

    :ivar offset: where it begins, in bytes from the file's start.
    :ivar length: how many bytes it takes.
    :ivar what: what was there, in words.
    :ivar entry: what the end mark says of the record that was there. None if it is not one
        record, or if its mark is lost too.
    :ivar before: the chain's digest before that record; empty if it is not known.
    """

    path: Path
    offset: int
    length: int
    what: str
    entry: Entry | None = None
    before: Digest = b""


class DamagedRecords(JournalDamaged):
    """`JournalDamaged`, with all that is needed to fetch the records from peers.

    :ivar damage: everything that was found, in the order of the journal. Never empty.
    :ivar forming: whose journal it is, if what is left of it still says so.
    """

    def __init__(self, *damage: Damage, forming: Forming | None = None) -> None:
        first = damage[0]
        what = first.what
        if len(damage) > 1:
            what = f"{what} (the first of {len(damage)} damaged places)"
        super().__init__(str(first.path), first.offset, what)
        self.damage = damage
        self.forming = forming


def name_record(entry: Entry) -> str:
    """Return what a record is, in words, such as ``Vote in slot 7, ballot 3.n01``."""
    words = entry.kind
    if entry.slot != NO_SLOT:
        words += f" in slot {entry.slot}"
    if entry.ballot != ZERO_BALLOT:
        words += f", ballot {entry.ballot.round}.{entry.ballot.node}"
    return words

"""Records and journals for the tests to use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kvpaxos.journal.format import segment_name
from kvpaxos.journal.log import Journal
from kvpaxos.journal.spares import PIECE_BYTES
from kvpaxos.paxos.ballot import Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Batch, Command, Vote
from kvpaxos.paxos.records import DecidedThrough, Formed, Forming, Learned, Promised, Record
from test.journal.disks import DIRECTORY, MemoryDisk

ONE: Final = NodeId("n01")
TWO: Final = NodeId("n02")
LOW: Final = Ballot(1, ONE)
HIGH: Final = Ballot(2, TWO)

FORMING: Final = Forming("c" * 32, ONE, (ONE, TWO, NodeId("n03")), 1)
FORMED: Final = Formed("c" * 32)

SEGMENT_BYTES: Final = 32 * 1024
"""The smallest segments there are."""

SALT: Final = bytes(range(16))


def batch(slot: int, size: int = 20) -> Batch:
    """Return the batch that the tests decide in ``slot``: one command of ``size`` bytes."""
    return (Command(ONE, 1, slot, 0, (b"%d:" % slot).ljust(size, b"x")),)


def vote(slot: int, ballot: Ballot = LOW, size: int = 20) -> Vote:
    return Vote(Slot(slot), ballot, batch(slot, size))


def decided(slot: int, ballot: Ballot = LOW) -> DecidedThrough:
    return DecidedThrough(Slot(slot), ballot)


def learned(slot: int, size: int = 20) -> Learned:
    return Learned(Slot(slot), batch(slot, size))


def promised(ballot: Ballot = LOW) -> Promised:
    return Promised(ballot)


def open_journal(
    disk: MemoryDisk, segment_bytes: int = SEGMENT_BYTES, *, piece_bytes: int = PIECE_BYTES
) -> Journal:
    return Journal.open(
        DIRECTORY, segment_bytes=segment_bytes, files=disk, salt=SALT, piece_bytes=piece_bytes
    )


def write_batches(journal: Journal, batches: Iterable[Iterable[Record]], group: int = 0) -> None:
    """Append and sync ``batches``, one after the other."""
    for records in batches:
        journal.append(group, records)
        journal.sync()


def segment_path(number: int = 1) -> Path:
    """Return where segment ``number`` is on a `MemoryDisk`."""
    return DIRECTORY / segment_name(number)

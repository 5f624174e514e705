"""Nodes, ballots, commands and votes for the tests to talk about."""

from __future__ import annotations

from typing import Final

from kvpaxos.paxos.ballot import FIRST_SLOT, NO_SLOT, ZERO_BALLOT, Ballot, NodeId, Slot
from kvpaxos.paxos.messages import Batch, Command, Health, Promise, Vote
from kvpaxos.paxos.quorum import Quorum

A: Final = NodeId("a")
B: Final = NodeId("b")
C: Final = NodeId("c")
D: Final = NodeId("d")
E: Final = NodeId("e")

ALONE: Final = Quorum(frozenset({A}))
THREE: Final = Quorum(frozenset({A, B, C}))
FIVE: Final = Quorum(frozenset({A, B, C, D, E}))

LOW: Final = Ballot(1, B)
MIDDLE: Final = Ballot(2, A)
HIGH: Final = Ballot(2, B)

ONE: Final = Slot(1)
TWO: Final = Slot(2)
THIRD: Final = Slot(3)


def command(
    sequence: int = 1, *, node: NodeId = A, life: int = 1, settled: int = 0, body: bytes = b""
) -> Command:
    """Return a command; its body says who sent it and which it is, unless it is given."""
    return Command(node, life, sequence, settled, body or b"%s%d" % (node.encode(), sequence))


def commands(first: int, through: int, *, settled: int = 0, node: NodeId = A) -> Batch:
    """Return the commands ``first`` to ``through`` of ``node``, as it would send them."""
    return tuple(
        command(number, node=node, settled=settled) for number in range(first, through + 1)
    )


def batch(text: str, size: int = 0) -> Batch:
    """Return a batch of one command with ``text`` as its body, padded to ``size`` bytes."""
    return (command(body=text.encode().ljust(size, b".")),)


X: Final = batch("x")
Y: Final = batch("y")


def vote(slot: int, ballot: Ballot = LOW, what: Batch | None = None) -> Vote:
    """Return a vote; for a batch that belongs to the slot, unless it is given."""
    return Vote(Slot(slot), ballot, batch(f"slot {slot}") if what is None else what)


def promise(
    *votes: Vote,
    ballot: Ballot = HIGH,
    through: int = 0,
    kept: int = 1,
    part: int = 0,
    parts: int = 1,
) -> Promise:
    """Return a promise of ``ballot``, or a part of one."""
    return Promise(ballot, votes, Slot(through), Slot(kept), part, parts)


def health(
    following: Ballot = ZERO_BALLOT,
    *,
    able: bool = True,
    through: int = NO_SLOT,
    kept: int = FIRST_SLOT,
    durable: int = NO_SLOT,
) -> Health:
    """Return what a node says of itself: by default that it hears no leader, and could lead."""
    return Health(following, able, Slot(through), Slot(kept), Slot(durable))

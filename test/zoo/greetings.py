"""Bugs of greetings and frames: of whose word is taken."""

from __future__ import annotations

from kvpaxos.node import handshake, opening
from kvpaxos.paxos.formation import Formation
from kvpaxos.wire import framing
from test.zoo.bug import Patch, bug


@bug("amnesia: an old backup put back; §6")
def an_older_disk_is_welcome(patch: Patch) -> None:
    """Nobody compares what a journal holds with what was seen of it."""
    patch.setattr(handshake, "_not_after", lambda *_: None)
    patch.setattr(handshake, "_not_grown", lambda *_: None)


@bug(
    "two processes on copies of one disk; §6",
    rare="a copy is older than what peers have seen, and refused for that",
    test="test/node/test_handshake.py::test_runs_go_upward_only",
)
def two_runs_of_one_number_are_welcome(patch: Patch) -> None:
    """Nobody looks whether a process with that number was seen before."""
    patch.setattr(handshake, "_not_after", lambda *_: None)


@bug("the disk of another node; §6")
def a_disk_of_another_node_is_taken(patch: Patch) -> None:
    """A node does not look whose journal it starts on."""
    patch.setattr(opening, "check_owner", lambda *_: None)
    patch.setattr(Formation, "_check", lambda *_: None)


@bug("§8: a bad frame drops the connection")
def frames_are_believed_without_a_checksum(patch: Patch) -> None:
    """What arrives is taken for what was sent."""
    patch.setattr(framing, "crc32c", lambda _: 0)

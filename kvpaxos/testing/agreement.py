"""What the nodes of a fake cluster have agreed on, who of them can agree, and what goes wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

Fault: TypeAlias = Literal["refused", "lost", "applied and lost", "stalled", "applied and stalled"]
"""What happens to a write.

``refused``: the node says at once that it was not applied. ``lost``: the connection breaks instead
of an answer. ``stalled``: the node says at the deadline that it does not know. Two of them may have
been applied before.
"""


class Agreement:
    """The log, and the nodes that can reach each other.

    :ivar log: the bodies of the commands, from slot 1.
    :ivar faults: what happens to the next writes, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.log: list[bytes] = []
        self.faults: deque[Fault] = deque()
        self._names = tuple(names)
        self._apart: set[str] = set()
        self._leader = ""
        self._followers: list[Callable[[], None]] = []

    @property
    def leader(self) -> str:
        """The node that leads, or the empty string if no majority is together.

        It leads until it is apart from the others; then the first of these follows it.
        """
        together = [name for name in self._names if self.reaches(name)]
        if self._leader not in together:
            self._leader = together[0] if together else ""
        return self._leader

    def reaches(self, name: str) -> bool:
        """Whether the node reaches a majority, itself included."""
        together = len(self._names) - len(self._apart)
        return name not in self._apart and 2 * together > len(self._names)

    def part(self, name: str) -> None:
        """Take a node from the others."""
        self._apart.add(name)

    def join(self, name: str) -> None:
        """Bring a node back to the others."""
        self._apart.discard(name)
        self.tell()

    def follow(self, told: Callable[[], None]) -> None:
        """Have ``told`` called whenever there may be something new to apply."""
        self._followers.append(told)

    def tell(self) -> None:
        """Say that there may be something new to apply."""
        for told in self._followers:
            told()

    def decide(self, body: bytes) -> int:
        """Put a command into the next slot, and return it."""
        assert self.leader, "nobody can decide anything"
        self.log.append(body)
        self.tell()
        return len(self.log)

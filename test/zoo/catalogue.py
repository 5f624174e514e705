"""All bugs of the zoo, from all its modules."""

from __future__ import annotations

from typing import Final

from test.zoo import (
    acceptors,
    disks,
    greetings,
    journals,
    leaders,
    living,
    reads,
    sessions,
    states,
)
from test.zoo.bug import BUGS

__all__ = ["BUGS", "MODULES"]

MODULES: Final = (acceptors, leaders, reads, sessions, journals, states, disks, greetings, living)
"""Where the bugs are."""

"""What a planted bug is. See `test.zoo.run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import pytest

Patch: TypeAlias = pytest.MonkeyPatch
"""Changes the running code, and takes all changes back in the end."""

Plant: TypeAlias = Callable[[Patch], None]


@dataclass(frozen=True, slots=True)
class Bug:
    """A small change to the running code, never to what is shipped.

    :ivar what: in one line.
    :ivar origin: who has had it, or which decision guards against it.
    :ivar rare: why hardly a world shows it; empty if nothing is known of that.
    :ivar test: which test fails with it, if no world shows it; empty if none is named.
    """

    name: str
    what: str
    origin: str
    plant: Plant
    rare: str = ""
    test: str = ""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the running code be wrong for a while."""
        with pytest.MonkeyPatch.context() as patch:
            self.plant(patch)
            yield


BUGS: Final[dict[str, Bug]] = {}
"""All of them, by name, once their modules are imported."""


def bug(origin: str, *, rare: str = "", test: str = "") -> Callable[[Plant], Plant]:
    """Take a function for a bug: its name is the name, its docstring says what is wrong.

    :param rare: see `Bug`, and so for ``test``.
    """

    def note(plant: Plant) -> Plant:
        name = plant.__name__
        assert name not in BUGS, f"{name} is there twice"
        assert plant.__doc__, f"{name} does not say what is wrong"
        BUGS[name] = Bug(name, plant.__doc__.strip().rstrip("."), origin, plant, rare, test)
        return plant

    return note

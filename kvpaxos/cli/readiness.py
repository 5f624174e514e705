"""Waiting until every node of a cluster serves."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Final, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

POLL_S: Final = 0.1
"""Between two questions to a node that is not ready."""

COMPLAIN_AFTER_S: Final = 10.0
"""When it is time to say which nodes are not ready, and why."""


class Ask(Protocol):
    """Asks one node whether it is ready."""

    def __call__(self, url: str, /) -> Deferred[str | None]:
        """Fire with None if it is, or else with why it is not. Never fails."""
        ...


async def until_ready(
    urls: Mapping[str, str],
    ask: Ask,
    *,
    clock: IReactorTime,
    running: Callable[[], Container[str]],
    announce: Callable[[str], None],
) -> list[str]:
    """Return the nodes that serve, once each of them does or is no longer ``running``.

    If that takes long, it is announced which nodes are waited for, and why, once.

    :param urls: where each node is.
    """
    ready: set[str] = set()
    complain_at: float | None = clock.seconds() + COMPLAIN_AFTER_S
    while True:
        waiting = [node for node in urls if node in running() and node not in ready]
        if not waiting:
            return [node for node in urls if node in ready and node in running()]
        reasons = await gatherResults([ask(urls[node]) for node in waiting])
        late = []
        for node, reason in zip(waiting, reasons, strict=True):
            if reason is None:
                ready.add(node)
            else:
                late.append(f"{node} ({reason})")
        if late and complain_at is not None and clock.seconds() >= complain_at:
            complain_at = None
            announce(f"still waiting for {', '.join(late)}")
        await deferLater(clock, POLL_S)

"""Decided slots as JSON lines, from files or from a node."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, Final

from kvpaxos.cli.asking import Asking, asking
from kvpaxos.cli.nodes import named_nodes, read_cluster
from kvpaxos.cli.output import print_json
from kvpaxos.cli.running import run
from kvpaxos.cli.statuses import DONE, FAILED, NOT_APPLIED, REFUSED, Told, say
from kvpaxos.config.cluster import NODE_ID
from kvpaxos.errors import ConfigError, DiskError
from kvpaxos.journal.inspection import Inspection, owner
from kvpaxos.node.face import describe_decision
from kvpaxos.node.recovery import GROUP

JOURNAL_NAME: Final = "journal"
"""What the journal is called in the data directory of a node."""

PAGE_SLOTS: Final = 100
"""How many slots are asked of a node at a time; it may send fewer."""

PAGE_BYTES_MAX: Final = 200 * 1024 * 1024
"""No node sends more at a time, even if each byte is spelled in six."""

PAGE_TIMEOUT_S: Final = 10.0
"""When a node that was asked for slots does not answer."""


def inspect(directory: str, from_slot: int, limit: int | None) -> int:
    """Print what the journal in ``directory`` shows to be decided, and return the exit status."""
    path = _journal_in(Path(directory))
    try:
        pid = owner(path)
        inspection = Inspection(path)
        if inspection.empty:
            raise ConfigError(f"{path}: there is no journal here; name the directory of a node.")
        if pid is not None:
            say(
                f"process {pid} is using this journal; what it writes just now may look damaged,"
                " so ask the node itself with --node, or stop it first"
            )
        wanted = (slot for slot in inspection.decided(GROUP) if slot.slot >= from_slot)
        for decision in islice(wanted, limit):
            print_json(describe_decision(decision))
        # The rest is only judged.
        for _ in wanted:
            pass
    except DiskError as error:
        raise _unreadable(error) from None
    if pid is None:
        for mend in inspection.mends:
            say(f"the node will mend this at its next start: {mend}")
    for damage in inspection.damage:
        say(f"{damage.path}: {damage.what} at byte {damage.offset} is damaged")
    if inspection.damage:
        say(
            "what is printed may lack slots; restore the journal from a sound copy of this same"
            " disk, or ask another node with --node"
        )
    return FAILED if inspection.damage else DONE


def ask(node: str, settings: str | None, from_slot: int, limit: int | None) -> None:
    """Print what ``node``, a URL or a name in ``settings``, knows to be decided."""
    url = _url(node, settings)

    async def pages(reactor: Any) -> None:  # noqa: ANN401 -- several interfaces at once
        asks = asking(reactor, timeout_s=PAGE_TIMEOUT_S, bytes_max=PAGE_BYTES_MAX)
        following: int | None = from_slot
        left = limit
        while following is not None and left != 0:
            slots, following = await _page(asks, url, following, left)
            for slot in slots:
                print_json(slot)
            left = None if left is None else left - len(slots)

    run(pages)


async def _page(
    asks: Asking, url: str, from_slot: int, limit: int | None
) -> tuple[list[Any], int | None]:
    """Return some slots, and where to go on, if there are more."""
    count = PAGE_SLOTS if limit is None else min(limit, PAGE_SLOTS)
    answer = await asks.get(f"{url}/kvman/journal?from={from_slot}&limit={count}")
    if answer.trouble is not None:
        raise Told(
            f"{url}: {answer.trouble}; see whether the node runs there, or name the directory of"
            " its journal.",
            NOT_APPLIED,
        )
    slots, following = answer.table.get("slots"), answer.table.get("next")
    if not isinstance(slots, list) or not isinstance(following, int | None):
        raise Told(f"{url}: this is not the answer of a node.", NOT_APPLIED)
    return slots, following


def _journal_in(directory: Path) -> Path:
    """Return the directory of the journal that ``directory`` is, or holds.

    :raises ConfigError: there is no such directory.
    """
    inner = directory / JOURNAL_NAME
    path = inner if inner.is_dir() else directory
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no such directory; name that of a node.")
    return path


def _url(node: str, settings: str | None) -> str:
    if not NODE_ID.fullmatch(node):
        return named_nodes([node], settings)[0][1]
    return read_cluster(settings).node(node).url


def _unreadable(error: DiskError) -> Told:
    """Return the sentence for a journal that a disk, or the system, does not let us read."""
    cause = error.__cause__
    if isinstance(cause, PermissionError):
        return Told(f"{cause.filename}: this user may not read it; become one who may.", REFUSED)
    return Told(f"{error}.", FAILED)
